"""Forks compose the configuration that fairseq and hydra compose."""

import pytest

pytest.importorskip("fairseq")

import toy
from fairseq import options
from fairseq.dataclass import utils
from omegaconf import OmegaConf


def composed(number, more):
    parser, words = list(toy.command_lines())[number]
    words = [*words, *more]
    parsed = options.parse_args_and_arch(parser, [str(word) for word in words])
    cfg = utils.convert_namespace_to_omegaconf(parsed)
    return OmegaConf.to_container(cfg, resolve=False), OmegaConf.is_struct(cfg)


@pytest.fixture
def calls_of_hydra(monkeypatch):
    """What quick_compose asks hydra itself to compose: names of groups, and overrides."""
    toy.warm_up()
    calls = []
    by_hydra = utils.compose.by_hydra

    def counted(name, overrides, strict):
        calls.append(overrides)
        return by_hydra(name, overrides=overrides, strict=strict)

    monkeypatch.setattr(utils.compose, "by_hydra", counted)
    return calls


@pytest.mark.parametrize("number", range(4))
def test_it_is_hydras_own(monkeypatch, calls_of_hydra, number):
    more = ("--fp16", "--seed", 5, "--user-dir", toy.PACKAGE)
    quick = composed(number, more)
    assert calls_of_hydra == []
    monkeypatch.setattr(utils, "compose", utils.compose.by_hydra)
    assert repr(quick) == repr(composed(number, more))
    assert len(calls_of_hydra) == 1


def test_an_error_is_hydras_own(calls_of_hydra):
    parser, words = next(toy.command_lines())
    parsed = options.parse_args_and_arch(parser, [str(word) for word in words])
    overrides, _ = utils.override_module_args(parsed)
    messages = []
    for compose in (utils.compose, utils.compose.by_hydra):
        with utils.initialize(config_path="."), pytest.raises(Exception) as raised:
            compose("config", overrides=[*overrides, "task.nothing=3"], strict=False)
        messages.append((type(raised.value), str(raised.value)))
    assert messages[0] == messages[1]
    assert len(calls_of_hydra) == 2
