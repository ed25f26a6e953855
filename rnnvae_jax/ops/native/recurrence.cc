// A recurrent layer on a CPU, forward and backward; see recurrence_native.py.
//
// Units are divided among threads, which meet after each time step. Weights are
// packed once an update. Products that do not depend on a state before, those of
// the inputs and of the weights' gradients, run over all real time steps at once.
//
// What only these functions read is kept in lines: the kPanel numbers of a panel
// of units for one row of one time step. Lines of the rows follow each other, so
// that a panel of an array is a panel of a packed matrix as well.

#include <vector>

#include "cells.h"
#include "products.h"
#include "steps.h"
#include "xla/ffi/api/ffi.h"

namespace rnnvae {
namespace {

namespace ffi = xla::ffi;

// Operations of a part of a step; threads that meet more often only wait.
constexpr int64_t kPartOperations = 500'000;

using Args = ffi::RemainingArgs;
using Results = ffi::RemainingRets;

ffi::AnyBuffer Arg(Args args, int n) { return *args.get<ffi::AnyBuffer>(n); }

const float* Floats(ffi::AnyBuffer buffer) {
  return static_cast<const float*>(buffer.untyped_data());
}

ffi::AnyBuffer ResultBuffer(Results results, int n) {
  return **results.get<ffi::AnyBuffer>(n);
}

float* Result(Results results, int n) {
  return static_cast<float*>(ResultBuffer(results, n).untyped_data());
}

// Lines float[kPanel] by panel and row.
struct Lines {
  float* data;
  int64_t rows;

  float* at(int64_t panel, int64_t row) const {
    return data + (panel * rows + row) * kPanel;
  }
};

// What both directions of a layer read: count int32[], mask bool[S, B], x
// float[S, B, F], kernel float[F, G H], recurrent kernel float[H, G H], state mask
// float[B, H] or float[0], states before the first step float[B, H] each. H is a
// multiple of kPanel.
template <typename Cell>
struct Layer {
  static constexpr int kNumArgs = 6 + Cell::kStates;

  int64_t count;
  const bool* mask;
  const float *x, *kernel, *recurrent, *state_mask;
  const float* begin[Cell::kStates];
  int64_t steps, rows, inputs, size;
  int64_t panels;   // Of H units.
  int64_t columns;  // G H.
  int64_t real;     // Rows of all steps that are computed.
  bool is_masked, reverse;

  Layer(Args args, bool reverse)
      : count(*static_cast<const int32_t*>(Arg(args, 0).untyped_data())),
        mask(static_cast<const bool*>(Arg(args, 1).untyped_data())),
        x(Floats(Arg(args, 2))),
        kernel(Floats(Arg(args, 3))),
        recurrent(Floats(Arg(args, 4))),
        state_mask(Floats(Arg(args, 5))),
        is_masked(Arg(args, 5).element_count() > 0),
        reverse(reverse) {
    for (int s = 0; s < Cell::kStates; ++s) {
      begin[s] = Floats(Arg(args, 6 + s));
    }
    const auto shape = Arg(args, 2).dimensions();
    steps = shape[0], rows = shape[1], inputs = shape[2];
    size = Arg(args, 6).dimensions()[1];
    panels = size / kPanel;
    columns = Cell::kGates * size;
    real = count * rows;
  }

  // The time of the `number`th step.
  int64_t time(int64_t number) const {
    return reverse ? count - 1 - number : number;
  }

  // The states before a step: h by rows, the others in lines.
  const float* h_before(const float* outputs, int64_t number,
                        int64_t row) const {
    return number ? outputs + (time(number - 1) * rows + row) * size
                  : begin[0] + row * size;
  }

  void before(const float* outputs, const Lines& stored, int64_t number,
              int64_t panel, int64_t row, const float** found) const {
    found[0] = h_before(outputs, number, row) + panel * kPanel;
    for (int s = 1; s < Cell::kStates; ++s) {
      const int64_t slot = (kActive + s - 1) * panels + panel;
      found[s] = number ? stored.at(slot, time(number - 1) * rows + row)
                        : begin[s] + row * size + panel * kPanel;
    }
  }

