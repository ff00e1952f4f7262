// Vectors of floats: those of the compiler, which makes what its flags allow out of them.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace lottery {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
// vectors of a tile: with four outputs, their sums and inputs fit into the registers
constexpr int kMostParts = 5;
#elif defined(__AVX__)
constexpr int kLanes = 8;
constexpr int kMostParts = 3;
#else
constexpr int kLanes = 4;
constexpr int kMostParts = 3;
#endif

template <int Lanes>
struct Vector {
  typedef float type __attribute__((vector_size(Lanes * sizeof(float)), aligned(sizeof(float))));
  typedef int32_t whole __attribute__((vector_size(Lanes * sizeof(float)), aligned(sizeof(float))));
};

template <int Lanes>
inline typename Vector<Lanes>::type& at(float* x) {
  return *reinterpret_cast<typename Vector<Lanes>::type*>(x);
}

template <int Lanes>
inline const typename Vector<Lanes>::type& at(const float* x) {
  return *reinterpret_cast<const typename Vector<Lanes>::type*>(x);
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// exp(x) with a relative error below 2e-7; NaN stays NaN, and below -87.3 the result is 0.
// 2^n times a polynomial of degree 6 on [-ln 2 / 2, ln 2 / 2], whose coefficients are 1 / k!,
// ln 2 in two parts.
template <int Lanes>
inline typename Vector<Lanes>::type exponential(typename Vector<Lanes>::type x) {
  using Vec = typename Vector<Lanes>::type;
  using Whole = typename Vector<Lanes>::whole;
  constexpr float kLow = -87.3f, kHigh = 88.3f;
  const Whole too_small = x < kLow;
  x = too_small ? Vec{} + kLow : x;
  x = x > kHigh ? Vec{} + kHigh : x;
  const Vec scaled = x * 1.44269504f;
  const Whole n = __builtin_convertvector(scaled + (scaled < 0.0f ? Vec{} - 0.5f : Vec{} + 0.5f), Whole);
  const Vec whole = __builtin_convertvector(n, Vec);
  const Vec r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Vec p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Whole bits = (n + 127) << 23;
  Vec power;
  std::memcpy(&power, &bits, sizeof(power));
  return too_small ? Vec{} : p * power;
}

// Sum of the lanes, pairwise.
inline float sum_of(Vector<kLanes>::type x) {
  float lanes[kLanes];
  std::memcpy(lanes, &x, sizeof(x));
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// Sum of a[i] * b[i].
inline float dot(const float* a, const float* b, int64_t count) {
  using Vec = Vector<kLanes>::type;
  Vec sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      sums[s] += at<kLanes>(a + i + s * kLanes) * at<kLanes>(b + i + s * kLanes);
    }
  }
  for (; i + kLanes <= count; i += kLanes) sums[0] += at<kLanes>(a + i) * at<kLanes>(b + i);
  float sum = sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// out[i] = sum over n of weights[n] * row(n)[i], for i below `width`.
template <typename Row>
inline void weighted_sum(const float* weights, int64_t count, const Row& row, int64_t width,
                         float* out) {
  using Vec = Vector<kLanes>::type;
  int64_t i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes) {
    Vec sums[4] = {};
    for (int64_t n = 0; n < count; ++n) {
      const float* x = row(n) + i;
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) sums[s] += weights[n] * at<kLanes>(x + s * kLanes);
    }
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) at<kLanes>(out + i + s * kLanes) = sums[s];
  }
  for (; i + kLanes <= width; i += kLanes) {
    Vec sum = {};
    for (int64_t n = 0; n < count; ++n) sum += weights[n] * at<kLanes>(row(n) + i);
    at<kLanes>(out + i) = sum;
  }
  for (; i < width; ++i) {
    float sum = 0.0f;
    for (int64_t n = 0; n < count; ++n) sum += weights[n] * row(n)[i];
    out[i] = sum;
  }
}

// Softmax of x in place; -inf becomes 0. `x` may be written up to a multiple of kLanes.
inline void softmax(float* x, int64_t count) {
  using Vec = Vector<kLanes>::type;
  float most = -kInfinity;
  for (int64_t i = 0; i < count; ++i) most = x[i] > most ? x[i] : most;
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  for (int64_t i = count; i < padded; ++i) x[i] = -kInfinity;
  Vec sums = {};
  for (int64_t i = 0; i < padded; i += kLanes) {
    at<kLanes>(x + i) = exponential<kLanes>(at<kLanes>(x + i) - most);
    sums += at<kLanes>(x + i);
  }
  const float scale = 1.0f / sum_of(sums);
  for (int64_t i = 0; i < padded; i += kLanes) at<kLanes>(x + i) *= scale;
}

}  // namespace lottery
