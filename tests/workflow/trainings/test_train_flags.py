import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.trainings.train_flags import Flags

FEW = settings(PROPERTY, max_examples=60)
NAMES = st.from_regex(r"--[a-z][a-z-]{0,8}", fullmatch=True)
VALUES = st.lists(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False).map(str),
        st.text(alphabet="ab (),.#'\"\\$/\n", min_size=0, max_size=6),
    ),
    max_size=3,
).map(tuple)
FLAGS = st.dictionaries(NAMES, VALUES, max_size=5).map(lambda d: Flags(tuple(d.items())))


def test_names_keep_their_order_and_values_follow_them():
    flags = Flags.parse("--lr 7e-4 --fp16 --adam-betas '(0.9, 0.98)' --eval-bleu-args={}")
    assert flags.items == (
        ("--lr", ("7e-4",)),
        ("--fp16", ()),
        ("--adam-betas", ("(0.9, 0.98)",)),
        ("--eval-bleu-args", ("{}",)),
    )
    assert flags.names == ("--lr", "--fp16", "--adam-betas", "--eval-bleu-args")


def test_negative_numbers_and_comments():
    flags = Flags.parse("--dropout -1\n--power -0.5e1\n")
    assert flags.items == (("--dropout", ("-1",)), ("--power", ("-0.5e1",)))
    with pytest.raises(LotteryError, match="'#' does not start a comment"):
        Flags.parse("--lr 3e-3 # small\n--clip-norm 1.0")


def test_short_flags_are_flags():
    flags = Flags.parse("-s en -t de --lr 1")
    assert flags.items == (
        ("--source-lang", ("en",)), ("--target-lang", ("de",)), ("--lr", ("1",)),
    )  # fmt: skip
    assert Flags.parse("--lr 1 -s en").number("--lr") == 1


@pytest.mark.parametrize("text", ["--lr 1 # small", "--lr 1#small", "# --lr 1", "--lr 1 #"])
def test_a_comment_would_hide_the_flags_after_it(text):
    with pytest.raises(LotteryError, match="^'#' does not start a comment"):
        Flags.parse(text)


def test_a_quoted_hash_is_a_value():
    flags = Flags.parse("--note 'run #1' --mark \"#\" --color \\#fff --lr 1")
    assert [flags.get(n) for n in ("--note", "--mark", "--color")] == ["run #1", "#", "#fff"]


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("-a big", "--arch big"),
        ("-s en -t de", "--source-lang en --target-lang de"),
        ("--max-sentences 8", "--batch-size 8"),
        ("--wd=0.1", "--weight-decay 0.1"),
        ("--max-sentences-valid 8", "--batch-size-valid 8"),
        ("--nval 5", "--max-valid-steps 5"),
    ],
)
def test_second_names_are_the_same_flags(short, long):
    assert Flags.parse(short) == Flags.parse(long)
    with pytest.raises(LotteryError, match="is given twice; give it once$"):
        Flags.parse(f"{long} {short}")
    changed = Flags.parse(long).plus(*shlex.split(short))
    assert len(changed.names) == len(Flags.parse(long).names)


def test_values():
    flags = Flags.parse("--lr 7e-4 --fp16 --lr-steps 1 2")
    assert flags.get("--lr") == "7e-4"
    assert flags.get("--fp16") == ""
    assert flags.get("--lr-steps") == "1 2"
    assert flags.get("--none") is None
    assert flags.get("--none", "x") == "x"
    assert flags.number("--lr") == 0.0007
    assert flags.number("--none", 4.0) == 4.0
    assert "--fp16" in flags and "--bf16" not in flags


