"""fairseq's generator beside a faster one, and the comparison of all their hypotheses."""

import copy
import math

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from random_transformers import Task, batches

from fairseq_lottery.decoding import accelerate
from fairseq_lottery.decoding.accelerated_generator import (
    AcceleratedGenerator,
    accelerate_generator,
)
from fairseq_lottery.decoding.fused_decoder import FusedDecoder
from fairseq_lottery.inference.beam_search import _BeamSearchWithSlack

EOS, UNK, PAD = 2, 3, 1


def generators(models, kind=SequenceGenerator, decoder="compiled", **options):
    """fairseq's generator, and a faster one with copies of the models."""
    options = {"beam_size": 5, "max_len_b": 12, **options}
    plain = kind(models, Task.target_dictionary, **options)
    copies = copy.deepcopy(models)
    fast = kind(copies, Task.target_dictionary, **options)
    if decoder == "compiled":
        accelerate(fast, copies)  # on a CPU
    else:
        accelerate_generator(fast, FusedDecoder)
    return plain, fast


def translate(generator, sample, **inputs):
    return generator.generate(generator.model.models, sample, **inputs)


def sample_of(tokens, lengths):
    return {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}


#: scores of two hypotheses that differ by less may change places
TIE = 1e-4
#: error of a log-probability at temperature 1
ROUNDING = 2e-6


def assert_same(ours, theirs):
    """Compare lists of hypotheses, best first."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        scores = [float(h["score"]) for h in other]
        assert [float(h["score"]) for h in one] == pytest.approx(scores, rel=1e-5, abs=1e-4)
        for place, (a, b) in enumerate(zip(one, other)):
            assert a.keys() == b.keys()
            ties = [s for i, s in enumerate(scores) if i != place and abs(scores[place] - s) < TIE]
            if ties or scores[place] == -math.inf:
                continue
            assert a["tokens"].tolist() == b["tokens"].tolist()
            for key in ("positional_scores", "attention"):
                assert a[key].dtype == b[key].dtype and a[key].shape == b[key].shape
                assert torch.allclose(a[key], b[key], rtol=1e-5, atol=1e-4), key
    same = [a["tokens"].equal(b["tokens"]) for x, y in zip(ours, theirs) for a, b in zip(x, y)]
    assert sum(same) >= 0.9 * len(same)


def compare(models, count=60, size=20, left_pad=True, least=0.8, device="cpu", **options):
    """Compare all hypotheses, and return those of the faster search.

    Sentences in which rounding may decide are not compared.
    """
    plain, fast = generators(models, **options)
    assert isinstance(fast, AcceleratedGenerator)
    rounding = ROUNDING / plain.temperature
    hypotheses, compared = [], 0
    for tokens, lengths in batches(count, size, left_pad):
        sample = sample_of(tokens.to(device), lengths.to(device))
        ours = translate(fast, sample)
        words, where = Task.target_dictionary, torch.device(device)
        plain.search = _BeamSearchWithSlack(words, plain.eos, size, False, where)
        theirs = translate(plain, sample)
        clear = [n for n in range(size) if plain.search.slack[n] > rounding]
        assert_same([ours[n] for n in clear], [theirs[n] for n in clear])
        hypotheses += ours
        compared += len(clear)
    assert compared >= least * count
    return hypotheses
