import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small import (
    DICTIONARIES,
    EMBEDDING,
    MATRICES,
    PRUNABLE,
    SHAPES,
    SYMBOLS,
    Run,
    full_mask,
    pair_of,
    save_checkpoint,
    save_snapshot_of,
    weights,
)

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import load_ticket, read_source, save_ticket
from fairseq_lottery.formats.gradients import save_gradients
from fairseq_lottery.formats.ticket_record import signature
from fairseq_lottery.masks import Mask, count_to_prune, select
from fairseq_lottery.masks.streams import torch_seed
from fairseq_lottery.tickets import DrawPlan, draw

FC1 = "encoder.layers.0.fc1.weight"


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.fixture
def save(tmp_path):
    """Writes a ticket and returns its path."""

    def written(ticket, name="ticket"):
        save_ticket(tmp_path / f"{name}.safetensors", ticket)
        return str(tmp_path / f"{name}.safetensors")

    return written


def test_a_stabilized_ticket(run):
    """The smallest half of every trained matrix goes, the rest goes back to update 5."""
    ticket = run.draw()
    assert (ticket.mask.pruned, ticket.mask.prunable, len(ticket.mask)) == (310, 620, MATRICES)
    for name, keep in ticket.mask.items():
        prunable = run.trained[name].abs().clone()
        if name == EMBEDDING:
            prunable[1] = 1e9
        half = ticket.mask.size(name) // 2
        threshold = prunable.reshape(-1).sort().values[half - 1]
        assert torch.equal(keep, prunable > threshold)
    for name, value in ticket.values.items():
        expected = run.early[name] * ticket.mask[name] if name in ticket.mask else run.early[name]
        assert torch.equal(value, expected), name
    assert ticket.dictionaries == DICTIONARIES and ticket.moments == {}
    assert (ticket.first_update, ticket.record["update"]) == (0, 5)


@pytest.mark.parametrize("reset", ["rewind", "sign", "keep", "random-sign", "shuffle"])
def test_a_ticket_is_of_values_however_they_lie_in_memory(run, save, reset):
    """torch.save keeps strides: of a transposed matrix, or of a model in channels_last."""
    plain = save(run.draw(reset=reset), "plain")
    turned = {n: w.t().contiguous().t() if w.dim() == 2 else w for n, w in run.trained.items()}
    assert not turned[FC1].is_contiguous()
    run.last = save_checkpoint(run.folder / "last.pt", turned)
    other = save(run.draw(mask_from=run.last, reset=reset), "other")
    a, b = load_ticket(plain), load_ticket(other)
    assert a.mask == b.mask and a.values.keys() == b.values.keys()
    assert all(torch.equal(a.values[name], b.values[name]) for name in a.values)


def test_the_record_says_everything_in_plain_json(run):
    record = run.draw(sparsity=0.9, scope="global", min_density=0.05, reset="sign", seed=7).record
    assert json.loads(json.dumps(record)) == record
    expected = {
        "score": "magnitude", "scope": "global", "floor": 0.05, "asked": 0.9, "pruned": 558,
        "sparsity": 0.9, "denominator": PRUNABLE, "prunable": "all-matrices", "keep_dense": None,
        "reset": "sign", "alpha": "glorot", "clock": "restart", "moments": "fresh",
        "moment_numbers": {}, "update": 5, "values_update": 5, "seed": 7, "masters": True,
        "architecture": {"arch": "transformer", "encoder_layers": 2},
        "dictionaries": DICTIONARIES.digests(),
        "sources": {
            "mask_from": {"digest": read_source(run.last).digest(), "update": 20},
            "start_from": {"digest": read_source(run.snapshot_5).digest(), "update": 5},
        },
    }  # fmt: skip
    assert {key: record[key] for key in expected} == expected
    assert set(record) - set(expected) == {"score_source", "signature", "versions"}
    assert record["signature"] == (
        "score:magnitude|scope:global-floor0.05|sparsity:0.9000|of:620:all-matrices"
        "|reset:sign-glorot@5|clock:restart|moments:fresh|seed:7|version:0.1.0"
    )


def test_tickets_of_other_rounds_have_other_signatures(run):
    record = {**run.draw().record, "score": "synflow"}
    without = signature(record)
    assert signature({**record, "score_rounds": None}) == without
    rounds = {signature({**record, "score_rounds": number}) for number in (1, 100)}
    assert rounds == {
        without.replace("score:synflow|", f"score:synflow|rounds:{number}|") for number in (1, 100)
    }
    assert without not in rounds


