// Persistent recurrent kernels. A cluster of BLOCKS thread blocks runs all
// steps of ROWS rows. A block owns UNITS hidden units and keeps their weights
// on chip, in registers as far as KEPT reaches, otherwise in shared memory.
// What other blocks need is written to their shared memory (st.async), where a
// barrier counts its bytes. Two buffers take turns: a block sends for the next
// step only after it has received from all blocks, and a block sends only after
// it has read the buffer before, so nothing is overwritten too early.
//
// The code is written against a machine M: machine_gpu.cuh, or
// machine_emulated.h, which runs it on a CPU.
#pragma once
#include "cells.cuh"

constexpr int ROWS = 16;           // of a matrix instruction, and of a cluster
constexpr int STEP_BYTES = 32;     // of a row that it contracts
constexpr int CHUNK = 16;          // bytes of a row that lie together
constexpr int REGISTER_BUDGET = 128;  // words of weights a thread keeps,
constexpr int SMALL_BUDGET = 96;      // and where it has many tiles besides
constexpr int SHARED_LIMIT = 232448;  // bytes a block can have

// T and B count time steps and rows; arrays are float[T, B, n H] or float[B, H].
struct ForwardArguments {
  const float* gates;      // [T, B, GATES H], the input products
  const void* kernel;      // [H, GATES H], bfloat16 or float
  const float* bias;       // [H]; the LSTM does not read it
  const uint8_t* mask;     // [T, B], whether a token is real
  const float* before[2];  // the states before the first step
  float* states[2];        // the states after each step
  float* active;           // [T, B, ACTIVATIONS H]
  int steps, rows, reverse;
};

struct BackwardArguments {
  const float* coefficients[6];
  const float* mask;       // [T, B]; the GRU does not read it
  const float* d_outputs;  // [T, B, H]
  const float* d_after[2];
  const void* kernel;      // [H, GATES H]
  float* d_states[2];      // [T, B, H]
  float* d_before[2];
  int steps, rows, reverse;
};

constexpr int cluster_blocks(int size) {
  return size <= 256 ? size / 32 : size <= 384 ? 8 : 16;
}

template <class Cell_, class Operand_, int H_>
struct Shape {
  using Cell = Cell_;
  using Operand = Operand_;
  static constexpr int H = H_;
  static constexpr int BYTES = Operand::BYTES;
  static constexpr int BLOCKS = cluster_blocks(H);
  static constexpr int UNITS = H / BLOCKS;
  static constexpr int WARPS = UNITS / 8;  // a matrix instruction has 8 columns
  static constexpr int THREADS = 32 * WARPS;
  static constexpr int IN_CHUNK = CHUNK / BYTES;  // numbers
  static constexpr int IN_WORD = 4 / BYTES;

  // Forward, all blocks' states are multiplied with a block's columns:
  static constexpr int DEPTH = H * BYTES / STEP_BYTES;
  static constexpr int KEPT = REGISTER_BUDGET / (2 * Cell::GATES) < DEPTH
      ? REGISTER_BUDGET / (2 * Cell::GATES) : DEPTH;
  static constexpr int STATE_BYTES = ROWS * H * BYTES;
  static constexpr int STAGE_BYTES = ROWS * 8 * BYTES;  // of a warp
  static constexpr int FORWARD_BARRIERS = 2 * STATE_BYTES + WARPS * STAGE_BYTES;
  static constexpr int FORWARD_WEIGHTS = FORWARD_BARRIERS + 64;
  static constexpr int FORWARD_BYTES =
      FORWARD_WEIGHTS + (DEPTH - KEPT) * Cell::GATES * WARPS * 256;

