"""What benchmarks share: turns in time, the machine, medians with spread, a table and JSON."""

import json
import multiprocessing
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import torch


def machine():
    """One line: processor, threads, versions."""
    model = "unknown processor"
    try:
        with open("/proc/cpuinfo") as info:
            model = next(line.split(":")[1].strip() for line in info if "model name" in line)
    except (OSError, StopIteration):
        pass
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{model}, {torch.get_num_threads()} threads, {versions}"


def base_shapes(layers=6, width=512, ffn=2048):
    """The attention and FFN matrices of Transformer base: 96 matrices, 44.0 M weights."""
    shapes = {}
    attentions = {"encoder": ("self_attn",), "decoder": ("self_attn", "encoder_attn")}
    for side in attentions:
        for layer in range(layers):
            prefix = f"{side}.layers.{layer}"
            for attention in attentions[side]:
                for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    shapes[f"{prefix}.{attention}.{projection}.weight"] = (width, width)
            shapes[f"{prefix}.fc1.weight"] = (ffn, width)
            shapes[f"{prefix}.fc2.weight"] = (width, ffn)
    return shapes


def apart(function, *arguments):
    """What a function returns in a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def in_turn(ways, repeats):
    """What each way returns, and the seconds of its runs; way -> function, each run in turn."""
    results = {way: run() for way, run in ways.items()}  # the first warms up
    seconds = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            time.sleep(0.5)  # until the threads of the way before wait no more
            start = time.perf_counter()
            run()
            seconds[way].append(time.perf_counter() - start)
    return results, seconds


def seconds_of(run, device):
    """Seconds of a run, until the device has finished."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def seconds_in_turn(ways, repeats, device):
    """Way -> seconds of its runs on a device; each turn runs the ways in the other order."""
    seconds = {way: [] for way in ways}
    for turn in range(repeats):
        for way in list(ways) if turn % 2 == 0 else reversed(ways):
            seconds[way].append(seconds_of(ways[way], device))
    return seconds


def spread(values):
    """Median with the range in brackets."""
    return f"{statistics.median(values):.4g} [{min(values):.4g}, {max(values):.4g}]"


def report(title, header, rows, record, as_json):
    """Print the table, or the JSON record with the machine in it."""
    if as_json:
        json.dump({"title": title, "machine": machine(), **record}, sys.stdout, indent=2)
        print()
        return
    print(f"{title}\n{machine()}\n")
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(str(cell).ljust(w) for cell, w in zip(row, widths)) + " |")
