#!/usr/bin/env python3
"""Makes tests/golden/*-*.safetensors: hidden states of reference code for small seeded models.

    B=build/last python tests/ref/make_goldens.py [OUT]

See README.md beside this file. The models are scaled-down shapes of the six sizes of ESM-2,
with their head sizes, and of DNABERT-S; tests/mkmodel writes the same bytes on every machine, so only what
the reference computes from them is kept.
"""
import os
import random
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file

import dnabert
import fairesm

HERE = os.path.dirname(os.path.abspath(__file__))
MKMODEL = os.path.join(os.environ.get("B", os.path.join(HERE, "../../build/last")),
                       "tests", "mkmodel")

# like, layers, width, heads, seed
SHAPES = [
    ("8M", 6, 32, 2, 8),
    ("35M", 3, 48, 2, 35),
    ("150M", 3, 64, 2, 150),
    ("650M", 2, 128, 2, 650),
    ("3B", 2, 192, 3, 3000),
    ("15B", 2, 256, 2, 15000),
]
# like, layers, width, heads, seed, inner width, merges
DNABERT_SHAPES = [
    ("narrow", 4, 96, 6, 96, 128, 55),
    ("wide", 2, 192, 3, 192, 256, 300),
]
SEQUENCES = [
    "M",
    "KW",
    "MKT<mask>IIALSYIFCLV<mask>ADYKDDDDKX",
    "RVKRVWPLVIRTVIAGYNLYRAIKKKLAGVSERTIDPKQNFYMHWCBUZO",
]


def make(out, like, layers, width, heads, seed):
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([MKMODEL, "--layers", str(layers), "--width", str(width), "--heads",
                        str(heads), "--seed", str(seed), tmp], check=True)
        model = fairesm.load(tmp)
    tokens = [fairesm.encode(model, s) for s in SEQUENCES]
    states = [fairesm.hidden(model, t, range(layers + 1)) for t in tokens]
    ends = torch.tensor([0] + [len(t) for t in tokens]).cumsum(0)
    tensors = {
        "model": torch.tensor([layers, width, heads, seed], dtype=torch.int32),
        "tokens": torch.tensor(sum(tokens, []), dtype=torch.int32),
        "cu_seqlens": ends.to(torch.int32),
    }
    for k in range(layers + 1):
        tensors[f"layer.{k}"] = torch.cat([s[k] for s in states]).contiguous()
    save_file(tensors, os.path.join(out, f"esm2-{like}.safetensors"))


def make_dnabert(out, like, layers, width, heads, seed, ffn, merges):
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([MKMODEL, "--dnabert", "--layers", str(layers), "--width", str(width),
                        "--heads", str(heads), "--seed", str(seed), "--ffn", str(ffn),
                        "--merges", str(merges), tmp], check=True)
        model = dnabert.load(tmp)
    rng = random.Random(seed)
    tokens = [[1, *(rng.randrange(9 + merges) for _ in range(n)), 2] for n in (0, 1, 2, 30, 66)]
    states = [dnabert.hidden(model, t, range(layers + 1)) for t in tokens]
    ends = torch.tensor([0] + [len(t) for t in tokens]).cumsum(0)
    tensors = {
        "model": torch.tensor([layers, width, heads, seed, ffn, merges], dtype=torch.int32),
        "tokens": torch.tensor(sum(tokens, []), dtype=torch.int32),
        "cu_seqlens": ends.to(torch.int32),
    }
    for k in range(layers + 1):
        tensors[f"layer.{k}"] = torch.cat([s[k] for s in states]).contiguous()
    save_file(tensors, os.path.join(out, f"dnabert-{like}.safetensors"))


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../golden")
    os.makedirs(out, exist_ok=True)
    torch.set_num_threads(1)
    for shape in SHAPES:
        make(out, *shape)
    for shape in DNABERT_SHAPES:
        make_dnabert(out, *shape)


main()