def test_changes_leave_the_old_flags_alone():
    flags = Flags.parse("--lr 1 --fp16 --dropout 0.1")
    changed = flags.plus("--lr", 0.5, "--note", "a b")
    assert changed.words() == ["--fp16", "--dropout", "0.1", "--lr", "0.5", "--note", "a b"]
    assert flags.without(["--fp16", "--lr"]).words() == ["--dropout", "0.1"]
    assert flags.words() == ["--lr", "1", "--fp16", "--dropout", "0.1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--a 'b", "a quote is not closed (No closing quotation)"),
        ("--a 1 --b 2 --a 3", "--a is given twice; give it once"),
        ("data-bin --a 1", "'data-bin' does not follow a flag; write --name value"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(LotteryError) as refusal:
        Flags.parse(text)
    assert str(refusal.value) == message


def test_a_number_that_is_none():
    with pytest.raises(LotteryError, match="^--lr fast is not a finite number$"):
        Flags.parse("--lr fast").number("--lr")


@FEW
@given(FLAGS)
def test_the_words_of_flags_are_these_flags(flags):
    assert Flags.parse(shlex.join(flags.words())) == flags


@FEW
@given(FLAGS, st.randoms(use_true_random=False))
def test_order_decides_no_weight(flags, chance):
    items = list(flags.items)
    chance.shuffle(items)
    assert Flags(tuple(items)).of_weights() == flags.of_weights()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("--lr 7e-4", "--lr 0.0007"),
        ("--lr 7E-04", "--lr=.0007"),
        ("--max-tokens 4096", "--max-tokens 4096.0"),
        ("--warmup-updates 10000", "--warmup-updates 1e4"),
        ("--adam-betas '(0.9, 0.98)'", "--adam-betas (0.9,0.98)"),
    ],
)
def test_spelling_decides_no_weight(one, other):
    assert Flags.parse(one).of_weights() == Flags.parse(other).of_weights()


#: of logging, saving, validation: the runs of a workflow may change them on the way
NOISE = (
    "--log-interval 10 --log-format json --log-file x --no-progress-bar --tensorboard-logdir t"
    " --wandb-project w --save-interval 2 --save-interval-updates 100 --keep-interval-updates 3"
    " --keep-last-epochs 2 --keep-best-checkpoints 1 --no-epoch-checkpoints --num-workers 4"
    " --data-buffer-size 20 --dataset-impl mmap --user-dir x --validate-interval 3"
    " --validate-interval-updates 100 --validate-after-updates 5 --disable-validation"
    " --fixed-validation-seed 1 --valid-subset valid1 --max-tokens-valid 4096"
    " --batch-size-valid 8 --best-checkpoint-metric bleu --maximize-best-checkpoint-metric"
    " --eval-bleu --eval-bleu-args {} --skip-invalid-size-inputs-valid-test --empty-cache-freq 5"
    " --max-valid-steps 5 --reset-logging --distributed-timeout 60 --plasma-path /tmp/plasma"
    " --load-checkpoint-on-all-dp-ranks --use-plasma-view"
)


def test_noise_is_no_weight():
    assert Flags.parse(NOISE).of_weights() == {}


#: whatever its name resembles, each of these decides weights
DECIDES = (
    "--arch a --lr 1 --max-update 5 --update-freq 8 --train-subset t --max-tokens 9 --fp16"
    " --required-batch-size-multiple 1 --update-epoch-batch-itr --ema-decay 0.1 --clip-norm 1"
    " --label-smoothing 0.1 --share-all-embeddings --encoder-layers 2 --skip-remainder-batch"
    " --no-save-masters --layernorm-embedding --source-lang en --max-source-positions 8"
)


@pytest.mark.parametrize("name", Flags.parse(DECIDES).names)
def test_all_else_is(name):
    flags = Flags.parse(DECIDES)
    assert set(flags.of_weights()) == set(flags.names)
    assert flags.without([name]).of_weights() != flags.of_weights()


def test_a_schedule_that_looks_at_validation_makes_it_count():
    flags = Flags.parse(NOISE).plus("--lr-scheduler", "reduce_lr_on_plateau")
    found = flags.of_weights()
    assert found["--validate-interval"] == "3.0"
    assert "--best-checkpoint-metric" in found
    assert "--log-interval" not in found and "--save-interval" not in found


CHOOSES = ("--best-checkpoint-metric", "--maximize-best-checkpoint-metric", "--valid-subset",
           "--eval-bleu", "--eval-bleu-args")  # fmt: skip


def test_what_chooses_the_best_checkpoint():
    flags = Flags.parse(f"{DECIDES} {NOISE}")
    assert set(flags.of_selection()) == set(CHOOSES)
    assert flags.of_selection()["--best-checkpoint-metric"] == "bleu"
    assert flags.of_selection()["--eval-bleu"] == ""
    turned = Flags(flags.items[::-1])
    assert turned.of_selection() == flags.of_selection()
    assert flags.without(CHOOSES).of_selection() == {}
