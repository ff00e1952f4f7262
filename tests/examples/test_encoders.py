"""compare.py with a fairseq-train that only writes a score, and the flags of the scripts."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from encoders import compare

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LOG = "x | INFO | valid | epoch 010 | valid on 'test' subset | loss 1 | {} | num_updates {}\n"
TABLE = "task\tkind\tlabels\tmetric\npos\tmarked word\tADJ,ADP\taccuracy\nlike\tscore\t-\tpearson\n"


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A folder of pretrain.sh, and programs that write the score 80 + seed, or 60 from scratch."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "fairseq-lottery").write_text("#!/bin/sh\necho /plugin\n")
    (programs / "fairseq-train").write_text(
        '#!/bin/sh\necho run >>"$(dirname $0)/runs"\n'
        'for word; do [ "$last" = --seed ] && seed=$word; last=$word; done\n'
        'case "$*" in *finetune*) score=8$seed;; *) score=60;; esac\n'
        "echo \"x | INFO | valid | epoch 010 | valid on 'test' subset | loss 1 | accuracy $score |"
        ' pearson $score | num_updates 320 | best_loss 1"\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    text = tmp_path / "out" / "data" / "text"
    text.mkdir(parents=True)
    (text / "tasks.tsv").write_text(TABLE)
    return tmp_path / "out"


def test_means_and_deviations(out, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["compare.py", str(out), "--seeds", "1", "2", "3"])
    for _ in range(2):
        compare.main()
        assert capsys.readouterr().out.splitlines()[2:] == [
            "| pos | accuracy | 82.0 ± 1.0 | 60.0 ± 0.0 | +22.0 | yes |",
            "| like | pearson | 82.0 ± 1.0 | 60.0 ± 0.0 | +22.0 | yes |",
        ]
    assert (out.parent / "programs" / "runs").read_text().count("run") == 12, "none runs again"


def test_a_difference_within_the_deviation():
    row = {"task": "pos", "metric": "accuracy"}
    scores = {"pretrained": [50.0, 60.0, 70.0], "scratch": [55.0, 55.0, 55.0]}
    assert compare.line(row, scores) == (
        "| pos | accuracy | 60.0 ± 10.0 | 55.0 ± 0.0 | +5.0 | no |"
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        (LOG.format("accuracy 91.4", 320), 91.4),
        (LOG.format("accuracy 91.4", 160), None),
        ("Traceback: no GPU\n", None),
    ],
)
def test_only_the_score_of_the_last_update_counts(tmp_path, text, expected):
    (tmp_path / "log").write_text(text)
    assert compare.score(tmp_path / "log", "accuracy", 320) == expected


def test_a_failed_training_stops_the_table(out, monkeypatch):
    (out.parent / "programs" / "fairseq-train").write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setattr("sys.argv", ["compare.py", str(out), "--seeds", "1"])
    with pytest.raises(SystemExit, match="pos-pretrained-1-320.log has no score of update 320"):
        compare.main()


def test_fairseq_knows_the_flags(out):
    options = pytest.importorskip("fairseq.options")
    row = {"task": "like", "labels": "-", "metric": "pearson"}
    words = compare.command(out, row, "pretrained", 2, 320)[1:]
    words.remove("--user-dir"), words.remove("/plugin")
    args = options.parse_args_and_arch(options.get_training_parser(), words)
    assert (args.num_classes, args.regression_target, args.seed) == (1, True, 2)
    assert args.max_update == float(args.total_num_update) == 320
    assert args.encoder_embed_dim == 64


@pytest.mark.parametrize("script", ["encoders/pretrain.sh", "multilingual/train.sh"])
def test_fairseq_knows_the_flags_of_the_scripts(script):
    options = pytest.importorskip("fairseq.options")
    importlib.import_module("fairseq_lottery.plugin")
    text = (EXAMPLES / script).read_text().replace("\\\n", " ")
    (line,) = re.findall(r"fairseq-train (.*)", text)
    task = "--task translation_multi_simple_epoch --encoder-langtok tgt --langs en --lang-pairs x"
    line = (
        line.replace("$task", task)
        .replace('"$updates"', "4000")
        .replace("$(fairseq-lottery user-dir)", "fairseq_lottery")
    )
    words = shlex.split(re.sub(r'--user-dir "\S+"', "", line))
    args = options.parse_args_and_arch(options.get_training_parser(), words)
    assert args.max_update >= 2000
