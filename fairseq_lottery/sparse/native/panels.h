// Activations as columns: a tile holds a few rows (hypotheses) of a matrix, feature by feature, so
// that one weight meets all of them in vector registers.
//
// x of shape (rows, features) is stored tile by tile; a tile as (features, width), its width a
// multiple of the lanes. Columns beyond the rows are zero or anything finite.

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace lottery {

struct Tile {
  int64_t row;    // first row
  int64_t rows;   // rows in use
  int parts;      // vectors of a feature
  int lanes;      // floats of a vector
  int64_t start;  // widths of the tiles before, together
  int64_t width() const { return int64_t(parts) * lanes; }
};

// Tiles of about equal width; few rows have vectors of half the lanes.
inline std::vector<Tile> tiles_of(int64_t rows) {
  if (rows <= kLanes / 2) return {{0, rows, 1, kLanes / 2, 0}};
  const int64_t vectors = (rows + kLanes - 1) / kLanes;
  const int64_t count = (vectors + kMostParts - 1) / kMostParts;
  std::vector<Tile> tiles;
  int64_t vector = 0;
  for (int64_t t = 0; t < count; ++t) {
    const int parts = int((vectors - vector + count - t - 1) / (count - t));
    const int64_t row = vector * kLanes;
    tiles.push_back({row, std::min<int64_t>(rows - row, parts * kLanes), parts, kLanes, row});
    vector += parts;
  }
  return tiles;
}

inline int64_t width_of(const std::vector<Tile>& tiles) {
  return tiles.back().start + tiles.back().width();
}

// Call `work(lanes, parts)` with the tile's numbers as compile-time constants.
template <typename Work>
void with_shape(const Tile& tile, const Work& work) {
  std::integral_constant<int, kLanes> whole;
  std::integral_constant<int, kLanes / 2> half;
  if (tile.lanes < kLanes) return work(half, std::integral_constant<int, 1>());
  switch (tile.parts) {
    case 1:
      return work(whole, std::integral_constant<int, 1>());
    case 2:
      return work(whole, std::integral_constant<int, 2>());
    case 3:
      return work(whole, std::integral_constant<int, 3>());
    case 4:
      return work(whole, std::integral_constant<int, 4>());
    default:
      return work(whole, std::integral_constant<int, 5>());
  }
}

// features that are copied at once: a cache line
constexpr int64_t kBlock = 16;

// Copy rows of x, (rows, features), into a tile.
inline void to_tile(const Tile& tile, const float* x, int64_t features, float* panel) {
  const int64_t width = tile.width();
  for (int64_t first = 0; first < features; first += kBlock) {
    const int64_t last = std::min(first + kBlock, features);
    for (int64_t r = 0; r < width; ++r) {
      const float* from = x + (tile.row + std::min(r, tile.rows - 1)) * features;
      for (int64_t i = first; i < last; ++i) panel[i * width + r] = from[i];
    }
  }
}

// Copy features [first, first + count) of a tile, `block` of shape (count, width), to rows of y.
inline void to_rows(const Tile& tile, const float* block, int64_t first, int64_t count,
                    int64_t features, float* y) {
  const int64_t width = tile.width();
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, count);
    for (int64_t r = 0; r < tile.rows; ++r) {
      float* to = y + (tile.row + r) * features + first;
      for (int64_t o = begin; o < end; ++o) to[o] = block[o * width + r];
    }
  }
}

}  // namespace lottery
