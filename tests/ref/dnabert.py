"""DNABERT-S in formulas: what the goldens and the oracle run.

Restated from the published description (MosaicBERT: post-norm, gated feed-forward, symmetric
ALiBi), one sequence at a time, without padding, in double precision; only the embedding of a
token and its type are added in single precision, as the model's file has them. It shares
nothing with src/dnabert.c but the names of the tensors.
"""
import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def slopes(n):
    """Of n heads (Press et al., Train Short, Test Long)."""
    def of_power(k):
        start = 2 ** (-8 / k)
        return [start ** (i + 1) for i in range(k)]
    k = 2 ** math.floor(math.log2(n))
    return of_power(k) + of_power(2 * k)[0::2][:n - k]


ROWS = 512  # of attention at a time: memory for a record of any length


class Model:
    def __init__(self, path):
        with open(os.path.join(path, "config.json")) as f:
            self.config = json.load(f)
        tensors = load_file(os.path.join(path, "model.safetensors"))
        self.w = {k.removeprefix("bert."): v.float() for k, v in tensors.items()}
        self.layers = self.config["num_hidden_layers"]
        self.heads = self.config["num_attention_heads"]
        self.eps = self.config["layer_norm_eps"]

    def get(self, name):
        return self.w[name].double()

    def norm(self, x, name):
        c = x - x.mean(-1, keepdim=True)
        var = (c * c).mean(-1, keepdim=True)
        return c / torch.sqrt(var + self.eps) * self.get(name + ".weight") + self.get(name + ".bias")

    def linear(self, x, name, bias=True):
        y = x @ self.get(name + ".weight").T
        return y + self.get(name + ".bias") if bias else y

    def attention(self, x, at):
        n, d = x.shape
        k = d // self.heads
        qkv = self.linear(x, at + "self.Wqkv").reshape(n, 3, self.heads, k)
        i = torch.arange(n)
        out = torch.empty(n, d, dtype=x.dtype)
        for rows in i.split(ROWS):
            distance = (rows[:, None] - i[None, :]).abs().double()
            for h, slope in enumerate(slopes(self.heads)):
                q, key, v = (qkv[:, part, h] for part in range(3))
                s = q[rows] @ key.T / math.sqrt(k) - slope * distance
                out[rows, h * k:(h + 1) * k] = torch.softmax(s, -1) @ v
        y = self.linear(out, at + "output.dense")
        return self.norm(y + x, at + "output.LayerNorm")

    def mlp(self, y, at):
        g = self.linear(y, at + "gated_layers", bias=False)
        f = g.shape[-1] // 2
        a = g[:, :f]
        u = 0.5 * a * (1 + torch.erf(a / math.sqrt(2))) * g[:, f:]
        return self.norm(self.linear(u, at + "wo") + y, at + "layernorm")


@torch.no_grad()
def hidden(model, tokens, layers):
    """{layer: [n, D] float32} of one sequence of token ids; 0 is the embeddings' norm."""
    words = model.w["embeddings.word_embeddings.weight"][torch.tensor(tokens)]
    x = (words + model.w["embeddings.token_type_embeddings.weight"][0]).double()
    x = model.norm(x, "embeddings.LayerNorm")
    found = {0: x.float()}
    for i in range(model.layers):
        at = f"encoder.layer.{i}."
        x = model.mlp(model.attention(x, at + "attention."), at + "mlp.")
        found[i + 1] = x.float()
    return {k: found[k] for k in layers}


@torch.no_grad()
def hidden_pytorch(model, tokens, dtype):
    """The last of them, [n, D] float32, as PyTorch computes it under autocast to a type:
    products of it and into it; softmax, norms and what runs through them in single."""
    def get(name):
        return model.w[name]

    def linear(x, name, bias=True):
        return F.linear(x.to(dtype), get(name + ".weight").to(dtype),
                        get(name + ".bias").to(dtype) if bias else None)

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], get(name + ".weight"), get(name + ".bias"),
                            model.eps)

    x = get("embeddings.word_embeddings.weight")[torch.tensor(tokens)]
    x = norm(x + get("embeddings.token_type_embeddings.weight")[0], "embeddings.LayerNorm")
    n, d = x.shape
    i = torch.arange(n)
    distance = (i[:, None] - i[None, :]).abs().float()
    alibi = torch.tensor(slopes(model.heads))[:, None, None] * distance
    for layer in range(model.layers):
        at = f"encoder.layer.{layer}."
        qkv = linear(x, at + "attention.self.Wqkv").reshape(n, 3, model.heads, -1)
        q, key, v = qkv.permute(1, 2, 0, 3)
        s = (q @ key.transpose(1, 2) / math.sqrt(q.shape[-1])).float() - alibi
        y = (torch.softmax(s, -1).to(dtype) @ v).transpose(0, 1).reshape(n, d)
        x = norm(linear(y, at + "attention.output.dense") + x, at + "attention.output.LayerNorm")
        a, b = linear(x, at + "mlp.gated_layers", bias=False).chunk(2, -1)
        x = norm(linear(F.gelu(a) * b, at + "mlp.wo") + x, at + "mlp.layernorm")
    return x


def load(path):
    return Model(path)
