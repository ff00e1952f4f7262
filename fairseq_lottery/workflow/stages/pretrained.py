"""Check that a pre-trained checkpoint belongs to the model and the data of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.formats import read_dictionaries, trainable
from fairseq_lottery.formats.model_structure import refuse_other_structure, structure_of
from fairseq_lottery.formats.source import read_source
from fairseq_lottery.formats.ticket import refuse_other_shapes
from fairseq_lottery.masks import shapes_of


def refuse_other_pretrained(
    path: str, model: Any, task: TaskAdapter, settings: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint that cannot start the trainings of a plan.

    Args:
        path: the checkpoint, or the folder of a released archive.
        model: model of the trainings.
        task: adapter of their task.
        settings: flags of the trainings.

    Raises:
        LotteryError: it is unreadable or pruned, or its architecture or dictionary differs.
    """
    source = read_source(path)
    source.refuse_untrainable()
    shapes = task.without_head(shapes_of(trainable(model)))
    structure = structure_of(shapes, settings, task)
    refuse_other_structure(source.structure, structure, path, "the model of train")
    refuse_other_shapes(source.shapes, shapes, path)
    data = read_dictionaries(task.find_folder(settings))
    source.find_dictionaries().refuse_other(data, path)
