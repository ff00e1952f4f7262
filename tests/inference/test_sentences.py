"""Sentences in, sentences out: whatever evaluates here loses, doubles and moves none.

Scoring in a workflow is tested in ``tests/workflow/stages/test_score.py``, the report's bootstrap
in ``tests/report/test_significance.py``.
"""

import os
import re
import shlex
import subprocess

import pytest
from forking import folder
from toy import LOTTERY, PACKAGE, call, free_port, hypotheses, sharing, start, wait

pytestmark = pytest.mark.slow

#: English and German lines of a test set that is hard to count: 13 is no multiple of 8
ODD = [
    ("w1 w2 w3", "w3 w2 w1"),
    ("", "w4"),  # an empty source
    ("w5", ""),  # an empty target
    ("", ""),
    ("w1 w2 w3", "w3 w2 w1"),  # a sentence that is there twice
    (" ".join(["w6"] * 200), "w6"),  # the longest one is translated first
    ("w7\u2028w8", "w8 w7"),  # separators that end no line
    ("w9\x85w10\x0bw11", "w11 w10 w9"),
    ("  w12   w13 ", "w13 w12"),
    ("nobody knows this", "unknown"),
    ("H-3 D-4 T-5", "S-6"),
    ("w14", "w14"),
    ("w15 w16", "w16 w15"),
]


@pytest.fixture
def odd(toy):
    """The toy with ``ODD`` as its test set, and the file of its sources."""
    for language, lines in zip(("en", "de"), zip(*ODD)):
        text = "".join(f"{line}\n" for line in lines)
        toy.path(f"odd.{language}").write_text(text, encoding="utf-8")
    symbols = [toy.data / "dict.en.txt", "--tgtdict", toy.data / "dict.de.txt"]
    call(
        "fairseq_cli.preprocess",
        ["-s", "en", "-t", "de", "--testpref", toy.path("odd"), "--srcdict", *symbols,
         "--destdir", toy.path("odd-bin")],
        toy.folder,
    ).ok()  # fmt: skip
    toy.data = toy.path("odd-bin")
    return toy


def as_read(toy, language, line):
    """A line as fairseq says it again: words between single spaces, unknown ones marked."""
    known = {row.split()[0] for row in (toy.data / f"dict.{language}.txt").read_text().splitlines()}
    return " ".join(word if word in known else "<unk>" for word in line.split())


def lines_of(kind, done):
    return {int(n): text for n, text in re.findall(rf"^{kind}-(\d+)\t(.*)$", done.out, re.M)}


def test_generate_keeps_every_sentence_beside_its_reference(odd, dense):
    done = odd.generate(dense / "checkpoint_last.pt", "--required-batch-size-multiple", 8).ok()
    assert sorted(hypotheses(done)) == list(range(13))
    assert done.out.count("\nH-") == 13
    sources, targets = lines_of("S", done), lines_of("T", done)
    for n, (source, target) in enumerate(ODD):
        assert sources[n] == as_read(odd, "en", source)
        assert targets[n].replace("<<unk>>", "<unk>") == as_read(odd, "de", target)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--max-source-positions", 100), "--max-source-positions 201 --max-target-positions 201"),
        (("--max-tokens", 100), "should not exceed max_tokens=100"),
        (("--max-source-positions", 100, "--skip-invalid-size-inputs-valid-test"),
         "never skips a sentence"),
    ],
)  # fmt: skip
def test_a_sentence_that_is_too_long_stops_the_translation(odd, dense, flags, said):
    done = odd.generate(dense / "checkpoint_last.pt", *flags)
    assert done.code not in (0, None) and said in done.out, done.out[-2000:]
    assert not hypotheses(done)


def test_the_advice_for_a_line_that_is_too_long_works(toy, dense):
    """The model was trained with 1,024 positions, which are computed and not learned."""
    for language, line in (("en", "w6 " * 1399 + "w7"), ("de", "w7")):
        toy.path(f"odd.{language}").write_text(f"w1 w2\n{line}\n")
    symbols = ["--srcdict", toy.data / "dict.en.txt", "--tgtdict", toy.data / "dict.de.txt"]
    call(
        "fairseq_cli.preprocess",
        ["-s", "en", "-t", "de", "--testpref", toy.path("odd"), *symbols, "--destdir",
         toy.path("bin")],
        toy.folder,
    ).ok()  # fmt: skip
    toy.data = toy.path("bin")

    def generate(*flags):
        wide = ("--max-tokens", 3000, "--max-len-b", 5)
        return toy.generate(dense / "checkpoint_last.pt", *wide, *flags)

    def answer(*flags):
        return interactive(toy, dense, "--max-len-b", 5, *flags)

    for translate in (generate, answer):
        refused = translate()
        said = re.search(r"^fairseq-lottery: .*: (--max.*)$", refused.out, re.M)
        assert refused.code == 2 and said, refused.out[-2000:]
        advice = shlex.split(said.group(1))
        assert advice[:4] == ["--max-source-positions", "1401", "--max-target-positions", "1401"]
        assert sorted(hypotheses(translate(*advice).ok())) == [0, 1]