  // `body(step, part)` for all steps, of as many parts as pay.
  void Run(ffi::ThreadPool pool, int64_t number,
           const std::function<void(int64_t, int64_t, int64_t)>& body) const {
    int64_t parts = 2 * rows * size * columns / kPartOperations;
    parts = std::min({parts, panels, pool.num_threads()});
    parts = std::max<int64_t>(1, parts);
    const auto schedule = [&](std::function<void()> work) {
      pool.Schedule(std::move(work));
    };
    InSteps(number, parts, schedule, [&](int64_t step, int64_t part) {
      body(step, part, parts);
    });
  }
};

// `body(row, its place in the column, stride of columns)` for each row.
template <typename Body>
void ForRows(const Left& left, int64_t column, Body body) {
  for (int64_t tile = 0; tile < left.tiles.count; ++tile) {
    const int64_t first = left.tiles.first(tile), size = left.tiles.size(tile);
    float* to = left.at(tile, column);
    for (int64_t r = 0; r < size; ++r) body(first + r, to + r, size);
  }
}

void Clear(float* line) { std::memset(line, 0, kPanel * sizeof(float)); }

void Copy(const float* from, float* to) {
  std::memcpy(to, from, kPanel * sizeof(float));
}

// Zeros in a part of the rows after the real ones.
void ClearTail(float* array, int64_t first, int64_t last, int64_t size,
               int64_t part, int64_t parts) {
  const int64_t number = (last - first) * size;
  float* tail = array + first * size;
  std::memset(tail + number * part / parts, 0,
              (number * (part + 1) / parts - number * part / parts) *
                  sizeof(float));
}

// Arguments: those of `Layer`, bias float[G H] or float[B, G H], recurrent bias
// float[H] or float[0].
// Results: states after the last step float[B, H] each, outputs float[S, B, H],
// what is stored for the gradient, scratch memory.
template <typename Cell>
ffi::Error Forward(ffi::ThreadPool pool, Args args, Results results,
                   bool reverse) {
  const Layer<Cell> layer(args, reverse);
  const int64_t rows = layer.rows, size = layer.size, panels = layer.panels;
  const int64_t columns = layer.columns, inputs = layer.inputs;
  constexpr int kGates = Cell::kGates, kStates = Cell::kStates;
  const float* bias = Floats(Arg(args, layer.kNumArgs));
  const bool is_shared = Arg(args, layer.kNumArgs).dimensions().size() == 1;
  const float* recurrent_bias = Floats(Arg(args, layer.kNumArgs + 1));
  float* outputs = Result(results, kStates);
  const Lines stored = {Result(results, kStates + 1), layer.real};
  float* scratch = Result(results, kStates + 2);
  float* packed = scratch;                      // Panels in the order of gates,
  float* recurrent = packed + inputs * columns;  // here of units, then gates.
  float* memory = recurrent + size * columns;
  const Left left[2] = {Left(rows, size, memory),
                        Left(rows, size, memory + rows * size)};

  // Writes a line of h as the next product reads it.
  const auto put = [&](const float* line, int64_t row, int64_t panel,
                       float* to, int64_t stride) {
    const float* kept = layer.state_mask + row * size + panel * kPanel;
    for (int64_t u = 0; u < kPanel; ++u) {
      to[u * stride] = layer.is_masked ? line[u] * kept[u] : line[u];
    }
  };

  const auto prepare = [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      for (int64_t g = 0; g < kGates; ++g) {
        const int64_t column = g * size + p * kPanel;
        PackPanel(layer.kernel + column, columns, inputs,
                  packed + (g * panels + p) * inputs * kPanel);
        PackPanel(layer.recurrent + column, columns, size,
                  recurrent + (p * kGates + g) * size * kPanel);
      }
      ForRows(left[1], p * kPanel, [&](int64_t r, float* to, int64_t stride) {
        put(layer.begin[0] + r * size + p * kPanel, r, p, to, stride);
      });
    }
  };

