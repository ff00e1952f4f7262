import csv
import hashlib
import re
from html.parser import HTMLParser

import pytest
from report.made import RECIPE, Made, score_record
from report.made_data_sets import DATA_SETS, MadeDataSets

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
pytest.importorskip("sacrebleu")
pytest.importorskip("torch")

from fairseq_lottery.errors import LotteryError  # noqa: E402
from fairseq_lottery.report import size, write_report  # noqa: E402

PAGE = size("8cm", 8)


def digests(folder):
    return {
        path.relative_to(folder): (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    before = digests(finished)
    out = tmp_path_factory.mktemp("reports") / "new" / "report"
    files = write_report([finished], out, PAGE)
    assert digests(finished) == before, "runs are only read"
    return out, files


def test_all_files_are_there_and_no_others(report):
    out, files = report
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert there == set(files)
    name = "test-best-beam4-lenpen0-6"
    for ending in ("csv", "tex"):
        for table in (f"bleu-{name}", f"ter-{name}", f"bleu-{name}-bootstrap"):
            assert f"tables/{table}.{ending}" in files
    plots = {file[8:-4] for file in files if file.startswith("figures/")}
    assert plots == {
        *(f"bleu-{name}-by-sparsity", f"ter-{name}-by-sparsity", "learning-loss", "learning-bleu"),
        *("densities", "overlap-techniques", "overlap-seeds"),
    }


def test_results_have_a_row_per_run_and_metric(report):
    out, _ = report
    with open(out / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (1 + 3 * 2) * 2, "two metrics of seven cells in two seeds"
    first = rows[0]
    assert list(first.values())[:4] == ["Small task", "dense", "0.0", "1"]
    assert first["signature"].startswith("nrefs:1|") and first["run"] and first["pruned"] == "0"


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources, self.links, self.open, self.tables = [], [], [], 0
        self.anchors = set()

    def handle_starttag(self, tag, attributes):
        self.tables += tag == "table"
        self.sources += [v for k, v in attributes if k in ("src", "srcset", "data")]
        self.links += [v for k, v in attributes if k == "href"]
        self.anchors |= {v for k, v in attributes if k == "id"}
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "tags are closed in order"


def test_the_page_needs_nothing_but_itself(report):
    out, files = report
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == [] and page.tables == sum(file.endswith(".tex") for file in files)
    assert len(page.sources) == sum(file.endswith(".svg") for file in files)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    for link in page.links:
        assert link[1:] in page.anchors if link.startswith("#") else (out / link).is_file()
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style and "<script" not in text
    assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp" in text and "sacrebleu 2." in text


def test_the_markdown_links_files_that_are_there(report):
    out, _ = report
    text = (out / "report.md").read_text(encoding="utf-8")
    plots = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(plots) == 7 and all((out / link).is_file() for link in links)
    assert {"results.csv", "significance.csv", "densities.csv", "overlaps.csv"} <= set(links)
    headings = [line[3:] for line in text.split("\n") if line.startswith("## ")]
    assert headings[0] == "Summary" and headings[-1] == "How this report was made"
    assert "(#bleu-on-test-best-checkpoint-beam-4-length-penalty-06)" in text


def test_a_second_report_is_the_same(report, finished, tmp_path):
    out, files = report
    write_report([finished], tmp_path / "again", PAGE)
    for name in files:
        old, new = ((folder / name).read_bytes() for folder in (out, tmp_path / "again"))
        assert old.replace(str(out).encode(), b"OUT") == new.replace(
            str(tmp_path / "again").encode(), b"OUT"
        ), name


def test_what_is_missing_is_said(tmp_path):
    made = Made(tmp_path / "run", techniques=("slt",), sparsities=(0.9,)).score(("BLEU",))
    files = write_report([made.write()], tmp_path / "out", PAGE)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "No validation curve was recorded." in text
    assert "No checkpoint has a mask" in text
    assert "Differences across seeds are not tested: the test requires 3 seeds" in text
    assert [file for file in files if file.endswith(".svg")] == [
        "figures/bleu-test-best-beam4-lenpen0-6-by-sparsity.svg"
    ]
    assert not {"densities.csv", "overlaps.csv"} & set(files)


def test_a_run_that_has_only_begun(tmp_path):
    made = Made(tmp_path / "run", seeds=(1, 2)).score(skip=lambda cell: cell != ("dense", 0.0, 1))
    write_report([made.write()], tmp_path / "out", PAGE)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "of the 14 planned cells (technique, sparsity and seed), 13" in text
    assert "There is no plot by sparsity: only the dense model has a score." in text


def test_two_recipes_stand_one_after_the_other(tmp_path):
    made = [
        Made(tmp_path / str(n), techniques=("slt",), recipe={**RECIPE, "updates": n}).score()
        for n in (1000, 2000)
    ]
    files = write_report([each.write() for each in made], tmp_path / "out", PAGE)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert text.index("## Small task (updates 1000)") < text.index("## Small task (updates 2000)")
    assert "Runs of different recipes do not share a table. The recipes" in text
    assert "tables/2-small-task-updates-2000-bleu-test-best-beam4-lenpen0-6.csv" in files


def test_published_figures_stand_beside_with_what_differs(tmp_path):
    made = Made(tmp_path / "run", published="brix2020-en-de").score(("BLEU", "chrF"))
    write_report([made.write()], tmp_path / "out", PAGE)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| sparsity, % | MP, here | MP, published | SLT, here | SLT, published |" in text
    assert "| updates | 500000 | 1000 |" in text
    assert "Brix et al. 2020, Table 1, WMT14 En-De has no chrF of these techniques." in text


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """A report of four data sets, two of them with names of GLUE."""
    names = dict(zip(("CoLA", "sst2", "similarity", "masked-words"), DATA_SETS.values()))
    made = MadeDataSets(
        tmp_path_factory.mktemp("encoders") / "run", names, published="chen2020-bert-glue",
        techniques=("imp", "fresh-weights", "pruned-before", "heads-lowest-fine-tune"),
        rows={"heads-lowest-fine-tune": "heads"},
    )  # fmt: skip
    run = made.score().masks().choices().write()
    files = write_report([run], run.parent / "out", PAGE)
    return (run.parent / "out" / "report.md").read_text(encoding="utf-8"), files, run.parent / "out"


def test_several_data_sets_stand_one_after_the_other(encoders):
    text, files, out = encoders
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == set(
        files
    )
    assert text.startswith("# Made tasks\n") and "Each data set has a section of its own" in text
    headings = [line[3:] for line in text.split("\n") if line.startswith("## ")]
    own = [f"Made tasks, {name}" for name in ("CoLA", "sst2", "similarity", "masked-words")]
    kinds = ("pruned weights", "attention heads")
    assert headings == [
        "Summary", "How to read it", *(f"Across data sets: Made tasks, {kind}" for kind in kinds),
        *(f"{name}: {kind}" for name in own for kind in kinds), "How this report was made",
    ]  # fmt: skip
    assert text.count("In brackets: the mean difference") == 1, "explained once"
    assert "fine-tuning: the trained weights are kept" not in text, "part of another term"
    page = Page()
    page.feed((out / "report.html").read_text(encoding="utf-8"))
    for link in page.links:
        assert link[1:] in page.anchors if link.startswith("#") else (out / link).is_file()


def test_what_data_sets_have_in_common_is_shown(encoders):
    text, files, out = encoders
    stems = {file.partition("/")[2].partition(".")[0] for file in files if "/" in file}
    assert {
        "weights-transfer-best", "weights-transfer-best-percent", "weights-transfer-best-loss",
        "weights-universal-best", "weights-matching-best", "heads-matching-best",
        "weights-overlap-data-sets", "weights-overlap-data-sets-imp", "weights-transfer-published",
        "weights-published-data-sets", "heads-agreement-data-sets",
        "heads-kappa-data-sets-heads-lowest-fine-tune", "1-cola-weights-mcc-valid-best-matching",
    } <= stems  # fmt: skip
    assert "Masks that match the full model on all 4 data sets" in text
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["data"], r["metric"], r["maximise"], r["examples"]) for r in rows} == {
        ("CoLA", "mcc", "True", "400"), ("sst2", "accuracy", "True", "800"),
        ("similarity", "pearson", "True", "300"), ("masked-words", "loss", "False", "5000"),
    }  # fmt: skip


def test_published_figures_stand_beside_data_sets_of_their_name(encoders):
    text, _, _ = encoders
    assert "beside Chen et al. 2020, BERT base, GLUE and SQuAD: CoLA." in text
    assert "| 50 | 53.5 ± 1.0 | 53.8 ± 0.9 |" in text
    assert "GLUE and SQuAD: SST-2." in text and "GLUE and SQuAD: STS-B" not in text
    assert text.count("What differs from the published recipe") == 2 * 2, "contents and section"
    assert text.count("### Published figures across data sets") == 1
    assert "| CoLA | mcc | 50 | 54.5 ± 0.4 | 53.8 ± 0.9 | 9.6 | 0.0 | 4.0 |" in text


def test_titles_cannot_break_the_pages(tmp_path):
    made = Made(tmp_path / "run", techniques=("slt", "mp"), title="<b>A & B</b>").score()
    made.plan["techniques"][1]["title"] = "<script>|*x*"
    write_report([made.write()], tmp_path / "out", PAGE)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<title>&lt;b&gt;A &amp; B&lt;/b&gt;</title>" in page
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| \\<script>\\|\\*x\\* | MP |" in text


@pytest.mark.parametrize(
    "arguments, said",
    [
        (lambda run: ([run, run], run.parent / "out"), "is the same folder as"),
        (lambda run: ([run], run), "/run is also a run to read"),
        (lambda run: ([run], run / "plan.json" / "out"), "/out cannot be created"),
        (lambda run: ([run.parent / "no"], run.parent / "out"), "there is no folder"),
    ],
)
def test_arguments_that_are_refused(tmp_path, arguments, said):
    made = Made(tmp_path / "run", techniques=("slt",), sparsities=(0.9,)).score()
    runs, out = arguments(made.write())
    before = digests(tmp_path)
    with pytest.raises(LotteryError, match=said) as caught:
        write_report(runs, out, PAGE)
    assert "\n" not in str(caught.value) and digests(tmp_path) == before


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda made: made.plan.update(published="brix"), "published figures 'brix' are unknown"),
        (lambda made: made.records.clear(), "no cell has a score yet"),
        (lambda made: made.records.append({"kind": "score"}), "line 4 is malformed .technique"),
        (
            lambda made: made.records.append(score_record(signature="other", seed=2)),
            "report them apart",
        ),
    ],
)
def test_bad_runs_leave_nothing_behind(tmp_path, change, said):
    made = Made(tmp_path / "run", techniques=("slt",), sparsities=(0.5, 0.9)).score()
    change(made)
    with pytest.raises(LotteryError, match=said):
        write_report([made.write()], tmp_path / "out", PAGE)
    assert not (tmp_path / "out").exists()


def test_a_corrupted_checkpoint_is_named(tmp_path):
    made = Made(tmp_path / "run", techniques=("slt",), sparsities=(0.9,)).score().model()
    folder = made.write()
    (folder / "seed1" / "slt-0.9" / "best.pt").write_bytes(b"no checkpoint")
    with pytest.raises(LotteryError, match="slt-0.9/best.pt"):
        write_report([folder], tmp_path / "out", PAGE)
    assert not (tmp_path / "out").exists()
