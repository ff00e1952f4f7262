import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.report import load, names
from fairseq_lottery.report.reading.published import compare_recipes, is_same_entry


def test_every_publication_is_whole():
    assert names() == [
        "brix2020-en-de",
        "brix2020-en-fr",
        "chen2020-bert-glue",
        "gale2019-en-de",
        "michel2019-en-fr",
        "movva2020-en-de-big",
        "prasanna2020-bert-glue",
        "renda2020-gnmt",
        "voita2019-en-ru",
        "voita2019-en-ru-subtitles",
        "yu2020-en-de-base",
        "yu2020-en-de-big",
    ]
    for name in names():
        found = load(name)
        assert found.name == name and found.url.startswith("https://") and found.notes
        assert ("BLEU", "dense", 0.0) in found.values or found.measures or found.data_sets
        tables = [found, *found.data_sets.values()]
        assert {metric for own in tables for metric, *_ in own.values} == set(found.computed)
        for own in tables:
            means = [value.partition(" ± ")[0] for value in own.values.values()]
            assert all(0 < float(mean) < 300 or mean == "0.0" for mean in means)
            assert set(own.remarks) <= set(own.values)


@pytest.mark.parametrize(
    "name, metric, technique, sparsity, value",
    [
        ("brix2020-en-de", "BLEU", "dense", 0, "26.8"),
        ("brix2020-en-de", "BLEU", "clt", 0.6, "26.8"),
        ("brix2020-en-de", "TER", "slt", 0.98, "86.9"),
        ("brix2020-en-de", "BLEU", "slt-mp", 0.7, "26.2"),
        ("brix2020-en-de", "BLEU", "mp-slt", 0.85, "23.9"),
        ("brix2020-en-de", "memory_MB", "all", 0.9, "31"),
        ("brix2020-en-fr", "BLEU", "slt", 0.3, "39.8"),
        ("brix2020-en-fr", "TER", "clt", 0.98, "75.9"),
        ("gale2019-en-de", "BLEU", "mp", 0.9, "23.26"),
        ("renda2020-gnmt", "BLEU", "lr-rewind", 0.978, "17.93"),
        ("yu2020-en-de-big", "BLEU", "imp", 0.67, "28.9"),
        ("michel2019-en-fr", "BLEU", "dense", 0, "36.05"),
        ("voita2019-en-ru", "BLEU", "heads-gates-fine-tune", 0.479167, "29.62"),
        ("voita2019-en-ru", "BLEU", "heads-gates-scratch", 0.819444, "28.41"),
        ("voita2019-en-ru-subtitles", "BLEU", "heads-gates-fine-tune", 0.277778, "32.24"),
        ("voita2019-en-ru-subtitles", "BLEU", "heads-gates-scratch", 0.576389, "31.98"),
    ],
)
def test_figures_as_printed(name, metric, technique, sparsity, value):
    assert load(name).values[metric, technique, sparsity] == value


@pytest.mark.parametrize(
    ("technique", "sparsity", "measure", "place", "value"),
    [
        ("lr-rewind", 0.832228, "linear-cka", {"part": "encoder", "layer": "4"}, "0.870"),
        ("lr-rewind", 0.832228, "neuron-sim", {"part": "encoder", "layer": "6"}, "0.719"),
        ("lr-rewind", 0.2, "head-sim", {"part": "enc_self", "layer": "1"}, "0.81"),
        ("lr-rewind", 0.832228, "head-sim", {"part": "dec_self", "layer": "1"}, "0.891"),
        ("lr-rewind", 0.832228, "head-matches", {"part": "dec_self", "layer": "5"}, "0.9375"),
        ("dense", 0.0, "variance", {"layer": "6", "component": "100"}, "0.58"),
        ("lr-rewind", 0.488, "rank-99", {"layer": "6", "statistic": "standardised"}, "929"),
    ],
)
def test_figures_of_measures(technique, sparsity, measure, place, value):
    found = [
        figure
        for figure in load("movva2020-en-de-big").measures
        if (figure.technique, figure.sparsity, figure.measure) == (technique, sparsity, measure)
        and place.items() <= figure.place.items()
    ]
    assert [figure.value for figure in found] == [value]
    assert "plot" in found[0].note or "notebook" in found[0].note


def test_published_measures_are_of_rounds_of_a_fifth():
    measures = load("movva2020-en-de-big").measures
    rounds = {round(1 - 0.8**n, 6) for n in range(10)}
    assert {figure.sparsity for figure in measures} <= rounds and len(measures) == 73
    assert all(load(name).measures == () for name in names() if name != "movva2020-en-de-big")


