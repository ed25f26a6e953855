// The pointwise parts of the cells, a vector of units at a time.
//
// The equations are those of the rules in models/cells. A cell keeps kStored
// numbers of each unit, step and row for the gradient: its activations and all
// its states but h.

#ifndef RNNVAE_JAX_OPS_NATIVE_CELLS_H_
#define RNNVAE_JAX_OPS_NATIVE_CELLS_H_

#include "products.h"

namespace rnnvae {

// Activations of a unit, and as many gradients.
constexpr int kActive = 4;

inline Vector Tanh(Vector x) {
  // The rational approximation that Eigen and XLA use; its error is a few units
  // in the last place. Beyond the limits tanh rounds to 1.
  const Vector limit = Vector{} + 7.90531110763549805f;
  x = x > limit ? limit : x;
  x = x < -limit ? -limit : x;
  const Vector square = x * x;
  Vector above = square * -2.76076847742355e-16f + 2.00018790482477e-13f;
  above = square * above + -8.60467152213735e-11f;
  above = square * above + 5.12229709037114e-08f;
  above = square * above + 1.48572235717979e-05f;
  above = square * above + 6.37261928875436e-04f;
  above = square * above + 4.89352455891786e-03f;
  Vector below = square * 1.19825839466702e-06f + 1.18534705686654e-04f;
  below = square * below + 2.26843463243900e-03f;
  below = square * below + 4.89352518554385e-03f;
  return x * above / below;
}

inline Vector Sigmoid(Vector x) { return 0.5f + 0.5f * Tanh(0.5f * x); }

// h and c; gates i, f, g, o.
struct Lstm {
  static constexpr int kGates = 4, kStates = 2, kStored = kActive + 1;
  // Which activations have a recurrent product.
  static constexpr int kRecurrent[kGates] = {0, 1, 2, 3};

  // Args:
  //   stored: the sums of the gates, which become activations; and c.
  //   before: the states before the step.
  // Returns h.
  static Vector Forward(float* const* stored, const float* const* before) {
    const Vector i = Sigmoid(Load(stored[0])), f = Sigmoid(Load(stored[1]));
    const Vector g = Tanh(Load(stored[2])), o = Sigmoid(Load(stored[3]));
    const Vector c = f * Load(before[1]) + i * g;
    Store(stored[0], i);
    Store(stored[1], f);
    Store(stored[2], g);
    Store(stored[3], o);
    Store(stored[4], c);
    return o * Tanh(c);
  }

  // Args:
  //   stored, before: as `Forward` left and read them.
  //   d_h: the gradient of h.
  //   d_states: those of the states after the step become those before it,
  //     without what comes through the recurrent product.
  //   d_active: the gradients of the gates.
  static void Backward(const float* const* stored, const float* const* before,
                       Vector d_h, float* const* d_states,
                       float* const* d_active) {
    const Vector i = Load(stored[0]), f = Load(stored[1]);
    const Vector g = Load(stored[2]), o = Load(stored[3]);
    const Vector squashed = Tanh(Load(stored[4]));
    const Vector d_c =
        Load(d_states[1]) + d_h * o * (1.0f - squashed * squashed);
    Store(d_active[0], d_c * g * i * (1.0f - i));
    Store(d_active[1], d_c * Load(before[1]) * f * (1.0f - f));
    Store(d_active[2], d_c * i * (1.0f - g * g));
    Store(d_active[3], d_h * squashed * o * (1.0f - o));
    Store(d_states[0], Vector{});
    Store(d_states[1], d_c * f);
  }
};

// h; gates r, z, n, reset after the product; activations r, z, n, and m, the
// recurrent product of n.
struct Gru {
  static constexpr int kGates = 3, kStates = 1, kStored = kActive;
  static constexpr int kRecurrent[kGates] = {0, 1, 3};

  static Vector Forward(float* const* stored, const float* const* before) {
    const Vector r = Sigmoid(Load(stored[0])), z = Sigmoid(Load(stored[1]));
    const Vector n = Tanh(Load(stored[2]) + r * Load(stored[3]));
    Store(stored[0], r);
    Store(stored[1], z);
    Store(stored[2], n);
    return n + z * (Load(before[0]) - n);
  }

  static void Backward(const float* const* stored, const float* const* before,
                       Vector d_h, float* const* d_states,
                       float* const* d_active) {
    const Vector r = Load(stored[0]), z = Load(stored[1]);
    const Vector n = Load(stored[2]), m = Load(stored[3]);
    const Vector d_n = d_h * (1.0f - z) * (1.0f - n * n);
    Store(d_active[0], d_n * m * r * (1.0f - r));
    Store(d_active[1], d_h * (Load(before[0]) - n) * z * (1.0f - z));
    Store(d_active[2], d_n);
    Store(d_active[3], d_n * r);
    Store(d_states[0], d_h * z);
  }
};

}  // namespace rnnvae

#endif  // RNNVAE_JAX_OPS_NATIVE_CELLS_H_
