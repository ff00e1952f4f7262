// The best tokens of all rows, from the outputs of the decoders of one model or of several.

#pragma once

#include <memory>
#include <tuple>
#include <vector>

#include "linear.h"
#include "vocabulary.h"

namespace lottery {

// outputs whose logits are taken at once
constexpr int64_t kTokens = 2 * kBlock;

// A scan for each thread. They are merged in the order of the threads, so that two runs with the
// same number of threads have the same sums.
template <typename Tokens>
class Scans {
 public:
  Scans(const Tile& tile, const Rules& rules, int64_t most)
      : tile_(tile), rules_(rules), most_(most), scans_(at::get_num_threads()) {}

  // The scan of this thread.
  Tokens& mine() {
    std::unique_ptr<Tokens>& scan = scans_.at(at::get_thread_num());
    if (!scan) scan = std::make_unique<Tokens>(tile_, rules_, most_);
    return *scan;
  }

  Tokens merged() const {
    Tokens all(tile_, rules_, most_);
    for (const auto& scan : scans_) {
      if (scan) all.add_all(*scan);
    }
    return all;
  }

 private:
  const Tile& tile_;
  const Rules& rules_;
  int64_t most_;
  std::vector<std::unique_ptr<Tokens>> scans_;
};

// Pass the logits of a model, blocks of (count, width), to `take(scan, first, count, block)`.
// They are written to `kept`, (types, width), unless it is null.
template <int Lanes, int Parts, typename Take>
Scan<Lanes, Parts> scan_logits(const Tile& tile, const Rules& rules, int64_t most,
                               const Linear& output, const float* panel, float temperature,
                               float* kept, const Take& take) {
  constexpr int64_t kWidth = Lanes * Parts;
  Scans<Scan<Lanes, Parts>> scans(tile, rules, most);
  const Weights w = output.weights();
  const float* bias = output.bias();
  share_outputs(w, [&](int64_t first, int64_t end) {
    float block[kTokens * kWidth];
    for (int64_t o = first; o < end; o += kTokens) {
      const int64_t count = std::min(kTokens, end - o);
      float* to = kept == nullptr ? block : kept + o * kWidth;
      multiply<Lanes, Parts>(w, bias, o, o + count, panel, to);
      if (temperature != 1.0f) {
        for (int64_t i = 0; i < count * kWidth; ++i) to[i] /= temperature;
      }
      take(scans.mine(), o, count, to);
    }
  });
  return scans.merged();
}

// The best tokens of the mean of several distributions.
template <int Lanes, int Parts>
Scan<Lanes, Parts> scan_mean(const Tile& tile, const Rules& rules, int64_t most, int64_t types,
                             const std::vector<std::vector<float>>& logits,
                             const std::vector<Normalisers>& normalisers) {
  Scans<Scan<Lanes, Parts>> scans(tile, rules, most);
  at::parallel_for(0, types, 4096, [&](int64_t first, int64_t end) {
    std::vector<const float*> blocks;
    for (const auto& one : logits) blocks.push_back(one.data() + first * Lanes * Parts);
    scans.mine().add_mean(first, end - first, blocks, normalisers);
  });
  return scans.merged();
}

// The best tokens of each row: scores and tokens (rows, most), best first.
//
// features: the output of the decoder of each model, (rows, inputs). A score is the logarithm of
// the mean of the models' probabilities plus the token's bonus.
// forced: the only token that a row may take, or -1. banned_*: row and token of each ban.
// filler: token of the places that no token has, whose score is -inf.
inline std::tuple<Tensor, Tensor> best_tokens(
    const std::vector<Tensor>& features, const std::vector<LinearPointer>& outputs,
    double temperature, const Tensor& bonus, const Tensor& forced, const Tensor& banned_rows,
    const Tensor& banned_tokens, int64_t most, int64_t filler) {
  TORCH_CHECK(!features.empty() && features.size() == outputs.size(), "models are malformed");
  const int64_t rows = features[0].size(0), types = bonus.numel();
  TORCH_CHECK(forced.numel() == rows && banned_rows.numel() == banned_tokens.numel() && most > 0,
              "rules are malformed");
  const size_t models = features.size();
  for (size_t m = 0; m < models; ++m) {
    TORCH_CHECK(features[m].is_contiguous() && features[m].size(0) == rows &&
                    features[m].size(1) == outputs[m]->inputs &&
                    outputs[m]->outputs == types,
                "features are malformed");
  }
  Rules rules{bonus.data_ptr<float>(), bonus.max().item<float>(), forced.data_ptr<int64_t>(), {}};
  if (banned_rows.numel() > 0) rules.banned.resize(rows);
  for (int64_t i = 0; i < banned_rows.numel(); ++i) {
    rules.banned.at(banned_rows.data_ptr<int64_t>()[i])
        .push_back(banned_tokens.data_ptr<int64_t>()[i]);
  }
  Tensor scores = at::empty({rows, most}, features[0].options());
  Tensor tokens = at::empty({rows, most}, forced.options());
  std::vector<float> panel;
  std::vector<std::vector<float>> logits(models);
  for (const Tile& tile : tiles_of(rows)) {
    with_shape(tile, [&](auto lanes, auto parts) {
      using Tokens = Scan<lanes, parts>;
      const auto write = [&](const Tokens& scan, const Normalisers& normalisers) {
        for (int64_t r = 0; r < tile.rows; ++r) {
          const int64_t place = (tile.row + r) * most;
          scan.write(r, normalisers, most, filler, scores.data_ptr<float>() + place,
                     tokens.data_ptr<int64_t>() + place);
        }
      };
      std::vector<Normalisers> normalisers;
      for (size_t m = 0; m < models; ++m) {
        panel.resize(outputs[m]->inputs * tile.width());
        to_tile(tile, features[m].data_ptr<float>(), outputs[m]->inputs, panel.data());
        if (models > 1) logits[m].resize(types * tile.width());
        const Tokens scan = scan_logits<lanes, parts>(
            tile, rules, most, *outputs[m], panel.data(), float(temperature),
            models > 1 ? logits[m].data() : nullptr,
            [&](Tokens& mine, int64_t first, int64_t count, const float* block) {
              models > 1 ? mine.sum(count, block) : mine.add(first, count, block);
            });
        normalisers.push_back(scan.normalisers());
        if (models == 1) write(scan, normalisers[0]);
      }
      if (models == 1) return;
      Normalisers mean(tile.width());  // 0, since it is already subtracted; or NaN
      for (const Normalisers& one : normalisers) {
        for (int64_t r = 0; r < tile.rows; ++r) {
          if (std::isnan(one.most[r] + one.log_sum[r])) mean.log_sum[r] = NAN;
        }
      }
      write(scan_mean<lanes, parts>(tile, rules, most, types, logits, normalisers), mean);
    });
  }
  return {scores, tokens};
}

}  // namespace lottery
