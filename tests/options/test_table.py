from pathlib import Path

from fairseq_lottery.options.table import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"


def test_the_documents_have_the_table_of_all_options():
    assert PAGE.read_text(encoding="utf-8") == page()
