from docs.option_page import PAGE, page


def test_the_documents_have_the_table_of_all_options():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/docs/option_page.py"