def test_a_pattern_is_drawn_once_more_from_its_own_run_and_not_from_another(run, tmp_path):
    """A run under 2:4 has nothing left to prune for 2:4; one under 50 % a matrix has no room."""
    plan = {"scope": "2:4", "sparsity": None, "keep_dense": "fc2"}
    ticket = run.draw(**plan)
    trained = {n: w * ticket.mask[n] if n in ticket.mask else w for n, w in weights(9).items()}
    path = save_checkpoint(tmp_path / "pattern.pt", trained, mask=ticket.mask)
    assert run.draw(**plan, mask_from=path).mask == ticket.mask
    assert run.draw(**{**plan, "scope": "1:4"}, mask_from=path).mask.is_subset_of(ticket.mask)
    other = run.draw(keep_dense="fc2").mask
    trained = {n: w * other[n] if n in other else w for n, w in run.trained.items()}
    path = save_checkpoint(tmp_path / "other.pt", trained, mask=other)
    with pytest.raises(LotteryError, match="of 4 consecutive weights pruned already, but --scope"):
        run.draw(**plan, mask_from=path)


def test_the_same_plan_gives_the_same_bytes(run, save, tmp_path):
    torch.manual_seed(1)
    np.random.seed(1)
    plan = {"score": "random", "reset": "shuffle", "update_counter": "rewind"}
    first = save(run.draw(**plan), "first")
    torch.manual_seed(2)
    np.random.seed(2)
    # elsewhere, under other names: only contents count
    (tmp_path / "elsewhere").mkdir()
    moved = [shutil.copy(path, tmp_path / "elsewhere") for path in (run.last, run.snapshot_5)]
    second = save(run.draw(mask_from=moved[0], start_from=moved[1], **plan), "second")
    with open(first, "rb") as one, open(second, "rb") as two:
        assert one.read() == two.read()
    assert run.draw(**plan, seed=2).mask != run.draw(**plan).mask


def test_a_random_mask_is_the_same_on_every_stack(run):
    mask = run.draw(score="random", sparsity=0.8).mask
    assert mask.digest() == "a6c70bf14a17f9d3229af0f5ed3db4420ebc0328ffc7129d4de68c231310b498"
    assert run.draw(score="random", sparsity=0.9).mask.is_subset_of(mask), "with one seed"


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_rounds_nest(run, tmp_path, scope):
    """Each round trains from the last ticket, and its survivors are the only candidates."""
    before, path = None, run.last
    for seed, sparsity in enumerate((0.5, 0.8, 0.9, 0.95)):
        ticket = run.draw(mask_from=path, sparsity=sparsity, scope=scope)
        if scope == "global":
            assert ticket.mask.pruned == count_to_prune(sparsity, PRUNABLE)
        if before is not None:
            assert ticket.mask.is_subset_of(before) and ticket.mask != before
        before = ticket.mask
        trained = {n: w * before[n] if n in before else w for n, w in weights(10 + seed).items()}
        path = save_checkpoint(tmp_path / f"round{seed}.pt", trained, mask=before)
    with pytest.raises(LotteryError, match="exceeds the .* masks only shrink"):
        run.draw(mask_from=path, sparsity=0.9, scope=scope)


@pytest.mark.parametrize("score", ["distance", "magnitude-increase"])
def test_a_score_against_the_start(run, score):
    moved = {
        "distance": lambda w, s: (w - s).abs(),
        "magnitude-increase": lambda w, s: w.abs() - s.abs(),
    }[score]
    scores = {name: moved(run.trained[name], run.early[name]) for name in full_mask()}
    assert run.draw(score=score).mask == select(scores, full_mask(), 0.5)
    with pytest.raises(LotteryError, match="this score requires start values; give --start-from"):
        run.draw(score=score, start_from=None)


def test_keep_takes_the_trained_survivors_and_the_counter_of_the_start(run):
    ticket = run.draw(reset="keep", update_counter="rewind")
    assert torch.equal(ticket.values[FC1], run.trained[FC1] * ticket.mask[FC1])
    assert (ticket.first_update, ticket.record["update"]) == (5, 5)
    assert ticket.record["signature"].split("|")[4:6] == ["reset:keep@20", "clock:rewind@5"]


