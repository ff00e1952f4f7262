"""Pruning by role: the order of heads, how many, and the tables that are refused."""

import json

import pytest

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.head_roles import load_role
from fairseq_lottery.heads.choices.strategies import STRATEGIES
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask

FIRST, SECOND = "encoder.layers.0.self_attn", "encoder.layers.1.self_attn"
CROSS = "decoder.layers.0.encoder_attn"
ANATOMY = Anatomy({FIRST: 2, SECOND: 2, CROSS: 2}, {})
TOP = "measure,part,layer,head,statistic,role,threshold,value\n"
#: kind, layer, head -> score and whether it is local
LOCAL = {
    ("enc_self", 1, 1): (3.5, 1),
    ("enc_self", 1, 2): (1.0, 0),
    ("enc_self", 2, 1): (2.5, 1),
    ("enc_self", 2, 2): (0.5, 0),
}


def table():
    rows = [
        f"sieve-bias,{kind},{layer},{head},{statistic},local,,{value}"
        for (kind, layer, head), pair in LOCAL.items()
        for statistic, value in zip(("score", "has-role"), pair)
    ]
    rows += ["sieve-bias,enc_self,,,reachable,local,,2.9", "sieve-bias,enc_self,1,1,p,local,2.0,0"]
    return TOP + "\n".join(rows) + "\n"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "roles.csv").write_text(table())
    return tmp_path / "roles.csv"


def order(path, prune_having=True, **more):
    """Heads in the order in which they are pruned."""
    role = load_role(path, "local", ANATOMY, prune_having)
    pruned = []
    for count in range(1, 7):
        inputs = StrategyInput(ComponentMask(ANATOMY, {}), count=count, role=role, **more)
        found = set(STRATEGIES["role"](inputs).pruned("heads"))
        pruned += found - set(pruned)
    return pruned


def test_heads_with_the_role_are_first_by_their_fit(path):
    having, others = [(FIRST, 0), (SECOND, 0)], [(FIRST, 1), (SECOND, 1), (CROSS, 0), (CROSS, 1)]
    assert order(path) == [*having, *others]
    # the order of pruning heads without the role is the reverse, but for ties
    assert order(path, False) == [(CROSS, 0), (CROSS, 1), (SECOND, 1), (FIRST, 1), *having[::-1]]


def test_scores_order_the_heads_of_a_role_by_importance(path):
    import torch

    values = {FIRST: [5.0, 1.0], SECOND: [2.0, 4.0], CROSS: [0.0, 3.0]}
    scores = {"heads": {name: torch.tensor(one) for name, one in values.items()}}
    assert order(path, scores=scores) == [
        (SECOND, 0), (FIRST, 0), (CROSS, 0), (FIRST, 1), (CROSS, 1), (SECOND, 1),
    ]  # fmt: skip


def test_without_a_number_exactly_the_heads_with_the_role_are_pruned(path):
    def pruned(prune_having, **more):
        role = load_role(path, "local", ANATOMY, prune_having)
        inputs = StrategyInput(ComponentMask(ANATOMY, {}), role=role, **more)
        return list(STRATEGIES["role"](inputs).pruned("heads"))

    assert pruned(True) == [(FIRST, 0), (SECOND, 0)]
    assert pruned(False) == [(FIRST, 1), (SECOND, 1), (CROSS, 0), (CROSS, 1)]
    assert pruned(False, types=("enc_self",)) == [(FIRST, 1), (SECOND, 1)]
    assert pruned(False, at_least=2) == []


def test_the_command_reads_a_folder_and_records_the_role(path, tmp_path):
    scores = tmp_path / "scores.json"
    content = {
        "format": "fairseq_lottery scores 1",
        "heads": dict(ANATOMY.heads),
        "units": {},
        "scores": {"heads": {name: [1.0, 2.0] for name in ANATOMY.heads}},
        "record": {},
    }
    scores.write_text(json.dumps(content))
    words = ["heads", "choose", "--scores", str(scores), "--out", str(tmp_path / "c.json")]
    words += ["--strategy", "role", "--roles", str(tmp_path)]
    assert main([*words, "--role", "local"]) == 0
    choice, record = load_choice(tmp_path / "c.json")
    assert list(choice.pruned("heads")) == [(FIRST, 0), (SECOND, 0)]
    assert (record["strategy"], record["role"]) == ("role", "local")


@pytest.mark.parametrize(
    "words, sentence",
    [
        ([], "requires --roles, and --role or --without-role"),
        (["--roles", "R"], "requires --roles, and --role or --without-role"),
        (["--roles", "R", "--role", "a", "--without-role", "a"], "--role or --without-role"),
        (["--strategy", "random", "--role", "a"], "require --strategy role"),
    ],
)
def test_flags_that_belong_together(words, sentence, capsys, tmp_path):
    words = ["--of", str(tmp_path), "--out", str(tmp_path / "c"), "--strategy", "role", *words]
    assert main(["heads", "choose", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_the_strategy_needs_a_role():
    with pytest.raises(LotteryError, match="--roles and --role"):
        STRATEGIES["role"](StrategyInput(ComponentMask(ANATOMY, {}), count=1))


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("a,b\n1,2\n", "not a table of roles"),
        ("", "not a table of roles"),
        (TOP + "m,enc_self,1,1,score,block,,1\n", "no role 'local'; choose from block"),
        (TOP + "m,enc_self,1,3,score,local,,1\n", "head 3 of layer 1 of 'enc_self'"),
        (TOP + "m,enc_dec,2,1,score,local,,1\n", "head 1 of layer 2"),
        (TOP + "m,enc_self,1,0,score,local,,1\n", "head 0 of layer 1"),
        (TOP + "m,enc_self,x,1,score,local,,1\n", "line 2"),
        (TOP + "m,enc_self,1,1,score,local,,nan\n", "line 2"),
        (TOP + "m,enc_self,1,1,score,local\n", "line 2 has another"),
        (TOP + 'm,"enc_self', "cannot be read|another number"),
    ],
)
def test_malformed_tables(tmp_path, text, sentence):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(LotteryError, match=sentence):
        load_role(tmp_path / "t.csv", "local", ANATOMY)


def test_a_missing_table(tmp_path):
    with pytest.raises(LotteryError, match="cannot be read"):
        load_role(tmp_path, "local", ANATOMY)
