// Linear layers: from rows to rows, and from panel to panel.

#pragma once

#include <ATen/ATen.h>
#include <torch/custom_class.h>

#include "products.h"

namespace lottery {

using at::Tensor;
using OptionalTensor = c10::optional<Tensor>;

// A linear layer: y = W x + b. The tensors are those of the layer, not copies.
struct Linear : torch::CustomClassHolder {
  Linear(int64_t outputs, int64_t inputs, OptionalTensor starts, OptionalTensor columns,
         Tensor values, OptionalTensor bias)
      : outputs(outputs),
        inputs(inputs),
        starts_(starts),
        columns_(columns),
        values_(values),
        bias_(bias) {
    TORCH_CHECK(starts.has_value() == columns.has_value() && values.is_contiguous(),
                "W is malformed");
    if (starts.has_value()) {
      TORCH_CHECK(starts->numel() == outputs + 1 && columns->numel() == values.numel() &&
                      starts->is_contiguous() && columns->is_contiguous(),
                  "W is malformed");
    } else {
      const int64_t rounded = (outputs + kPanel - 1) / kPanel * kPanel;
      TORCH_CHECK(values.numel() == rounded * inputs, "W is malformed");
    }
    TORCH_CHECK(!bias.has_value() || (bias->numel() == outputs && bias->is_contiguous()),
                "b is malformed");
  }

  // Pointers are taken at each use: a tensor may get another storage, as by share_memory().
  Weights weights() const {
    return {outputs, inputs, starts_.has_value() ? starts_->data_ptr<int32_t>() : nullptr,
            columns_.has_value()
                ? reinterpret_cast<const uint16_t*>(columns_->data_ptr<int16_t>())
                : nullptr,
            values_.data_ptr<float>()};
  }

  const float* bias() const { return bias_.has_value() ? bias_->data_ptr<float>() : nullptr; }

  const int64_t outputs, inputs;

 private:
  OptionalTensor starts_, columns_;
  Tensor values_;
  OptionalTensor bias_;
};

using LinearPointer = c10::intrusive_ptr<Linear>;

// y = W x + b from rows to rows: (..., inputs) -> (..., outputs).
inline Tensor multiply_rows(const Tensor& x, const Linear& linear) {
  const Weights w = linear.weights();
  const float* bias = linear.bias();
  TORCH_CHECK(x.dim() > 0 && x.size(-1) == w.inputs && w.inputs > 0, "x has not ", w.inputs,
              " columns");
  const Tensor in = x.contiguous();
  std::vector<int64_t> sizes = in.sizes().vec();
  sizes.back() = w.outputs;
  Tensor out = at::empty(sizes, in.options());
  const int64_t rows = in.numel() / w.inputs;
  if (rows == 0) return out;
  std::vector<float> panel;
  for (const Tile& tile : tiles_of(rows)) {
    panel.resize(w.inputs * tile.width());
    to_tile(tile, in.data_ptr<float>(), w.inputs, panel.data());
    with_shape(tile, [&](auto lanes, auto parts) {
      share_outputs(w, [&](int64_t first, int64_t end) {
        float block[kBlock * lanes * parts];
        for (int64_t o = first; o < end; o += kBlock) {
          const int64_t count = std::min(kBlock, end - o);
          multiply<lanes, parts>(w, bias, o, o + count, panel.data(), block);
          to_rows(tile, block, o, count, w.outputs, out.data_ptr<float>());
        }
      });
    });
  }
  return out;
}

inline Tensor linear(const Tensor& x, int64_t outputs, int64_t inputs, const OptionalTensor& starts,
              const OptionalTensor& columns, const Tensor& values, const OptionalTensor& bias) {
  return multiply_rows(x, Linear(outputs, inputs, starts, columns, values, bias));
}

// y = W x + b from panel to panel, and `after(y, count)` on each thread's part of y.
template <typename After>
void multiply_panel(const std::vector<Tile>& tiles, const Linear& linear, const float* x, float* y,
                    const After& after) {
  const Weights w = linear.weights();
  const float* bias = linear.bias();
  for (const Tile& tile : tiles) {
    const float* from = x + w.inputs * tile.start;
    float* to = y + w.outputs * tile.start;
    with_shape(tile, [&](auto lanes, auto parts) {
      share_outputs(w, [&](int64_t first, int64_t end) {
        float* part = to + first * tile.width();
        multiply<lanes, parts>(w, bias, first, end, from, part);
        after(part, (end - first) * tile.width());
      });
    });
  }
}

inline void multiply_panel(const std::vector<Tile>& tiles, const Linear& linear, const float* x,
                    float* y) {
  multiply_panel(tiles, linear, x, y, [](float*, int64_t) {});
}

}  // namespace lottery
