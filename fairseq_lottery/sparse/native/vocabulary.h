// The most probable tokens of each row, without writing the matrix of their probabilities.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#if defined(__AVX512DQ__)
#include <immintrin.h>
#endif

#include "products.h"

namespace lottery {

struct Candidate {
  float score;
  int64_t token;
};

// The `most` best candidates of a row.
class Best {
 public:
  explicit Best(int64_t most) : most_(most) { found_.reserve(most); }

  // candidates must exceed it
  float threshold() const { return threshold_; }

  void add(float score, int64_t token) {
    if (int64_t(found_.size()) < most_) {
      found_.push_back({score, token});
    } else {
      found_[worst_] = {score, token};
    }
    if (int64_t(found_.size()) < most_) return;
    worst_ = 0;
    for (int64_t i = 1; i < most_; ++i) {
      if (found_[i].score < found_[worst_].score) worst_ = i;
    }
    threshold_ = found_[worst_].score;
  }

  void add_all(const Best& other) {
    for (const Candidate& one : other.found_) {
      if (one.score > threshold_) add(one.score, one.token);
    }
  }

  std::vector<Candidate> sorted() const {
    std::vector<Candidate> result = found_;
    std::sort(result.begin(), result.end(), [](const Candidate& a, const Candidate& b) {
      return a.score > b.score || (a.score == b.score && a.token < b.token);
    });
    return result;
  }

 private:
  int64_t most_;
  int64_t worst_ = 0;
  float threshold_ = -kInfinity;
  std::vector<Candidate> found_;
};

// Logarithms of the sums of exponentials of a tile's rows, in two parts: near a large maximum, a
// float would round the second one.
struct Normalisers {
  std::vector<float> most;
  std::vector<float> log_sum;

  explicit Normalisers(int64_t width) : most(width), log_sum(width) {}
};

// What a row may become.
struct Rules {
  const float* bonus;                        // of each token, added to its log-probability
  float most_bonus;                          // the largest one
  const int64_t* forced;                     // of each row: the only token allowed, or -1
  std::vector<std::vector<int64_t>> banned;  // of each row; empty if there are none at all

  bool is_banned(int64_t row, int64_t token) const {
    if (banned.empty()) return false;
    const std::vector<int64_t>& tokens = banned[row];
    return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
  }
};

// Maximum and sum of exponentials of the logits so far, and the best tokens of a tile's rows.
template <int Lanes, int Parts>
class Scan {
 public:
  static constexpr int kWidth = Lanes * Parts;
  using Vec = typename Vector<Lanes>::type;
  using Whole = typename Vector<Lanes>::whole;

  Scan(const Tile& tile, const Rules& rules, int64_t most)
      : tile_(tile), rules_(rules), best_(tile.rows, Best(most)), forced_(tile.rows, -kInfinity) {
    for (int p = 0; p < Parts; ++p) most_[p] = Vec{} - kInfinity;
    for (int i = 0; i < kWidth; ++i) threshold_[i] = kInfinity;
    for (int64_t r = 0; r < tile.rows; ++r) {
      if (rules.forced[tile.row + r] < 0) {
        threshold_[r] = -kInfinity;
      } else {
        has_forced_ = true;
      }
    }
  }

  // Take the logits of tokens [first, first + count): (count, width).
  void add(int64_t first, int64_t count, const float* logits) {
    for (int p = 0; p < Parts; ++p) {
      const Vec most = sum(count, logits, p);
      if (!any(most + rules_.most_bonus > at<Lanes>(threshold_ + p * Lanes))) continue;
      for (int64_t o = 0; o < count; ++o) {
        const Vec value = at<Lanes>(logits + o * kWidth + p * Lanes) + rules_.bonus[first + o];
        const Whole is_better = value > at<Lanes>(threshold_ + p * Lanes);
        if (any(is_better)) insert(value, is_better, p, first + o);
      }
    }
    if (has_forced_) force(first, count, [&](int64_t o, int64_t r) { return logits[o * kWidth + r]; });
  }

  // Only sum up the logits: for the mean of several distributions.
  void sum(int64_t count, const float* logits) {
    for (int p = 0; p < Parts; ++p) sum(count, logits, p);
  }

  // Take the mean of the distributions of several models, whose logits have been summed up.
  void add_mean(int64_t first, int64_t count, const std::vector<const float*>& logits,
                const std::vector<Normalisers>& normalisers) {
    const float bound = std::log(float(logits.size()));
    const auto log_probability = [&](size_t m, int64_t o, int64_t r) {
      return logits[m][o * kWidth + r] - normalisers[m].most[r] - normalisers[m].log_sum[r];
    };
    const auto mean = [&](int64_t o, int64_t r) {
      float most = -kInfinity, sum = 0.0f;
      for (size_t m = 0; m < logits.size(); ++m) {
        most = std::max(most, log_probability(m, o, r));
      }
      if (most == -kInfinity) return most;
      for (size_t m = 0; m < logits.size(); ++m) {
        sum += std::exp(log_probability(m, o, r) - most);
      }
      return most + std::log(sum) - bound;
    };
    for (int64_t o = 0; o < count; ++o) {
      const float bonus = rules_.bonus[first + o];
      for (int p = 0; p < Parts; ++p) {
        Vec most = Vec{} - kInfinity;  // the mean does not exceed the largest probability
        for (size_t m = 0; m < logits.size(); ++m) {
          const Vec value = at<Lanes>(logits[m] + o * kWidth + p * Lanes) -
                            at<Lanes>(normalisers[m].most.data() + p * Lanes) -
                            at<Lanes>(normalisers[m].log_sum.data() + p * Lanes);
          most = value > most ? value : most;
        }
        // rounding may let the mean exceed it by a little
        const Whole may_be_better = most + (bonus + 1e-3f) > at<Lanes>(threshold_ + p * Lanes);
        if (!any(may_be_better)) continue;
        Vec value;
        for (int l = 0; l < Lanes; ++l) {
          value[l] = may_be_better[l] ? mean(o, p * Lanes + l) + bonus : -kInfinity;
        }
        insert(value, value > at<Lanes>(threshold_ + p * Lanes), p, first + o);
      }
    }
    if (has_forced_) force(first, count, mean);
  }

