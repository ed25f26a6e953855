// The sequential loops of a recurrent layer on a CPU; see recurrence_native.py.
//
// A task computes all time steps of some rows of the batch. Rows never exchange
// data, so tasks never wait for each other. The recurrent weights are packed once
// an update and stay in the caches during a loop.

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "products.h"
#include "xla/ffi/api/ffi.h"

namespace rnnvae {
namespace {

namespace ffi = xla::ffi;

// Fewer rows than this make a task of their own only if there are no more.
constexpr int64_t kTaskRows = 8;

template <typename T>
inline T Tanh(T x) {
  // The rational approximation that Eigen and XLA use; its error is a few units
  // in the last place. Beyond the limits tanh rounds to 1.
  const T limit = T{} + 7.90531110763549805f;
  x = x > limit ? limit : x;
  x = x < -limit ? -limit : x;
  const T square = x * x;
  T above = square * -2.76076847742355e-16f + 2.00018790482477e-13f;
  above = square * above + -8.60467152213735e-11f;
  above = square * above + 5.12229709037114e-08f;
  above = square * above + 1.48572235717979e-05f;
  above = square * above + 6.37261928875436e-04f;
  above = square * above + 4.89352455891786e-03f;
  T below = square * 1.19825839466702e-06f + 1.18534705686654e-04f;
  below = square * below + 2.26843463243900e-03f;
  below = square * below + 4.89352518554385e-03f;
  return x * above / below;
}

template <typename T>
inline T Sigmoid(T x) {
  return 0.5f + 0.5f * Tanh<T>(0.5f * x);
}

// Calls `body` for each unit of a row, a vector of units at a time.
template <typename Body>
inline void ForUnits(int64_t size, Body body) {
  int64_t unit = 0;
  for (; unit + kWidth <= size; unit += kWidth) body(Vector{}, unit);
  for (; unit < size; ++unit) body(float{}, unit);
}

// A row's pointers at one time step, in the order of the cell's rule.
struct ForwardRow {
  const float* gates;  // [G H], the input's part.
  const float* sums;   // [G H], the sums that `Start` began.
  float* states[2];    // [H], the running states.
  float* active;       // [A H]
};

// h and c; gates i, f, g, o; all four are activations.
struct Lstm {
  static constexpr int kGates = 4, kStates = 2, kActive = 4, kFactors = 7;

  static void Start(const float* gates, const float*, int64_t size,
                    float* sums) {
    std::memcpy(sums, gates, 4 * size * sizeof(float));
  }

  template <typename T>
  static void Forward(T, const ForwardRow& row, int64_t size, int64_t unit) {
    const auto sum = [&](int gate) {
      return Load<T>(row.sums + gate * size + unit);
    };
    const T i = Sigmoid<T>(sum(0)), f = Sigmoid<T>(sum(1));
    const T g = Tanh<T>(sum(2)), o = Sigmoid<T>(sum(3));
    const T c = f * Load<T>(row.states[1] + unit) + i * g;
    Store<T>(row.states[1] + unit, c);
    Store<T>(row.states[0] + unit, o * Tanh<T>(c));
    const T active[] = {i, f, g, o};
    for (int n = 0; n < 4; ++n) Store<T>(row.active + n * size + unit, active[n]);
  }

  // Factors: from_c of i, f and g, h_to_c, keep, to_o, and 1 - mask.
  template <typename T>
  static void Backward(T, const float* const* factors, float* d_product,
                       float* const* d_states, int64_t size, int64_t unit) {
    const auto factor = [&](int n) { return Load<T>(factors[n] + unit); };
    const T d_h = Load<T>(d_states[0] + unit);
    const T d_c = Load<T>(d_states[1] + unit) + d_h * factor(3);
    for (int n = 0; n < 3; ++n) {
      Store<T>(d_product + n * size + unit, d_c * factor(n));
    }
    Store<T>(d_product + 3 * size + unit, d_h * factor(5));
    Store<T>(d_states[1] + unit, d_c * factor(4));
    Store<T>(d_states[0] + unit, d_h * factors[6][0]);
  }
};

// h; gates r, z, n, reset after the product; activations r, z, n, m.
struct Gru {
  static constexpr int kGates = 3, kStates = 1, kActive = 4, kFactors = 4;

