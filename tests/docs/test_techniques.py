"""The technique files that documents show, planned as they stand there."""

import re
from pathlib import Path

import pytest
from workflow.made import ROWS, dense, vocabulary

from fairseq_lottery.workflow.trainings.pruning_schedule import PruningSchedule
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES, load_own

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def own(tmp_path):
    """Plans rows by a technique of docs/techniques.md; forgets it afterwards."""
    yield from loaded(tmp_path, "techniques.md", "slt-mp-ticket")


@pytest.fixture
def of_attention(tmp_path):
    """Plans rows by the technique of docs/extending.md; forgets it afterwards."""
    yield from loaded(tmp_path, "extending.md", "slt-attention")


def loaded(tmp_path, page, name):
    before = dict(TECHNIQUES)
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    (block,) = (block for block in found if f'@technique("{name}"' in block)
    (tmp_path / "own.py").write_text(block)
    load_own(tmp_path / "own.py")
    yield lambda **changes: dict(TECHNIQUES[name].plan(vocabulary(ROWS, **changes)))
    TECHNIQUES.clear()
    TECHNIQUES.update(before)


@pytest.mark.parametrize(
    "changes", [{}, {"rewind_source": "dense"}, {"update_counter": "rewind"}], ids=str
)
def test_slt_mp_from_the_ticket_starts_where_its_last_ticket_was_trained_from(own, changes):
    ours = own(**changes)
    usual = dict(TECHNIQUES["slt-mp"].plan(vocabulary(ROWS, **changes)))
    assert list(ours) == list(usual)
    assert ours[0.5] == usual[0.5] and ours[0.6] == usual[0.6]
    start = 50 if changes == {"update_counter": "rewind"} else 0
    for sparsity in (0.7, 0.98):
        run = ours[sparsity]
        assert run.ticket == ours[0.6].ticket
        assert run.pruning == PruningSchedule(sparsity, start, 800, 20)
        assert run != usual[sparsity]
        assert usual[sparsity].ticket.start.training in (ours[0.6], dense())


def test_its_weights_are_those_of_the_run_before_the_last(own):
    ticket = own()[0.9].ticket
    assert (ticket.sparsity, ticket.takes_mask) == (0.6, False)
    assert ticket.mask_from == ticket.start.training == own()[0.5]
    assert ticket.start.update == 50


def test_the_technique_of_attention_is_slt_over_another_prunable_set(of_attention):
    ours, usual = of_attention(), dict(TECHNIQUES["slt"].plan(vocabulary(ROWS)))
    assert list(ours) == list(usual) == list(ROWS)
    for sparsity, run in ours.items():
        assert (run.ticket.prunable, run.ticket.sparsity) == ("attention", sparsity)
        assert usual[sparsity].ticket.prunable == "all-matrices"
        assert run.fingerprint != usual[sparsity].fingerprint