def test_the_sizes_of_the_tables():
    count = {name: len(load(name).values) for name in names()}
    assert count["brix2020-en-de"] == 13 + 2 + 2 * (5 * 12 + 8), "memory, dense, 5 full columns"
    assert count["brix2020-en-fr"] == 2 + 2 * (3 * 12 + 8)
    assert count["renda2020-gnmt"] == 1 + 8 * 9


def test_what_is_not_in_the_tables():
    brix = load("brix2020-en-de")
    assert ("BLEU", "slt-mp", 0.4) not in brix.values, "printed as n/a"
    assert brix.remarks["BLEU", "mp-slt", 0.6] == "the MP run's row"
    fr = load("brix2020-en-fr")
    assert fr.remarks["BLEU", "slt", 0.98] == "one run; the other failed"
    assert not any(technique in ("lt", "mp-slt") for _, technique, _ in fr.values)


def test_shares_of_heads_are_the_heads_that_are_left():
    """Each share is one of 144 heads, and the notes say which are left."""
    left = {"voita2019-en-ru": [75, 58, 36, 26], "voita2019-en-ru-subtitles": [104, 61, 28]}
    for name, counts in left.items():
        found = load(name)
        assert found.rows == "heads"
        for technique in ("heads-gates-fine-tune", "heads-gates-scratch"):
            shares = [s for _, t, s in found.values if t == technique]
            assert shares == [round(1 - count / 144, 6) for count in counts]
    (said,) = (note for note in load("voita2019-en-ru").notes if note.startswith("Heads kept"))
    assert "14, 31, 30 at 47.92 %; 12, 21, 25 at 59.72 %; 8, 13, 15 at 75.00 %" in said
    assert {load(name).rows for name in names()} == {"weights", "heads", "metric"}


@pytest.mark.parametrize(
    ("name", "data", "metric", "technique", "sparsity", "value"),
    [
        ("chen2020-bert-glue", "CoLA", "mcc", "dense", 0, "54.5 ± 0.4"),
        ("chen2020-bert-glue", "QQP", "accuracy", "imp", 0.9, "90.0 ± 0.2"),
        ("chen2020-bert-glue", "SST-2", "accuracy", "shuffled-layers", 0.6, "82.6"),
        ("chen2020-bert-glue", "STS-B", "pearson", "fresh-weights", 0.5, "9.2"),
        ("chen2020-bert-glue", "MLM", "accuracy", "random", 0.7, "32.3"),
        ("prasanna2020-bert-glue", "RTE", "accuracy", "s-good-rewind", 0.9, "58 ± 6"),
        ("prasanna2020-bert-glue", "CoLA", "mcc", "m-bad-rewind", 0.9, "2"),
        ("prasanna2020-bert-glue", "STS-B", "correlation", "dense", 0, "89"),
    ],
)
def test_figures_of_data_sets(name, data, metric, technique, sparsity, value):
    found = load(name)
    assert found.values == {}
    own = found.of_data_set(data.lower().replace("-", ""))
    assert own.values[metric, technique, sparsity] == value
    assert own.title == f"{found.title}: {data}" and own.name == name
    assert found.of_data_set("agreement") is None


def test_the_published_transfer_has_every_cell():
    transfers = load("chen2020-bert-glue").transfers
    cells = {(each.source, each.target): each.value for each in transfers}
    assert len(cells) == len(transfers) == 12 * 11 and {each.sparsity for each in transfers} == {
        0.7
    }
    assert cells["MLM", "CoLA"] == "-7.36" and cells["pruned-before", "QNLI"] == "-0.01"
    assert {target for _, target in cells} == set(load("chen2020-bert-glue").data_sets)
    assert all(load(name).transfers == () for name in names() if name != "chen2020-bert-glue")


def test_an_unknown_name_lists_the_known_ones():
    for name in ("brix2021", "../published/brix2020-en-de", ""):
        with pytest.raises(LotteryError, match="choose one of brix2020-en-de, brix2020-en-fr"):
            load(name)


def test_recipes_are_compared_as_values():
    published = {"dropout": 0.1, "beam": 4, "updates": 500000, "data": "WMT14"}
    here = {"dropout": "0.1", "beam": [4], "updates": 100000, "processes": 8}
    equal, differing = compare_recipes(published, here)
    assert equal == ["dropout", "beam"]
    assert differing == [
        ("updates", 500000, 100000),
        ("data", "WMT14", None),
        ("processes", None, 8),
    ]
    assert not is_same_entry([4, 5], 4) and is_same_entry("layer", "layer")
