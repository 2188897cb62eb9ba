"""vn-embed on a GPU against transformers there: published shapes of ESM-2, whole, with random
weights. Run by make check-oracle-gpu, which runs the others of this folder on the GPU too.

Gates: FP32 relative L2 at most 2e-6 over every record and 1e-5 for its worst residue, against
transformers in FP64: in FP32 its own results of the 36 layers of 3B are 2e-6 away from that.
They are compared as well, and may be as much further away as they are wrong themselves. FP16
1e-2 for the worst residue, and a pooled cosine of at least 0.9999.
"""
import gc

import pytest
import torch

from conftest import DEVICE
from test_esm2 import cosine, embed, make_model, pooled, proteins, relative, worst_residue

pytestmark = pytest.mark.skipif(DEVICE == "cpu", reason="no GPU: VN_TEST_DEVICE is not set")

SHAPES = {"8M": (6, 320, 20), "150M": (30, 640, 20), "650M": (33, 1280, 20), "3B": (36, 2560, 40)}
RESIDUES = [50, 166, 1022, 4094]


def encode(sequence):
    """Ids of the published vocabulary, with <cls> and <eos>."""
    return [0, *(4 + "LAGVSERTIDPKQNFYMHWCXBUZO".index(c) for c in sequence), 2]


def theirs(path, sequences, dtype):
    """Hidden states of the last layer, in the type's own precision (no TF32)."""
    from transformers import EsmModel

    torch.backends.cuda.matmul.allow_tf32 = False
    net = EsmModel.from_pretrained(path, add_pooling_layer=False, dtype=dtype,
                                   attn_implementation="eager").to("cuda").eval()
    out = []
    for s in sequences:
        ids = torch.tensor([encode(s)], device="cuda")
        with torch.no_grad():
            states = net(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        out.append(states.double().cpu().numpy())
    del net
    gc.collect()
    torch.cuda.empty_cache()
    return out


@pytest.mark.parametrize("name", SHAPES)
def test_published_shapes(name, tmp_path):
    path = make_model(tmp_path / "m", SHAPES[name], "--type", "f16", "--no-inv-freq")
    sequences = proteins(RESIDUES, 5)
    want = theirs(path, sequences, torch.float32)
    exact = theirs(path, sequences, torch.float64)
    single, _ = embed(path, sequences, tmp_path)
    half, _ = embed(path, sequences, tmp_path, "--precision", "fp16")
    means, _ = embed(path, sequences, tmp_path, "--precision", "fp16", "--pool", "mean")
    for n, s, h, m, w, e in zip(RESIDUES, single, half, means, want, exact):
        print(f"{name} {n + 2} tokens: fp32 {relative(s, w):.2e} (from FP64 {relative(s, e):.2e}, "
              f"transformers {relative(w, e):.2e}), worst residue {worst_residue(s, w):.2e}; "
              f"fp16 {relative(h, w):.2e}, worst {worst_residue(h, w):.2e}, "
              f"1 - cosine {1 - cosine(m, pooled(w)):.1e}")
    for s, h, m, w, e in zip(single, half, means, want, exact):
        assert relative(s, e) <= 2e-6
        assert worst_residue(s, e) <= 1e-5
        assert relative(s, w) <= 2e-6 + relative(w, e)
        assert worst_residue(h, w) <= 1e-2
        assert cosine(m, pooled(w)) >= 0.9999
