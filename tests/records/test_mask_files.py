import pytest
from report.made import Made

from fairseq_lottery.formats import load_mask, read_source
from fairseq_lottery.records.cells import mask_file
from fairseq_lottery.report import gather, read_run
from fairseq_lottery.report.reading import mask_tables
from fairseq_lottery.workflow.stages.selected_model import measure, write_mask


@pytest.fixture
def folder(tmp_path):
    """A run whose models lie without a file of their masks, as older workflows left them."""
    return Made(tmp_path / "run", seeds=(1, 2)).model().write()


def look(folder):
    (group,) = gather([read_run(folder)])
    return mask_tables.read_masks(group)


def test_a_report_opens_no_model_that_has_a_file_of_its_mask(folder, monkeypatch):
    before = look(folder)
    assert before.overlaps and before.densities and not before.missing
    for model in sorted(folder.rglob("best.pt")):
        write_mask(model, read_source(model).mask)
        has_mask = mask_file(model).exists()
        assert has_mask == (not model.parent.name.startswith("dense"))
        if has_mask:
            assert load_mask(mask_file(model)) == read_source(model).mask
            assert mask_file(model).stat().st_size < model.stat().st_size / 2
    monkeypatch.delattr(mask_tables, "read_source")
    assert look(folder) == before
    for model in folder.rglob("best.pt"):
        model.unlink()
    assert look(folder) == before


def test_a_model_is_measured_with_its_mask(folder):
    model = next(folder.glob("seed1/mp-0.5/best.pt"))
    found = measure(model, 0.5)
    assert found.mask == read_source(model).mask
    assert "mask" not in found.record and "mask" not in found.row
    dense = measure(folder / "seed1/dense-0/best.pt", 0.0)
    assert dense.mask is None
    write_mask(folder / "seed1/dense-0/best.pt", dense.mask)
    assert not mask_file(folder / "seed1/dense-0/best.pt").exists()
