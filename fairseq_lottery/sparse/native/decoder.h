// The layers of a Transformer decoder, one token of each hypothesis at a time.

#pragma once

#include <string>
#include <utility>
#include <vector>

#include "layers.h"
#include "linear.h"

namespace lottery {

struct Norm {
  Tensor weight, bias;
  double epsilon;

  void apply(const std::vector<Tile>& tiles, const float* x, float* y) const {
    const int64_t features = weight.numel();
    for (const Tile& tile : tiles) {
      const int64_t offset = features * tile.start;
      with_shape(tile, [&](auto lanes, auto) {
        normalise<lanes>(x + offset, features, tile.width(), weight.data_ptr<float>(),
                         bias.data_ptr<float>(), float(epsilon), y + offset);
      });
    }
  }
};

struct Attention {
  LinearPointer query, key, value, out;
  int64_t heads;
  Norm norm;

  int64_t features() const { return query->outputs; }
  int64_t depth() const { return features() / heads; }
};

struct Layer {
  Attention self, cross;
  LinearPointer inner, outer;
  Norm norm;
};

inline void rows_of(const std::vector<Tile>& tiles, const std::vector<float>& panel, int64_t features,
             float* rows) {
  for (const Tile& tile : tiles) {
    to_rows(tile, panel.data() + features * tile.start, 0, features, features, rows);
  }
}

inline void panel_of(const std::vector<Tile>& tiles, const float* rows, int64_t features,
              std::vector<float>& panel) {
  for (const Tile& tile : tiles) {
    to_tile(tile, rows, features, panel.data() + features * tile.start);
  }
}

struct Decoder;

// The state of a batch of sentences in beam search.
struct Session : torch::CustomClassHolder {
  Session(const c10::intrusive_ptr<Decoder>& decoder, const Tensor& encoder_out,
          const OptionalTensor& padding);

  // The decoder's output for one more token of each row, and its mean attention to the source.
  std::vector<Tensor> step(const Tensor& x, const Tensor& parents, const Tensor& sentences);

 private:
  void follow(const Tensor& parents, int64_t rows);
  void attend_to_itself(const Layer& layer, Cache& cache, const std::vector<Tile>& tiles,
                        const std::vector<float>& x);
  void attend_to_encoder(const Layer& layer, const Source& source, const int64_t* sentences,
                         const std::vector<Tile>& tiles, const std::vector<float>& x,
                         float* mean);
  void reserve(const std::vector<Tile>& tiles, int64_t features);

  c10::intrusive_ptr<Decoder> decoder_;
  std::vector<Cache> caches_;
  std::vector<Source> sources_;
  int64_t sentences_, source_length_;
  int64_t rows_ = 0, length_ = 0;
  std::vector<int32_t> ancestors_;  // (rows, length)
  // panels and rows of a step; kept, since large memory is expensive to get
  std::vector<float> stream_, normal_, change_, inner_, panel_, queries_, contexts_;
};

// The layers of a Transformer decoder.
struct Decoder : torch::CustomClassHolder {
  Decoder(bool normalises_before, const std::string& activation)
      : normalises_before(normalises_before) {
    const std::pair<const char*, Activation> known[] = {{"relu", Activation::kRelu},
                                                        {"gelu", Activation::kGelu},
                                                        {"gelu_tanh", Activation::kGeluTanh},
                                                        {"tanh", Activation::kTanh}};
    for (const auto& one : known) {
      if (activation == one.first) {
        this->activation = one.second;
        return;
      }
    }
    TORCH_CHECK(false, "unknown activation ", activation);
  }

  // Linear layers: query, key, value and output of self-attention, then of attention to the
  // encoder, then both of the FFN. Norms: weight and bias of each of the three parts.
  void add_layer(const std::vector<LinearPointer>& linears, const std::vector<Tensor>& norms,
                 const std::vector<double>& epsilons, int64_t self_heads, int64_t cross_heads) {
    TORCH_CHECK(linears.size() == 10 && norms.size() == 6 && epsilons.size() == 3,
                "a layer is malformed");
    const auto norm = [&](int i) { return Norm{norms[2 * i], norms[2 * i + 1], epsilons[i]}; };
    layers.push_back(
        {{linears[0], linears[1], linears[2], linears[3], self_heads, norm(0)},
         {linears[4], linears[5], linears[6], linears[7], cross_heads, norm(1)},
         linears[8],
         linears[9],
         norm(2)});
  }