  const auto input_product = [&](int64_t first, int64_t last) {
    const auto start = [&](int64_t p, int64_t row, float* line) {
      Copy(bias + p * kPanel + (is_shared ? 0 : row % rows * columns), line);
    };
    Product(
        first, last, inputs,
        [&](int64_t row, int64_t k) { return layer.x[row * inputs + k]; },
        [&](int64_t p) { return packed + p * inputs * kPanel; }, start,
        Out{stored.data, columns, layer.real * kPanel, kPanel});
  };

  const auto one_step = [&](int64_t number, int64_t first, int64_t last) {
    const int64_t place = layer.time(number) * rows;
    const Left& now = left[(number + 1) % 2];
    const Left& next = left[number % 2];
    for (int64_t p = first; p < last; ++p) {
      for (int64_t g = 0; g < kGates; ++g) {
        const int64_t slot = Cell::kRecurrent[g];
        float* sums = stored.at(slot * panels + p, place);
        if (slot >= kGates) {  // It has no input product to begin with.
          for (int64_t r = 0; r < rows; ++r) {
            Copy(recurrent_bias + p * kPanel, sums + r * kPanel);
          }
        }
        MultiplyPanel(now, recurrent + (p * kGates + g) * size * kPanel, sums,
                      kPanel);
      }
      ForRows(next, p * kPanel, [&](int64_t r, float* to, int64_t stride) {
        float* line = outputs + (place + r) * size + p * kPanel;
        const float* before[kStates];
        layer.before(outputs, stored, number, p, r, before);
        float* lines[Cell::kStored];
        for (int n = 0; n < Cell::kStored; ++n) {
          lines[n] = stored.at(n * panels + p, place + r);
        }
        if (layer.mask[place + r]) {
          for (int v = 0; v < kVectors; ++v) {
            Store(line + v * kWidth, Cell::Forward(lines, before));
            for (float*& one : lines) one += kWidth;
            for (const float*& one : before) one += kWidth;
          }
        } else {
          Copy(before[0], line);
          for (int s = 1; s < kStates; ++s) {
            Copy(before[s], lines[kActive + s - 1]);
          }
        }
        put(line, r, p, to, stride);
      });
    }
  };

  layer.Run(pool, layer.count + 2,
            [&](int64_t step, int64_t part, int64_t parts) {
    const auto run = [&](int64_t number, const auto& body) {
      body(number * part / parts, number * (part + 1) / parts);
    };
    if (step == 0) {
      run(panels, prepare);
      ClearTail(outputs, layer.real, layer.steps * rows, size, part, parts);
    } else if (step == 1) {
      run(layer.real, input_product);
    } else {
      run(panels, [&](int64_t first, int64_t last) {
        one_step(step - 2, first, last);
      });
    }
  });
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t p = 0; p < panels; ++p) {
      const float* after[kStates];
      layer.before(outputs, stored, layer.count, p, r, after);
      for (int s = 0; s < kStates; ++s) {
        Copy(after[s], Result(results, s) + r * size + p * kPanel);
      }
    }
  }
  return ffi::Error::Success();
}

