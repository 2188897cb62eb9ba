"""DNABERT-S: vn-pack's tokens against Hugging Face's tokenizers, vn-embed's hidden states
against the formulas in double precision (tests/ref/dnabert.py).

Gates: FP32 relative L2 at most 2e-6 over all records and 1e-5 for the worst token. BF16 2e-2 over
all records and 4e-2 for the worst token, pooled cosine at least 0.9995, and not worse than
PyTorch under autocast, on the same weights: 1.10e-2 to 1.61e-2 here, 1.23e-2 to 1.82e-2 there
(worst token 1.6e-2 to 3.3e-2, and 1.8e-2 to 3.9e-2). So it is bfloat16, on random weights.
"""
import io
import os
import random
import shutil
import sys

import numpy as np
import pyarrow.ipc
import pytest
import torch
from tokenizers import Tokenizer

from conftest import DEVICE

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(TESTS, "ref"))
import dnabert  # noqa: E402

DATA = os.environ.get("VN_TEST_DATA", os.path.join(TESTS, "../../shared/data"))
PUBLISHED = os.path.join(DATA, "dnabert-s")

# layers, width, heads, inner width, merges: heads of every size, and a power of two of them
SHAPES = {
    "narrow": (4, 96, 6, 128, 55),
    "eight-heads": (3, 192, 8, 250, 300),
    "middle": (3, 160, 5, 256, 100),
    "wide": (3, 384, 3, 512, 2000),
}
PUBLISHED_SHAPE = (12, 768, 12, 3072, 4087)
LENGTHS = [1, 2, 3, 31, 150, 500, 3000]
LONG = 10000  # of the shape with the longest pieces alone: the formulas take the square of it


def dna(rng, n, letters="ACGT"):
    return "".join(rng.choices(letters, k=n))


def rows(stream):
    """A table in the order of the input."""
    table = pyarrow.ipc.open_stream(io.BytesIO(stream)).read_all()
    return table.take(np.argsort(table["record"].to_numpy())).combine_chunks()


def fasta(sequences):
    return "".join(f">s{i}\n{s}\n" for i, s in enumerate(sequences)).encode()


def make_model(tool, path, shape, *more):
    layers, width, heads, ffn, merges = shape
    tool("mkmodel", "--dnabert", "--layers", layers, "--width", width, "--heads", heads,
         "--ffn", ffn, "--merges", merges, *more, path)
    return path


# ---- tokens ------------------------------------------------------------------------------

def random_strings(n, seed):
    """Of bases, with N and lower case, of few letters: runs are where ties matter."""
    rng = random.Random(seed)
    alphabets = ["ACGT", "ACGT", "ACGTN", "ACGTacgtnRYKM", "ACGT*-.", "AC", "A", "AAAAAAAC", "TTTTTG"]
    out = [dna(rng, rng.randint(1, rng.choice([2, 10, 150, 300, 500, 1500])), rng.choice(alphabets))
           for _ in range(n)]
    out += [dna(rng, 60000, a) for a in ("ACGT", "A", "AC", "AAAAAAAAAAAAAAAT", "ACGTNNNN")]
    return out


def same_tokens(vn, model, sequences):
    theirs = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    theirs.no_truncation()
    theirs.no_padding()
    mine = rows(vn("vn-pack", "-q", "-m", model, input=fasta(sequences)).stdout)["tokens"]
    for i, s in enumerate(sequences):
        assert mine[i].as_py() == theirs.encode(s).ids, s[:100]


def test_published_tokenizer(vn, tmp_path):
    if not os.path.exists(os.path.join(PUBLISHED, "tokenizer.json")):
        pytest.skip("no dnabert-s in $VN_TEST_DATA")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(os.path.join(PUBLISHED, name), tmp_path)
    same_tokens(vn, tmp_path, random_strings(10000, 1))


@pytest.mark.parametrize("merges", [1, 20, 300, 3000])
def test_random_tokenizers(vn, tool, tmp_path, merges):
    model = make_model(tool, tmp_path / "m", (1, 16, 1, 16, merges), "--seed", merges)
    same_tokens(vn, model, random_strings(1000, merges))


# ---- the model ---------------------------------------------------------------------------

