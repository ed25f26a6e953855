// What a step of each cell computes besides its recurrent product, and the
// operands of products. The equations are those of models/cells/{gru,lstm}.py.
//
// A cell has GATES columns of H in its kernel, STATES, the first of which is
// multiplied, and saves ACTIVATIONS. Its backward loop reads COEFFICIENTS for
// each unit, and if READS_MASK one for each row.
#pragma once
#include <cstdint>

struct Gru {
  static constexpr int GATES = 3, STATES = 1, ACTIVATIONS = 4;
  static constexpr int COEFFICIENTS = 4;  // to r, z and n's product; keep
  static constexpr bool READS_MASK = false;

  // x and u: the gates' input and recurrent products; saves r, z, n, m.
  template <class M>
  DEVICE static void forward(M& m, const float* x, const float* u, float bias,
                             float* state, float* active) {
    const float r = m.sigmoid(x[0] + u[0]);
    const float z = m.sigmoid(x[1] + u[1]);
    const float product = u[2] + bias;
    const float n = m.tanh(x[2] + r * product);
    state[0] = n + z * (state[0] - n);
    active[0] = r, active[1] = z, active[2] = n, active[3] = product;
  }

  // d: gradients of the states after the step. Returns those of the recurrent
  // product, and leaves in d what reaches the states before without it.
  DEVICE static void backward(const float* c, float mask, float* d,
                              float* d_product) {
    for (int gate = 0; gate < 3; gate++) d_product[gate] = d[0] * c[gate];
    d[0] *= c[3];
  }
};

struct Lstm {
  static constexpr int GATES = 4, STATES = 2, ACTIVATIONS = 4;
  static constexpr int COEFFICIENTS = 6;  // c to i, f, g; h to o, to c; keep
  static constexpr bool READS_MASK = true;

  template <class M>
  DEVICE static void forward(M& m, const float* x, const float* u, float bias,
                             float* state, float* active) {
    const float i = m.sigmoid(x[0] + u[0]);
    const float f = m.sigmoid(x[1] + u[1]);
    const float g = m.tanh(x[2] + u[2]);
    const float o = m.sigmoid(x[3] + u[3]);
    state[1] = f * state[1] + i * g;
    state[0] = o * m.tanh(state[1]);
    active[0] = i, active[1] = f, active[2] = g, active[3] = o;
  }

  DEVICE static void backward(const float* c, float mask, float* d,
                              float* d_product) {
    const float d_c = d[1] + d[0] * c[4];
    for (int gate = 0; gate < 3; gate++) d_product[gate] = d_c * c[gate];
    d_product[3] = d[0] * c[3];
    d[0] *= 1.f - mask;
    d[1] = d_c * c[5];
  }
};

// Operands of products: bytes of a number, and how kernels are stored.
struct Bfloat16 {
  static constexpr int BYTES = 2;
  using Stored = uint16_t;
};
struct Tf32 {
  static constexpr int BYTES = 4;
  using Stored = float;
};