def test_a_rewinding_counter_needs_an_update(run, tmp_path):
    start = save_snapshot_of(tmp_path / "unknown.safetensors", run.early, update=None)
    assert run.draw(start_from=start).first_update == 0
    with pytest.raises(LotteryError, match="has no update number, .* --update-counter"):
        run.draw(start_from=start, update_counter="rewind")


def test_without_a_start_survivors_begin_where_they_were_ranked(run):
    ticket = run.draw(start_from=None)
    assert torch.equal(ticket.values[FC1], run.trained[FC1] * ticket.mask[FC1])
    assert ticket.record["update"] == 20


def test_random_asks_for_fresh_weights_of_the_ranked_model(run):
    asked = []

    def initialise(source, seed):
        asked.append((source.path, seed))
        return weights(seed)

    ticket = run.draw(initialise, reset="random", seed=7)
    seed = torch_seed("random|7")
    assert asked == [(run.last, seed)]
    assert torch.equal(ticket.values[FC1], weights(seed)[FC1] * ticket.mask[FC1])
    with pytest.raises(LotteryError, match="--reset random requires fairseq"):
        run.draw(reset="random")
    with pytest.raises(LotteryError, match=f"{EMBEDDING} has shape .* in the reset and"):
        run.draw(lambda source, seed: {**weights(), EMBEDDING: torch.ones(1, 1)}, reset="random")


@pytest.mark.parametrize("reset", ["sign", "random-sign", "shuffle", "shuffle-layers", "keep"])
def test_after_every_reset_exactly_the_mask_is_zero(run, reset):
    ticket = run.draw(reset=reset)
    for name, keep in ticket.mask.items():
        rows = [i for i in range(len(keep)) if (name, i) != (EMBEDDING, 1)]
        assert torch.equal(ticket.values[name][rows] != 0, keep[rows])
    assert not ticket.values[EMBEDDING][1].any(), "the padding row"


def test_noise_scale_goes_with_its_reset_and_into_the_record(run):
    ticket = run.draw(reset="noise", noise_scale=0.5)
    plain = run.draw()
    assert ticket.record["noise_scale"] == 0.5 and "noise_scale" not in plain.record
    assert "|reset:noise-0.5@5|" in ticket.record["signature"]
    assert torch.equal(ticket.mask[FC1], plain.mask[FC1])
    assert not torch.equal(ticket.values[FC1], plain.values[FC1])
    for plan, sentence in (
        ({"reset": "noise"}, "--reset noise requires --noise-scale"),
        ({"noise_scale": 0.1}, "--noise-scale requires --reset noise, not rewind"),
        ({"reset": "noise", "noise_scale": 0.0}, "--noise-scale 0 is not a positive number"),
        ({"reset": "noise", "noise_scale": math.nan}, "--noise-scale nan is not a positive"),
    ):
        with pytest.raises(LotteryError, match=sentence):
            run.draw(**plan)


# --- what cannot be drawn ------------------------------------------------------------------


@pytest.fixture
def pruned(run, tmp_path):
    """A snapshot of update 5 of a run under another, random mask."""
    mask = run.draw(score="random").mask
    values = {n: w * mask[n] if n in mask else w for n, w in run.early.items()}
    return save_snapshot_of(tmp_path / "pruned.safetensors", values, 5, mask)


def test_a_start_that_is_pruned_where_the_mask_keeps_is_refused(run, pruned):
    for plan in ({}, {"reset": "sign"}, {"reset": "shuffle"}):
        with pytest.raises(LotteryError, match="is pruned where the mask keeps weights"):
            run.draw(start_from=pruned, **plan)
    # its values are not used, or all there
    assert run.draw(start_from=pruned, reset="keep").mask.pruned == 310
    assert run.draw(start_from=pruned, score="random", sparsity=0.8).mask.pruned > 310


def test_a_matrix_that_only_one_mask_names_is_dense_under_the_other(run, tmp_path):
    """The two masks prune the same of the FFN; one of them prunes the rest as well."""
    saved = {}
    for prunable in ("all-matrices", "ffn"):
        ticket = run.draw(prunable=prunable)
        path = tmp_path / f"{prunable}.safetensors"
        saved[prunable] = save_snapshot_of(path, ticket.values, 5, ticket.mask)
    assert run.draw(start_from=saved["ffn"]).mask.pruned == 310
    with pytest.raises(LotteryError, match="is pruned where the mask keeps weights"):
        run.draw(start_from=saved["all-matrices"], prunable="ffn")


