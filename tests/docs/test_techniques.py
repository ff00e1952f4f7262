"""The technique file that a document shows, planned as it stands there."""

import re
from pathlib import Path

import pytest
from workflow.made import ROWS, dense, vocabulary

from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES, load_own
from fairseq_lottery.workflow.trainings.training import Growth

PAGE = Path(__file__).parents[2] / "docs" / "techniques.md"


@pytest.fixture
def own(tmp_path):
    """Plans rows by a technique of the page; forgets it afterwards."""
    before = dict(TECHNIQUES)
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "slt_mp_ticket.py").write_text(block)
    load_own(tmp_path / "slt_mp_ticket.py")
    yield lambda **changes: dict(TECHNIQUES["slt-mp-ticket"].plan(vocabulary(ROWS, **changes)))
    TECHNIQUES.clear()
    TECHNIQUES.update(before)


@pytest.mark.parametrize("changes", [{}, {"rewind_source": "dense"}, {"clock": "rewind"}], ids=str)
def test_slt_mp_from_the_ticket_starts_where_its_last_ticket_was_trained_from(own, changes):
    ours = own(**changes)
    usual = dict(TECHNIQUES["slt-mp"].plan(vocabulary(ROWS, **changes)))
    assert list(ours) == list(usual)
    assert ours[0.5] == usual[0.5] and ours[0.6] == usual[0.6]
    start = 50 if changes == {"clock": "rewind"} else 0
    for sparsity in (0.7, 0.98):
        run = ours[sparsity]
        assert run.ticket == ours[0.6].ticket and run.growth == Growth(sparsity, start, 800, 20)
        assert run != usual[sparsity]
        assert usual[sparsity].ticket.start.training in (ours[0.6], dense())


def test_its_weights_are_those_of_the_run_before_the_last(own):
    ticket = own()[0.9].ticket
    assert (ticket.sparsity, ticket.takes_mask) == (0.6, False)
    assert ticket.mask_from == ticket.start.training == own()[0.5]
    assert ticket.start.update == 50
