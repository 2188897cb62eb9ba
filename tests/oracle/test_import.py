"""vn-model import against torch, fair-esm and transformers.

Imported tensors must equal the originals bit for bit; imported models must compute what the
originals compute; a folded head must give the probabilities of the module in eval mode.
"""
import argparse
import collections
import json
import os
import subprocess
import sys
import types

import esm
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
BIN = os.environ.get("VN_BIN", os.path.join(TESTS, "..", "bin"))
MKMODEL = os.path.join(os.environ.get("B", os.path.join(TESTS, "../build/last")),
                       "tests", "mkmodel")
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def run(*args, status=0):
    p = subprocess.run([os.path.join(BIN, "vn-model"), *map(str, args)], capture_output=True,
                       text=True)
    assert p.returncode == status, p.stderr
    return p.stdout, p.stderr


def save(obj, path, zipped):
    torch.save(obj, path, _use_new_zipfile_serialization=zipped)


def equal(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


# ---- fair-esm ------------------------------------------------------------------------


def fair_model(half, layers=3, width=64, heads=4):
    torch.manual_seed(1)
    model = esm.ESM2(num_layers=layers, embed_dim=width, attention_heads=heads,
                     alphabet="ESM-1b", token_dropout=True).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    for layer in model.layers:
        rotary = layer.self_attn.rot_emb
        rotary.inv_freq = rotary.inv_freq.half().float()
    return model.half() if half else model


def fair_checkpoint(model):
    state = collections.OrderedDict()
    for name, value in model.state_dict().items():
        if name.startswith("contact_head"):
            continue  # published in a file of its own
        prefix = "encoder." if name.startswith("lm_head") else "encoder.sentence_encoder."
        state[prefix + name] = value
    cfg = argparse.Namespace(arch="esm2", encoder_layers=model.num_layers,
                             encoder_embed_dim=model.embed_dim,
                             encoder_attention_heads=model.attention_heads,
                             token_dropout=True, lr=[4e-4], tokens_per_sample=1024)
    return {"model": state, "cfg": {"model": cfg, "_name": None}}


@FORMATS
@pytest.mark.parametrize("half", [False, True], ids=["float", "half"])
def test_fair_esm(tmp_path, zipped, half):
    model = fair_model(half)
    save(fair_checkpoint(model), tmp_path / "esm2_t3.pt", zipped)
    _, notes = run("import", tmp_path / "esm2_t3.pt", "--to", tmp_path)
    assert "inv_freq: stored, all values representable in half precision" in notes
    assert "0 dropped" in notes
    run("verify", tmp_path / "esm2_t3")
    theirs = sorted(v.numpy().tobytes() for k, v in model.state_dict().items()
                    if not k.startswith("contact_head"))
    ours = sorted(v.numpy().tobytes() for v in
                  load_file(tmp_path / "esm2_t3" / "model.safetensors").values())
    assert theirs == ours  # the values; their places are checked by what they compute
    hf = transformers.EsmModel.from_pretrained(tmp_path / "esm2_t3", dtype=torch.float32,
                                               add_pooling_layer=False).eval()
    ids = torch.tensor([[0, 20, 5, 6, 7, 8, 23, 10, 11, 32, 12, 2]])
    with torch.no_grad():
        a = hf(ids).last_hidden_state
        b = model.float()(ids, repr_layers=[3])["representations"][3]
    assert (a - b).abs().max() < 2e-4 * b.abs().max()


def test_fair_esm_as_other_types(tmp_path):
    save(fair_checkpoint(fair_model(False)), tmp_path / "x.pt", True)
    for kind, dtype in (("f32", torch.float32), ("f16", torch.float16)):
        run("import", tmp_path / "x.pt", "-o", tmp_path / kind, "--type", kind)
    wide, narrow = (load_file(tmp_path / k / "model.safetensors") for k in ("f32", "f16"))
    for name, value in wide.items():
        assert value.dtype == torch.float32
        same = value if name.endswith("inv_freq") else value.half()
        assert equal(narrow[name], same), name


# ---- Hugging Face --------------------------------------------------------------------


def hf_model():
    torch.manual_seed(2)
    config = transformers.EsmConfig(
        vocab_size=33, hidden_size=48, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=100, mask_token_id=32, pad_token_id=1, layer_norm_eps=1e-5,
        position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False)
    model = transformers.EsmForMaskedLM(config).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    return model


def old_names(state):
    """As checkpoints are published: the frequencies in every layer."""
    state = collections.OrderedDict(state)
    freq = state.pop("esm.rotary_embeddings.inv_freq", None)
    for i in range(3):
        state["esm.encoder.layer.%d.attention.self.rotary_embeddings.inv_freq" % i] = freq
    return state


@FORMATS
def test_pytorch_model_bin(tmp_path, zipped):
    model = hf_model()
    state = old_names(model.state_dict())
    model.config.save_pretrained(tmp_path)
    save(state, tmp_path / "pytorch_model.bin", zipped)
    run("import", tmp_path, "-o", tmp_path / "out")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    floats = {k: v for k, v in state.items() if v.is_floating_point()}
    assert ours.keys() == floats.keys()
    assert all(equal(ours[k], v) for k, v in floats.items())


@FORMATS
def test_shards(tmp_path, zipped):
    model = hf_model()
    items = list(old_names(model.state_dict()).items())
    model.config.save_pretrained(tmp_path)
    where = {}
    for i in range(3):
        name = "pytorch_model-%05d-of-00003.bin" % (i + 1)
        part = collections.OrderedDict(items[i::3])
        save(part, tmp_path / name, zipped)
        where.update((k, name) for k in part)
    with open(tmp_path / "pytorch_model.bin.index.json", "w") as f:
        json.dump({"metadata": {"total_size": 1}, "weight_map": where}, f)
    run("import", tmp_path, "-o", tmp_path / "out")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    assert all(equal(ours[k], v) for k, v in items if v.is_floating_point())


def test_what_transformers_saves(tmp_path):
    """The newest writer's names, the one file and many."""
    model = hf_model()
    freq = model.state_dict()["esm.rotary_embeddings.inv_freq"]
    for i, size in enumerate(("1GB", "60KB")):
        out = tmp_path / str(i)
        model.save_pretrained(out, max_shard_size=size)
        facts = json.loads(run("info", "--json", out)[0])
        assert facts["inv_freq from"] == "checkpoint"
        assert np.array_equal(np.float32(facts["inv_freq"]), freq.numpy())


def test_mkmodel_loads_into_transformers(tmp_path):
    subprocess.run([MKMODEL, "--layers", "3", tmp_path], check=True)
    stored = load_file(tmp_path / "model.safetensors")
    model = transformers.EsmForMaskedLM.from_pretrained(tmp_path)
    state = old_names(model.state_dict())
    for name, value in stored.items():
        if "position_ids" not in name:
            assert equal(state[name], value), name


@pytest.mark.parametrize("width", [32, 48, 64, 128, 256])
def test_formula_of_frequencies(tmp_path, width):
    """Where none are stored: the reference's own steps, so the reference's own floats."""
    subprocess.run([MKMODEL, "--no-inv-freq", "--layers", "1", "--width", str(width),
                    tmp_path], check=True)
    facts = json.loads(run("info", "--json", tmp_path)[0])
    dim = width // 2
    theirs = 1.0 / (10000 ** (torch.arange(0, dim, 2).float() / dim))
    ours = np.float32(facts["inv_freq"])
    assert np.abs(ours / theirs.numpy() - 1).max() < 2.4e-7
    assert (ours == theirs.numpy()).mean() > 0.7


# ---- heads ---------------------------------------------------------------------------


class MLPClassifier(nn.Module):
    """A head as VirNucPro defines it."""

    def __init__(self, width, hidden, classes):
        super().__init__()
        self.hidden_layer = nn.Linear(width, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.output_layer = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.output_layer(self.dropout(torch.relu(self.bn1(self.hidden_layer(x)))))


@pytest.fixture
def live_in(monkeypatch):
    """Gives MLPClassifier another home, for as long as the test takes."""
    def move(place):
        for end in range(1, place.count(".") + 2):
            name = ".".join(place.split(".")[:end])
            if name != "__main__":
                monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setattr(MLPClassifier, "__module__", place)
        monkeypatch.setattr(sys.modules[place], "MLPClassifier", MLPClassifier, raising=False)
    return move


def trained(model):
    torch.manual_seed(3)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.05, 3)
            if m.affine:
                nn.init.normal_(m.weight)
                nn.init.normal_(m.bias)
    return model.eval()


def apply_imported(path, x, gelu=False):
    t = {k: v.numpy() for k, v in load_file(path / "model.safetensors").items()}
    n = len(t) // 2
    for i in range(n):
        x = x @ t["layers.%d.weight" % i].T + t["layers.%d.bias" % i]
        if i + 1 < n:
            x = nn.functional.gelu(torch.tensor(x)).numpy() if gelu else np.maximum(x, 0)
    return torch.softmax(torch.tensor(x), -1).numpy()


def check_head(model, width, path, gelu=False):
    x = torch.randn(64, width)
    with torch.no_grad():
        wanted = torch.softmax(model(x), -1).numpy()
    assert np.abs(apply_imported(path, x.numpy(), gelu) - wanted).max() < 1e-5


@FORMATS
@pytest.mark.parametrize("place", ["__main__", "units", "train", "virnucpro.pipeline.models"])
def test_whole_module(tmp_path, zipped, place, live_in):
    live_in(place)
    model = trained(MLPClassifier(3328, 512, 2))
    save(model, tmp_path / "model.pth", zipped)
    run("import", tmp_path / "model.pth", "-o", tmp_path / "h", "--chunk", 500)
    check_head(model, 3328, tmp_path / "h")
    config = json.load(open(tmp_path / "h" / "config.json"))
    assert config["labels"] == ["others", "virus"] and config["chunk"] == 500
    assert config["inputs"] == [
        {"model": "DNABERT-S", "pool": "mean-all", "width": 768},
        {"model": "esm2_t36_3B_UR50D", "layer": 36, "pool": "mean", "width": 2560}]


@FORMATS
def test_state_dict(tmp_path, zipped):
    model = trained(MLPClassifier(40, 33, 2))
    save(model.state_dict(), tmp_path / "model.pth", zipped)
    run("import", tmp_path / "model.pth", "-o", tmp_path / "h")
    check_head(model, 40, tmp_path / "h")


@FORMATS
def test_sequential(tmp_path, zipped):
    model = trained(nn.Sequential(
        nn.Linear(20, 16), nn.BatchNorm1d(16, eps=1e-3), nn.GELU(), nn.Dropout(0.1),
        nn.Linear(16, 8, bias=False), nn.BatchNorm1d(8, affine=False), nn.GELU(),
        nn.Sequential(nn.Linear(8, 5))))
    save(model, tmp_path / "model.pth", zipped)
    run("import", tmp_path / "model.pth", "-o", tmp_path / "h", "--labels", "a,b,c,d,e")
    check_head(model, 20, tmp_path / "h", gelu=True)


def test_half_and_views(tmp_path):
    """Storages shared by several tensors, strides, half and bfloat16."""
    block = torch.randn(6, 10).bfloat16()
    state = {"a.weight": block.t()[2:7, 1:5], "a.bias": block.flatten()[3:8],
             "b.weight": torch.randn(2, 5).half(), "b.bias": torch.randn(4)[::2]}
    torch.save(state, tmp_path / "x.pt")
    run("import", tmp_path / "x.pt", "-o", tmp_path / "h")
    ours = load_file(tmp_path / "h" / "model.safetensors")
    for i, stem in enumerate("ab"):
        for leaf in ("weight", "bias"):
            assert equal(ours["layers.%d.%s" % (i, leaf)], state[stem + "." + leaf].float())


# ---- refusals ------------------------------------------------------------------------


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, ("touch " + str(self.path),)


@FORMATS
def test_nothing_is_executed(tmp_path, zipped):
    mark = tmp_path / "executed"
    for i, obj in enumerate((Attack(mark), {"model": {"a": Attack(mark)}},
                             {"w.weight": torch.zeros(2, 2), "x": [Attack(mark)]})):
        path = tmp_path / ("%d.pt" % i)
        save(obj, path, zipped)
        _, message = run("import", path, "-o", tmp_path / "out", status=65)
        assert "posix.system" in message and "nothing was executed" in message
    assert not mark.exists() and not (tmp_path / "out").exists()


@FORMATS
def test_other_modules_are_refused_by_name(tmp_path, zipped):
    save(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), tmp_path / "x.pt", zipped)
    _, message = run("import", tmp_path / "x.pt", "-o", tmp_path / "out", status=65)
    assert "torch.nn.modules.activation.Tanh" in message
