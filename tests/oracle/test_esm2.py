"""vn-pack | vn-embed against fair-esm in FP32: every layer, every head size, odd lengths.

The models are seeded (tests/mkmodel) and go into fair-esm by name (tests/ref/fairesm.py).
Gates: FP32 relative L2 at most 2e-6 over every record and 1e-5 for its worst residue; BF16,
which keeps 8 bits of a number, 1e-2 over all records and 2e-2 for the worst residue, with a
pooled cosine of at least 0.9999.
"""
import os
import random
import subprocess
import sys

import numpy as np
import pyarrow.ipc
import pytest
import torch

from conftest import DEVICE

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(TESTS, "ref"))
import fairesm  # noqa: E402

BIN = os.environ.get("VN_BIN", os.path.join(TESTS, "..", "bin"))
MKMODEL = os.path.join(os.environ.get("B", os.path.join(TESTS, "../build/last")),
                       "tests", "mkmodel")

# layers, width, heads: the six head sizes of ESM-2, and the 8M model in full
SCALED = {
    "like-8M": (6, 32, 2),
    "like-35M": (4, 48, 2),
    "like-150M": (5, 64, 2),
    "like-650M": (3, 128, 2),
    "like-3B": (3, 192, 3),
    "like-15B": (4, 256, 2),
}
FULL_8M = (6, 320, 20)
LENGTHS = [1, 2, 3, 31, 63, 150, 1022, 1024, 3000]


def proteins(lengths, seed=1):
    rng = random.Random(seed)
    return ["".join(rng.choices("LAGVSERTIDPKQNFYMHWCXBUZO", k=n)) for n in lengths]


def masked(sequence, every):
    return "".join("<mask>" if i % every == 1 else c for i, c in enumerate(sequence))


def make_model(path, shape, *more):
    layers, width, heads = shape
    subprocess.run([MKMODEL, "--layers", str(layers), "--width", str(width), "--heads",
                    str(heads), *more, str(path)], check=True)
    return str(path)


def embed(model, sequences, tmp_path, *options):
    """Arrays of the column 'embedding', in input order, and the table. In FP32, if the options
    do not say otherwise."""
    if "--precision" not in options and "--attention" not in options:
        options = ("--precision", "fp32", *options)
    fasta = tmp_path / "in.fa"
    fasta.write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate(sequences)))
    pack = subprocess.run([os.path.join(BIN, "vn-pack"), "--vocab", "esm2", str(fasta)],
                          check=True, capture_output=True)
    out = subprocess.run([os.path.join(BIN, "vn-embed"), "-m", model, "--device", DEVICE,
                          *options], input=pack.stdout, check=True, capture_output=True)
    table = pyarrow.ipc.open_stream(out.stdout).read_all()
    table = table.take(np.argsort(table["record"].to_numpy())).combine_chunks()
    rows = table["embedding"].chunk(0)
    return [numbers(rows.slice(i, 1)) for i in range(len(rows))], table


def numbers(row):
    """One row: [D] of a vector, [n, D] of token rows."""
    if pyarrow.types.is_fixed_size_list(row.type):
        return row.flatten().to_numpy().astype(np.float32)
    d = row.type.value_type.list_size
    return row.flatten().flatten().to_numpy().astype(np.float32).reshape(-1, d)


