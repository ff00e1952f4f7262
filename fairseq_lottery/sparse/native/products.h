// Products of a tile with a matrix, sparse (compressed rows, 16-bit columns) or dense (panels).

#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

#include "panels.h"

namespace lottery {

// outputs of a dense panel, whose weights for one input are adjacent
constexpr int64_t kPanel = 4;
// multiplications, in weights of a tile, that are worth a thread
constexpr int64_t kGrain = 1 << 13;

struct Weights {
  int64_t outputs;
  int64_t inputs;
  const int32_t* starts;    // outputs + 1; null if the matrix is dense
  const uint16_t* columns;
  const float* values;      // of a dense matrix: (outputs / kPanel, inputs, kPanel), rounded up

  bool is_sparse() const { return starts != nullptr; }
  // weights and outputs before `output`
  int64_t work(int64_t output) const {
    return (is_sparse() ? starts[output] : output * inputs) + output;
  }
};

// One output in several sums: adding takes longer than starting the next addition.
template <int Lanes, int Parts>
inline void sparse_output(const Weights& w, int64_t output, const float* x, float* y) {
  using Vec = typename Vector<Lanes>::type;
  constexpr int kWidth = Lanes * Parts;
  constexpr int kSums = Parts >= 3 ? 2 : 8 / Parts;
  Vec sums[kSums][Parts] = {};
  int64_t k = w.starts[output];
  const int64_t end = w.starts[output + 1];
  for (; k + kSums <= end; k += kSums) {
#pragma GCC unroll 8
    for (int s = 0; s < kSums; ++s) {
      const float* column = x + int64_t(w.columns[k + s]) * kWidth;
#pragma GCC unroll 8
      for (int p = 0; p < Parts; ++p) sums[s][p] += w.values[k + s] * at<Lanes>(column + p * Lanes);
    }
  }
  for (; k < end; ++k) {
    const float* column = x + int64_t(w.columns[k]) * kWidth;
#pragma GCC unroll 8
    for (int p = 0; p < Parts; ++p) sums[0][p] += w.values[k] * at<Lanes>(column + p * Lanes);
  }
#pragma GCC unroll 8
  for (int p = 0; p < Parts; ++p) {
#pragma GCC unroll 8
    for (int s = 1; s < kSums; ++s) sums[0][p] += sums[s][p];
    at<Lanes>(y + p * Lanes) = sums[0][p];
  }
}

// One panel of outputs, or several for few rows, whose sums alone would not fill the registers.
template <int Lanes, int Parts, int Panels>
inline void dense_panels(const float* values, int64_t inputs, const float* x, float* y) {
  using Vec = typename Vector<Lanes>::type;
  constexpr int kWidth = Lanes * Parts;
  Vec sums[Panels][kPanel][Parts] = {};
  for (int64_t i = 0; i < inputs; ++i) {
    Vec input[Parts];
#pragma GCC unroll 8
    for (int p = 0; p < Parts; ++p) input[p] = at<Lanes>(x + i * kWidth + p * Lanes);
#pragma GCC unroll 4
    for (int n = 0; n < Panels; ++n) {
      const float* weights = values + (n * inputs + i) * kPanel;
#pragma GCC unroll 4
      for (int o = 0; o < kPanel; ++o) {
#pragma GCC unroll 8
        for (int p = 0; p < Parts; ++p) sums[n][o][p] += weights[o] * input[p];
      }
    }
  }
#pragma GCC unroll 4
  for (int n = 0; n < Panels; ++n) {
#pragma GCC unroll 4
    for (int o = 0; o < kPanel; ++o) {
#pragma GCC unroll 8
      for (int p = 0; p < Parts; ++p) {
        at<Lanes>(y + (n * kPanel + o) * kWidth + p * Lanes) = sums[n][o][p];
      }
    }
  }
}

// y = W x + b for outputs [first, end): x (inputs, width) -> y (end - first, width).
// `first` is a multiple of kPanel, and so is `end` unless it is the last output.
template <int Lanes, int Parts>
void multiply(const Weights& w, const float* bias, int64_t first, int64_t end, const float* x,
              float* y) {
  constexpr int kWidth = Lanes * Parts;
  constexpr int kPanels = Parts >= 3 ? 1 : 4 / Parts;
  if (w.is_sparse()) {
    for (int64_t o = first; o < end; ++o) {
      sparse_output<Lanes, Parts>(w, o, x, y + (o - first) * kWidth);
    }
  } else {
    int64_t o = first;
    for (; o + kPanels * kPanel <= end; o += kPanels * kPanel) {
      dense_panels<Lanes, Parts, kPanels>(w.values + o * w.inputs, w.inputs, x,
                                          y + (o - first) * kWidth);
    }
    for (; o < end; o += kPanel) {
      float panel[kPanel * kWidth];
      dense_panels<Lanes, Parts, 1>(w.values + o * w.inputs, w.inputs, x, panel);
      std::copy(panel, panel + std::min(kPanel, end - o) * kWidth, y + (o - first) * kWidth);
    }
  }
  if (bias == nullptr) return;
  for (int64_t o = first; o < end; ++o) {
#pragma GCC unroll 8
    for (int p = 0; p < Parts; ++p) at<Lanes>(y + (o - first) * kWidth + p * Lanes) += bias[o];
  }
}

// The first output, a multiple of kBlock, that begins at or after `work`.
inline int64_t output_at(const Weights& w, int64_t work) {
  int64_t low = 0, high = (w.outputs + kBlock - 1) / kBlock;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (w.work(middle * kBlock) < work) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return std::min(low * kBlock, w.outputs);
}

// Share the outputs among threads by their weights: `work(first, end)` once for each thread.
template <typename Work>
void share_outputs(const Weights& w, const Work& work) {
  at::parallel_for(0, w.work(w.outputs), kGrain, [&](int64_t begin, int64_t end) {
    const int64_t first = output_at(w, begin), last = output_at(w, end);
    if (first < last) work(first, last);
  });
}

}  // namespace lottery
