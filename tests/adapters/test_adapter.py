"""Adapters: found by the task's name, and named in files where the task is not translation."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import DICTIONARIES, PROPERTY, Run, full_mask, save_checkpoint, weights

from fairseq_lottery.adapters import (
    ADAPTERS,
    MASKED_LM,
    MULTILINGUAL,
    PRETRAINED_BART,
    TRANSLATION,
    Stack,
    TaskAdapter,
    Vocabulary,
    adapter_of,
    parameter_groups,
    register_adapter,
)
from fairseq_lottery.adapters.parameter_groups import group_of, register_groups
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import (
    Dictionaries,
    container,
    load_ticket,
    read_dictionaries,
    read_source,
    save_snapshot,
    save_ticket,
)

TEXT = Dictionaries({"source": ("a", "b", "<mask>")})


@pytest.mark.parametrize(
    ("task", "adapter"),
    [
        ("translation", TRANSLATION),
        ("translation_lottery", TRANSLATION),
        ("masked_lm", MASKED_LM),
        ("masked_lm_lottery", MASKED_LM),
        ("translation_multi_simple_epoch_lottery", MULTILINGUAL),
        ("translation_from_pretrained_bart", PRETRAINED_BART),
        ("my_lottery", TRANSLATION),
        (None, TRANSLATION),
    ],
)
def test_an_adapter_is_found_by_the_registered_name(task, adapter):
    assert adapter_of(task) is adapter


def test_no_adapter_changes_the_groups_of_a_transformer():
    names = [*weights(), "decoder.layers.3.fc1.weight", "encoder.version"]
    before = [group_of(name) for name in names]
    register_groups({"output": "fc1|embed", "classifier": "version"})
    try:
        assert [group_of(name) for name in names] == [*before[:-1], "classifier"]
    finally:
        del parameter_groups._REGISTERED[-2:]
    with pytest.raises(LotteryError, match="group 'head' of parameters is unknown; choose one of"):
        register_groups({"head": "x"})


def test_every_registered_task_has_its_adapter():
    tasks = pytest.importorskip("fairseq.tasks")
    import fairseq_lottery.plugin  # noqa: F401 - it registers our tasks

    for name, adapter in ADAPTERS.items():
        assert name == adapter.name and name in tasks.TASK_REGISTRY
        task = tasks.TASK_REGISTRY[adapter.lottery_task]
        settings = vars(tasks.TASK_DATACLASS_REGISTRY[adapter.lottery_task]())
        assert {flag[2:].replace("-", "_") for flag in adapter.data_flags.values()} <= set(settings)
        for vocabulary in adapter.vocabularies.values():
            for attribute in vocabulary.attributes:
                assert hasattr(task, attribute), attribute


def test_files_of_translation_do_not_name_the_task(tmp_path):
    run = Run(tmp_path)
    ticket = run.draw()
    assert "task" not in ticket.record and ticket.adapter is TRANSLATION
    assert read_source(run.last).adapter is TRANSLATION


@pytest.fixture
def masked(tmp_path):
    """A checkpoint of masked_lm: one dictionary, and a record that names the task."""
    lottery = {"mask": None, "dictionaries": TEXT.to_tensors(), "task": "masked_lm"}
    return save_checkpoint(tmp_path / "m.pt", weights(3), task_state={"lottery": lottery})


def test_a_ticket_keeps_the_task_of_its_source(masked, tmp_path):
    source = read_source(masked)
    assert source.adapter is MASKED_LM and source.in_file == TEXT
    ticket = Run(tmp_path).draw(mask_from=masked, start_from=masked)
    assert ticket.record["task"] == "masked_lm"
    save_ticket(tmp_path / "t.safetensors", ticket)
    found = load_ticket(tmp_path / "t.safetensors")
    assert found.adapter is MASKED_LM and found.dictionaries == TEXT
    assert found.digest() == ticket.digest()


def test_a_snapshot_keeps_the_task(tmp_path):
    path = tmp_path / "s.safetensors"
    save_snapshot(path, weights(), full_mask(), TEXT, {"update": 5, **MASKED_LM.record})
    source = read_source(path)
    assert (source.adapter, source.in_file) == (MASKED_LM, TEXT)


def test_start_weights_of_another_task_are_refused(masked, tmp_path):
    with pytest.raises(LotteryError, match="has the dictionaries source and target, .*m.pt"):
        Run(tmp_path).draw(mask_from=masked)


@pytest.mark.parametrize("task", ["bart", "", "../x", "masked_lm_lottery"])
def test_a_task_without_an_adapter_is_refused_with_the_file(tmp_path, task):
    path = tmp_path / "s.safetensors"
    save_snapshot(path, weights(), None, DICTIONARIES, {"update": 5, "task": task})
    with pytest.raises(LotteryError, match=f"s.safetensors has the task {re.escape(repr(task))}"):
        read_source(path)


@pytest.mark.parametrize("task", [7, ["translation"], {"a": 1}])
def test_a_task_that_is_not_a_name_is_refused(tmp_path, task):
    lottery = {"mask": None, "task": task}
    path = save_checkpoint(tmp_path / "c.pt", weights(), task_state={"lottery": lottery})
    with pytest.raises(LotteryError, match="its task_state.lottery.task is"):
        read_source(path)
    tensors, record = {"weights/a.weight": torch.ones(2, 2)}, {"update": 5, "task": task}
    container.save(tmp_path / "s.safetensors", "snapshot", tensors, record)
    with pytest.raises(LotteryError, match="is malformed"):
        read_source(tmp_path / "s.safetensors")


symbols = st.lists(st.text("abc", min_size=1), min_size=1).map(tuple)


@PROPERTY
@given(st.dictionaries(st.text("xyz", min_size=1), symbols, min_size=1))
def test_any_number_of_dictionaries_survives(named):
    found = Dictionaries(named).to_tensors()
    first = next(iter(named))
    assert set(found) == {name for name in named if name == first or named[name] != named[first]}
    assert Dictionaries.from_tensors(found, named) == Dictionaries(named)


@pytest.mark.parametrize("names", [["target"], ["source", "target"], ["source", "x"]])
def test_dictionaries_of_other_names_are_refused(names):
    stored = Dictionaries({name: (name,) for name in names}).to_tensors()
    with pytest.raises(LotteryError, match="the stored dictionaries are not source; the file is"):
        Dictionaries.from_tensors(stored, MASKED_LM.vocabularies)


def test_a_folder_of_one_dictionary_is_read_with_what_the_task_adds(tmp_path):
    with pytest.raises(LotteryError, match="do not name a data folder"):
        MASKED_LM.find_folder({})
    with pytest.raises(LotteryError, match="has no dict.txt"):
        MASKED_LM.find_folder({"data": str(tmp_path)})
    (tmp_path / "dict.txt").write_text("a 3\nb 1\n")
    assert read_dictionaries(MASKED_LM.find_folder({"data": f"{tmp_path}:/more"})) == TEXT
    (tmp_path / "dict.txt").write_text("<mask> 3\nb 1\n")
    found = read_dictionaries(MASKED_LM.find_folder({"data": str(tmp_path)}))
    assert found["source"] == ("<mask>", "b")


def test_a_task_of_ones_own_is_one_adapter(tmp_path, monkeypatch):
    monkeypatch.setattr("fairseq_lottery.adapters.adapter.ADAPTERS", dict(ADAPTERS))
    own = register_adapter(
        TaskAdapter(
            name="own",
            vocabularies={n: Vocabulary((n,), f"{n}.embed_tokens.weight") for n in ("x", "y", "z")},
            stacks={"encoder": Stack("encoder", "max_positions")},
            dictionary_files=lambda folder, settings: {n: f"{n}.txt" for n in ("x", "y", "z")},
        )
    )
    three = Dictionaries({"x": ("a",), "y": ("b",), "z": ("a",)})
    path = tmp_path / "s.safetensors"
    save_snapshot(path, weights(), None, three, {"update": 5, **own.record})
    source = read_source(path)
    assert source.adapter is own and source.in_file == three
    for name in three.symbols:
        (tmp_path / f"{name}.txt").write_text(f"{three[name][0]} 1\n")
    assert read_dictionaries(own.find_folder({"data": str(tmp_path)})) == three