def relative(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    diff = np.linalg.norm(a - b)
    return 0.0 if diff == 0 else diff / np.linalg.norm(b)


def worst_residue(a, b):
    return max(relative(x, y) for x, y in zip(a, b))


def pooled(rows):
    return rows[1:-1].astype(np.float64).mean(axis=0)


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def check(got, want, tensor, residue):
    assert got.shape == want.shape
    assert relative(got, want) <= tensor
    assert worst_residue(got, want) <= residue


@pytest.fixture(scope="module", params=[*SCALED, "8M"])
def model(request, tmp_path_factory):
    shape = SCALED.get(request.param, FULL_8M)
    path = make_model(tmp_path_factory.mktemp("models") / request.param, shape)
    return path, fairesm.load(path), shape


def reference(ours, sequences, layers):
    return [{k: v.numpy() for k, v in
             fairesm.hidden(ours, fairesm.encode(ours, s), layers).items()}
            for s in sequences]


def test_every_layer(model, tmp_path):
    path, fair, (layers, _, _) = model
    sequences = proteins([1, 2, 3, 31, 63, 150], 2)
    want = reference(fair, sequences, range(layers + 1))
    for layer in range(layers + 1):
        got, _ = embed(path, sequences, tmp_path, "--layer", str(layer))
        for g, w in zip(got, want):
            check(g, w[layer], 2e-6, 1e-5)


def test_lengths_and_masks(model, tmp_path):
    path, fair, (layers, _, _) = model
    sequences = proteins(LENGTHS)
    sequences += [masked(s, 7) for s in proteins([2, 31, 150, 1022], 3)] + ["<mask>"]
    want = [w[layers] for w in reference(fair, sequences, [layers])]
    got, _ = embed(path, sequences, tmp_path)
    for g, w in zip(got, want):
        check(g, w, 2e-6, 1e-5)
    for rule, f in {"mean": pooled, "auto": pooled, "cls": lambda r: r[0],
                    "mean-all": lambda r: r.astype(np.float64).mean(axis=0),
                    "max": lambda r: r[1:-1].max(axis=0)}.items():
        vectors, _ = embed(path, sequences, tmp_path, "--pool", rule)
        for v, w in zip(vectors, want):
            assert relative(v, f(w)) <= 2e-6, rule


def test_bf16(model, tmp_path):
    path, fair, (layers, _, _) = model
    sequences = proteins([1, 2, 31, 150, 1022]) + [masked(s, 5) for s in proteins([60], 4)]
    want = [w[layers] for w in reference(fair, sequences, [layers])]
    got, _ = embed(path, sequences, tmp_path, "--precision", "bf16")
    vectors, _ = embed(path, sequences, tmp_path, "--precision", "bf16", "--pool", "mean")
    check(np.concatenate(got), np.concatenate(want), 1e-2, 2e-2)
    for v, w in zip(vectors, want):
        assert cosine(v, pooled(w)) >= 0.9999


def test_half_rows_are_the_single_ones_rounded(tmp_path):
    path = make_model(tmp_path / "m", SCALED["like-35M"])
    sequences = proteins([1, 40, 200])
    single, _ = embed(path, sequences, tmp_path)
    half, table = embed(path, sequences, tmp_path, "--dtype", "f16")
    assert str(table.schema.field("embedding").type.value_type.value_type) == "halffloat"
    for s, h in zip(single, half):
        assert np.array_equal(s.astype(np.float16).astype(np.float32), h)


@pytest.mark.parametrize("stored", ["f16", "bf16"])
def test_checkpoints_in_half(stored, tmp_path):
    path = make_model(tmp_path / "m", SCALED["like-150M"], "--type", stored)
    fair = fairesm.load(path)
    sequences = proteins([1, 100])
    for g, w in zip(embed(path, sequences, tmp_path)[0], reference(fair, sequences, [5])):
        check(g, w[5], 2e-6, 1e-5)


def test_frequencies_come_from_the_checkpoint(tmp_path):
    """Computed frequencies give other numbers: the gates would notice."""
    with_freq = make_model(tmp_path / "a", SCALED["like-650M"])
    without = make_model(tmp_path / "b", SCALED["like-650M"], "--no-inv-freq")
    sequences = proteins([1000])
    a, b = embed(with_freq, sequences, tmp_path)[0], embed(without, sequences, tmp_path)[0]
    assert relative(a[0], b[0]) > 1e-4
    check(b[0], reference(fairesm.load(without), sequences, [3])[0][3], 2e-6, 1e-5)


def test_transformers_agrees(tmp_path):
    """The same directory in the Hugging Face port, which reads it as it is."""
    from transformers import EsmModel

    path = make_model(tmp_path / "m", FULL_8M)
    fair = fairesm.load(path)
    theirs = EsmModel.from_pretrained(path, add_pooling_layer=False,
                                      attn_implementation="eager").eval()
    # it computes its own frequencies; those of the checkpoint are the same in every layer
    stored = fair.state_dict()["layers.0.self_attn.rot_emb.inv_freq"]
    rotary = [m for n, m in theirs.named_modules() if n.endswith("rotary_embeddings")]
    assert rotary
    for module in rotary:
        module.inv_freq.copy_(stored)
    for s in proteins([1, 60, 300]):
        ids = torch.tensor([fairesm.encode(fair, s)])
        with torch.no_grad():
            want = theirs(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        check(embed(path, [s], tmp_path)[0][0], want.numpy(), 2e-6, 1e-5)
