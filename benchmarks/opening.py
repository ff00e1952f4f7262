"""Time and peak memory from the start of a process to its first translation on a CPU.

    python benchmarks/opening.py [--json] [--sparsity 0.9] [--repeats 5] [--threads 1]

A Transformer base of random weights, uniformly pruned in every matrix, the shared embedding of
37,000 types with them. Each way is a command in a process of its own, which gets one sentence of
24 words (beam 5, at most 26 tokens); the time ends when it has printed the translation. All ways
take turns, and the first turn, which fills the caches of files and of measured choices, does not
count. One way only imports fairseq, which all ways but CTranslate2's do first.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import torch
from common import report, spread
from decoding import TARGET, transformer, vocabulary
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf

import fairseq_lottery
from fairseq_lottery.cli.main import main as command

BEAM = 5
#: what CTranslate2's users write, without a package of ours
CTRANSLATE2 = """
import sys
import ctranslate2
folder, kind, threads, beam, most = sys.argv[1:]
translator = ctranslate2.Translator(
    folder, device="cpu", compute_type=kind, inter_threads=1, intra_threads=int(threads)
)
words = sys.stdin.readline().split()
found = translator.translate_batch([words], beam_size=int(beam), max_decoding_length=int(most))
print("H", *found[0].hypotheses[0], flush=True)
"""
#: a small process that starts a command, because a peak includes that of the process before
LAUNCHER = """
import os, subprocess, sys, time
mark, sentence, *words = sys.argv[1:]
start = time.perf_counter()
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
process = subprocess.Popen(words, text=True, **pipes)
process.stdin.write(sentence + "\\n")
process.stdin.close()
times = [time.perf_counter() - start for line in process.stdout if line.startswith(mark)]
_, status, usage = os.wait4(process.pid, 0)
if status or not times:
    sys.exit("no translation")
print(times[0], usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
"""
IMPORT = "import fairseq.sequence_generator; print('H', flush=True)"


def write_model(folder, words, sparsity):
    """A checkpoint as plain fairseq writes it, with its data folder."""
    model, _ = transformer(words, sparsity)
    for tensor in model.state_dict().values():
        tensor += 0  # no negative zeros, which would be survivors
    data = folder / "bin"
    data.mkdir()
    for language in ("en", "de"):
        words.save(str(data / f"dict.{language}.txt"))
    parser = options.get_training_parser()
    flags = ["--arch", "transformer", "--share-all-embeddings", "-s", "en", "-t", "de"]
    args = options.parse_args_and_arch(parser, [str(data), "--task", "translation", *flags])
    cfg = OmegaConf.to_container(convert_namespace_to_omegaconf(args), enum_to_str=True)
    cfg["model"] = vars(cfg["model"]) if hasattr(cfg["model"], "__dict__") else cfg["model"]
    history = {"num_updates": 1, "optimizer_name": "adam", "lr_scheduler_state": {}}
    state = {
        "args": None,
        "cfg": cfg,
        "model": model.state_dict(),
        "optimizer_history": [{**history, "criterion_name": "CrossEntropyCriterion"}],
        "extra_state": {"train_iterator": {"epoch": 1}},
    }
    torch.save(state, folder / "dense.pt")
    return folder / "dense.pt", data


def exported(path, form, out, *flags):
    words = ["export", str(path), "--to", form, "--out", str(out), *map(str, flags)]
    with redirect_stdout(sys.stderr):
        assert command(words) == 0
    return out


def ways_of(folder, words, sparsity, threads, sentences):
    """Return title -> words of a command."""
    dense, data = write_model(folder, words, sparsity)
    compact = exported(dense, "compact", folder / "model.safetensors")
    python = [sys.executable, "-W", "ignore"]
    search = ["--beam", BEAM, "--max-len-b", TARGET]
    interactive = [*python, "-m", "fairseq_cli.interactive", data, "-s", "en", "-t", "de", "--cpu"]
    interactive += ["--path", dense, *search]
    package = Path(fairseq_lottery.__file__).parent
    fast = ["--user-dir", package, "--task", "translation_lottery", "--sparse-decode"]
    ours = [*python, "-m", "fairseq_lottery.cli.main", "translate"]
    ways = {
        "import of fairseq": [*python, "-c", IMPORT],
        "fairseq-interactive, dense checkpoint": interactive,
        "fairseq-interactive --sparse-decode, dense checkpoint": [*interactive, *fast],
        "fairseq-lottery translate, dense checkpoint": [*ours, dense, *search],
        "fairseq-lottery translate, compact file": [*ours, compact, *search],
    }
    sizes = {title: dense.stat().st_size for title in ways}
    sizes["import of fairseq"] = 0
    sizes["fairseq-lottery translate, compact file"] = compact.stat().st_size
    for kind in ("float32", "int8"):
        out, title = folder / kind, f"CTranslate2, {kind}"
        quantization = ["--quantization", kind] if kind == "int8" else []
        exported(dense, "ctranslate2", out, "--data", data, "--check-on", sentences, *quantization)
        ways[title] = [*python, "-c", CTRANSLATE2, out, kind, threads, BEAM, TARGET]
        sizes[title] = sum(path.stat().st_size for path in out.iterdir())
    return ways, sizes


def measure(words, sentence, threads):
    """Seconds until the translation is printed, CPU seconds, and the peak of memory in bytes."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    root = str(Path(fairseq_lottery.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    mark = "" if "translate" in words else "H"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, mark, sentence, *map(str, words)],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} has failed: {done.stderr[-500:]}")
    return [float(word) for word in done.stdout.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--types", type=int, default=37_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    words = vocabulary(args.types)
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(4, args.types, (24,), generator=generator).tolist()
    sentence = " ".join(words[number] for number in ids)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "one.txt").write_text(sentence + "\n")
        ways, sizes = ways_of(folder, words, args.sparsity, args.threads, folder / "one.txt")
        measured = {way: [] for way in ways}
        for turn in range(args.repeats + 1):
            for way, command_line in ways.items():
                one = measure(command_line, sentence, args.threads)
                if turn:
                    measured[way].append(one)
    rows, record = [], []
    for way, found in measured.items():
        seconds, cpu, peaks = map(list, zip(*found))
        record.append({"way": way, "seconds": seconds, "cpu": cpu, "peaks": peaks})
        record[-1]["file"] = sizes[way]
        file = f"{sizes[way] / 1e6:.0f}" if sizes[way] else ""
        peak = f"{statistics.median(peaks) / 1e6:.0f}"
        rows.append([way, file, spread(seconds), spread(cpu), peak])
    title = f"Transformer base, {args.sparsity:.0%}, {args.types} types, {args.threads} threads"
    header = ["way", "file, MB", "seconds [min, max]", "CPU seconds", "peak, MB"]
    report(title, header, rows, {"ways": record}, args.json)


if __name__ == "__main__":
    main()
