// Vectors of this CPU, and matrix products with packed operands.
//
// Everything is written with the compiler's vector extension, so that one source
// serves every CPU that GCC and Clang know. The right operand is cut into panels
// of `kPanel` columns, the left one into tiles of a few rows, and a tile times a
// panel is summed up in registers.

#ifndef RNNVAE_JAX_OPS_NATIVE_PRODUCTS_H_
#define RNNVAE_JAX_OPS_NATIVE_PRODUCTS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace rnnvae {

// Floats of a register; vectors and rows of a tile, chosen so that a tile of
// sums and one row of a panel fit into the registers.
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
// Rows of a large left operand that are packed at a time, for the L2 cache.
constexpr int kBlockRows = 192;

typedef float Vector __attribute__((vector_size(4 * kWidth)));

inline Vector Load(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof(Vector));
  return value;
}

inline void Store(float* to, Vector value) {
  std::memcpy(to, &value, sizeof(Vector));
}

// Rows cut into tiles of nearly equal size.
struct Tiles {
  int64_t rows, count;

  explicit Tiles(int64_t rows)
      : rows(rows), count((rows + kTileRows - 1) / kTileRows) {}
  int64_t first(int64_t tile) const { return rows * tile / count; }
  int64_t size(int64_t tile) const { return first(tile + 1) - first(tile); }
};

// sums[kRows, kPanel] += left @ panel, with left float[depth, kRows] and panel
// float[depth, kPanel]. Meanwhile fetches memory that is needed next.
template <int kRows>
inline void Tile(const float* left, const float* panel, int64_t depth,
                 float* sums, int64_t stride, const float* ahead,
                 int64_t ahead_step) {
  Vector total[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      total[r][v] = Load(sums + r * stride + v * kWidth);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    __builtin_prefetch(ahead, 0, 2);
    ahead += ahead_step;
    Vector row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      row[v] = Load(panel + k * kPanel + v * kWidth);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const float factor = left[k * kRows + r];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) total[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Store(sums + r * stride + v * kWidth, total[r][v]);
    }
  }
}

template <int kRows, typename... Rest>
inline void TileOf(int64_t rows, Rest... rest) {
  if (rows == kRows) {
    Tile<kRows>(rest...);
  } else if constexpr (kRows > 1) {
    TileOf<kRows - 1>(rows, rest...);
  }
}

// A left operand float[rows, depth], packed: float[depth, size] of each tile.
struct Left {
  Tiles tiles;
  int64_t depth;
  float* data;

  Left(int64_t rows, int64_t depth, float* data)
      : tiles(rows), depth(depth), data(data) {}

  // The numbers of a column of a tile, one for each of its rows.
  float* at(int64_t tile, int64_t column) const {
    return data + tiles.first(tile) * depth + column * tiles.size(tile);
  }
};

// sums[rows, kPanel] += left[:, first : first + depth] @ panel[:depth].
inline void MultiplyPart(const Left& left, int64_t first, const float* panel,
                         int64_t depth, float* sums, int64_t stride,
                         const float* ahead) {
  const Tiles& tiles = left.tiles;
  const int64_t step = (kPanel + tiles.count - 1) / tiles.count;
  for (int64_t tile = 0; tile < tiles.count; ++tile) {
    TileOf<kTileRows>(tiles.size(tile), left.at(tile, first), panel, depth,
                      sums + tiles.first(tile) * stride, stride,
                      ahead + depth * kPanel * tile / tiles.count, step);
  }
}

// sums[rows, kPanel] += left @ panel. Panels that are used in turn should follow
// each other in memory.
inline void MultiplyPanel(const Left& left, const float* panel, float* sums,
                          int64_t stride) {
  for (int64_t k = 0; k < left.depth; k += kDepth) {
    const int64_t depth = std::min<int64_t>(kDepth, left.depth - k);
    const float* part = panel + k * kPanel;
    MultiplyPart(left, k, part, depth, sums, stride, part + depth * kPanel);
  }
}

// The result of a large product.
struct Out {
  float* data;
  int64_t columns, panel_stride, row_stride;
};

// out[first:last] = start + left[first:last, :depth] @ right, for large operands.
//
// Args:
//   left: (row, k) -> a number of the left operand.
//   right: panel -> the panel's numbers, float[depth, kPanel].
//   start: (panel, row, line) writes the kPanel numbers that sums begin with.
template <typename LeftAt, typename RightOf, typename Start>
void Product(int64_t first, int64_t last, int64_t depth, LeftAt left,
             RightOf right, Start start, const Out& out) {
  thread_local std::vector<float> packed(kBlockRows * kDepth);
  const int64_t panels = (out.columns + kPanel - 1) / kPanel;
  for (int64_t k = 0; k == 0 || k < depth; k += kDepth) {
    const int64_t part = std::min<int64_t>(kDepth, depth - k);
    for (int64_t begin = first; begin < last; begin += kBlockRows) {
      const int64_t rows = std::min<int64_t>(kBlockRows, last - begin);
      const Left block(rows, part, packed.data());
      for (int64_t tile = 0; tile < block.tiles.count; ++tile) {
        const int64_t size = block.tiles.size(tile);
        const int64_t row = begin + block.tiles.first(tile);
        float* to = block.at(tile, 0);
        for (int64_t n = 0; n < part; ++n) {
          for (int64_t r = 0; r < size; ++r) *to++ = left(row + r, k + n);
        }
      }
      for (int64_t p = 0; p < panels; ++p) {
        const float* panel = right(p) + k * kPanel;
        const float* ahead = p + 1 < panels ? right(p + 1) + k * kPanel : panel;
        float* sums = out.data + p * out.panel_stride + begin * out.row_stride;
        int64_t stride = out.row_stride;
        // The last panel may be wider than what is left of a row.
        float wide[kBlockRows * kPanel];
        const int64_t width =
            std::min<int64_t>(kPanel, out.columns - p * kPanel);
        float* narrow = sums;
        if (width < kPanel) {
          sums = wide;
          stride = kPanel;
        }
        for (int64_t r = 0; r < rows; ++r) {
          float* line = sums + r * stride;
          if (k == 0) {
            start(p, begin + r, line);
          } else if (width < kPanel) {
            std::memset(line, 0, kPanel * sizeof(float));
            std::memcpy(line, narrow + r * out.row_stride,
                        width * sizeof(float));
          }
        }
        MultiplyPart(block, 0, panel, part, sums, stride, ahead);
        for (int64_t r = 0; width < kPanel && r < rows; ++r) {
          std::memcpy(narrow + r * out.row_stride, sums + r * stride,
                      width * sizeof(float));
        }
      }
    }
  }
}

// A panel of a matrix: panel[k, c] = from[k, c], with rows `stride` apart.
inline void PackPanel(const float* from, int64_t stride, int64_t depth,
                      float* panel) {
  for (int64_t k = 0; k < depth; ++k) {
    std::memcpy(panel + k * kPanel, from + k * stride, kPanel * sizeof(float));
  }
}

// A panel of a transposed matrix: panel[k, c] = from[c, k], and 0 where c is
// not less than `columns`.
inline void PackTransposed(const float* from, int64_t stride, int64_t depth,
                           int64_t columns, float* panel) {
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t c = 0; c < kPanel; ++c) {
      panel[k * kPanel + c] = c < columns ? from[c * stride + k] : 0.0f;
    }
  }
}

}  // namespace rnnvae

#endif  // RNNVAE_JAX_OPS_NATIVE_PRODUCTS_H_
