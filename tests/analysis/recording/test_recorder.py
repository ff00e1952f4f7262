"""A recording, against fairseq's own hidden states and a computation piece by piece."""

import copy
import json
import os
import shutil
from pathlib import Path

import live
import numpy as np
import pytest
import torch
from analysis.recorded import loaded, sentences
from disks import small_disk

from fairseq_lottery.analysis.recording.corpus import read_corpus
from fairseq_lottery.analysis.recording.recorder import record
from fairseq_lottery.analysis.recording.recording import KINDS, Recording
from fairseq_lottery.compat import modules_are_used
from fairseq_lottery.errors import LotteryError

SOURCE, TARGET = sentences(12, seed=1), sentences(12, seed=2)
COUNT = 12
#: kind of attention -> prefix and name of the modules
MODULES = {
    "enc_self": ("encoder", "self_attn"),
    "dec_self": ("decoder", "self_attn"),
    "enc_dec": ("decoder", "encoder_attn"),
}


@pytest.fixture(scope="module")
def model():
    return live.transformer()


def made(folder, model=None, tokens=60, **options):
    """A recording of all sentences in ``folder``."""
    file = loaded(SOURCE, TARGET, model)
    return record(file, read_corpus(file), folder, tokens, **options)


@pytest.fixture(scope="module")
def recording(model, tmp_path_factory):
    return made(tmp_path_factory.mktemp("recorded") / "recording", model)


def spans(pieces):
    """First and last piece, exclusive, of each word: a word starts at a marked piece."""
    starts = [k for k, piece in enumerate(pieces) if piece.startswith("\u2581")]
    return list(zip(starts, [*starts[1:], len(pieces)]))


def run_alone(model, number):
    """States and attention of one pair without padding, by fairseq's own returns and numpy."""
    words = loaded(SOURCE, TARGET, model).evaluation.dictionaries["source"]
    source = torch.tensor([[*map(words.index, SOURCE[number]), 2]])
    previous = torch.tensor([[2, *map(words.index, TARGET[number])]])
    inputs = {}
    watching = []
    for kind, (part, name) in MODULES.items():
        for layer in range(live.LAYERS):
            module = getattr(getattr(model, part).layers[layer], name)
            forward = module.forward

            def watched(*args, forward=forward, kind=kind, layer=layer, **named):
                found = {**dict(zip(("query", "key", "value"), args)), **named}
                inputs[kind, layer] = found["query"][:, 0], found["key"][:, 0]
                return forward(*args, **named)

            module.forward = watched
            watching.append(module)
    with torch.no_grad(), modules_are_used(model):
        encoder = model.encoder(source, torch.tensor([source.shape[1]]), return_all_hiddens=True)
        _, extra = model.decoder(previous, encoder_out=encoder)
    for module in watching:
        del module.forward
    states = {
        "encoder": [x[:, 0].numpy() for x in encoder["encoder_states"][1:]],
        "decoder": [x[:, 0].numpy() for x in extra["inner_states"][1:]],
    }
    return states, inputs


def heads_of(module, query, key, causal):
    """Attention weights (heads, queries, keys) and norms (heads, keys), one number at a time."""
    size = live.DIM // live.HEADS
    with torch.no_grad():
        q, k, v = module.q_proj(query), module.k_proj(key), module.v_proj(key)
        output = module.out_proj.weight.detach()
    weights = np.zeros((live.HEADS, len(query), len(key)))
    norms = np.zeros((live.HEADS, len(key)))
    for head in range(live.HEADS):
        part = slice(head * size, (head + 1) * size)
        for j in range(len(key)):
            norms[head, j] = float((output[:, part].double() @ v[j, part].double()).norm())
        for i in range(len(query)):
            visible = range(i + 1) if causal else range(len(key))
            scores = np.array([float(q[i, part] @ k[j, part]) / size**0.5 for j in visible])
            exponents = np.exp(scores - scores.max())
            weights[head, i, list(visible)] = exponents / exponents.sum()
    return weights, norms


@pytest.mark.parametrize("number", [0, 5, 11])
def test_activations_are_the_means_of_fairseqs_hidden_states(recording, model, number):
    states, _ = run_alone(model, number)
    for part, lines, side, shift in (
        ("encoder", SOURCE, "source", 0), ("decoder", TARGET, "target", 1)
    ):  # fmt: skip
        first = int(recording.lengths(side)[:number].sum())
        for layer in range(live.LAYERS):
            stored = recording.activations(part, layer + 1)
            assert stored.shape == (int(recording.lengths(side).sum()), live.DIM)
            for word, (start, end) in enumerate(spans(lines[number])):
                expected = states[part][layer][start + shift : end + shift].mean(axis=0)
                assert np.allclose(stored[first + word], expected, atol=1e-5)


