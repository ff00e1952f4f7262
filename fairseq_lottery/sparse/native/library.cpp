// Decoding in compiled code: products with sparse and dense matrices, a Transformer decoder that
// takes one step at a time, and the best tokens of its distributions.

#include <torch/library.h>

#include "best_tokens.h"
#include "decoder.h"

namespace lottery {

TORCH_LIBRARY(fairseq_lottery, library) {
  library.def(
      "linear(Tensor x, int outputs, int inputs, Tensor? starts, Tensor? columns, Tensor values,"
      " Tensor? bias) -> Tensor",
      &linear);
  library.class_<Linear>("Linear")
      .def(torch::init<int64_t, int64_t, OptionalTensor, OptionalTensor, Tensor, OptionalTensor>());
  library.class_<Session>("Session").def("step", &Session::step);
  library.class_<Decoder>("Decoder")
      .def(torch::init<bool, std::string>())
      .def("add_layer", &Decoder::add_layer)
      .def("start", &start);
  library.def("best_tokens", &best_tokens);
}

}  // namespace lottery
