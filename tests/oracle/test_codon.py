"""vn-pack | vn-embed on a model of ESM-2's architecture whose tokens are codons, against
transformers: EsmTokenizer with the same vocab.txt, EsmModel with the same weights in FP32."""
import io
import os
import random

import numpy as np
import pyarrow.ipc
import pytest
import torch
import transformers

from conftest import DEVICE

VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>",
              *(a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"), "<mask>"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "codons"
    torch.manual_seed(5)
    net = transformers.EsmModel(transformers.EsmConfig(
        vocab_size=69, mask_token_id=68, pad_token_id=1, hidden_size=64, num_hidden_layers=3,
        num_attention_heads=4, intermediate_size=160, position_embedding_type="rotary",
        token_dropout=True, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        max_position_embeddings=4098, layer_norm_eps=1e-5), add_pooling_layer=False).eval()
    for name, p in net.named_parameters():  # so large that an error anywhere shows
        if p.ndim == 2:
            p.data.normal_(std=1 if "embeddings" in name else p.shape[1] ** -0.5)
        elif "bias" in name:
            p.data.normal_(std=0.2)
        else:
            p.data.normal_(1, 0.2)
    net.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return str(folder), net


def genes(n, seed):
    r = random.Random(seed)
    lengths = [1, 2, 3, 50, 100, 333, 1022] + [r.randint(1, 300) for _ in range(n)]
    return ["".join(r.choices("ACGT", k=3 * k)) for k in lengths]


def table(stream):
    return pyarrow.ipc.open_stream(io.BytesIO(stream)).read_all().sort_by("record")


def fasta(seqs):
    return "".join(f">s{i}\n{s}\n" for i, s in enumerate(seqs)).encode()


def test_tokens(vn, model):
    seqs = genes(500, 1)
    tokenizer = transformers.EsmTokenizer(os.path.join(model[0], "vocab.txt"))
    want = tokenizer(seqs)["input_ids"]
    for where in ("-m", model[0]), ("--vocab", "codon"):
        got = table(vn("vn-pack", *where, input=fasta(seqs)).stdout)
        assert got["tokens"].to_pylist() == want


def test_embeddings(vn, model):
    """A letter outside the alphabet, and letters behind the last codon, among them."""
    folder, net = model
    seqs = genes(40, 2)
    seqs[10] = seqs[10][:30] + "ANG" + seqs[10][33:]
    tokens = vn("vn-pack", "-m", folder, input=fasta([s + "AC"[:i % 3] for i, s in
                                                      enumerate(seqs)])).stdout
    got = table(vn("vn-embed", "-m", folder, "--device", DEVICE, "--precision", "fp32",
                   input=tokens).stdout)
    pooled = table(vn("vn-embed", "-m", folder, "--device", DEVICE, "--precision", "fp32",
                      "--pool", "auto", input=tokens).stdout)
    assert 3 in table(tokens)["tokens"].to_pylist()[10]
    for i, ids in enumerate(table(tokens)["tokens"].to_pylist()):
        with torch.no_grad():
            want = net(torch.tensor([ids])).last_hidden_state[0].numpy()
        have = np.array(got["embedding"][i].as_py(), np.float32).reshape(want.shape)
        assert np.linalg.norm(have - want) <= 3e-6 * np.linalg.norm(want), i
        mean = want[1:-1].astype(np.float64).mean(0)
        have = np.array(pooled["embedding"][i].as_py())
        assert np.linalg.norm(have - mean) <= 3e-6 * np.linalg.norm(mean), i
