// Vectors of this CPU, and products of a few rows with a packed matrix.
//
// Everything is written with the compiler's vector extension, so that one source
// serves every CPU that GCC and Clang know.

#ifndef RNNVAE_JAX_OPS_NATIVE_PRODUCTS_H_
#define RNNVAE_JAX_OPS_NATIVE_PRODUCTS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace rnnvae {

// Floats of a register; vectors and rows of a tile, chosen so that a tile of
// sums and one row of the packed matrix fit into the registers.
#if defined(__AVX512F__)
constexpr int kWidth = 16, kVectors = 2, kTileRows = 12;
#elif defined(__AVX__)
constexpr int kWidth = 8, kVectors = 2, kTileRows = 6;
#elif defined(__aarch64__)
constexpr int kWidth = 4, kVectors = 3, kTileRows = 8;
#else
constexpr int kWidth = 4, kVectors = 2, kTileRows = 6;
#endif

constexpr int kPanel = kWidth * kVectors;  // Columns of a panel.
// Rows of a panel that are multiplied at a time: they stay in the L1 cache.
constexpr int kDepth = 16384 / (4 * kPanel);

typedef float Vector __attribute__((vector_size(4 * kWidth)));

template <typename T>
inline T Load(const float* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <typename T>
inline void Store(float* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}

// sums[r, :kPanel] += left[r, :depth] @ panel[:depth, :kPanel] for `kRows` rows.
template <int kRows>
inline void Tile(const float* left, int64_t left_stride, const float* panel,
                 int64_t depth, float* sums, int64_t sums_stride) {
  Vector total[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      total[r][v] = Load<Vector>(sums + r * sums_stride + v * kWidth);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      row[v] = Load<Vector>(panel + k * kPanel + v * kWidth);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const float factor = left[r * left_stride + k];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) total[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Store(sums + r * sums_stride + v * kWidth, total[r][v]);
    }
  }
}

template <int kRows>
inline void TileOf(int rows, const float* left, int64_t left_stride,
                   const float* panel, int64_t depth, float* sums,
                   int64_t sums_stride) {
  if (rows == kRows) {
    Tile<kRows>(left, left_stride, panel, depth, sums, sums_stride);
  } else if constexpr (kRows > 1) {
    TileOf<kRows - 1>(rows, left, left_stride, panel, depth, sums, sums_stride);
  }
}

// sums[rows, panels * kPanel] += left[rows, depth] @ packed, where packed is
// float[panels, depth, kPanel]. Each panel is read from memory once.
inline void Multiply(const float* left, int rows, int64_t depth,
                     const float* packed, int64_t panels, float* sums) {
  const int tiles = (rows + kTileRows - 1) / kTileRows;
  const int64_t stride = panels * kPanel;
  for (int64_t k = 0; k < depth; k += kDepth) {
    const int64_t part = std::min<int64_t>(kDepth, depth - k);
    for (int64_t p = 0; p < panels; ++p) {
      const float* panel = packed + (p * depth + k) * kPanel;
      for (int tile = 0; tile < tiles; ++tile) {
        const int first = rows * tile / tiles;
        const int count = rows * (tile + 1) / tiles - first;
        TileOf<kTileRows>(count, left + first * depth + k, depth, panel, part,
                          sums + first * stride + p * kPanel, stride);
      }
    }
  }
}

}  // namespace rnnvae

#endif  // RNNVAE_JAX_OPS_NATIVE_PRODUCTS_H_
