"""Configurations made of argparse flags: their values are those of fairseq's own parser."""

from argparse import ArgumentParser

import pytest

pytest.importorskip("fairseq")

from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from omegaconf import OmegaConf

import fairseq_lottery.plugin  # noqa: F401 - it registers our tasks
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.inference.flag_config import arguments_of, flags_of
from fairseq_lottery.inference.lottery_config import LotteryConfig

MULTI = "translation_multi_simple_epoch"
BART = "translation_from_pretrained_bart"


def parsed_by_fairseq(task, words):
    parser = ArgumentParser(allow_abbrev=False)
    TASK_REGISTRY[task].add_args(parser)
    return vars(parser.parse_args(words))


def configuration(task, words):
    """The section of our task, as a command line fills it."""
    parser = ArgumentParser(allow_abbrev=False)
    TASK_REGISTRY[f"{task}_lottery"].add_args(parser)
    cfg = OmegaConf.structured(TASK_DATACLASS_REGISTRY[f"{task}_lottery"])
    for name, value in vars(parser.parse_args(words)).items():
        cfg[name] = value
    return cfg


def values(task, words, **common):
    return vars(arguments_of(configuration(task, words), TASK_REGISTRY[task], common))


LINES = [
    "bin",
    "bin:more -s en -t de --lang-pairs en-de --langs en,de --sampling-method temperature"
    " --sampling-temperature 5 --virtual-epoch-size 100 --left-pad-source False",
    "bin --encoder-langtok src --decoder-langtok --lang-tok-style mbart --langtoks-specs main,dae"
    " --upsample-primary 2 --max-source-positions 9 --enable-lang-ids",
    "bin --langtoks {'main':('src','tgt'),'mined':(None,'tgt')} --extra-data {'mined':'x'}"
    " --extra-lang-pairs {'mined':'en-de'} --sampling-weights {'main:en-de':0.5}",
]


@pytest.mark.parametrize("line", LINES)
def test_the_multilingual_task_reads_the_values_of_its_own_parser(line):
    found = values(MULTI, line.split(), seed=7)
    assert found.pop("seed") == 7
    assert found == parsed_by_fairseq(MULTI, line.split())


def test_a_flag_may_name_a_file(tmp_path):
    (tmp_path / "pairs").write_text("en-de,en-fr\n")
    words = ["bin", "--lang-pairs", str(tmp_path / "pairs")]
    cfg = configuration(MULTI, words)
    found = vars(arguments_of(cfg, TASK_REGISTRY[MULTI], {}))
    assert found == parsed_by_fairseq(MULTI, words) and found["lang_pairs"] == "en-de,en-fr"
    assert cfg.lang_pairs == "en-de,en-fr", "a checkpoint stores the pairs, not the file"


def test_settings_of_hydra_may_be_mappings():
    cfg = configuration(MULTI, ["bin"])
    cfg.langtoks = {"main": ["src", "tgt"]}
    found = arguments_of(cfg, TASK_REGISTRY[MULTI], {}).langtoks
    assert found == {"main": ["src", "tgt"]} and type(found) is dict


@pytest.mark.parametrize("text", ["__import__('os').getcwd()", "{", "main", "f''", "1" * 10_000])
def test_values_are_never_evaluated(text):
    """fairseq's own parser evaluates them as Python."""
    with pytest.raises(LotteryError, match="--langtoks .* is not a literal of Python; give a dict"):
        values(MULTI, ["bin", "--langtoks", text])


@pytest.mark.parametrize("task", [MULTI, BART])
def test_each_flag_has_fairseqs_help_choices_and_default(task):
    parser = ArgumentParser(allow_abbrev=False)
    gen_parser_from_dataclass(parser, TASK_DATACLASS_REGISTRY[f"{task}_lottery"]())
    ours = {flag.dest: flag for flag in parser._actions}
    for flag in flags_of(TASK_REGISTRY[task]):
        own = ours[flag.dest]
        assert set(own.option_strings) == set(flag.option_strings)
        assert (own.help, own.default) == (flag.help, flag.default)
        assert list(own.choices or ()) == list(flag.choices or ())
    lottery = set(LotteryConfig.__dataclass_fields__)
    assert set(ours) - {flag.dest for flag in flags_of(TASK_REGISTRY[task])} <= {*lottery, "help"}


def test_an_unknown_choice_is_refused(capsys):
    with pytest.raises(SystemExit):
        configuration(MULTI, ["bin", "--sampling-method", "x"])
    assert "invalid choice: 'x'" in capsys.readouterr().err