  // Backward, a block's gradients are multiplied with its columns, transposed;
  // the products of all blocks are added by the block that owns the unit:
  static constexpr int BACK_DEPTH = Cell::GATES * UNITS * BYTES / STEP_BYTES;
  static constexpr int TILES = BLOCKS;  // of 8 units, for each warp
  static constexpr int GROUP = TILES < 8 ? TILES : 8;  // accumulated together
  static constexpr int BACK_BUDGET = TILES > 8 ? SMALL_BUDGET : REGISTER_BUDGET;
  static constexpr int BACK_KEPT = BACK_BUDGET / (2 * TILES) < BACK_DEPTH
      ? BACK_BUDGET / (2 * TILES) : BACK_DEPTH;
  // A chunk of all rows, apart enough that a warp's stores share no bank.
  static constexpr int OPERAND_CHUNK = ROWS * CHUNK + 64;
  static constexpr int OPERAND_BYTES =
      Cell::GATES * UNITS / IN_CHUNK * OPERAND_CHUNK;
  static constexpr int PARTIAL_BYTES = ROWS * H * 4;
  static constexpr int BACKWARD_OPERANDS = 2 * PARTIAL_BYTES;
  static constexpr int BACKWARD_BARRIERS = BACKWARD_OPERANDS + 2 * OPERAND_BYTES;
  static constexpr int BACKWARD_WEIGHTS = BACKWARD_BARRIERS + 64;
  static constexpr int BACKWARD_BYTES =
      BACKWARD_WEIGHTS + (BACK_DEPTH - BACK_KEPT) * TILES * WARPS * 256;

  static constexpr bool FITS =
      FORWARD_BYTES <= SHARED_LIMIT && BACKWARD_BYTES <= SHARED_LIMIT;
  static_assert(H % BLOCKS == 0 && UNITS % 8 == 0 && BLOCKS % 2 == 0);
};

// Of a matrix instruction's operands and result, thread `lane` holds rows
// lane / 4 and that plus 8, and columns 2 (lane % 4) and the next.
struct Place {
  int lane, warp, row, column;
  template <class M>
  DEVICE Place(M& m)
      : lane(m.thread() & 31), warp(m.thread() >> 5), row(lane >> 2),
        column(lane & 3) {}
};