def test_layers_of_a_pruned_start_are_not_shuffled(run, pruned, tmp_path):
    with pytest.raises(LotteryError, match="--reset shuffle-layers requires dense"):
        run.draw(start_from=pruned, score="random", sparsity=0.8, reset="shuffle-layers")
    # a run that prunes during training begins with a mask that keeps everything
    dense = save_snapshot_of(tmp_path / "mp.safetensors", run.early, 5, full_mask())
    assert run.draw(start_from=dense, reset="shuffle-layers").mask.pruned == 310


def test_keeping_weights_that_are_pruned_is_refused(run, pruned, save):
    mask_file = save(run.draw())
    with pytest.raises(LotteryError, match="--mask-from .* is pruned where the mask keeps weights"):
        run.draw(mask_from=pruned, mask_file=mask_file, sparsity=None, reset="keep")


def test_a_source_of_another_architecture_is_refused_by_its_first_difference(run, tmp_path):
    fewer = {n: w for n, w in weights().items() if not n.startswith("decoder.layers.1.")}
    start = save_snapshot_of(tmp_path / "small.safetensors", fewer)
    with pytest.raises(
        LotteryError, match="small.* has 1 decoder layers, but .*last.pt has 2; use"
    ):
        run.draw(start_from=start)
    unbiased = {n: w for n, w in weights().items() if not n.endswith("1.encoder_attn.k_proj.bias")}
    start = save_snapshot_of(tmp_path / "unbiased.safetensors", unbiased)
    with pytest.raises(LotteryError, match="decoder.layers.1.encoder_attn.k_proj.bias"):
        run.draw(start_from=start)


def test_dictionaries_must_be_known_and_equal(run, tmp_path):
    plain = save_checkpoint(tmp_path / "plain.pt", run.trained, task_state={})
    with pytest.raises(LotteryError, match="the dictionaries of .*plain.pt are not known"):
        run.draw(mask_from=plain)
    assert run.draw(start_from=plain).dictionaries == DICTIONARIES
    other = pair_of(SYMBOLS, (*SYMBOLS[:-1], "z"))
    lottery = {"lottery": {"dictionaries": other.to_tensors()}}
    other = save_checkpoint(tmp_path / "other.pt", run.trained, task_state=lottery)
    with pytest.raises(LotteryError, match="the target dictionary .* symbol 7 is 'z'"):
        run.draw(start_from=other)


def test_the_prunable_set_of_a_pruned_source_cannot_change(run, pruned):
    with pytest.raises(LotteryError, match="--prunable ffn selects 8 .* has 33"):
        run.draw(mask_from=pruned, start_from=None, prunable="ffn", sparsity=0.9)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"reset": "none"}, "there is no reset 'none'; choose one of rewind, sign, keep, random,"),
        ({"alpha": "one"}, "there is no alpha 'one'; choose one of glorot, std, mean"),
        ({"update_counter": "stop"}, "no update counter 'stop'; choose one of restart, rewind"),
        ({"moments": "some"}, "there is no moments 'some'; choose one of fresh, keep"),
        ({"sparsity": None}, "give --sparsity, --mask-file"),
        ({"sparsity": 1.5}, r"--sparsity 1.5 is outside \[0, 1\); 0.9 prunes 90 %"),
        ({"mask_file": "m"}, "--mask-file excludes --sparsity"),
        ({"score_file": "s", "score": "random"}, "--score-file excludes --score random"),
        (
            {"score": "synflow", "scope": "2:4"},
            "--score synflow prunes in 100 rounds, but --scope 2:4 has one sparsity only; set"
            " --score-rounds 1, or choose another scope",
        ),
        ({"score": "snip", "scope": "2:4", "score_rounds": 4}, "--score snip prunes in 4 rounds,"),
        ({"score": "force", "scope": "2:4"}, "one sparsity only; choose another scope"),
    ],
)
def test_plans_that_make_no_sense_are_refused(changes, sentence):
    with pytest.raises(LotteryError, match=sentence):
        DrawPlan(**{"mask_from": "a", "sparsity": 0.5, **changes})


# --- masks, scores and gradients from files -----------------------------------------------