def relative(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def numbers(row):
    """One row: [D] of a vector, [n, D] of token rows."""
    if pyarrow.types.is_fixed_size_list(row.type):
        return row.flatten().to_numpy()
    return row.flatten().flatten().to_numpy().reshape(-1, row.type.value_type.list_size)


def embed(vn, model, sequences, *options):
    """Tokens and embeddings of each sequence."""
    tokens = vn("vn-pack", "-q", "-m", model, "--max-tokens", 4000, input=fasta(sequences)).stdout
    table = rows(vn("vn-embed", "-m", model, "--device", DEVICE, *options,
                    input=tokens).stdout)
    column = table["embedding"].chunk(0)
    return ([t.as_py() for t in rows(tokens)["tokens"]],
            [numbers(column.slice(i, 1)) for i in range(len(column))], table)


@pytest.fixture(scope="module", params=SHAPES)
def model(request, tool, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / request.param
    make_model(tool, path, SHAPES[request.param])
    return path, dnabert.load(path)


def sequences(lengths):
    rng = random.Random(7)
    return [dna(rng, n, "ACGTACGTACGTACGTN") for n in lengths]


def check(got, want, tensor=2e-6, token=1e-5):
    """Both a list of arrays, one of each record."""
    assert [x.shape for x in got] == [y.shape for y in want]
    assert relative(np.concatenate(got), np.concatenate(want)) <= tensor
    assert max(relative(x, y) for g, w in zip(got, want) for x, y in zip(g, w)) <= token


def hidden(theirs, tokens, layer=None):
    layer = theirs.layers if layer is None else layer
    return [dnabert.hidden(theirs, t, [layer])[layer].numpy() for t in tokens]


def test_every_layer(vn, model):
    path, theirs = model
    seqs = sequences(LENGTHS[:5])
    for layer in range(theirs.layers + 1):
        tokens, got, _ = embed(vn, path, seqs, "--precision", "fp32", "--layer", layer)
        check(got, hidden(theirs, tokens, layer))


def test_every_length(vn, model):
    path, theirs = model
    lengths = LENGTHS + [LONG] if path.name == "wide" else LENGTHS
    tokens, got, _ = embed(vn, path, sequences(lengths), "--precision", "fp32")
    check(got, hidden(theirs, tokens))


def test_lengths_one_by_one(vn, model):
    path, theirs = model
    seqs = [dna(random.Random(n), n) for n in range(1, 140)]
    tokens, got, _ = embed(vn, path, seqs, "--precision", "fp32")
    check(got, hidden(theirs, tokens))


def test_pool_auto_is_the_mean_over_all_tokens(vn, model):
    path, theirs = model
    tokens, got, table = embed(vn, path, sequences(LENGTHS), "--precision", "fp32", "--pool",
                             "auto")
    for x, y in zip(got, hidden(theirs, tokens)):
        assert relative(x, y.mean(0, dtype=np.float64)) <= 2e-6
    assert any(b'"pool":"mean-all"' in v for v in table.schema.metadata.values())


def test_bf16(vn, model):
    path, theirs = model
    tokens, got, _ = embed(vn, path, sequences(LENGTHS), "--precision", "bf16")
    want = hidden(theirs, tokens)
    pytorch = np.concatenate([dnabert.hidden_pytorch(theirs, t, torch.bfloat16).numpy()
                              for t in tokens])
    check(got, want, 2e-2, 4e-2)
    assert relative(np.concatenate(got), np.concatenate(want)) <= \
        1.05 * relative(pytorch, np.concatenate(want))
    for x, y in zip(got, want):
        a, b = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.9995


@pytest.mark.skipif(DEVICE == "cpu", reason="a CPU has no fp16")
def test_fp16(vn, model):
    path, theirs = model
    tokens, got, _ = embed(vn, path, sequences(LENGTHS), "--precision", "fp16")
    for x, y in zip(got, hidden(theirs, tokens)):
        assert max(relative(a, b) for a, b in zip(x, y)) <= 1e-2
        a, b = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.9999


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_neighbours_and_packing_change_nothing(vn, model, precision):
    path, _ = model
    seqs = sequences(LENGTHS[:6])
    _, together, _ = embed(vn, path, seqs, "--precision", precision)
    for s, x in zip(seqs, together):
        _, alone, _ = embed(vn, path, [s], "--precision", precision)
        assert np.array_equal(alone[0], x)


def test_published_shape(vn, tool, tmp_path):
    """12 layers of 768. Random weights magnify a rounding with every layer, the more the fewer
    tokens there are: of 3 tokens PyTorch in FP32 is 1.7e-5 away from the formulas, of 1,112
    tokens 3.7e-6. The gates are for one layer, and half as much again as PyTorch for all."""
    path = make_model(tool, tmp_path / "m", PUBLISHED_SHAPE)
    theirs = dnabert.load(path)
    tokens, got, _ = embed(vn, path, sequences([1, 40, 300, 1500]), "--precision", "fp32",
                           "--layer", 1)
    check(got, hidden(theirs, tokens, 1))
    tokens, got, _ = embed(vn, path, sequences([1, 40, 300, 1500]), "--precision", "fp32")
    for t, x, y in zip(tokens, got, hidden(theirs, tokens)):
        pytorch = dnabert.hidden_pytorch(theirs, t, torch.float32).numpy()
        assert relative(x, y) <= 1.5 * relative(pytorch, y)