// Arguments: those of `Layer`, outputs and what was stored by `Forward`, gradients
// of the states after the last step float[B, H] each, and of the outputs
// float[S, B, H].
// Results: gradients of the states before the first step float[B, H] each, of x, of
// both kernels, sums over time of the gradients of the activations float[4 H] or
// float[B, 4 H], scratch memory.
template <typename Cell>
ffi::Error Backward(ffi::ThreadPool pool, Args args, Results results,
                    bool reverse) {
  const Layer<Cell> layer(args, reverse);
  const int64_t rows = layer.rows, size = layer.size, panels = layer.panels;
  const int64_t columns = layer.columns, inputs = layer.inputs;
  const int64_t real = layer.real;
  constexpr int kGates = Cell::kGates, kStates = Cell::kStates;
  const int first_arg = layer.kNumArgs;
  const float* outputs = Floats(Arg(args, first_arg));
  const Lines stored = {const_cast<float*>(Floats(Arg(args, first_arg + 1))),
                        real};
  const float* d_outputs = Floats(Arg(args, first_arg + 2 + kStates));
  float* d_x = Result(results, kStates);
  float* d_kernel = Result(results, kStates + 1);
  float* d_recurrent = Result(results, kStates + 2);
  float* sums = Result(results, kStates + 3);
  const bool is_shared =
      ResultBuffer(results, kStates + 3).dimensions().size() == 1;
  const int64_t input_panels = (inputs + kPanel - 1) / kPanel;
  float* memory = Result(results, kStates + 4);
  const auto take = [&](int64_t number) {
    float* taken = memory;
    memory += number;
    return taken;
  };
  float* packed = take(input_panels * kPanel * columns);  // Both transposed.
  float* recurrent = take(size * columns);
  const Left left[2] = {Left(rows, columns, take(rows * columns)),
                        Left(rows, columns, take(rows * columns))};
  const Lines product = {take(rows * size), rows};
  const Lines d_states = {take(kStates * rows * size), rows};
  const Lines d_active = {take(kActive * real * size), real};

  std::vector<const float*> h_before(real);
  for (int64_t n = 0; n < layer.count; ++n) {
    for (int64_t r = 0; r < rows; ++r) {
      h_before[layer.time(n) * rows + r] = layer.h_before(outputs, n, r);
    }
  }

  const auto prepare = [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      PackTransposed(layer.recurrent + p * kPanel * columns, columns, columns,
                     kPanel, recurrent + p * columns * kPanel);
      for (int64_t r = 0; r < rows; ++r) {
        for (int s = 0; s < kStates; ++s) {
          Copy(Floats(Arg(args, first_arg + 2 + s)) + r * size + p * kPanel,
               d_states.at(s * panels + p, r));
        }
        Clear(product.at(p, r));
      }
    }
  };

  const auto prepare_inputs = [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      PackTransposed(layer.kernel + p * kPanel * columns, columns, columns,
                     inputs - p * kPanel, packed + p * columns * kPanel);
    }
  };

  // Adds what comes through the recurrent product, for a panel of units.
  const auto add_product = [&](int64_t panel, const Left& from) {
    float* added = product.at(panel, 0);
    std::memset(added, 0, rows * kPanel * sizeof(float));
    MultiplyPanel(from, recurrent + panel * columns * kPanel, added, kPanel);
    for (int64_t r = 0; r < rows; ++r) {
      const float* kept = layer.state_mask + r * size + panel * kPanel;
      float* d_h = d_states.at(panel, r);
      for (int64_t u = 0; u < kPanel; ++u) {
        const float term = added[r * kPanel + u];
        d_h[u] += layer.is_masked ? term * kept[u] : term;
      }
    }
  };

  const auto one_step = [&](int64_t number, int64_t first, int64_t last) {
    const int64_t place = layer.time(number) * rows;
    const Left& from = left[(number + 1) % 2];
    const Left& to = left[number % 2];
    for (int64_t p = first; p < last; ++p) {
      if (number < layer.count - 1) add_product(p, from);
      ForRows(to, p * kPanel, [&](int64_t r, float* first, int64_t stride) {
        const float* before[kStates];
        layer.before(outputs, stored, number, p, r, before);
        const float* lines[Cell::kStored];
        for (int n = 0; n < Cell::kStored; ++n) {
          lines[n] = stored.at(n * panels + p, place + r);
        }
        float *d_lines[kActive], *d_now[kStates];
        for (int n = 0; n < kActive; ++n) {
          d_lines[n] = d_active.at(n * panels + p, place + r);
        }
        for (int s = 0; s < kStates; ++s) {
          d_now[s] = d_states.at(s * panels + p, r);
        }
        const float* d_output = d_outputs + (place + r) * size + p * kPanel;
        for (int v = 0; v < kVectors; ++v) {
          const Vector d_h = Load(d_now[0]) + Load(d_output + v * kWidth);
          if (layer.mask[place + r]) {
            Cell::Backward(lines, before, d_h, d_now, d_lines);
          } else {
            Store(d_now[0], d_h);
            for (float* line : d_lines) Store(line, Vector{});
          }
          for (const float*& one : lines) one += kWidth;
          for (const float*& one : before) one += kWidth;
          for (float*& one : d_lines) one += kWidth;
          for (float*& one : d_now) one += kWidth;
        }
        for (int64_t g = 0; g < kGates; ++g) {
          const float* line =
              d_active.at(Cell::kRecurrent[g] * panels + p, place + r);
          float* column = first + g * size * stride;
          for (int64_t u = 0; u < kPanel; ++u) {
            column[u * stride] = line[u];
          }
        }
      });
    }
  };

  const auto finish = [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      if (layer.count) add_product(p, left[0]);
      for (int64_t r = 0; r < rows; ++r) {
        for (int s = 0; s < kStates; ++s) {
          Copy(d_states.at(s * panels + p, r),
               Result(results, s) + r * size + p * kPanel);
        }
      }
    }
  };

  const auto zero = [](int64_t, int64_t, float* line) { Clear(line); };

  const auto input_gradient = [&](int64_t first, int64_t last) {
    const auto gradient = [&](int64_t row, int64_t k) {
      return d_active.at(k / kPanel, row)[k % kPanel];
    };
    Product(
        first, last, columns, gradient,
        [&](int64_t p) { return packed + p * columns * kPanel; }, zero,
        Out{d_x, inputs, kPanel, inputs});
  };

  const auto kernel_gradient = [&](int64_t first, int64_t last) {
    const auto input = [&](int64_t f, int64_t k) {
      return layer.x[k * inputs + f];
    };
    Product(
        first, last, real, input, [&](int64_t p) { return d_active.at(p, 0); },
        zero, Out{d_kernel, columns, kPanel, columns});
  };

  const auto recurrent_gradient = [&](int64_t first, int64_t last) {
    const auto state = [&](int64_t unit, int64_t k) {
      const float h = h_before[k][unit];
      return layer.is_masked ? h * layer.state_mask[k % rows * size + unit] : h;
    };
    const auto gradient = [&](int64_t p) {
      const int64_t slot = Cell::kRecurrent[p / panels];
      return d_active.at(slot * panels + p % panels, 0);
    };
    Product(first, last, real, state, gradient, zero,
            Out{d_recurrent, columns, kPanel, columns});
  };

  const auto sum = [&](int64_t first, int64_t last) {
    const int64_t width = kActive * size;
    for (int64_t p = first; p < last; ++p) {
      for (int64_t r = 0; r < (is_shared ? 1 : rows); ++r) {
        Clear(sums + r * width + p * kPanel);
      }
      for (int64_t row = 0; row < real; ++row) {
        float* to = sums + p * kPanel + (is_shared ? 0 : row % rows * width);
        const float* line = d_active.at(p, row);
        for (int64_t u = 0; u < kPanel; ++u) to[u] += line[u];
      }
    }
  };

  layer.Run(pool, layer.count + 2,
            [&](int64_t step, int64_t part, int64_t parts) {
    const auto run = [&](int64_t number, const auto& body) {
      body(number * part / parts, number * (part + 1) / parts);
    };
    if (step == 0) {
      run(panels, prepare);
      run(input_panels, prepare_inputs);
      ClearTail(d_x, real, layer.steps * rows, inputs, part, parts);
    } else if (step <= layer.count) {
      run(panels, [&](int64_t first, int64_t last) {
        one_step(layer.count - step, first, last);
      });
    } else {
      run(panels, finish);
      run(real, input_gradient);
      run(inputs, kernel_gradient);
      run(size, recurrent_gradient);
      run(kActive * panels, sum);
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

// Each cell is a library of its own, which takes half as long to compile: RNNVAE_CELL
// names its class.
XLA_FFI_DEFINE_HANDLER_SYMBOL(forward, (rnnvae::Forward<rnnvae::RNNVAE_CELL>),
                              rnnvae::Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(backward, (rnnvae::Backward<rnnvae::RNNVAE_CELL>),
                              rnnvae::Binding());

// Columns of a panel of a packed matrix.
extern "C" int panel_columns() { return rnnvae::kPanel; }