def test_a_mask_is_taken_from_a_file_as_it_is(run, save, tmp_path):
    drawn = run.draw(prunable="ffn", sparsity=0.75)
    ticket = run.draw(mask_file=save(drawn), sparsity=None, start_from=run.snapshot_0)
    assert ticket.mask == drawn.mask and ticket.mask.prunable == 8 * 24
    assert torch.equal(ticket.values[FC1], run.initial[FC1] * drawn.mask[FC1])
    record = ticket.record
    # a ticket says how its mask was made
    assert (record["score"], record["asked"], record["pruned"]) == ("magnitude", None, 144)
    assert record["score_source"] == drawn.mask.digest()
    assert "of:192:ffn|reset:rewind@0" in record["signature"]
    # of closed parts these alone would not tell; a record that says nothing fails nowhere
    for changes in ({"parts": {"closed": {"heads": [1, 12]}, "weights": 0}},
                    dict.fromkeys(("score", "scope", "prunable"))):  # fmt: skip
        other = replace(drawn, record={**drawn.record, **changes})
        save_ticket(tmp_path / "other.safetensors", other, overwrite=True)
        found = run.draw(mask_file=str(tmp_path / "other.safetensors"), sparsity=None)
        assert found.record["signature"].startswith("score:mask-file|scope:mask-file|")
    trained = save_checkpoint(tmp_path / "mp.pt", drawn.values, mask=drawn.mask)
    again = run.draw(mask_file=trained, sparsity=None)
    assert again.mask == drawn.mask and again.record["score"] == "mask-file"
    assert "of:192:mask-file" in again.record["signature"], "not the set of a flag that is unused"


def test_a_mask_file_without_a_mask_or_for_another_model_is_refused(run, tmp_path):
    with pytest.raises(LotteryError, match="snapshot_0.safetensors is dense"):
        run.draw(mask_file=run.snapshot_0, sparsity=None)
    other = {**weights(), "encoder.layers.2.fc1.weight": torch.ones(6, 4)}
    mask = Mask.full({"encoder.layers.2.fc1.weight": (6, 4)})
    path = save_snapshot_of(tmp_path / "other.safetensors", other, mask=mask)
    with pytest.raises(
        LotteryError, match="the mask prunes encoder.layers.2.fc1.weight, which the"
    ):
        run.draw(mask_file=path, sparsity=None)


def test_scores_from_a_file(run, tmp_path):
    path = str(tmp_path / "scores.safetensors")
    scores = {name: -run.trained[name].abs() for name in full_mask()}
    save_file({**scores, "more": torch.ones(1)}, path)
    ticket = run.draw(score_file=path)
    assert ticket.mask == select(scores, full_mask(), 0.5)
    assert ticket.record["score"] == "score-file" and len(ticket.record["score_source"]) == 64
    save_file({name: s for name, s in scores.items() if name != FC1}, path)
    with pytest.raises(LotteryError, match=f"there are no scores for {FC1}"):
        run.draw(score_file=path)
    save_file({**scores, FC1: torch.ones(4, 6)}, path)
    with pytest.raises(
        LotteryError, match=rf"the scores of {FC1} have shape \(4, 6\), expected \(6, 4\)"
    ):
        run.draw(score_file=path)


#: as many different scores as there are weights, the largest first, which all have to stay
DESCENDING = torch.arange(24, 0, -1).reshape(6, 4)


@pytest.mark.parametrize(
    "scores, dtype",
    [
        (1 - DESCENDING.double() * 1e-9, "float64"),
        (DESCENDING + 2**40, "int64"),
        ((-DESCENDING - 2**24).int(), "int32"),
        (torch.full((6, 4), 2**63 - 1), "int64"),
        (DESCENDING.double() * 1e300, "float64"),
    ],
)
def test_scores_that_would_tie_in_single_precision_are_refused(run, tmp_path, scores, dtype):
    """They are compared so, and the first of what ties would be pruned, whatever its score."""
    path = str(tmp_path / "s.safetensors")
    save_file({**{n: -w.abs() for n, w in run.trained.items()}, FC1: scores}, path)
    said = f"s.safetensors: {dtype} scores of {FC1} are not exact in float32"
    with pytest.raises(LotteryError, match=said):
        run.draw(score_file=path)


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "uint8"]
)
def test_scores_of_any_type_that_single_precision_holds(run, tmp_path, dtype):
    path = str(tmp_path / "s.safetensors")
    scores = {name: w.abs() for name, w in run.trained.items()}
    save_file({**scores, FC1: DESCENDING.to(getattr(torch, dtype))}, path)
    keep = run.draw(score_file=path).mask[FC1]
    assert torch.equal(keep, DESCENDING > 12)


