"""A model directory of ours as a fair-esm model: what the goldens and the oracle run.

fair-esm (esm.model.esm2.ESM2, in FP32) is the reference for ESM-2. Its published files hold
the same tensors under other names; here the names are mapped back and the module is filled
by hand, so that no file needs to be downloaded. The rotary frequencies come from the file as
well: fair-esm computes its own when a module is made, and a checkpoint overwrites them.
"""
import json
import os

import esm
import torch
from safetensors.torch import load_file

LAYER = {
    "self_attn_layer_norm": "attention.LayerNorm",
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "final_layer_norm": "LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}


def state(path, n_layers):
    """The tensors of a directory under fair-esm's names, in FP32."""
    theirs = {k.removeprefix("esm."): v.float()
              for k, v in load_file(os.path.join(path, "model.safetensors")).items()}
    out = {"embed_tokens.weight": theirs["embeddings.word_embeddings.weight"]}
    for kind in ("weight", "bias"):
        out[f"emb_layer_norm_after.{kind}"] = theirs[f"encoder.emb_layer_norm_after.{kind}"]
    for i in range(n_layers):
        for name, hf in LAYER.items():
            for kind in ("weight", "bias"):
                out[f"layers.{i}.{name}.{kind}"] = theirs[f"encoder.layer.{i}.{hf}.{kind}"]
        freq = f"encoder.layer.{i}.attention.self.rotary_embeddings.inv_freq"
        if freq in theirs:
            out[f"layers.{i}.self_attn.rot_emb.inv_freq"] = theirs[freq]
    return out


def load(path, dtype=torch.float32):
    with open(os.path.join(path, "config.json")) as f:
        c = json.load(f)
    assert c["intermediate_size"] == 4 * c["hidden_size"], "fair-esm knows no other"
    model = esm.model.esm2.ESM2(num_layers=c["num_hidden_layers"], embed_dim=c["hidden_size"],
                                attention_heads=c["num_attention_heads"],
                                token_dropout=c.get("token_dropout", True))
    mine = state(path, c["num_hidden_layers"])
    missing, unexpected = model.load_state_dict(mine, strict=False)
    assert not unexpected, unexpected
    unused = ("lm_head.", "contact_head.", "rot_emb.inv_freq")
    assert all(any(u in m for u in unused) for m in missing), missing
    for name, value in mine.items():
        assert torch.equal(model.state_dict()[name], value), name
    return model.eval().to(dtype)


@torch.no_grad()
def hidden(model, tokens, layers):
    """Hidden states [n, D] of one sequence of token ids, by layer."""
    ids = torch.tensor([list(map(int, tokens))], device=next(model.parameters()).device)
    out = model(ids, repr_layers=list(layers))
    return {k: v[0] for k, v in out["representations"].items()}


def encode(model, sequence):
    """Ids with <cls> and <eos>, as fair-esm's own alphabet gives them."""
    return [model.alphabet.cls_idx, *model.alphabet.encode(sequence), model.alphabet.eos_idx]
