#!/usr/bin/env python3
"""vn-pack | vn-embed --pool auto on the CPU against PyTorch (FP32), same weights: fair-esm for
ESM-2, the formulas of tests/ref/dnabert.py for DNABERT-S, padded and in FP32.

    make bench        or: VN_BIN=bin B=build/last python tests/bench_embed.py [THREADS]

Random proteins of 50 to 170 tokens, DNA of 150 to 500 bases. PyTorch gets them sorted by
length, in padded batches of the token budget that was fastest on a sample of them, and the
means are taken; the pipe gets FASTA. Loading the model is left out on both sides (PyTorch: the
module is there; vn-embed: what it says of itself with -v). Rounds alternate; the best of each
is compared. "cpu s" is processor time, which a busy machine disturbs less: of the pipe with
loading, of PyTorch without, and where PyTorch's threads wait for each other they burn it.
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
import torch.nn.functional as F
from tokenizers import Tokenizer

TESTS = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(TESTS, "ref"))
import dnabert  # noqa: E402
import fairesm  # noqa: E402

BIN = os.environ.get("VN_BIN", os.path.join(TESTS, "../bin"))
MKMODEL = os.path.join(os.environ.get("B", os.path.join(TESTS, "../build/last")),
                       "tests", "mkmodel")
THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
ROUNDS = 3
# name, layers, width, heads, inner width of DNABERT-S or 0: ESM-2, sequences
MODELS = [("8M", 6, 320, 20, 0, 1500), ("150M", 30, 640, 20, 0, 120),
          ("DNABERT-S", 12, 768, 12, 3072, 60)]
BUDGETS = [512, 1024, 2048, 4096, 8192]


def proteins(n):
    rng = random.Random(1)
    return ["".join(rng.choices("LAGVSERTIDPKQNFYMHWC", k=rng.randint(48, 168)))
            for _ in range(n)]


def reads(n):
    rng = random.Random(1)
    return ["".join(rng.choices("ACGT", k=rng.randint(150, 500))) for _ in range(n)]


class FairEsm:
    name = "fair-esm fp32"

    def __init__(self, path):
        self.model = fairesm.load(path)
        self.padding, self.layers = self.model.padding_idx, self.model.num_layers
        self.ends = 1  # tokens at both ends that the mean leaves out

    def encode(self, sequence):
        return fairesm.encode(self.model, sequence)

    def forward(self, ids):
        return self.model(ids, repr_layers=[self.layers])["representations"][self.layers]


class Dnabert:
    """tests/ref/dnabert.py's formulas for padded batches."""
    name = "PyTorch fp32"
    padding, ends = 3, 0

    def __init__(self, path):
        self.m = dnabert.load(path)
        self.tokenizer = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.slopes = torch.tensor(dnabert.slopes(self.m.heads))[:, None, None]

    def encode(self, sequence):
        return self.tokenizer.encode(sequence).ids

    def norm(self, x, name):
        w = self.m.w
        return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], self.m.eps)

    def linear(self, x, name):
        return F.linear(x, self.m.w[name + ".weight"], self.m.w.get(name + ".bias"))

    def forward(self, ids):
        w, heads = self.m.w, self.m.heads
        x = w["embeddings.word_embeddings.weight"][ids]
        x = self.norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        b, n, d = x.shape
        i = torch.arange(n)
        bias = (-self.slopes * (i[:, None] - i[None, :]).abs()).expand(b, heads, n, n)
        bias = bias.masked_fill((ids == self.padding)[:, None, None], -torch.inf)
        for layer in range(self.m.layers):
            at = f"encoder.layer.{layer}."
            qkv = self.linear(x, at + "attention.self.Wqkv").reshape(b, n, 3, heads, d // heads)
            y = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4), attn_mask=bias)
            y = self.linear(y.transpose(1, 2).reshape(b, n, d), at + "attention.output.dense")
            x = self.norm(y + x, at + "attention.output.LayerNorm")
            g, v = self.linear(x, at + "mlp.gated_layers").chunk(2, -1)
            x = self.norm(self.linear(F.gelu(g) * v, at + "mlp.wo") + x, at + "mlp.layernorm")
        return x


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
def run_torch(model, tokens, budget):
    started, cpu = time.perf_counter(), time.process_time()
    for batch in batches(tokens, budget):
        ids = torch.full((len(batch), len(batch[0])), model.padding)
        for row, t in zip(ids, batch):
            row[:len(t)] = torch.tensor(t)
        for row, t in zip(model.forward(ids), batch):
            row[model.ends:len(t) - model.ends].mean(0)
    return time.perf_counter() - started, time.process_time() - cpu


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_pipe(fasta, path, precision):
    """Seconds without loading, processor seconds with it."""
    cpu = children_cpu()
    pack = subprocess.Popen([os.path.join(BIN, "vn-pack"), "-q", "-m", path, fasta],
                            stdout=subprocess.PIPE)
    embed = subprocess.run([os.path.join(BIN, "vn-embed"), "-m", path, "--pool", "auto", "-v",
                            "--precision", precision, "-t", str(THREADS)], stdin=pack.stdout,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True,
                           text=True)
    pack.stdout.close()
    assert pack.wait() == 0
    seconds = float(re.search(r"([\d.]+) s after", embed.stderr).group(1))
    return seconds, children_cpu() - cpu


def bench(name, layers, width, heads, ffn, n, tmp):
    path = os.path.join(tmp, name)
    more = ["--dnabert", "--ffn", str(ffn), "--merges", "4087"] if ffn else []
    subprocess.run([MKMODEL, *more, "--layers", str(layers), "--width", str(width), "--heads",
                    str(heads), path], check=True)
    model = Dnabert(path) if ffn else FairEsm(path)
    sequences = reads(n) if ffn else proteins(n)
    tokens = [model.encode(s) for s in sequences]
    total = sum(map(len, tokens))
    fasta = os.path.join(tmp, name + ".fa")
    with open(fasta, "w") as f:
        f.writelines(f">{i}\n{s}\n" for i, s in enumerate(sequences))
    sample = tokens[:n // 3]
    run_torch(model, sample, 1024)
    budget = min(BUDGETS, key=lambda b: run_torch(model, sample, b))
    best = {}
    for _ in range(ROUNDS):
        runs = {model.name: run_torch(model, tokens, budget)}
        for precision in ("fp32", "bf16"):
            runs["vn " + precision] = run_pipe(fasta, path, precision)
        for k, v in runs.items():
            best[k] = tuple(map(min, best.get(k, v), v))
    base, single = best[model.name][0], best["vn fp32"][0]
    print(f"{name}: {n} records, {total} tokens, {THREADS} threads, best of {ROUNDS}; "
          f"{model.name} at {budget} tokens a batch")
    print(f"{'':16}{'tokens/s':>10}{'s':>8}{'cpu s':>8}{'x PyTorch':>12}{'x vn fp32':>11}")
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