  static void Start(const float* gates, const float* bias, int64_t size,
                    float* sums) {
    std::memcpy(sums, gates, 2 * size * sizeof(float));
    std::memcpy(sums + 2 * size, bias, size * sizeof(float));
  }

  template <typename T>
  static void Forward(T, const ForwardRow& row, int64_t size, int64_t unit) {
    const auto sum = [&](int gate) {
      return Load<T>(row.sums + gate * size + unit);
    };
    const T r = Sigmoid<T>(sum(0)), z = Sigmoid<T>(sum(1)), m = sum(2);
    const T n = Tanh<T>(Load<T>(row.gates + 2 * size + unit) + r * m);
    const T h = Load<T>(row.states[0] + unit);
    Store<T>(row.states[0] + unit, n + z * (h - n));
    const T active[] = {r, z, n, m};
    for (int k = 0; k < 4; ++k) Store<T>(row.active + k * size + unit, active[k]);
  }

  // Factors: keep, and those of the products of r, z and n.
  template <typename T>
  static void Backward(T, const float* const* factors, float* d_product,
                       float* const* d_states, int64_t size, int64_t unit) {
    const T d_h = Load<T>(d_states[0] + unit);
    for (int n = 0; n < 3; ++n) {
      Store<T>(d_product + n * size + unit,
               d_h * Load<T>(factors[n + 1] + unit));
    }
    Store<T>(d_states[0] + unit, d_h * Load<T>(factors[0] + unit));
  }
};

// Runs `body(first row, number of rows)` over all rows as parallel tasks.
//
// The calling thread takes tasks as well. So it never waits for a task that no
// thread has begun, and calls that run at the same time cannot block each other.
void ForRows(ffi::ThreadPool pool, int64_t rows,
             const std::function<void(int64_t, int64_t)>& body) {
  const int64_t tasks = std::max<int64_t>(
      1, std::min<int64_t>(pool.num_threads(), rows / kTaskRows));
  struct Shared {
    std::atomic<int64_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto shared = std::make_shared<Shared>();
  // A thread that comes too late finds no task left and must not touch `body`.
  const auto work = [shared, tasks, rows, &body]() {
    for (int64_t task; (task = shared->next.fetch_add(1)) < tasks;) {
      const int64_t first = rows * task / tasks;
      body(first, rows * (task + 1) / tasks - first);
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (++shared->done == tasks) shared->all_done.notify_all();
    }
  };
  for (int64_t task = 1; task < tasks; ++task) {
    pool.Schedule(std::function<void()>(work));
  }
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == tasks; });
}

const float* Floats(ffi::AnyBuffer buffer) {
  return static_cast<const float*>(buffer.untyped_data());
}

// A caller's thread keeps this memory from call to call.
float* Scratch(int number, int64_t size) {
  thread_local std::vector<float> memory[2];
  if (static_cast<int64_t>(memory[number].size()) < size) {
    memory[number].resize(size);
  }
  return memory[number].data();
}

using Args = ffi::RemainingArgs;
using Results = ffi::RemainingRets;

ffi::AnyBuffer Arg(Args args, int n) { return *args.get<ffi::AnyBuffer>(n); }

float* Result(Results results, int n) {
  return static_cast<float*>(
      (*results.get<ffi::AnyBuffer>(n))->untyped_data());
}

// The arrays of a cell's states, and of its states at all steps.
template <int kStates>
struct States {
  const float* begin[kStates];  // [B, H], before the loop.
  float* now[kStates];          // [B, H], changed by each step.
  float* all[kStates];          // [S, B, H]

  States(Args args, int first, Results results) {
    for (int s = 0; s < kStates; ++s) {
      begin[s] = Floats(Arg(args, first + s));
      now[s] = Result(results, s);
      all[s] = Result(results, kStates + s);
    }
  }

  // Begins with the rows [first, first + number).
  void Start(int64_t first, int64_t number, int64_t size) const {
    for (int s = 0; s < kStates; ++s) {
      std::memcpy(now[s] + first * size, begin[s] + first * size,
                  number * size * sizeof(float));
    }
  }

