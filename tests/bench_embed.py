#!/usr/bin/env python3
"""vn-pack | vn-embed --pool mean on the CPU against fair-esm (FP32, PyTorch), same weights.

    make bench        or: VN_BIN=bin B=build/last python tests/bench_embed.py [THREADS]

Random proteins of 50 to 170 tokens. fair-esm gets them sorted by length, in padded batches of
the token budget that was fastest on a sample of them, and its residue means are taken; the
pipe gets FASTA. Loading the model is left out on both sides (fair-esm: the module is there;
vn-embed: what it says of itself with -v). Rounds alternate; the best of each is compared.
"cpu s" is processor time, which a busy machine disturbs less: of the pipe with loading, of
fair-esm without, and where PyTorch's threads wait for each other they burn it.
"""
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time

import torch

TESTS = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(TESTS, "ref"))
import fairesm  # noqa: E402

BIN = os.environ.get("VN_BIN", os.path.join(TESTS, "../bin"))
MKMODEL = os.path.join(os.environ.get("B", os.path.join(TESTS, "../build/last")),
                       "tests", "mkmodel")
THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
ROUNDS = 3
# name, layers, width, heads, sequences
MODELS = [("8M", 6, 320, 20, 1500), ("150M", 30, 640, 20, 120)]
BUDGETS = [512, 1024, 2048, 4096, 8192]


def proteins(n):
    rng = random.Random(1)
    return ["".join(rng.choices("LAGVSERTIDPKQNFYMHWC", k=rng.randint(48, 168)))
            for _ in range(n)]


def batches(tokens, budget):
    """Padded batches of at most `budget` tokens, padding included, longest first."""
    out, batch = [], []
    for t in sorted(tokens, key=len, reverse=True):
        if batch and len(batch[0]) * (len(batch) + 1) > budget:
            out.append(batch)
            batch = []
        batch.append(t)
    return out + [batch]


@torch.inference_mode()
def run_fair(model, tokens, budget, layer):
    started, cpu = time.perf_counter(), time.process_time()
    for batch in batches(tokens, budget):
        ids = torch.full((len(batch), len(batch[0])), model.padding_idx)
        for row, t in zip(ids, batch):
            row[:len(t)] = torch.tensor(t)
        x = model(ids, repr_layers=[layer])["representations"][layer]
        for row, t in zip(x, batch):
            row[1:len(t) - 1].mean(0)
    return time.perf_counter() - started, time.process_time() - cpu


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_pipe(fasta, path, precision):
    """Seconds without loading, processor seconds with it."""
    cpu = children_cpu()
    pack = subprocess.Popen([os.path.join(BIN, "vn-pack"), "--vocab", "esm2", fasta],
                            stdout=subprocess.PIPE)
    embed = subprocess.run([os.path.join(BIN, "vn-embed"), "-m", path, "--pool", "mean", "-v",
                            "--precision", precision, "-t", str(THREADS)], stdin=pack.stdout,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True,
                           text=True)
    pack.stdout.close()
    assert pack.wait() == 0
    seconds = float(re.search(r"([\d.]+) s after", embed.stderr).group(1))
    return seconds, children_cpu() - cpu


def bench(name, layers, width, heads, n, tmp):
    path = os.path.join(tmp, name)
    subprocess.run([MKMODEL, "--layers", str(layers), "--width", str(width), "--heads",
                    str(heads), path], check=True)
    fair = fairesm.load(path)
    sequences = proteins(n)
    tokens = [fairesm.encode(fair, s) for s in sequences]
    total = sum(map(len, tokens))
    fasta = os.path.join(tmp, name + ".fa")
    with open(fasta, "w") as f:
        f.writelines(f">{i}\n{s}\n" for i, s in enumerate(sequences))
    sample = tokens[:n // 3]
    run_fair(fair, sample, 1024, layers)
    budget = min(BUDGETS, key=lambda b: run_fair(fair, sample, b, layers))
    best = {}
    for _ in range(ROUNDS):
        runs = {"fair-esm fp32": run_fair(fair, tokens, budget, layers)}
        for precision in ("fp32", "bf16"):
            runs["vn " + precision] = run_pipe(fasta, path, precision)
        for k, v in runs.items():
            best[k] = tuple(map(min, best.get(k, v), v))
    base, single = best["fair-esm fp32"][0], best["vn fp32"][0]
    print(f"{name}: {n} records, {total} tokens, {THREADS} threads, best of {ROUNDS}; "
          f"fair-esm at {budget} tokens a batch")
    print(f"{'':16}{'tokens/s':>10}{'s':>8}{'cpu s':>8}{'x fair-esm':>12}{'x vn fp32':>11}")
    for k, (seconds, cpu) in best.items():
        print(f"{k:16}{total / seconds:10.0f}{seconds:8.2f}{cpu:8.2f}{base / seconds:12.2f}"
              f"{single / seconds:11.2f}", flush=True)


def main():
    torch.set_num_threads(THREADS)
    print(f"torch {torch.__version__}, fair-esm, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as tmp:
        for model in MODELS:
            bench(*model, tmp)


main()
