// y = x W^T + b for a sparse W: compressed rows with 16-bit columns.
//
// A tile of x, some rows of it, is transposed so that one weight meets all of them in vector
// registers. Blocks of outputs are transposed back, so that y is written in whole cache lines.
// Vectors are those of the compiler: it makes what the flags allow out of them.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

// outputs that are written at once: a cache line
constexpr int64_t kBlock = 16;
// weights and outputs, together, that are worth a thread
constexpr int64_t kGrain = 1 << 13;

struct Csr {
  const int32_t* starts;  // outputs + 1
  const uint16_t* columns;
  const float* values;
  const float* bias;  // or null
  int64_t outputs;
  int64_t inputs;
};

template <int Lanes>
struct Vector {
  typedef float type __attribute__((vector_size(Lanes * sizeof(float)), aligned(sizeof(float))));
};

// transposed[i * Rows + r] = x[r * inputs + i], with zeros for rows that are not there
template <int Rows>
void transpose(const float* x, int64_t rows, int64_t inputs, float* transposed) {
  for (int64_t first = 0; first < inputs; first += kBlock) {
    const int64_t last = std::min(first + kBlock, inputs);
    for (int64_t r = 0; r < Rows; ++r) {
      for (int64_t i = first; i < last; ++i) {
        transposed[i * Rows + r] = r < rows ? x[r * inputs + i] : 0.0f;
      }
    }
  }
}

// One output of a tile, in eight sums: adding takes longer than starting the next addition.
template <int Lanes, int Parts>
inline void one_output(const Csr& w, int64_t output, const float* transposed, float* y) {
  using Vec = typename Vector<Lanes>::type;
  constexpr int kRows = Lanes * Parts;
  constexpr int kSums = 8 / Parts;
  Vec sums[kSums][Parts] = {};
  int64_t k = w.starts[output];
  const int64_t end = w.starts[output + 1];
  for (; k + kSums <= end; k += kSums) {
#pragma GCC unroll 8
    for (int s = 0; s < kSums; ++s) {
      const float* column = transposed + int64_t(w.columns[k + s]) * kRows;
#pragma GCC unroll 4
      for (int p = 0; p < Parts; ++p) {
        sums[s][p] += w.values[k + s] * reinterpret_cast<const Vec*>(column)[p];
      }
    }
  }
  for (; k < end; ++k) {
    const float* column = transposed + int64_t(w.columns[k]) * kRows;
#pragma GCC unroll 4
    for (int p = 0; p < Parts; ++p) {
      sums[0][p] += w.values[k] * reinterpret_cast<const Vec*>(column)[p];
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < Parts; ++p) {
#pragma GCC unroll 8
    for (int s = 1; s < kSums; ++s) sums[0][p] += sums[s][p];
    reinterpret_cast<Vec*>(y)[p] = sums[0][p] + (w.bias ? w.bias[output] : 0.0f);
  }
}

template <int Lanes, int Parts>
void some_outputs(const Csr& w, int64_t first, int64_t end, const float* transposed, int64_t rows,
                  float* y) {
  constexpr int kRows = Lanes * Parts;
  float block[kBlock * kRows];
  for (; first < end; first += kBlock) {
    const int64_t count = std::min(kBlock, end - first);
    for (int64_t o = 0; o < count; ++o) {
      one_output<Lanes, Parts>(w, first + o, transposed, block + o * kRows);
    }
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < count; ++o) y[r * w.outputs + first + o] = block[o * kRows + r];
    }
  }
}

// The first output that begins at or after `work`, in weights and outputs counted together.
int64_t output_at(const Csr& w, int64_t work) {
  int64_t low = 0, high = w.outputs;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (w.starts[middle] + middle < work) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Threads share the weights evenly, however unevenly these lie in the outputs.
template <int Lanes, int Parts>
void tile(const Csr& w, const float* x, int64_t rows, float* transposed, float* y) {
  transpose<Lanes * Parts>(x, rows, w.inputs, transposed);
  at::parallel_for(0, w.starts[w.outputs] + w.outputs, kGrain, [&](int64_t begin, int64_t end) {
    some_outputs<Lanes, Parts>(w, output_at(w, begin), output_at(w, end), transposed, rows, y);
  });
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& starts, const at::Tensor& columns,
                  const at::Tensor& values, const c10::optional<at::Tensor>& bias,
                  int64_t inputs) {
  TORCH_CHECK(x.dim() > 0 && x.size(-1) == inputs && inputs > 0, "x has not ", inputs, " columns");
  TORCH_CHECK(columns.numel() == values.numel() && starts.numel() > 0, "W is malformed");
  const at::Tensor in = x.contiguous();
  std::vector<int64_t> sizes = in.sizes().vec();
  const Csr w{starts.data_ptr<int32_t>(),
              reinterpret_cast<const uint16_t*>(columns.data_ptr<int16_t>()),
              values.data_ptr<float>(),
              bias.has_value() ? bias->data_ptr<float>() : nullptr,
              starts.numel() - 1,
              inputs};
  sizes.back() = w.outputs;
  at::Tensor out = at::empty(sizes, in.options());
  constexpr int64_t kMost = 4 * kLanes;
  const at::Tensor buffer = at::empty({kMost * w.inputs}, in.options());
  float* transposed = buffer.data_ptr<float>();
  const int64_t all = in.numel() / w.inputs;
  for (int64_t done = 0; done < all; done += kMost) {
    const float* from = in.data_ptr<float>() + done * w.inputs;
    float* to = out.data_ptr<float>() + done * w.outputs;
    const int64_t rows = std::min(all - done, kMost);
    if (rows > 2 * kLanes) {
      tile<kLanes, 4>(w, from, rows, transposed, to);
    } else if (rows > kLanes) {
      tile<kLanes, 2>(w, from, rows, transposed, to);
    } else if (rows > kLanes / 2) {
      tile<kLanes, 1>(w, from, rows, transposed, to);
    } else {
      tile<kLanes / 2, 1>(w, from, rows, transposed, to);
    }
  }
  return out;
}

}  // namespace

TORCH_LIBRARY(fairseq_lottery, library) {
  library.def(
      "sparse_linear(Tensor x, Tensor starts, Tensor columns, Tensor values, Tensor? bias,"
      " int inputs) -> Tensor",
      &linear);
}
