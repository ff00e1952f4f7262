"""Dictionaries of multilingual tasks: their files, and the tokens that fairseq adds."""

import pytest

from fairseq_lottery.adapters import MULTILINGUAL, PRETRAINED_BART
from fairseq_lottery.adapters.multilingual import (
    added_mbart_tokens,
    added_tokens,
    languages_in,
    pairs_of,
)
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_dictionaries

#: settings of our tasks, and the same as fairseq's own task stores them
WRITTEN = {"lang_pairs": "en-de,fr-en", "langs": "fr,en,de"}
STORED = {"lang_pairs": ["en-de", "fr-en"], "langs": ["fr", "en", "de"], "langtoks_specs": ["main"]}


@pytest.fixture
def folder(tmp_path):
    for name in ("dict.en.txt", "dict.de.txt", "shared.txt"):
        (tmp_path / name).write_text(f"{name} 1\nb 1\n")
    return tmp_path


@pytest.mark.parametrize("settings", [WRITTEN, STORED])
def test_the_settings_of_both_tasks_name_the_same_languages(settings):
    assert pairs_of(settings) == [("en", "de"), ("fr", "en")]
    assert languages_in(settings) == ["fr", "en", "de"]
    assert added_tokens(settings) == ("__fr__", "__en__", "__de__")


@pytest.mark.parametrize(
    "more",
    [
        {"lang_tok_style": "mbart"},
        {"langs": None},
        {"langtoks_specs": "main,mono_dae,mined"},
        {"extra_data": {"mono_dae": "x"}, "langtoks_specs": "main,mono_dae"},
    ],
)
def test_the_added_tokens_are_those_of_fairseq(more):
    """In the order of fairseq's own function on an empty dictionary."""
    data = pytest.importorskip("fairseq.data")
    from fairseq.data.multilingual.multilingual_utils import augment_dictionary

    settings = {**WRITTEN, **more}
    dictionary = data.Dictionary()
    augment_dictionary(
        dictionary,
        languages_in(settings),
        settings.get("lang_tok_style", "multilingual"),
        settings.get("langtoks_specs", "main").split(","),
        settings.get("extra_data"),
    )
    assert added_tokens(settings) == tuple(dictionary.symbols[dictionary.nspecial :])


def test_the_languages_of_a_file_and_of_the_pairs(tmp_path):
    path = tmp_path / "languages.txt"
    path.write_text("de\n\nen \nfr\n")
    assert languages_in({"lang_dict": str(path)}) == ["de", "en", "fr"]
    assert languages_in({"lang_pairs": "en-de,fr-en"}) == ["de", "en", "fr"]
    with pytest.raises(LotteryError, match=r"--lang-dict .*none.txt cannot be read"):
        languages_in({"lang_dict": str(tmp_path / "none.txt")})


def test_the_dictionaries_of_the_first_pair_and_of_flags(folder):
    found = MULTILINGUAL.find_folder({**WRITTEN, "data": str(folder)})
    assert found.files == {"source": "dict.en.txt", "target": "dict.de.txt"}
    symbols = read_dictionaries(found)
    assert symbols["source"] == ("dict.en.txt", "b", "__fr__", "__en__", "__de__")
    assert symbols["target"] == ("dict.de.txt", "b", "__fr__", "__en__", "__de__")
    one = {**WRITTEN, "data": str(folder), "source_lang": "de", "target_lang": "en"}
    assert MULTILINGUAL.find_folder(one).files["source"] == "dict.de.txt"
    shared = {
        **WRITTEN,
        "source_dict": str(folder / "shared.txt"),
        "target_dict": "gone/shared.txt",
    }
    files = MULTILINGUAL.find_folder(shared, str(folder)).files
    assert files == {"source": str(folder / "shared.txt"), "target": "shared.txt"}
    assert (
        read_dictionaries(MULTILINGUAL.find_folder(shared, str(folder)))["target"][0]
        == "shared.txt"
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "the settings of the task have the pairs None, expected names such as en-de,en-fr"),
        ({"lang_pairs": "en"}, "have the pairs en, expected"),
        ({"lang_pairs": "en-"}, "have the pairs en-, expected"),
        ({**WRITTEN, "lang_tok_style": "x"}, "have the style 'x'; choose one of multilingual, mb"),
        ({**WRITTEN, "source_dict": "/etc/passwd"}, "name the file /etc/passwd, expected"),
        ({**WRITTEN, "lang_dict": "/etc/passwd"}, "name the file /etc/passwd, expected"),
    ],
)
def test_settings_that_do_not_determine_the_dictionaries(folder, settings, sentence):
    with pytest.raises(LotteryError, match=sentence):
        MULTILINGUAL.find_folder(settings, str(folder))


def test_the_tokens_of_mbart(folder):
    settings = {"langs": "en,de", "source_lang": "en", "target_lang": "de"}
    assert added_mbart_tokens(settings) == ("[en]", "[de]", "<mask>")
    found = PRETRAINED_BART.find_folder(settings, str(folder))
    assert read_dictionaries(found)["target"] == ("dict.de.txt", "b", "[en]", "[de]", "<mask>")
    with pytest.raises(LotteryError, match="have no languages; give --langs"):
        PRETRAINED_BART.find_folder({**settings, "langs": None}, str(folder))