template <class S, class M>
DEVICE void forward(M& m, const ForwardArguments& a) {
  using Cell = typename S::Cell;
  using Operand = typename S::Operand;
  constexpr int H = S::H, G = Cell::GATES;
  const Place at(m);
  const int first_row = m.cluster() * ROWS;
  const int first_unit = m.rank() * S::UNITS + at.warp * 8;  // of the warp
  const int unit = first_unit + at.column * 2;  // of the thread, and the next
  const int stage = 2 * S::STATE_BYTES + at.warp * S::STAGE_BYTES;
  const int barrier = S::FORWARD_BARRIERS;
  if (m.thread() == 0) {
    m.init_barrier(barrier);
    m.init_barrier(barrier + 8);
  }

  // Words of the right operand: two of 8 columns for each gate and step.
  const auto* kernel = static_cast<const typename Operand::Stored*>(a.kernel);
  auto shared_weights = [&](int depth, int gate) {
    const int number = (at.warp * (S::DEPTH - S::KEPT) + depth - S::KEPT) * G;
    return S::FORWARD_WEIGHTS + (number + gate) * 256 + at.lane * 8;
  };
  uint32_t weights[S::KEPT * G * 2];
  UNROLL
  for (int depth = 0; depth < S::DEPTH; depth++) {
    UNROLL
    for (int gate = 0; gate < G; gate++) {
      UNROLL
      for (int half = 0; half < 2; half++) {
        const int k = (2 * depth + half) * S::IN_CHUNK + at.column * S::IN_WORD;
        const uint32_t word = m.stored(
            Operand(), kernel + (size_t)k * G * H + gate * H + first_unit + at.row,
            G * H);
        if (depth < S::KEPT)
          weights[(depth * G + gate) * 2 + half] = word;
        else
          m.store(shared_weights(depth, gate) + half * 4, word);
      }
    }
  }

  // The thread's own states, and the operand of the first step, of all units.
  float state[4][Cell::STATES];
  UNROLL
  for (int e = 0; e < 4; e++) {
    const int row = first_row + at.row + 8 * (e >> 1);
    UNROLL
    for (int s = 0; s < Cell::STATES; s++)
      state[e][s] =
          row < a.rows ? a.before[s][(size_t)row * H + unit + (e & 1)] : 0.f;
  }
  for (int i = m.thread(); i < ROWS * H / S::IN_WORD; i += S::THREADS) {
    const int k = i % (H / S::IN_WORD) * S::IN_WORD, row = i / (H / S::IN_WORD);
    const float* from = a.before[0] + (size_t)(first_row + row) * H + k;
    m.store((k / S::IN_CHUNK * ROWS + row) * CHUNK + k % S::IN_CHUNK * S::BYTES,
            first_row + row < a.rows ? m.rounded(Operand(), from) : 0u);
  }
  if (m.thread() == 0) {
    m.expect(barrier, S::STATE_BYTES);
    m.expect(barrier + 8, S::STATE_BYTES);
  }
  m.sync_cluster();  // Barriers exist before anybody counts on them.

  float bias[2] = {a.bias[unit], a.bias[unit + 1]};
  float x[4][G];
  bool valid[2];
  auto fetch = [&](int step) {
    const int time = a.reverse ? a.steps - 1 - step : step;
    UNROLL
    for (int half = 0; half < 2; half++) {
      const int row = first_row + at.row + 8 * half;
      const size_t token = (size_t)time * a.rows + row;
      const bool exists = row < a.rows;
      valid[half] = exists && a.mask[token];
      UNROLL
      for (int gate = 0; gate < G; gate++) {
        float v[2] = {0.f, 0.f};
        if (exists) m.load2(a.gates + token * G * H + gate * H + unit, v);
        x[2 * half][gate] = v[0];
        x[2 * half + 1][gate] = v[1];
      }
    }
  };
  fetch(0);

  uint32_t phases = 0;  // a bit for each barrier
  for (int step = 0; step < a.steps; step++) {
    const int time = a.reverse ? a.steps - 1 - step : step, now = step & 1;
    if (step) {
      m.wait(barrier + 8 * now, phases >> now & 1);
      phases ^= 1 << now;
      if (m.thread() == 0) m.expect(barrier + 8 * now, S::STATE_BYTES);
    }
    float sums[2][G][4] = {};  // two, so that instructions wait less
    UNROLL
    for (int depth = 0; depth < S::DEPTH; depth++) {
      uint32_t left[4];
      m.load_rows(now * S::STATE_BYTES + depth * 2 * ROWS * CHUNK, ROWS * CHUNK,
                  left);
      UNROLL
      for (int gate = 0; gate < G; gate++) {
        if (depth < S::KEPT) {
          m.multiply(Operand(), sums[depth & 1][gate], left,
                     &weights[(depth * G + gate) * 2]);
        } else {
          uint32_t right[2];
          m.load_words(shared_weights(depth, gate), right);
          m.multiply(Operand(), sums[depth & 1][gate], left, right);
        }
      }
    }
    float active[4][Cell::ACTIVATIONS];
    UNROLL
    for (int e = 0; e < 4; e++) {
      float product[G], after[Cell::STATES];
      UNROLL
      for (int gate = 0; gate < G; gate++)
        product[gate] = sums[0][gate][e] + sums[1][gate][e];
      UNROLL
      for (int s = 0; s < Cell::STATES; s++) after[s] = state[e][s];
      Cell::forward(m, x[e], product, bias[e & 1], after, active[e]);
      UNROLL
      for (int s = 0; s < Cell::STATES; s++)
        state[e][s] = valid[e >> 1] ? after[s] : state[e][s];
    }
    if (step + 1 < a.steps) {
      // The warp's states lie together first, so that a lane sends 16 bytes.
      UNROLL
      for (int half = 0; half < 2; half++) {
        const float pair[2] = {state[2 * half][0], state[2 * half + 1][0]};
        const int row = at.row + 8 * half, k = at.column * 2;
        m.store_pair(Operand(),
                     stage + (k / S::IN_CHUNK * ROWS + row) * CHUNK +
                         k % S::IN_CHUNK * S::BYTES,
                     pair);
      }
      m.sync_warp();
      constexpr int PIECES = S::STAGE_BYTES / 16, PEERS = 32 / PIECES;
      const int piece = at.lane % PIECES * 16;
      uint32_t words[4];
      m.load_quad(stage + piece, words);
      const int to = (now ^ 1) * S::STATE_BYTES +
                     first_unit / S::IN_CHUNK * ROWS * CHUNK + piece;
      UNROLL
      for (int peer = 0; peer < S::BLOCKS; peer += PEERS)
        m.send(peer + at.lane / PIECES, to, words, barrier + 8 * (now ^ 1));
      m.sync_warp();
      fetch(step + 1);
    }
    UNROLL
    for (int half = 0; half < 2; half++) {
      const int row = first_row + at.row + 8 * half, e = 2 * half;
      if (row >= a.rows) continue;
      const size_t token = (size_t)time * a.rows + row;
      UNROLL
      for (int s = 0; s < Cell::STATES; s++)
        m.save2(a.states[s] + token * H + unit, state[e][s], state[e + 1][s]);
      UNROLL
      for (int n = 0; n < Cell::ACTIVATIONS; n++)
        m.save2(a.active + (token * Cell::ACTIVATIONS + n) * H + unit,
                active[e][n], active[e + 1][n]);
    }
  }
  m.sync_cluster();  // No block ends while others may write to it.
}