@pytest.mark.parametrize("number", [0, 5, 11])
@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_merged_to_words(recording, model, kind, number):
    _, inputs = run_alone(model, number)
    part, name = MODULES[kind]
    source, target = spans(SOURCE[number]), spans(TARGET[number])
    queries = source if kind == "enc_self" else target
    keys = target if kind == "dec_self" else source
    # the decoder's inputs are </s> and the target; encoder-decoder rows are of predictions
    key_shift = 1 if kind == "dec_self" else 0
    query_shift = 1 if kind == "dec_self" else 0
    end = 0 if kind == "dec_self" else len(SOURCE[number])
    for layer in range(live.LAYERS):
        module = getattr(getattr(model, part).layers[layer], name)
        weights, norms = heads_of(module, *inputs[kind, layer], causal=kind == "dec_self")
        plain = recording.attention(kind, layer + 1)
        weighted = recording.attention(kind, layer + 1, weighted=True)
        assert plain[number].shape == (live.HEADS, len(queries), len(keys) + 1)
        for h in range(live.HEADS):
            for i, (a, b) in enumerate(queries):
                rows = range(a + query_shift, b + query_shift)
                for j, columns in enumerate([*keys, None]):
                    own = [end] if columns is None else range(
                        columns[0] + key_shift, columns[1] + key_shift
                    )  # fmt: skip
                    mass = np.mean([sum(weights[h, r, c] for c in own) for r in rows])
                    size = np.mean([sum(weights[h, r, c] * norms[h, c] for c in own) for r in rows])
                    assert plain[number][h, i, j] == pytest.approx(mass, abs=1e-5)
                    assert weighted[number][h, i, j] == pytest.approx(size, abs=1e-4)
            for j, (a, b) in enumerate(keys):
                found = recording.norms(kind, layer + 1)[number][h, j]
                expected = norms[h, a + key_shift : b + key_shift].mean()
                assert found == pytest.approx(expected, abs=1e-4)


def test_rows_sum_to_one_and_later_words_are_zero(recording):
    for kind in KINDS:
        for layer in recording.layers(kind):
            for weights in recording.attention(kind, layer):
                assert np.allclose(weights.sum(axis=-1), 1, atol=1e-5)
                if kind == "dec_self":
                    assert not np.triu(weights[:, :, :-1], 1).any()


def test_words_and_counts(recording):
    assert recording.words("source") == [
        ["".join(p.replace("\u2581", "") for p in line[a:b]) for a, b in spans(line)]
        for line in SOURCE
    ]
    assert recording.record.counts["target"] == sum(len(spans(line)) for line in TARGET)
    assert recording.record.sentences == tuple(range(COUNT)) and recording.record.of == COUNT
    assert list(recording.layers("enc_dec")) == [1, 2]


def test_the_batch_does_not_matter(recording, model, tmp_path):
    alone = made(tmp_path / "alone", model, tokens=11)
    for part in ("encoder", "decoder"):
        assert np.allclose(alone.activations(part, 2), recording.activations(part, 2), atol=1e-5)
    pairs = zip(alone.attention("enc_dec", 2), recording.attention("enc_dec", 2))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in pairs)


@pytest.mark.cuda
def test_a_gpu_records_the_values_of_the_cpu(recording, model, tmp_path):
    file = loaded(SOURCE, TARGET, copy.deepcopy(model).cuda())
    file.device = torch.device("cuda")
    own = record(file, read_corpus(file), tmp_path / "gpu", 60)
    assert own.record.counts == recording.record.counts
    for part in ("encoder", "decoder"):
        for layer in (1, 2):
            values = own.activations(part, layer)
            assert np.allclose(values, recording.activations(part, layer), atol=1e-4)
    for kind in KINDS:
        pairs = zip(own.attention(kind, 2), recording.attention(kind, 2))
        assert all(np.allclose(a, b, atol=1e-4) for a, b in pairs)


