import json
from pathlib import Path

import pytest
from hostile import runs, watch

from fairseq_lottery.errors import LotteryError

#: entries of records that may be absent
OPTIONAL = {"update", "beam", "lenpen", "signature", "run", "pruned", "prunable", "denominator",
            "hypotheses", "references", "sentences", "matrices"}  # fmt: skip


def read_report(folder):
    """All that a report reads, without its drawings."""
    from fairseq_lottery.report import read_run
    from fairseq_lottery.report.reading.mask_tables import read_masks
    from fairseq_lottery.report.reading.published import load
    from fairseq_lottery.report.reading.recipe_groups import gather
    from fairseq_lottery.report.statistics.bootstrap import within_seeds
    from fairseq_lottery.report.tables.tidy_results import densities_csv, results_csv

    run = read_run(folder)
    groups = gather([run])
    masks = [read_masks(group) for group in groups]
    tested = [within_seeds(group, key) for group in groups for key in group.tables]
    published = [load(g.published).values for g in groups if g.published is not None]
    csv = results_csv(groups) + densities_csv(list(zip(groups, masks)))
    csv.encode()
    whole = (run.plan, run.scores, run.curves, run.models, csv, masks, tested, published)
    return repr(whole).replace(str(folder), "")


def read_workflow(folder):
    """All that the next start and the stages of a workflow read of each other."""

    from fairseq_lottery.records.plan import read_stage_plan
    from fairseq_lottery.records.stage_records import read_calibration
    from fairseq_lottery.workflow.stages.record_lines import collect

    found = collect(folder, read_stage_plan(folder)), read_calibration(folder)
    return repr(found).replace(str(folder), "")


def fits_plan(path, what):
    """Values that a plan may have."""
    if path[0] in ("stages", "configuration", "keep", "gpus", "threads", "executor"):
        return True  # for the workflow, not for reports
    if path[-1] == "training":
        return True
    if what == "a text" and path[-1] in ("title", "name", "technique"):
        return True  # white space is taken for a space
    return (path[-1], what) in {
        ("published", "nothing"), ("published", "missing"), ("cells", "an empty list"),
        ("sparsities", "an empty list"), ("seeds", "an empty list"), ("techniques",
        "an empty list"),
        ("cells", "missing"), ("recipe", "true"),
    } or (path[0] == "recipe" and len(path) > 1)  # fmt: skip


def fits_record(path, what):
    key = path[-1]
    if what in ("nothing", "missing"):
        return key in OPTIONAL
    if key == "value":
        return what in ("NaN", "infinite", "negative", "a fraction", "1e999")
    if key in ("score", "lenpen"):
        return what in ("negative", "a fraction")
    if key == "matrices":
        return False
    return False


@pytest.fixture
def good(tmp_path):
    folder = runs.folder_with()(tmp_path / "good")
    return folder


def test_every_bad_record_is_refused_in_one_sentence(tmp_path, good):
    pytest.importorskip("sacrebleu")
    inputs = runs.of_files("records.jsonl") | runs.of_files("plan.json")
    del inputs["records.jsonl: empty"]  # of a run that has only begun
    for number, record in enumerate(runs.RECORDS):
        def whole(text, number=number):
            lines = [json.dumps(r) for r in runs.RECORDS]
            return "\n".join([*lines[:number], text, *lines[number + 1 :]]) + "\n"

        found = runs.strange_values(record, "records.jsonl", fits_record, whole)
        inputs |= {f"{record['kind']} of {name}": make for name, make in found.items()}
    inputs |= runs.strange_values(runs.PLAN, "plan.json", fits_plan)
    inputs |= {
        f"published {name!r}": runs.folder_with(**{"plan.json": json.dumps({**runs.PLAN,
        "published": name})})
        for name in ("../brix2020", "/etc/passwd", "", "x" * 5000, "brix2020/../brix2020", "*",
        "a\n")
    }  # fmt: skip
    inputs |= {
        f"{name} at {sparsity}": runs.folder_with(
            **{"records.jsonl": json.dumps({**record, "sparsity": sparsity}) + "\n"}
        )
        for name, record in (("score", runs.SCORE), ("curve", runs.CURVE), ("model", runs.MODEL))
        for sparsity in (-0.1, 1.1, 90)
    }
    watch.judged("record", watch.run(read_report, inputs, tmp_path, read_report(good)), 250)


def test_paths_in_records_lead_to_plain_files_only(tmp_path, good):
    """A pipe, a device or no path at all is as if the translations were not there."""
    pytest.importorskip("sacrebleu")
    assert "not in the run's folder" not in read_report(good)
    strange = ("/dev/zero", "/dev/stdin", "a" * 4000, "a" * 300, "/proc/self", ".")
    for number, path in enumerate(strange):
        for key in ("hypotheses", "references"):
            text = json.dumps({**runs.SCORE, key: path}) + "\n"
            files = {"records.jsonl": text + "\n".join(map(json.dumps, runs.RECORDS[1:]))}
            folder = runs.folder_with(**files)(tmp_path / f"{key}{number}")
            assert "not in the run's folder" in read_report(folder)


@pytest.mark.parametrize("name", ["plan.json", "seed1/slt/train.json",
"seed1/slt/best/scores.jsonl"])
def test_every_bad_file_of_a_workflow_is_refused_in_one_sentence(tmp_path, good, name):
    values = {"plan.json": runs.PLAN, "seed1/slt/train.json": runs.TRAINED,
              "seed1/slt/best/scores.jsonl": runs.SCORED}[name]  # fmt: skip
    inputs = runs.of_files(name) | runs.strange_values(values, name, lambda path, what: False)
    # records that are no JSON are of stages that have not finished, and much is checked again
    # where the report reads it: here it is enough that nothing fails in another way
    good = read_workflow(good)
    outcomes = watch.run(read_workflow, inputs, tmp_path, good, signed=set(inputs))
    watch.judged(f"workflow's {Path(name).name}", outcomes, least=60)


def test_a_record_that_is_no_json_is_a_stage_that_has_not_finished(good):
    from fairseq_lottery.records.stage_records import read_stage_record

    path = good / "seed1/slt/train.json"
    for text in ("", "{", "\0" * 100, runs.GOOD["seed1/slt/train.json"][:-3]):
        path.write_text(text)
        assert read_stage_record(path) is None
    path.write_text("[]")
    with pytest.raises(LotteryError, match="train.json is malformed .it is a list, expected a map"):
        read_stage_record(path)