  // Writes the states of a row to its place in `all`.
  void Keep(int64_t row, int64_t place, int64_t size) const {
    for (int s = 0; s < kStates; ++s) {
      std::memcpy(all[s] + place * size, now[s] + row * size,
                  size * sizeof(float));
    }
  }

  // Fills places that no step reaches with the states before the loop.
  void Begin(int64_t place, int64_t first, int64_t number,
             int64_t size) const {
    for (int s = 0; s < kStates; ++s) {
      std::memcpy(all[s] + place * size, begin[s] + first * size,
                  number * size * sizeof(float));
    }
  }

  // Fills places that no step reaches with zeros.
  void Clear(int64_t place, int64_t number, int64_t size) const {
    for (int s = 0; s < kStates; ++s) {
      std::memset(all[s] + place * size, 0, number * size * sizeof(float));
    }
  }
};

// Arguments: count int32[], mask bool[S, B], packed float[N, H, kPanel],
// gates float[S, B, G H], state mask float[B, H] or float[0], recurrent bias
// float[H] or float[0], states float[B, H] each.
// Results: states float[B, H] each, all states float[S, B, H] each,
// activations float[S, B, A H].
template <typename Cell>
ffi::Error Forward(ffi::ThreadPool pool, Args args, Results results,
                   bool reverse) {
  const int64_t count =
      *static_cast<const int32_t*>(Arg(args, 0).untyped_data());
  const bool* mask = static_cast<const bool*>(Arg(args, 1).untyped_data());
  const float* packed = Floats(Arg(args, 2));
  const int64_t stride = Arg(args, 2).dimensions()[0] * kPanel;
  const float* gates = Floats(Arg(args, 3));
  const int64_t steps = Arg(args, 3).dimensions()[0];
  const int64_t rows = Arg(args, 3).dimensions()[1];
  const bool is_masked = Arg(args, 4).element_count() > 0;
  const float* state_mask = Floats(Arg(args, 4));
  const float* bias = Floats(Arg(args, 5));
  const int64_t size = Arg(args, 6).dimensions()[1];
  const States<Cell::kStates> states(args, 6, results);
  float* active = Result(results, 2 * Cell::kStates);
  const int64_t num_gates = Cell::kGates * size;
  const int64_t num_active = Cell::kActive * size;
  ForRows(pool, rows, [&](int64_t first, int64_t number) {
    float* left = Scratch(0, number * size);
    float* sums = Scratch(1, number * stride);
    states.Start(first, number, size);
    for (int64_t step = 0; step < count; ++step) {
      const int64_t time = reverse ? count - 1 - step : step;
      const int64_t place = time * rows + first;
      const float* h = states.now[0] + first * size;
      for (int64_t r = 0; r < number; ++r) {
        Cell::Start(gates + (place + r) * num_gates, bias, size,
                    sums + r * stride);
      }
      if (is_masked) {
        const float* kept = state_mask + first * size;
        for (int64_t n = 0; n < number * size; ++n) left[n] = h[n] * kept[n];
      }
      Multiply(is_masked ? left : h, number, size, packed, stride / kPanel,
               sums);
      for (int64_t r = 0; r < number; ++r) {
        float* row_active = active + (place + r) * num_active;
        if (mask[place + r]) {
          ForwardRow row = {gates + (place + r) * num_gates, sums + r * stride,
                            {}, row_active};
          for (int s = 0; s < Cell::kStates; ++s) {
            row.states[s] = states.now[s] + (first + r) * size;
          }
          ForUnits(size, [&](auto type, int64_t unit) {
            Cell::Forward(type, row, size, unit);
          });
        } else {
          std::memset(row_active, 0, num_active * sizeof(float));
        }
        states.Keep(first + r, place + r, size);
      }
    }
    for (int64_t time = count; time < steps; ++time) {
      const int64_t place = time * rows + first;
      states.Begin(place, first, number, size);
      std::memset(active + place * num_active, 0,
                  number * num_active * sizeof(float));
    }
  });
  return ffi::Error::Success();
}

// Arguments: count int32[], packed float[N, G H, kPanel], d_outputs
// float[S, B, H], state mask float[B, H] or float[0], gradients of the states
// float[B, H] each, factors float[S, B, H] each, or float[S, B, 1].
// Results: gradients of the states before the steps float[B, H] each, and of all
// states float[S, B, H] each.
template <typename Cell>
ffi::Error Backward(ffi::ThreadPool pool, Args args, Results results,
                    bool reverse) {
  const int64_t count =
      *static_cast<const int32_t*>(Arg(args, 0).untyped_data());
  const float* packed = Floats(Arg(args, 1));
  const int64_t stride = Arg(args, 1).dimensions()[0] * kPanel;
  const float* d_outputs = Floats(Arg(args, 2));
  const int64_t steps = Arg(args, 2).dimensions()[0];
  const int64_t rows = Arg(args, 2).dimensions()[1];
  const int64_t size = Arg(args, 2).dimensions()[2];
  const bool is_masked = Arg(args, 3).element_count() > 0;
  const float* state_mask = Floats(Arg(args, 3));
  const States<Cell::kStates> d_states(args, 4, results);
  const float* factors[Cell::kFactors];
  int64_t widths[Cell::kFactors];
  for (int n = 0; n < Cell::kFactors; ++n) {
    const ffi::AnyBuffer factor = Arg(args, 4 + Cell::kStates + n);
    factors[n] = Floats(factor);
    widths[n] = factor.dimensions()[2];
  }
  const int64_t depth = Cell::kGates * size;
  ForRows(pool, rows, [&](int64_t first, int64_t number) {
    float* left = Scratch(0, number * depth);
    float* sums = Scratch(1, number * stride);
    d_states.Start(first, number, size);
    for (int64_t step = 0; step < count; ++step) {
      const int64_t time = reverse ? step : count - 1 - step;
      const int64_t place = time * rows + first;
      for (int64_t r = 0; r < number; ++r) {
        float* row[Cell::kStates];
        for (int s = 0; s < Cell::kStates; ++s) {
          row[s] = d_states.now[s] + (first + r) * size;
        }
        const float* d_output = d_outputs + (place + r) * size;
        for (int64_t u = 0; u < size; ++u) row[0][u] += d_output[u];
        d_states.Keep(first + r, place + r, size);
        const float* row_factors[Cell::kFactors];
        for (int n = 0; n < Cell::kFactors; ++n) {
          row_factors[n] = factors[n] + (place + r) * widths[n];
        }
        ForUnits(size, [&](auto type, int64_t unit) {
          Cell::Backward(type, row_factors, left + r * depth, row, size, unit);
        });
      }
      std::memset(sums, 0, number * stride * sizeof(float));
      Multiply(left, number, depth, packed, stride / kPanel, sums);
      for (int64_t r = 0; r < number; ++r) {
        float* d_h = d_states.now[0] + (first + r) * size;
        const float* sum = sums + r * stride;
        const float* kept = state_mask + (first + r) * size;
        for (int64_t u = 0; u < size; ++u) {
          d_h[u] += is_masked ? sum[u] * kept[u] : sum[u];
        }
      }
    }
    for (int64_t time = count; time < steps; ++time) {
      d_states.Clear(time * rows + first, number, size);
    }
  });
  return ffi::Error::Success();
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .RemainingArgs()
      .RemainingRets()
      .Attr<bool>("reverse");
}

}  // namespace
}  // namespace rnnvae

#define RNNVAE_HANDLER(name, function)                           \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, (rnnvae::function),        \
                                rnnvae::Binding())

RNNVAE_HANDLER(lstm_forward, Forward<rnnvae::Lstm>);
RNNVAE_HANDLER(lstm_backward, Backward<rnnvae::Lstm>);
RNNVAE_HANDLER(gru_forward, Forward<rnnvae::Gru>);
RNNVAE_HANDLER(gru_backward, Backward<rnnvae::Gru>);

// Columns of a panel of a packed matrix.
extern "C" int panel_columns() { return rnnvae::kPanel; }
