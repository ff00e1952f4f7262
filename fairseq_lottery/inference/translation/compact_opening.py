"""Open a compact file straight into the matrices that decoding multiplies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq.data import Dictionary

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Source, is_parameter
from fairseq_lottery.formats.compact_model import PackedModel
from fairseq_lottery.inference.loaded_model import (
    matching,
    parameters_of,
    refuse_other_dictionaries,
)
from fairseq_lottery.inference.model_builder import build_untrained
from fairseq_lottery.sparse.model_filling import fill, without_weights
from fairseq_lottery.sparse.sparse_matrix import Survivors


def open_packed(
    packed: PackedModel, source: Source, dictionaries: Mapping[str, Dictionary], rows: int
) -> Any:
    """Build the fairseq model of a compact file for decoding, in evaluation mode.

    At most one matrix is dense at a time. The parameters are removed from ``packed``.

    Args:
        source: outline of the file.
        dictionaries: fairseq's dictionaries of the model, by name.
        rows: smallest number of rows in a product, which is the beam.

    Raises:
        LotteryError: the weights do not match the architecture or the dictionaries.
    """

    def read(name: str) -> Survivors:
        kept, values = packed.take(name)
        return Survivors(kept, values.float())

    with matching(source.path):
        with without_weights():
            model = build_untrained(source)
        parameters = parameters_of(model, source.weights, source.adapter)
    refuse_other_dictionaries(model, source, dictionaries)
    with matching(source.path):
        fill(model, parameters, read, rows)
        for name, parameter in model.named_parameters():
            if parameter.device.type == "meta" and is_parameter(name):
                raise LotteryError(f"{name} is not in the file")
    return model.eval()
