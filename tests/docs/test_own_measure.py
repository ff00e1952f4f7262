"""The measure of a user's own that ``docs/extending.md`` shows."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from fairseq_lottery.analysis import find_measure, registry  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs/extending.md"


def test_the_measure_of_the_page_counts_positive_survivors(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(# my_analysis.py.*?)^```$", PAGE.read_text(), re.M | re.S)
    (tmp_path / "my_analysis.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    registry.registered_measures()  # imports those of the package before the copy
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    weights = {
        "a.weight": torch.tensor([[1.0, -1.0, 0.0], [2.0, 3.0, 0.0]]),
        "b.weight": torch.zeros(2, 2),
        "a.bias": torch.ones(3),
    }
    model = SimpleNamespace(weights=weights)
    rows = list(find_measure("my_analysis:positive_share").rows(model))
    assert rows == [{"measure": "positive-share", "matrix": "a.weight", "value": 0.75}]