def test_scores_that_are_not_finite_are_called_so(run, tmp_path):
    path = str(tmp_path / "s.safetensors")
    for bad in (float("nan"), float("inf")):
        scores = DESCENDING.double()
        scores[0, 0] = bad
        save_file({**run.trained, FC1: scores}, path)
        with pytest.raises(LotteryError, match=f"the scores of {FC1} are not all finite"):
            run.draw(score_file=path)


@pytest.mark.parametrize("flag", ["score_file", "gradients"])
def test_what_the_header_of_a_file_of_tensors_says_twice_or_oddly(run, tmp_path, flag):
    path = tmp_path / "s.safetensors"
    save_file({**run.trained, FC1: run.trained[FC1].to(torch.complex64)}, path)
    plan = {flag: str(path), "score": "magnitude" if flag == "score_file" else "snip"}
    with pytest.raises(LotteryError, match=f"not a readable safetensors file .{FC1} has type C"):
        run.draw(**plan)
    save_file(run.trained, path, metadata={"made": "elsewhere"})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    other = "encoder.layers.1.fc1.weight"  # of the same shape: either could be meant
    twice = json.dumps({FC1: header[other]})[:-1] + ", " + json.dumps(header)[1:]
    path.write_bytes(len(twice).to_bytes(8, "little") + twice.encode() + content[8 + length :])
    with pytest.raises(LotteryError, match=f"'{FC1}' is given twice"):
        run.draw(**plan)
    path.write_bytes((2).to_bytes(8, "little") + b"[]" + content[8 + length :])
    with pytest.raises(LotteryError, match="is not a readable safetensors"):
        run.draw(**plan)


@pytest.mark.parametrize("flag", ["score_file", "gradients"])
def test_an_unreadable_file_of_tensors_is_refused(run, tmp_path, flag):
    bad = tmp_path / "bad.safetensors"
    plan = {flag: str(bad), "score": "magnitude" if flag == "score_file" else "snip"}
    for write in (lambda: None, lambda: bad.write_bytes(b""), lambda: bad.write_text("x" * 99)):
        write()
        with pytest.raises(LotteryError, match="bad.safetensors is not a"):
            run.draw(**plan)


def test_gradients_from_a_file(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "saliency_of_test_draw.py").write_text(
        "from fairseq_lottery.masks import needs\n\n\n"
        "@needs('gradient')\n"
        "def saliency(given):\n"
        "    return (given.trained * given.gradient).abs()\n"
    )
    score = "saliency_of_test_draw:saliency"
    path = str(tmp_path / "gradients.safetensors")
    gradients = {name: run.initial[name] for name in full_mask()}
    save_file(gradients, path)
    ticket = run.draw(score=score, gradients=path)
    scores = {name: (run.trained[name] * gradients[name]).abs() for name in gradients}
    assert ticket.mask == select(scores, full_mask(), 0.5)
    assert ticket.record["score"] == score
    with pytest.raises(LotteryError, match="requires gradient values; write .* give --gradients"):
        run.draw(score=score)
    save_file({name: g for name, g in gradients.items() if name != FC1}, path)
    with pytest.raises(LotteryError, match=f"there are no gradient values for {FC1}"):
        run.draw(score=score, gradients=path)


@pytest.mark.parametrize(
    "plan, sentence",
    [
        ({"score": "synflow"}, "--score synflow does not read --gradients; leave --gradients out"),
        ({"score": "magnitude"}, "--score magnitude does not read --gradients"),
        ({"score_file": "scores"}, "--score-file does not read --gradients"),
        ({"mask_file": "mask", "sparsity": None}, "--mask-file does not read --gradients"),
    ],
)
def test_gradients_that_nothing_reads_are_refused(run, save, tmp_path, plan, sentence):
    path = str(tmp_path / "gradients.safetensors")
    save_file(run.initial, path)
    files = {"score_file": path, "mask_file": save(run.draw())}
    plan = {name: files.get(name, value) for name, value in plan.items()}
    with pytest.raises(LotteryError, match=sentence):
        run.draw(gradients=path, **plan)