  bool normalises_before;
  Activation activation;
  std::vector<Layer> layers;
};

inline Session::Session(const c10::intrusive_ptr<Decoder>& decoder, const Tensor& encoder_out,
                 const OptionalTensor& padding)
    : decoder_(decoder),
      sentences_(encoder_out.size(1)),
      source_length_(encoder_out.size(0)) {
  const Tensor by_sentence = encoder_out.transpose(0, 1).contiguous();
  std::vector<uint8_t> is_padding(sentences_ * source_length_, 0);
  if (padding.has_value()) {
    const Tensor mask = padding->to(at::kByte).contiguous();
    TORCH_CHECK(mask.numel() == int64_t(is_padding.size()), "the padding mask is malformed");
    std::copy(mask.data_ptr<uint8_t>(), mask.data_ptr<uint8_t>() + mask.numel(),
              is_padding.begin());
  }
  for (const Layer& layer : decoder->layers) {
    caches_.emplace_back(layer.self.features());
    const int64_t features = layer.cross.features();
    const int64_t padded = (source_length_ + kLanes - 1) / kLanes * kLanes;
    Source source{source_length_, padded, features, {}, {}, is_padding};
    const Tensor keys = multiply_rows(by_sentence, *layer.cross.key);
    const Tensor values = multiply_rows(by_sentence, *layer.cross.value);
    source.values.assign(values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
    source.keys.assign(sentences_ * features * padded, 0.0f);
    const float* from = keys.data_ptr<float>();
    for (int64_t n = 0; n < sentences_; ++n) {
      for (int64_t s = 0; s < source_length_; ++s) {
        for (int64_t i = 0; i < features; ++i) {
          source.keys[(n * features + i) * padded + s] = *from++;
        }
      }
    }
    sources_.push_back(std::move(source));
  }
}

inline void Session::follow(const Tensor& parents, int64_t rows) {
  std::vector<int32_t> ancestors(rows * (length_ + 1));
  for (int64_t r = 0; r < rows; ++r) {
    int32_t* mine = ancestors.data() + r * (length_ + 1);
    if (length_ > 0) {
      const int64_t parent = parents.data_ptr<int64_t>()[r];
      TORCH_CHECK(parent >= 0 && parent < rows_, "parent ", parent, " is out of range");
      std::copy_n(ancestors_.data() + parent * length_, length_, mine);
    }
    mine[length_] = int32_t(r);
  }
  ancestors_ = std::move(ancestors);
  rows_ = rows;
  ++length_;
}

inline std::vector<Tensor> Session::step(const Tensor& x, const Tensor& parents,
                                  const Tensor& sentences) {
  const int64_t rows = x.size(0), features = x.size(1);
  TORCH_CHECK(x.is_contiguous() && parents.is_contiguous() && sentences.is_contiguous() &&
                  parents.numel() == rows && sentences.numel() == rows && rows > 0,
              "a step is malformed");
  const int64_t* numbers = sentences.data_ptr<int64_t>();
  for (int64_t r = 0; r < rows; ++r) {
    TORCH_CHECK(numbers[r] >= 0 && numbers[r] < sentences_, "sentence ", numbers[r],
                " is out of range");
  }
  follow(parents, rows);
  const std::vector<Tile> tiles = tiles_of(rows);
  Tensor attention = at::zeros({rows, source_length_}, x.options());
  for (auto* panel : {&stream_, &normal_, &change_}) panel->resize(features * width_of(tiles));
  panel_of(tiles, x.data_ptr<float>(), features, stream_);
  const bool before = decoder_->normalises_before;
  // a part of a layer: its norm, before or after it, and the residual connection
  const auto part = [&](const Norm& norm, const auto& compute) {
    if (before) norm.apply(tiles, stream_.data(), normal_.data());
    compute(before ? normal_ : stream_);
    for (size_t i = 0; i < stream_.size(); ++i) stream_[i] += change_[i];
    if (!before) norm.apply(tiles, stream_.data(), stream_.data());
  };
  const size_t count = decoder_->layers.size();
  for (size_t l = 0; l < count; ++l) {
    const Layer& layer = decoder_->layers[l];
    part(layer.self.norm, [&](const std::vector<float>& in) {
      attend_to_itself(layer, caches_[l], tiles, in);
    });
    part(layer.cross.norm, [&](const std::vector<float>& in) {
      attend_to_encoder(layer, sources_[l], numbers, tiles, in,
                        l + 1 == count ? attention.data_ptr<float>() : nullptr);
    });
    part(layer.norm, [&](const std::vector<float>& in) {
      inner_.resize(layer.inner->outputs * width_of(tiles));
      multiply_panel(tiles, *layer.inner, in.data(), inner_.data(), [&](float* y, int64_t n) {
        activate(decoder_->activation, y, n);
      });
      multiply_panel(tiles, *layer.outer, inner_.data(), change_.data());
    });
  }
  Tensor out = at::empty_like(x);
  rows_of(tiles, stream_, features, out.data_ptr<float>());
  return {out, attention};
}

inline void Session::reserve(const std::vector<Tile>& tiles, int64_t features) {
  panel_.resize(features * width_of(tiles));
  queries_.resize(rows_ * features);
  contexts_.resize(rows_ * features);
}

inline void Session::attend_to_itself(const Layer& layer, Cache& cache, const std::vector<Tile>& tiles,
                               const std::vector<float>& x) {
  const Attention& attention = layer.self;
  const int64_t features = attention.features(), depth = attention.depth();
  reserve(tiles, features);
  const auto [keys, values] = cache.extend(rows_);
  const std::pair<const Linear*, float*> projections[] = {{attention.query.get(), queries_.data()},
                                                          {attention.key.get(), keys},
                                                          {attention.value.get(), values}};
  for (const auto& [linear, rows] : projections) {
    multiply_panel(tiles, *linear, x.data(), panel_.data());
    rows_of(tiles, panel_, features, rows);
  }
  const float scale = 1.0f / std::sqrt(float(depth));
  for (float& query : queries_) query *= scale;
  at::parallel_for(0, rows_ * attention.heads, 64, [&](int64_t begin, int64_t end) {
    std::vector<float> weights(length_ + kLanes);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / attention.heads, offset = i % attention.heads * depth;
      attend_to_past(cache, ancestors_.data() + row * length_, length_,
                     queries_.data() + row * features + offset, offset, depth, weights.data(),
                     contexts_.data() + row * features + offset);
    }
  });
  panel_of(tiles, contexts_.data(), features, panel_);
  multiply_panel(tiles, *attention.out, panel_.data(), change_.data());
}

inline void Session::attend_to_encoder(const Layer& layer, const Source& source,
                                const int64_t* sentences, const std::vector<Tile>& tiles,
                                const std::vector<float>& x, float* mean) {
  const Attention& attention = layer.cross;
  const int64_t features = attention.features(), depth = attention.depth();
  reserve(tiles, features);
  multiply_panel(tiles, *attention.query, x.data(), panel_.data());
  rows_of(tiles, panel_, features, queries_.data());
  const float scale = 1.0f / std::sqrt(float(depth));
  for (float& query : queries_) query *= scale;
  at::parallel_for(0, rows_, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> weights(source.padded);
    for (int64_t first = begin, last; first < end; first = last) {
      last = first + 1;
      while (last < end && sentences[last] == sentences[first]) ++last;
      // head by head: the hypotheses of a sentence find its keys in the nearest cache
      for (int64_t head = 0; head < attention.heads; ++head) {
        const int64_t offset = head * depth;
        for (int64_t row = first; row < last; ++row) {
          attend_to_source(source, sentences[row], queries_.data() + row * features + offset,
                           offset, depth, weights.data(),
                           contexts_.data() + row * features + offset);
          for (int64_t s = 0; mean != nullptr && s < source.length; ++s) {
            mean[row * source.length + s] += weights[s] / attention.heads;
          }
        }
      }
    }
  });
  panel_of(tiles, contexts_.data(), features, panel_);
  multiply_panel(tiles, *attention.out, panel_.data(), change_.data());
}

inline c10::intrusive_ptr<Session> start(const c10::intrusive_ptr<Decoder>& decoder,
                                  const Tensor& encoder_out, const OptionalTensor& padding) {
  return c10::make_intrusive<Session>(decoder, encoder_out, padding);
}

}  // namespace lottery
