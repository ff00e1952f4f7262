"""Operations of a training: against torch's counter, and totals over processes and restarts."""

import re

import live
import pytest
import torch
from analysis.encoders import marked, pair_task, roberta
from toy import train_two

from fairseq_lottery.adapters import TRANSLATION, adapter_of
from fairseq_lottery.formats import trainable
from fairseq_lottery.masks import find_score, full_mask, score_all, select, shapes_of
from fairseq_lottery.training.flop_total import FlopTotal
from fairseq_lottery.training.flops import FlopCounter, Flops

flop_counter = pytest.importorskip("torch.utils.flop_counter")
UNTIED = {"share_all_embeddings": False}


def counted_by_torch(function):
    """torch counts matrix products as they run; only its plain attention is counted on a CPU."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH), flop_counter.FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        UNTIED,
        {**UNTIED, "share_decoder_input_output_embed": True},
        {"encoder_normalize_before": True, "decoder_normalize_before": True},
    ],
)
def test_a_translation_model_takes_what_torch_counts(changes):
    model, batch = live.transformer(**changes).train(), live.sentences(5)
    expected = counted_by_torch(lambda: live.loss(model, batch)[0].backward())
    assert FlopCounter(model, TRANSLATION).count(batch, None) == Flops(expected, expected)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    texts = marked(["ab c", "a", "cab bc a b", "ba ba"]), marked(["b", "ca b", "a", "c ab ab"])
    return pair_task(tmp_path_factory.mktemp("pairs"), *texts, [["yes"], ["no"], ["yes"], ["no"]])


def test_a_masked_language_model_predicts_only_masked_tokens(pairs):
    model = roberta(pairs.source_dictionary).train()
    tokens = pairs.dataset("valid").collater([pairs.dataset("valid")[n] for n in range(4)])
    source = tokens["net_input"]["src_tokens"]
    target = torch.where(source % 3 == 0, source, torch.tensor(1))  # padding is not predicted
    chosen = target != 1
    assert 0 < chosen.sum() < chosen.numel()

    def train():
        model(src_tokens=source, masked_tokens=chosen)[0].sum().backward()

    batch = {"net_input": {"src_tokens": source}, "target": target}
    expected = counted_by_torch(train)
    assert FlopCounter(model, adapter_of("masked_lm")).count(batch, None).dense == expected


def test_a_classifier_multiplies_one_position_of_a_sentence(pairs):
    model = roberta(pairs.source_dictionary).train()
    model.register_classification_head("sentence_classification_head", num_classes=2)
    dataset = pairs.dataset("valid")
    batch = dataset.collater([dataset[n] for n in range(4)])
    name = "sentence_classification_head"

    def train():
        out = model(**batch["net_input"], features_only=True, classification_head_name=name)
        out[0].sum().backward()

    expected = counted_by_torch(train)
    counter = FlopCounter(model, adapter_of("sentence_prediction"))
    assert counter.count(batch, None).dense == expected


def mask_of(model, sparsity):
    weights = {name: p.detach() for name, p in trainable(model).items()}
    full = full_mask(shapes_of(weights))
    return select(score_all(find_score("magnitude")[0], weights), full, sparsity, "global")


def test_pruned_weights_take_no_operations():
    """One matrix at a time, by hand: 2 x kept weights x positions, three times."""
    model, batch = live.transformer(**UNTIED), live.sentences(5)
    counter = FlopCounter(model, TRANSLATION)
    mask = mask_of(model, 0.7)
    full = counter.count(batch, None)
    sparse = counter.count(batch, mask)
    assert sparse.dense == full.dense
    saved = 0
    source, target = batch["net_input"]["src_tokens"], batch["net_input"]["prev_output_tokens"]
    for name in mask:
        if "embed_tokens" in name:
            continue
        from_encoder = name.startswith("encoder.") or "encoder_attn.k_proj" in name
        from_encoder = from_encoder or "encoder_attn.v_proj" in name
        positions = source.numel() if from_encoder else target.numel()
        saved += 2 * mask.pruned_in(name) * positions
    assert full.sparse - sparse.sparse == 3 * saved > 0
    # the gradient of pruned weights is one of the three products
    assert full.sparse - counter.count(batch, mask, dense_gradients=True).sparse == 2 * saved
    assert counter.count(batch, None) == full  # the mask is not remembered


def test_totals_add_the_outputs_of_all_processes():
    model, batch = live.transformer(), live.sentences(4)
    total = FlopTotal(model, TRANSLATION, None)
    once = FlopCounter(model, TRANSLATION).count(batch, None).dense
    outputs = [{"loss": 1, **total.logged(batch, None, False)} for _ in range(2)]
    outputs.append({"loss": 2, **total.logged(None, None, False)})  # a dummy batch
    assert total.add(outputs) == [{"loss": 1}, {"loss": 1}, {"loss": 2}]
    assert total.add([{"loss": 3}]) == [{"loss": 3}]  # of a validation
    assert total.state() == {"flops": {"dense": 2 * once, "sparse": 2 * once}}
    resumed = FlopTotal(model, TRANSLATION, total.state())
    resumed.add([total.logged({"main:a-b": batch, "main:b-a": batch}, None, False)])
    assert resumed.total == Flops(4 * once, 4 * once)


def test_a_run_that_was_not_counted_from_the_start_has_no_total():
    model, batch = live.transformer(), live.sentences(4)
    total = FlopTotal(model, TRANSLATION, {})
    total.add([total.logged(batch, None, False)])
    assert total.state() == {}


def count_with_torch():
    """Print what torch has counted in the updates of this process."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from fairseq_lottery.training.task_mixin import LotteryTask

    step, total = LotteryTask.train_step, [0]

    def counted(self, *args, **kwargs):
        with sdpa_kernel(SDPBackend.MATH), flop_counter.FlopCounterMode(display=False) as counter:
            results = step(self, *args, **kwargs)
        total[0] += counter.get_total_flops()
        print(f"torch counted {total[0]}", flush=True)
        return results

    LotteryTask.train_step = counted


def counted_in(done):
    return int(re.findall(r"torch counted (\d+)", done.out)[-1])


def stored(toy, run):
    return Flops(**toy.load(run, "checkpoint_last.pt")["task_state"]["lottery"]["flops"])


@pytest.mark.slow
def test_a_training_stores_what_torch_counts_over_processes_and_batches(toy):
    flags = ("--update-freq", 2, "--max-tokens", 120)
    done = toy.train("one", *flags, updates=4, prelude=count_with_torch).ok()
    assert stored(toy, "one") == Flops(counted_in(done), counted_in(done))
    ranks = [one.ok() for one in train_two(toy, "two", *flags, updates=4, prelude=count_with_torch)]
    both = sum(map(counted_in, ranks))
    assert stored(toy, "two") == Flops(both, both)
    assert both > counted_in(done)


@pytest.mark.slow
def test_a_mask_saves_operations_from_its_update_on(toy):
    """The first three of six updates are dense, then half of each matrix is pruned."""
    flags = ("--prune-to", 0.5, "--prune-schedule", "one-shot")
    flags += ("--prune-start", 3, "--prune-end", 3)
    toy.train("dense", *flags, updates=3).ok()
    toy.train("pruned", *flags, updates=6).ok()
    dense, pruned = stored(toy, "dense"), stored(toy, "pruned")
    assert dense.sparse == dense.dense  # pruned after the third update
    later = Flops(pruned.dense - dense.dense, pruned.sparse - dense.sparse)
    assert 0.5 < later.sparse / later.dense < 0.6  # attention products are not pruned