def test_gradients_are_not_scores(run, save, tmp_path):
    path = str(tmp_path / "gradients.safetensors")
    record = {"statistic": "gradient", "weights": "abc"}
    save_gradients(path, {name: run.initial[name] for name in full_mask()}, record)
    for other in (path, save(run.draw())):
        with pytest.raises(LotteryError, match="and has no scores; give sums of .* as --gradients"):
            run.draw(score_file=other)
    assert run.draw(score="snip", gradients=path).mask.sparsity == 0.5


# --- sign resets by the standard deviation -------------------------------------------------


def test_the_initial_weights_are_the_start_itself_at_update_0_or_named(run):
    deviation = float(run.initial[FC1].double().std(unbiased=False))
    for start, initial in ((run.snapshot_0, None), (run.snapshot_5, run.snapshot_0)):
        ticket = run.draw(reset="sign", alpha="std", start_from=start, initial=initial)
        kept = ticket.values[FC1][ticket.mask[FC1]]
        assert kept.abs().unique().tolist() == pytest.approx([deviation])
        assert "reset:sign-std@" in ticket.record["signature"]


def test_weights_that_are_not_the_dense_initial_ones_have_no_alpha(run, tmp_path):
    mask = run.draw().mask
    pruned = {n: w * mask[n] if n in mask else w for n, w in run.initial.items()}
    path = save_snapshot_of(tmp_path / "pruned_0.safetensors", pruned, 0, mask)
    for changes, sentence in (
        ({}, "--alpha std requires .* update 0"),
        ({"initial": run.last}, "--initial .*last.pt has update 20"),
        ({"initial": path}, "--initial .*pruned_0.safetensors has update 0"),
        ({"start_from": path}, "--alpha std requires .* update 0"),
    ):
        with pytest.raises(LotteryError, match=sentence):
            run.draw(reset="sign", alpha="std", **changes)


# --- optimizer state -----------------------------------------------------------------------


def assert_moments(ticket, parameters):
    assert set(ticket.moments) == {"exp_avg", "exp_avg_sq"}
    for name, weight in parameters.items():
        keep = ticket.mask[name] if name in ticket.mask else torch.ones_like(weight)
        assert torch.equal(ticket.moments["exp_avg"][name], weight / 5 * keep)
        assert torch.equal(ticket.moments["exp_avg_sq"][name], weight**2 * keep)
    assert set(ticket.moments["exp_avg"]) == set(SHAPES)


def test_moments_are_kept_with_their_survivors(run, save):
    ticket = run.draw(reset="keep", moments="keep")
    assert_moments(ticket, run.trained)
    assert ticket.record["moment_numbers"] == {"step": 20}
    assert "|moments:keep|" in ticket.record["signature"]
    # and from the ticket once more
    again = run.draw(mask_from=save(ticket), start_from=None, sparsity=0.8, moments="keep")
    assert_moments(again, {name: w for name, w in ticket.values.items()})
    assert again.record["moment_numbers"] == {"step": 20}


def test_moments_come_from_where_the_weights_come_from(run, tmp_path):
    with pytest.raises(
        LotteryError, match="snapshot_5.safetensors is a snapshot, which has no opti"
    ):
        run.draw(moments="keep")
    plain = save_checkpoint(tmp_path / "plain.pt", run.early)
    with pytest.raises(LotteryError, match="plain.pt has no optimizer state of a masked optimizer"):
        run.draw(start_from=plain, moments="keep")


def test_a_drawn_ticket_is_loaded_as_it_was_drawn(run, save):
    ticket = run.draw(moments="keep", start_from=run.last)
    assert load_ticket(save(ticket)).digest() == ticket.digest()


def test_half_precision_without_masters_is_recorded(run, tmp_path):
    half = {name: weight.half() for name, weight in run.trained.items()}
    rounded = save_checkpoint(tmp_path / "half.pt", half)
    assert not run.draw(mask_from=rounded).record["masters"]
    assert not run.draw(start_from=rounded).record["masters"]
    assert run.draw().record["masters"]
    assert run.draw(mask_from=rounded).values[FC1].dtype == torch.float32


def test_draw_is_a_function_of_its_plan(run):
    assert draw(run.plan).digest() == run.draw().digest()