def test_half_precision_halves_the_files(recording, model, tmp_path):
    half = made(tmp_path / "half", model, precision="float16")
    stored, full = half.activations("encoder", 1), recording.activations("encoder", 1)
    assert stored.nbytes * 2 == full.nbytes
    assert np.allclose(stored, full, rtol=2**-10, atol=2**-20)
    assert not np.array_equal(stored, full)


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


class Killed(Exception):
    pass


def test_a_killed_recording_resumes_to_the_same_bytes(recording, model, tmp_path, monkeypatch):
    monkeypatch.setattr("fairseq_lottery.analysis.recording.recorder._BATCHES", 1)
    counts = []

    def stop(count):
        counts.append(count)
        if len(counts) == 5:
            raise Killed

    with pytest.raises(Killed):
        made(tmp_path / "r", model, tokens=11, advance=stop)
    with pytest.raises(LotteryError, match="incomplete"):
        Recording.open(tmp_path / "r")
    with pytest.raises(LotteryError, match="precision"):
        made(tmp_path / "r", model, tokens=11, precision="float16")
    before, resumed = sum(counts[1:-1]), []
    made(tmp_path / "r", model, tokens=11, advance=resumed.append)
    assert resumed[0] == before > 0 and sum(resumed) == COUNT
    whole = made(tmp_path / "whole", model, tokens=11)
    assert content(tmp_path / "r") == content(whole.folder)
    again = []
    made(tmp_path / "r", model, advance=again.append)
    assert not again  # it is complete
    with pytest.raises(LotteryError, match="another recording"):
        made(tmp_path / "r", model, precision="float16")


