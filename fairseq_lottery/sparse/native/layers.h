// Parts of a decoder layer on a tile, and attention on rows.

#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "panels.h"

namespace lottery {

enum class Activation { kRelu, kGelu, kGeluTanh, kTanh };

// y = activation(y) of `count` floats, a multiple of half the lanes.
inline void activate(Activation activation, float* y, int64_t count) {
  switch (activation) {
    case Activation::kRelu:
      for (int64_t i = 0; i < count; ++i) y[i] = y[i] < 0.0f ? 0.0f : y[i];
      return;
    case Activation::kGelu:
      for (int64_t i = 0; i < count; ++i) {
        y[i] = 0.5f * y[i] * (1.0f + std::erf(y[i] * 0.70710678f));
      }
      return;
    case Activation::kGeluTanh:
      for (int64_t i = 0; i < count; ++i) {
        const float cubic = y[i] + 0.044715f * y[i] * y[i] * y[i];
        y[i] = 0.5f * y[i] * (1.0f + std::tanh(0.79788456f * cubic));
      }
      return;
    case Activation::kTanh:
      for (int64_t i = 0; i < count; ++i) y[i] = std::tanh(y[i]);
      return;
  }
}

// y = x, normalised over the features of each row; x and y, (features, width), may be the same.
template <int Lanes>
void normalise(const float* x, int64_t features, int64_t width, const float* weight,
               const float* bias, float epsilon, float* y) {
  using Vec = typename Vector<Lanes>::type;
  for (int64_t lane = 0; lane < width; lane += Lanes) {
    Vec sum = {}, squares = {};
    for (int64_t i = 0; i < features; ++i) sum += at<Lanes>(x + i * width + lane);
    const Vec mean = sum / float(features);
    for (int64_t i = 0; i < features; ++i) {
      const Vec difference = at<Lanes>(x + i * width + lane) - mean;
      squares += difference * difference;
    }
    Vec scale;
    for (int l = 0; l < Lanes; ++l) scale[l] = 1.0f / std::sqrt(squares[l] / features + epsilon);
    for (int64_t i = 0; i < features; ++i) {
      const Vec value = (at<Lanes>(x + i * width + lane) - mean) * scale;
      at<Lanes>(y + i * width + lane) = value * weight[i] + bias[i];
    }
  }
}

// Keys and values of the tokens so far, (position, row, features). A row of a later position finds
// its ancestor at each position in a table, so nothing is copied when hypotheses are reordered.
class Cache {
 public:
  explicit Cache(int64_t features) : features_(features) {}

  // Make room for the next position, and return its keys and values: (rows, features) each.
  std::pair<float*, float*> extend(int64_t rows) {
    positions_.emplace_back(new float[2 * rows * features_]);
    rows_.push_back(rows);
    float* keys = positions_.back().get();
    return {keys, keys + rows * features_};
  }

  const float* key(int64_t position, int64_t row) const {
    return positions_[position].get() + row * features_;
  }

  const float* value(int64_t position, int64_t row) const {
    return key(position, row + rows_[position]);
  }

 private:
  int64_t features_;
  std::vector<std::unique_ptr<float[]>> positions_;
  std::vector<int64_t> rows_;
};

// Attention of a query, `depth` floats of a head, to all positions so far.
inline void attend_to_past(const Cache& cache, const int32_t* ancestors, int64_t length,
                           const float* query, int64_t offset, int64_t depth, float* weights,
                           float* context) {
  for (int64_t p = 0; p < length; ++p) {
    weights[p] = dot(query, cache.key(p, ancestors[p]) + offset, depth);
  }
  softmax(weights, length);
  const auto value = [&](int64_t p) { return cache.value(p, ancestors[p]) + offset; };
  weighted_sum(weights, length, value, depth, context);
}

// Keys and values of the source, shared by the hypotheses of a sentence.
// keys: (sentence, feature, source), padded to a multiple of kLanes; values: (sentence, source,
// feature).
struct Source {
  int64_t length;
  int64_t padded;
  int64_t features;
  std::vector<float> keys, values;
  std::vector<uint8_t> is_padding;  // (sentence, source)
};

// Attention of a query, `depth` floats of a head, to the tokens of a sentence.
inline void attend_to_source(const Source& source, int64_t sentence, const float* query,
                             int64_t offset, int64_t depth, float* weights, float* context) {
  const float* keys = source.keys.data() + (sentence * source.features + offset) * source.padded;
  const auto feature = [&](int64_t i) { return keys + i * source.padded; };
  weighted_sum(query, depth, feature, source.padded, weights);
  const uint8_t* is_padding = source.is_padding.data() + sentence * source.length;
  for (int64_t s = 0; s < source.length; ++s) {
    if (is_padding[s]) weights[s] = -kInfinity;
  }
  softmax(weights, source.length);
  const float* values = source.values.data() + sentence * source.length * source.features + offset;
  const auto value = [&](int64_t n) { return values + n * source.features; };
  weighted_sum(weights, source.length, value, depth, context);
}

}  // namespace lottery