def interactive(toy, dense, *flags):
    return call(
        "fairseq_cli.interactive",
        [toy.data, "-s", "en", "-t", "de", *LOTTERY[:4], "--path", dense / "checkpoint_last.pt",
         "--beam", 1, "--input", toy.path("odd.en"), *flags],
        toy.folder,
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 5])
def test_interactive_answers_line_by_line(odd, dense, size):
    done = interactive(odd, dense, "--buffer-size", size, "--batch-size", size).ok()
    found = [int(n) for n in re.findall(r"^H-(\d+)\t", done.out, re.M)]
    assert found == list(range(13))
    sources = lines_of("S", done)
    for n, (source, _) in enumerate(ODD):
        assert sources[n] == as_read(odd, "en", source)


def test_interactive_skips_no_line(odd, dense):
    flags = ("--max-source-positions", 100, "--skip-invalid-size-inputs-valid-test")
    done = interactive(odd, dense, "--buffer-size", 13, *flags)
    assert done.code == 2 and "never skips a sentence" in done.out
    assert not hypotheses(done)


def test_shares_of_a_translation_are_called_shares(toy, dense):
    port = free_port()
    arguments = [toy.data, "-s", "en", "-t", "de", *LOTTERY[:4], "--beam", 1, "--path",
                 dense / "checkpoint_last.pt", "--batch-size", 8]  # fmt: skip
    ranks = [
        start("fairseq_cli.generate", [*arguments, *sharing(port, rank)], toy.folder)
        for rank in (0, 1)
    ]
    shares = [wait(rank).ok() for rank in ranks]
    for done in shares:
        assert "translates one of 2 shards of the 50 sentences" in done.out
    found = [sorted(hypotheses(done)) for done in shares]
    assert sorted(found[0] + found[1]) == list(range(50))


def count_validated():
    """Print which sentences a process validated, and over how many the figures of all are."""
    from fairseq_lottery.tasks import TranslationLotteryTask as Task

    valid_step, reduce_metrics = Task.valid_step, Task.reduce_metrics

    def step(self, sample, model, criterion, ema_model=None):
        found = valid_step(self, sample, model, criterion, ema_model)
        print("validated", sample["id"].tolist(), "with", "_bleu_sys_len" in found[2])
        return found

    def reduce(self, logging_outputs, criterion):
        if "_bleu_sys_len" in logging_outputs[0]:
            print("figures over", sum(int(each["nsentences"]) for each in logging_outputs))
        return reduce_metrics(self, logging_outputs, criterion)

    Task.valid_step, Task.reduce_metrics = step, reduce


BLEU = ("--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_a": 0, "max_len_b": 9}')


def validated(done):
    rows = re.findall(r"^validated \[([\d, ]*)\] with True$", done.out, re.M)
    return [int(n) for row in rows for n in row.split(",")]


def figures_over(done):
    """Of all batches; whatever another process only repeats is not in them."""
    return sum(map(int, re.findall(r"^figures over (\d+)$", done.out, re.M)))


def test_validation_with_bleu_is_over_all_sentences(toy):
    done = toy.train("run", *BLEU, updates=2, prelude=count_validated).ok()
    assert sorted(validated(done)) == list(range(51))
    assert figures_over(done) == 51


def test_two_processes_validate_all_sentences_together(toy):
    port = free_port()
    ranks = []
    for rank in (0, 1):
        flags = (*BLEU, "--ddp-backend", "legacy_ddp", "--batch-size-valid", 8)
        arguments = toy.arguments("run", *flags, *sharing(port, rank), updates=2)
        ranks.append(start("fairseq_cli.train", arguments, toy.folder, prelude=count_validated))
    shares = [wait(rank).ok() for rank in ranks]
    # 7 batches for two: the second process fills up with its first one, whose figures are dropped
    seen = [validated(done) for done in shares]
    assert sorted({*seen[0], *seen[1]}) == list(range(51))
    for done in shares:
        assert figures_over(done) == 51


def test_validate_is_over_all_sentences(toy, dense):
    words = [toy.data, *LOTTERY[:4], "--path", dense / "checkpoint_last.pt", "--max-tokens", 100]
    done = call("fairseq_cli.validate", words, toy.folder, prelude=count_validated).ok()
    rows = re.findall(r"^validated \[([\d, ]*)\]", done.out, re.M)
    assert sorted(int(n) for row in rows for n in row.split(",")) == list(range(51))


def test_the_readmes_recipe_scores_all_or_nothing(toy, dense):
    log = toy.generate(dense / "checkpoint_last.pt").ok().out
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^grep '\^H-' .*sacrebleu \S+$", readme, re.M)
    toy.path("test.de").write_text((toy.data.parent / "test.de").read_text())
    rows = log.splitlines()
    place = next(n for n, row in enumerate(rows) if row.startswith("H-7\t"))

    def score(lines):
        toy.path("log").write_text("".join(f"{line}\n" for line in lines))
        command = re.sub(r"\S+generate\.log", "log", re.sub(r"\S+test\.de", "test.de", recipe))
        path = f"{folder()}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            command, shell=True, cwd=toy.folder, env={**os.environ, "PATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    whole = score(rows)
    assert whole.returncode == 0 and '"score"' in whole.stdout, whole.stderr
    assert score(rows[::-1]).stdout == whole.stdout
    assert score(rows[:place] + rows[place + 1 :]).returncode != 0
    assert score([*rows, rows[place]]).returncode != 0