@pytest.mark.parametrize("place", ["draft.json", "done.npy", "activations.decoder.2.npy"])
def test_a_recording_that_was_killed_while_it_started_resumes(
    recording, model, tmp_path, monkeypatch, place
):
    """Some files exist then, and the last one is empty."""
    folder = tmp_path / "r"
    replace, create = os.replace, np.lib.format.open_memmap

    def killed(name, target):
        if Path(target).name == place:
            Path(name).write_bytes(b"")
            raise Killed

    def dying_replace(source, target):
        killed(source, target)
        replace(source, target)

    def dying_create(path, mode="r", *args, **options):
        if mode == "w+":
            killed(path, path)
        return create(path, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying_replace)
        patch.setattr(np.lib.format, "open_memmap", dying_create)
        with pytest.raises(Killed):
            made(folder, model, tokens=11)
    made(folder, model, tokens=11)
    assert content(folder) == content(made(tmp_path / "whole", model, tokens=11).folder)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_recording_on_a_full_disk_resumes_once_there_is_room(recording, model, tmp_path, share):
    sizes = [path.stat().st_size for path in recording.folder.iterdir()]
    pages = sum(-(-size // 4096) for size in sizes)
    with small_disk(tmp_path / "disk", f"{int(4 * pages * share)}k") as resize:
        folder = tmp_path / "disk" / "r"
        with pytest.raises(LotteryError, match="cannot be written: No space left on device"):
            made(folder, model, tokens=11)
        assert not (folder / "record.json").exists()
        assert not [path for path in folder.glob(".*") if path.name != ".lock"]
        resize(4 * pages + 1000)
        made(folder, model, tokens=11)
        assert content(folder) == content(made(tmp_path / "whole", model, tokens=11).folder)


def test_nan_is_refused_and_nothing_is_called_complete(tmp_path):
    broken = live.transformer()
    with torch.no_grad():
        broken.decoder.layers[1].fc2.weight[0, 0] = float("nan")
    with pytest.raises(LotteryError, match="activations.decoder.2 of sentence"):
        made(tmp_path / "r", broken)
    assert not (tmp_path / "r" / "record.json").exists()


def test_a_folder_with_other_files_is_left_alone(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LotteryError, match="notes.txt"):
        made(tmp_path, model)
    assert sorted(os.listdir(tmp_path)) == [".lock", "notes.txt"]


def test_the_last_layer_is_recorded_after_the_final_norm(tmp_path):
    """In a pre-norm model, against fairseq's encoder output and the decoder's features."""
    model = live.transformer(encoder_normalize_before=True, decoder_normalize_before=True)
    with torch.no_grad():
        for part in (model.encoder, model.decoder):
            part.layer_norm.weight.normal_(1, 0.5)
            part.layer_norm.bias.normal_(0, 0.5)
    recording = made(tmp_path / "r", model)
    words = loaded(SOURCE, TARGET, model).evaluation.dictionaries["source"]
    for number in (0, 5, 11):
        states, _ = run_alone(model, number)
        source = torch.tensor([[*map(words.index, SOURCE[number]), 2]])
        previous = torch.tensor([[2, *map(words.index, TARGET[number])]])
        with torch.no_grad(), modules_are_used(model):
            encoder = model.encoder(source, torch.tensor([source.shape[1]]))
            features, _ = model.decoder(previous, encoder_out=encoder, features_only=True)
        last = {"encoder": encoder["encoder_out"][0][:, 0].numpy(), "decoder": features[0].numpy()}
        for part, lines, side, shift in (
            ("encoder", SOURCE, "source", 0), ("decoder", TARGET, "target", 1)
        ):  # fmt: skip
            first = int(recording.lengths(side)[:number].sum())
            for word, (start, end) in enumerate(spans(lines[number])):
                for layer, expected in ((1, states[part][0]), (live.LAYERS, last[part])):
                    mean = expected[start + shift : end + shift].mean(axis=0)
                    stored = recording.activations(part, layer)[first + word]
                    assert np.allclose(stored, mean, atol=1e-5)


def test_pruned_heads_are_those_whose_attention_has_no_effect(tmp_path):
    """A value bias does not count: it adds the same vector whatever the head attends to."""
    pruned = live.transformer()
    size = live.DIM // live.HEADS
    with torch.no_grad():
        values = pruned.encoder.layers[1].self_attn.v_proj
        values.weight[size : 2 * size] = 0
        values.bias[size : 2 * size] = 0
        pruned.encoder.layers[0].self_attn.v_proj.bias[:] = 0  # its weights still contribute
        pruned.decoder.layers[0].encoder_attn.out_proj.weight[:, -size:] = 0
        pruned.decoder.layers[0].self_attn.v_proj.weight[:size] = 0
    found = made(tmp_path / "r", pruned)
    heads = [(kind, n, h) for kind in KINDS for n in (1, 2) for h in range(1, live.HEADS + 1)]
    assert [head for head in heads if found.is_pruned(*head)] == [
        ("enc_self", 2, 2), ("dec_self", 1, 1), ("enc_dec", 1, live.HEADS)
    ]  # fmt: skip
    pairs = loaded(SOURCE, TARGET, pruned)
    batch = pairs.evaluation.load("valid").collater(
        [pairs.evaluation.load("valid")[n] for n in range(4)]
    )["net_input"]
    with torch.no_grad(), modules_are_used(pruned):
        before = pruned(**batch)[0]
        module = pruned.decoder.layers[0].self_attn
        module.q_proj.weight[:size].normal_()
        assert torch.allclose(pruned(**batch)[0], before, atol=1e-5)
        module.q_proj.weight[size : 2 * size].normal_()
        assert not torch.allclose(pruned(**batch)[0], before, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda folder: (folder / "activations.encoder.1.npy").unlink(), "cannot be read"),
        (lambda folder: (folder / "words.source.txt").write_text("a b\n"), "1 sentences and 2"),
        (
            lambda folder: np.save(folder / "activations.encoder.1.npy", np.zeros((2, 2))),
            "has shape",
        ),
        (
            lambda folder: np.save(
                folder / "activations.encoder.1.npy", np.array([{}], object), allow_pickle=True
            ),
            "has shape",
        ),
        (lambda folder: (folder / "record.json").write_text("{}"), "malformed"),
    ],
)
def test_changed_files_are_refused(recording, tmp_path, change, problem):
    folder = tmp_path / "copy"
    shutil.copytree(recording.folder, folder)
    change(folder)
    with pytest.raises(LotteryError, match=problem):
        changed = Recording.open(folder)
        changed.words("source")
        changed.activations("encoder", 1)


def test_hdf5_is_as_contextual_repr_analysis_reads_it(recording, tmp_path):
    h5py = pytest.importorskip("h5py")
    from fairseq_lottery.analysis.recording.hdf5 import write_hdf5

    write_hdf5(recording, tmp_path / "encoder.hdf5")
    with h5py.File(tmp_path / "encoder.hdf5", "r") as file:
        places = json.loads(file["sentence_to_index"][0])
        for number, words in enumerate(recording.words("source")):
            stored = file[places[" ".join(words)]][()]
            assert stored.shape == (live.LAYERS, len(words), live.DIM)
            first = int(recording.lengths("source")[:number].sum())
            own = recording.activations("encoder", 2)[first : first + len(words)]
            assert np.array_equal(stored[1], own)