  void add_all(const Scan& other) {
    for (int p = 0; p < Parts; ++p) {
      const Vec most = most_[p] > other.most_[p] ? most_[p] : other.most_[p];
      const Vec shift = most > -kInfinity ? most : Vec{};
      sums_[p] = sums_[p] * exponential<Lanes>(most_[p] - shift) +
                 other.sums_[p] * exponential<Lanes>(other.most_[p] - shift);
      most_[p] = most;
    }
    for (int64_t r = 0; r < tile_.rows; ++r) {
      best_[r].add_all(other.best_[r]);
      forced_[r] = std::max(forced_[r], other.forced_[r]);
    }
  }

  Normalisers normalisers() const {
    Normalisers result(kWidth);
    for (int64_t r = 0; r < tile_.rows; ++r) {  // the others stay finite
      result.most[r] = most_[r / Lanes][r % Lanes];
      result.log_sum[r] = std::log(sums_[r / Lanes][r % Lanes]);
    }
    return result;
  }

  // Write `most` scores, best first, and their tokens; -inf and `filler` where there are fewer.
  void write(int64_t row, const Normalisers& normalisers, int64_t most, int64_t filler,
             float* scores, int64_t* tokens) const {
    std::fill(scores, scores + most, -kInfinity);
    std::fill(tokens, tokens + most, filler);
    const float shift = normalisers.most[row], log_sum = normalisers.log_sum[row];
    if (std::isnan(shift + log_sum)) return;
    const int64_t token = rules_.forced[tile_.row + row];
    if (token >= 0) {
      tokens[0] = token;
      if (!rules_.is_banned(tile_.row + row, token)) scores[0] = forced_[row] - shift - log_sum;
      return;
    }
    const std::vector<Candidate> sorted = best_[row].sorted();
    for (size_t i = 0; i < sorted.size(); ++i) {
      scores[i] = sorted[i].score - shift - log_sum;
      tokens[i] = sorted[i].token;
    }
  }

 private:
  static bool any(const Whole& mask) {
#if defined(__AVX512DQ__)
    if constexpr (Lanes == 16) {
      __m512i copy;  // it is aligned, and the mask need not be
      std::memcpy(&copy, &mask, sizeof(copy));
      return _mm512_movepi32_mask(copy) != 0;
    }
#endif
    int32_t bits = 0;
    for (int l = 0; l < Lanes; ++l) bits |= mask[l];
    return bits != 0;
  }

  // Update maximum and sum of exponentials, and return the maximum of these logits.
  Vec sum(int64_t count, const float* logits, int p) {
    Vec most = Vec{} - kInfinity;
    for (int64_t o = 0; o < count; ++o) {
      const Vec value = at<Lanes>(logits + o * kWidth + p * Lanes);
      most = value > most ? value : most;
    }
    const Vec all = most > most_[p] ? most : most_[p];
    // -inf - -inf would be NaN
    const Vec shift = all > -kInfinity ? all : Vec{};
    Vec sums[2] = {};
    for (int64_t o = 0; o < count; ++o) {
      sums[o % 2] += exponential<Lanes>(at<Lanes>(logits + o * kWidth + p * Lanes) - shift);
    }
    sums_[p] = sums_[p] * exponential<Lanes>(most_[p] - shift) + (sums[0] + sums[1]);
    most_[p] = all;
    return most;
  }

  // Keep the scores of the forced tokens among [first, first + count).
  template <typename Score>
  void force(int64_t first, int64_t count, const Score& score) {
    for (int64_t r = 0; r < tile_.rows; ++r) {
      const int64_t o = rules_.forced[tile_.row + r] - first;
      if (o >= 0 && o < count) forced_[r] = score(o, r) + rules_.bonus[first + o];
    }
  }

  void insert(const Vec& value, const Whole& is_better, int part, int64_t token) {
    for (int l = 0; l < Lanes; ++l) {
      const int64_t row = part * Lanes + l;
      if (!is_better[l] || row >= tile_.rows || rules_.is_banned(tile_.row + row, token)) continue;
      best_[row].add(value[l], token);
      threshold_[row] = best_[row].threshold();
    }
  }

  const Tile& tile_;
  const Rules& rules_;
  bool has_forced_ = false;
  Vec most_[Parts];
  Vec sums_[Parts] = {};
  float threshold_[kWidth];
  std::vector<Best> best_;
  std::vector<float> forced_;
};

}  // namespace lottery
