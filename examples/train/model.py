"""An encoder of ESM-2's architecture with a head over its residues' mean, and its files."""
import hashlib
import json
import os
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from reads import MASK

VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>",
              *(a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"), "<mask>"]
KEPT = 1 - 0.15 * 0.8  # of the embeddings' scale: what ESM-2's masks left in training


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def attention(q, k, v):
    """[n, heads, t, d]. As plain products: compiled, PyTorch's own attention gave gradients
    that are not finite where t is odd (2.11, H200), and on a CPU its backward pass took
    56 % of a training step (2.15, two cores)."""
    n, h, t, d = q.shape
    q, k, v = (x.reshape(n * h, t, d) for x in (q * d ** -0.5, k, v))
    share = torch.bmm(q, k.transpose(1, 2)).softmax(-1).to(v.dtype)
    return torch.bmm(share, v).view(n, h, t, d)


class Layer(nn.Module):
    def __init__(self, width, heads, inner, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def look_at(self, offsets, frequency, sharp=10.0):
        """Lets head h begin as one that looks at position i - offsets[h], as a convolution
        does: by the biases of query and key, whose product under rotation has its only maximum
        there. The weights, made small, are left to learn what else to look at."""
        width, heads = self.qkv.in_features, self.heads
        bias = self.qkv.bias.data.view(3, heads, 2, -1)
        weight = self.qkv.weight.data.view(3, heads, width // heads, width)
        size = (sharp * (width // heads) ** 0.5) ** 0.5
        for h, offset in zip(range(heads), offsets):
            weight[:2, h] *= 0.1
            bias[0, h, 0], bias[0, h, 1] = size, 0
            bias[1, h, 0] = size * torch.cos(offset * frequency)
            bias[1, h, 1] = size * torch.sin(offset * frequency)

    def forward(self, x, cos, sin):
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = attention(q, k, v).transpose(1, 2).reshape(n, t, d)
        x = x + F.dropout(self.out(y), self.dropout, self.training)
        y = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return x + F.dropout(y, self.dropout, self.training)


class Encoder(nn.Module):
    """Tokens [n, T], every row whole: <cls>, codons, <eos> -> hidden states [n, T, width]."""

    def __init__(self, layers, width, heads, inner, dropout=0.0, near=()):
        """near: of the first layers, the offset that each head looks at to begin with."""
        super().__init__()
        self.shape = {"layers": layers, "width": width, "heads": heads, "inner": inner}
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.layers = nn.ModuleList(Layer(width, heads, inner, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for layer in self.layers:
            for linear in layer.qkv, layer.fc1, layer.out, layer.fc2:
                nn.init.normal_(linear.weight, std=linear.in_features ** -0.5)
                nn.init.zeros_(linear.bias)
            for linear in layer.out, layer.fc2:  # the residual stream keeps its size
                linear.weight.data *= (2 * layers) ** -0.5
        half = width // heads // 2
        self.register_buffer("frequency", 10000.0 ** (-torch.arange(half).float() / half),
                             persistent=False)
        for layer, offsets in zip(self.layers, near):
            layer.look_at(offsets, self.frequency)

    def forward(self, tokens, masked=False):
        x = self.words(tokens)
        if masked:
            mask = tokens == MASK
            left = 1 - mask.float().sum(1) / tokens.shape[1]
            x = x.masked_fill(mask[..., None], 0) * (KEPT / left)[:, None, None]
        else:
            x = x * KEPT
        angle = torch.arange(tokens.shape[1], device=x.device)[:, None] * self.frequency
        angle = torch.cat((angle, angle), -1)
        cos, sin = angle.cos(), angle.sin()
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)


class Classifier(nn.Module):
    """Logit of virus against others for each row of tokens; with `masked`, instead, the
    logits of every token, for pre-training."""

    def __init__(self, layers, width, heads, inner, hidden, dropout=0.0, near=()):
        super().__init__()
        self.encoder = Encoder(layers, width, heads, inner, dropout, near)
        sizes = [width, *hidden, 2]
        self.head = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.lm = nn.Linear(width, len(VOCABULARY))  # left behind by export
        self.dropout = dropout

    def scores(self, mean):
        for i, linear in enumerate(self.head):
            if i:
                mean = F.dropout(F.gelu(mean), self.dropout, self.training)
            mean = linear(mean)
        return mean

    def forward(self, tokens, masked=False):
        h = self.encoder(tokens, masked)
        if masked:
            return self.lm(h)
        with torch.autocast(tokens.device.type, enabled=False):
            both = self.scores(h[:, 1:-1].float().mean(1))
            return both[:, 1] - both[:, 0]


# ---- files -----------------------------------------------------------------------------


def encoder_tensors(encoder):
    state = {"embeddings.word_embeddings.weight": encoder.words.weight,
             "encoder.emb_layer_norm_after.weight": encoder.norm.weight,
             "encoder.emb_layer_norm_after.bias": encoder.norm.bias}
    for i, layer in enumerate(encoder.layers):
        stem = f"encoder.layer.{i}."
        for kind in "weight", "bias":
            parts = getattr(layer.qkv, kind).chunk(3)
            for name, part in zip(("query", "key", "value"), parts):
                state[f"{stem}attention.self.{name}.{kind}"] = part
            for name, module in (("attention.output.dense", layer.out),
                                 ("attention.LayerNorm", layer.norm1),
                                 ("LayerNorm", layer.norm2),
                                 ("intermediate.dense", layer.fc1),
                                 ("output.dense", layer.fc2)):
                state[f"{stem}{name}.{kind}"] = getattr(module, kind)
    return state


def head_tensors(head):
    return {f"layers.{i}.{kind}": getattr(linear, kind) for i, linear in enumerate(head)
            for kind in ("weight", "bias")}


def write_safetensors(path, tensors):
    """In half precision; returns the SHA-256 of the file. The header is padded so that the
    data begins at a multiple of 8 bytes, as the published writer has it."""
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().float().numpy().astype(np.float16)
        if not np.isfinite(value).all():
            raise SystemExit(f"tensor '{name}' does not fit half precision")
        header[name] = {"dtype": "F16", "shape": list(value.shape),
                        "data_offsets": [at, at + value.nbytes]}
        blobs.append(value.tobytes())
        at += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = struct.pack("<Q", len(text)) + text + b"".join(blobs)
    with open(path + ".tmp", "wb") as out:
        out.write(data)
    os.replace(path + ".tmp", path)
    return hashlib.sha256(data).hexdigest()


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: torch.from_numpy(np.frombuffer(data, np.float16, -1, 8 + size)[
        t["data_offsets"][0] // 2:t["data_offsets"][1] // 2].reshape(t["shape"])
        .astype(np.float32)) for name, t in header.items()}


def write_json(path, value):
    with open(path + ".tmp", "w") as out:
        json.dump(value, out, indent=2)
        out.write("\n")
    os.replace(path + ".tmp", path)


def export(model, folder, name, facts):
    """folder/NAME: the encoder as Hugging Face has it; folder/NAME-head: the head, bound to
    it by name, digest and pooling, with `facts` beside."""
    here, head = os.path.join(folder, name), os.path.join(folder, name + "-head")
    os.makedirs(here, exist_ok=True)
    os.makedirs(head, exist_ok=True)
    shape = model.encoder.shape
    write_json(f"{here}/config.json", {
        "architectures": ["EsmModel"], "attention_probs_dropout_prob": 0.0,
        "emb_layer_norm_before": False, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
        "hidden_size": shape["width"], "intermediate_size": shape["inner"],
        "is_folding_model": False, "layer_norm_eps": 1e-5, "mask_token_id": MASK,
        "max_position_embeddings": 1026, "model_type": "esm",
        "num_attention_heads": shape["heads"], "num_hidden_layers": shape["layers"],
        "pad_token_id": 1, "position_embedding_type": "rotary", "token_dropout": True,
        "torch_dtype": "float16", "vocab_size": len(VOCABULARY)})
    with open(f"{here}/vocab.txt", "w") as out:
        out.write("\n".join(VOCABULARY) + "\n")
    digest = write_safetensors(f"{here}/model.safetensors", encoder_tensors(model.encoder))
    write_safetensors(f"{head}/model.safetensors", head_tensors(model.head))
    write_json(f"{head}/config.json", {
        "model_type": "vn-head", "activation": "gelu", "labels": ["others", "virus"],
        "inputs": [{"model": name, "sha256": digest, "layer": shape["layers"],
                    "pool": "mean", "width": shape["width"]}], **facts})


def load(folder, name):
    """What export wrote, in single precision."""
    with open(f"{folder}/{name}/config.json") as file:
        c = json.load(file)
    encoder = read_safetensors(f"{folder}/{name}/model.safetensors")
    head = read_safetensors(f"{folder}/{name}-head/model.safetensors")
    n = len(head) // 2
    hidden = [head[f"layers.{i}.weight"].shape[0] for i in range(n - 1)]
    model = Classifier(c["num_hidden_layers"], c["hidden_size"], c["num_attention_heads"],
                       c["intermediate_size"], hidden)
    with torch.no_grad():
        for target, source in ((encoder_tensors(model.encoder), encoder),
                               (head_tensors(model.head), head)):
            if target.keys() != source.keys():
                raise SystemExit(f"'{folder}/{name}': other tensors than expected")
            for key, value in source.items():
                target[key].copy_(value)
    return model.eval()