template <class S, class M>
DEVICE void backward(M& m, const BackwardArguments& a) {
  using Cell = typename S::Cell;
  using Operand = typename S::Operand;
  constexpr int H = S::H, G = Cell::GATES, C = Cell::COEFFICIENTS;
  const Place at(m);
  const int first_row = m.cluster() * ROWS;
  // Pointwise, a thread owns four units of one row.
  const int own_row = m.thread() / (S::UNITS / 4);
  const int own_unit = m.thread() % (S::UNITS / 4) * 4;  // within the block
  const int row = first_row + own_row, unit = m.rank() * S::UNITS + own_unit;
  const bool exists = row < a.rows;
  // Of products, a warp computes TILES times 8 units.
  const int first_product = at.warp * S::TILES * 8;
  const int barrier = S::BACKWARD_BARRIERS;
  if (m.thread() == 0) {
    m.init_barrier(barrier);
    m.init_barrier(barrier + 8);
  }

  const auto* kernel = static_cast<const typename Operand::Stored*>(a.kernel);
  auto shared_weights = [&](int depth, int tile) {
    const int rest = S::BACK_DEPTH - S::BACK_KEPT;
    const int number = (at.warp * rest + depth - S::BACK_KEPT) * S::TILES;
    return S::BACKWARD_WEIGHTS + (number + tile) * 256 + at.lane * 8;
  };
  uint32_t weights[S::BACK_KEPT * S::TILES * 2];
  UNROLL
  for (int depth = 0; depth < S::BACK_DEPTH; depth++) {
    UNROLL
    for (int tile = 0; tile < S::TILES; tile++) {
      // Columns are placed so that two tiles give a thread four units in a row.
      const int product = first_product + tile / 2 * 16 + at.row / 2 * 4 +
                          tile % 2 * 2 + at.row % 2;
      UNROLL
      for (int half = 0; half < 2; half++) {
        const int k = (2 * depth + half) * S::IN_CHUNK + at.column * S::IN_WORD;
        const uint32_t word = m.stored(
            Operand(),
            kernel + (size_t)product * G * H + k / S::UNITS * H +
                m.rank() * S::UNITS + k % S::UNITS,
            1);
        if (depth < S::BACK_KEPT)
          weights[(depth * S::TILES + tile) * 2 + half] = word;
        else
          m.store(shared_weights(depth, tile) + half * 4, word);
      }
    }
  }

  float d[4][Cell::STATES];
  UNROLL
  for (int s = 0; s < Cell::STATES; s++) {
    float v[4] = {};
    if (exists) m.load4(a.d_after[s] + (size_t)row * H + unit, v);
    UNROLL
    for (int e = 0; e < 4; e++) d[e][s] = v[e];
  }
  if (m.thread() == 0) {
    m.expect(barrier, S::PARTIAL_BYTES);
    m.expect(barrier + 8, S::PARTIAL_BYTES);
  }
  m.sync_cluster();

  float c[C + 1][4], mask;  // coefficients, and the gradient of the output
  auto fetch = [&](int step) {
    const int time = a.reverse ? step : a.steps - 1 - step;
    const size_t token = (size_t)time * a.rows + row;
    mask = Cell::READS_MASK && exists ? a.mask[token] : 0.f;
    UNROLL
    for (int n = 0; n <= C; n++) {
      const float* from = n < C ? a.coefficients[n] : a.d_outputs;
      UNROLL
      for (int e = 0; e < 4; e++) c[n][e] = 0.f;
      if (exists) m.load4(from + token * H + unit, c[n]);
    }
  };
  fetch(0);

  uint32_t phases = 0;
  for (int step = 0; step < a.steps; step++) {
    const int time = a.reverse ? step : a.steps - 1 - step, now = step & 1;
    const size_t token = (size_t)time * a.rows + row;
    float d_product[G][4], d_state[Cell::STATES][4];
    UNROLL
    for (int e = 0; e < 4; e++) {
      d[e][0] += c[C][e];
      UNROLL
      for (int s = 0; s < Cell::STATES; s++) d_state[s][e] = d[e][s];
      float factors[C], products[G];
      UNROLL
      for (int n = 0; n < C; n++) factors[n] = c[n][e];
      Cell::backward(factors, mask, d[e], products);
      UNROLL
      for (int gate = 0; gate < G; gate++) d_product[gate][e] = products[gate];
    }
    const int operand = S::BACKWARD_OPERANDS + now * S::OPERAND_BYTES;
    UNROLL
    for (int gate = 0; gate < G; gate++) {
      const int k = gate * S::UNITS + own_unit;
      const int to = operand + k / S::IN_CHUNK * S::OPERAND_CHUNK +
                     own_row * CHUNK + k % S::IN_CHUNK * S::BYTES;
      m.store_pair(Operand(), to, &d_product[gate][0]);
      m.store_pair(Operand(), to + 2 * S::BYTES, &d_product[gate][2]);
    }
    // Also: all of the block's threads have read the step before's partial sums
    // when any of them sends.
    m.sync_block();
    UNROLL
    for (int group = 0; group < S::TILES; group += S::GROUP) {
      float sums[S::GROUP][4] = {};
      UNROLL
      for (int depth = 0; depth < S::BACK_DEPTH; depth++) {
        uint32_t left[4];
        m.load_rows(operand + depth * 2 * S::OPERAND_CHUNK, S::OPERAND_CHUNK,
                    left);
        UNROLL
        for (int i = 0; i < S::GROUP; i++) {
          if (depth < S::BACK_KEPT) {
            m.multiply(Operand(), sums[i], left,
                       &weights[(depth * S::TILES + group + i) * 2]);
          } else {
            uint32_t right[2];
            m.load_words(shared_weights(depth, group + i), right);
            m.multiply(Operand(), sums[i], left, right);
          }
        }
      }
      UNROLL
      for (int i = 0; i < S::GROUP; i += 2) {
        const int product = first_product + (group + i) * 8 + at.column * 4;
        UNROLL
        for (int half = 0; half < 2; half++) {
          const float sent[4] = {sums[i][2 * half], sums[i][2 * half + 1],
                                 sums[i + 1][2 * half], sums[i + 1][2 * half + 1]};
          const int to = (m.rank() * ROWS + at.row + 8 * half) * S::UNITS +
                         product % S::UNITS;
          m.send(product / S::UNITS, now * S::PARTIAL_BYTES + to * 4, sent,
                 barrier + 8 * now);
        }
      }
    }
    if (step + 1 < a.steps) fetch(step + 1);
    UNROLL
    for (int s = 0; s < Cell::STATES; s++)
      if (exists) m.save4(a.d_states[s] + token * H + unit, d_state[s]);
    m.wait(barrier + 8 * now, phases >> now & 1);
    phases ^= 1 << now;
    if (m.thread() == 0) m.expect(barrier + 8 * now, S::PARTIAL_BYTES);
    UNROLL
    for (int peer = 0; peer < S::BLOCKS; peer++) {
      float part[4];
      m.load_quad(now * S::PARTIAL_BYTES +
                      ((peer * ROWS + own_row) * S::UNITS + own_unit) * 4,
                  part);
      UNROLL
      for (int e = 0; e < 4; e++) d[e][0] += part[e];
    }
  }
  UNROLL
  for (int s = 0; s < Cell::STATES; s++) {
    const float v[4] = {d[0][s], d[1][s], d[2][s], d[3][s]};
    if (exists) m.save4(a.d_before[s] + (size_t)row * H + unit, v);
  }
  m.sync_cluster();
}
