"""Give a model without weights the weights of a file, matrix by matrix, for decoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.sparse.kernel import native
from fairseq_lottery.sparse.matrix_choices import Choices
from fairseq_lottery.sparse.sparse_decoding import Selection, replace_layers
from fairseq_lottery.sparse.sparse_matrix import Matrix, PanelMatrix, SparseMatrix, Survivors


@contextmanager
def without_weights() -> Iterator[None]:
    """Let modules that are built in the context have parameters with shapes, but no content.

    torch allocates the memory of a parameter when something is written to it, which happens after
    its registration. Buffers and tables that a model computes have their content.
    """
    modules: Any = nn.Module
    tensors: Any = Tensor
    register, normal = modules.register_parameter, tensors.normal_

    def register_shape(module: nn.Module, name: str, parameter: Optional[nn.Parameter]) -> None:
        if parameter is not None and not parameter.is_meta:
            empty = torch.empty_like(parameter.detach(), device="meta")
            parameter = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    def draw_normal(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # torch would import its compiler for nothing, which takes seconds and 130 MB
        return tensor if tensor.is_meta else normal(tensor, *args, **kwargs)

    modules.register_parameter, tensors.normal_ = register_shape, draw_normal
    try:
        yield
    finally:
        modules.register_parameter = register
        del tensors.normal_  # it is inherited


def fill(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    read: Callable[[str], Survivors],
    rows: int = 1,
    matrix: Optional[type[SparseMatrix]] = None,
    choices: Optional[Choices] = None,
) -> None:
    """Give a model its weights, in place, with the matrices that ``sparsify`` and ``pack`` give.

    One dense matrix is in memory at a time. The model cannot be trained.

    Args:
        model: model that was built in ``without_weights``.
        parameters: name -> parameter of the model, a tied one once.
        read: name -> weights of a parameter; called once for each of ``parameters``.
        rows: as for ``sparsify``, like the following arguments.
    """
    selection = Selection(model, rows, matrix, choices)
    names: dict[Tensor, str] = {parameter: name for name, parameter in parameters.items()}
    matrices: dict[Tensor, Matrix] = {}
    filled: dict[Tensor, nn.Parameter] = {}
    for weight in selection.weights:
        survivors = read(names.pop(weight))
        sparse = selection.sparse_form(weight, survivors)
        if sparse is not None:
            matrices[weight] = sparse
        elif weight in selection.multiplied and weight.numel() and native() is not None:
            matrices[weight] = PanelMatrix(survivors.dense())
        else:
            filled[weight] = _parameter(survivors)
    replace_layers(model, matrices)
    filled.update({parameter: _parameter(read(name)) for parameter, name in names.items()})
    for module in model.modules():
        for name, one in list(module._parameters.items()):
            if one in filled:
                setattr(module, name, filled[one])


def _parameter(survivors: Survivors) -> nn.Parameter:
    return nn.Parameter(survivors.dense(), requires_grad=False)
