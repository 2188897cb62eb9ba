#!/usr/bin/env python3
"""Writes files as torch.save does, sound and hostile, with the standard library alone.

    mktorch.py VARIANT FILE            a classifier head, or a damaged file (see VARIANTS)
    mktorch.py huggingface DIR OUT     DIR's model.safetensors as OUT/pytorch_model.bin
    mktorch.py hf-shards DIR OUT       the same in two shards and an index
    mktorch.py fair-esm DIR FILE [N]   the same under fair-esm's names, and N tensors more
    mktorch.py virnucpro KIND TEXT FILE   vectors as VirNucPro saves them: nucleotide (DNABERT-S),
                                       proteins (ESM-2) or ids (both); TEXT as of ptvectors

The classes are stand-ins of the right module and name: pickle writes them by reference.
"""
import collections, io, json, os, pickle, random, re, struct, sys, types, zipfile


def module(name):
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        part = ".".join(parts[:i])
        if part not in sys.modules:
            sys.modules[part] = types.ModuleType(part)
        if i > 1:
            setattr(sys.modules[".".join(parts[: i - 1])], parts[i - 1], sys.modules[part])
    return sys.modules[name]


def declare(mod, name, kind=None):
    made = kind or type(name, (), {})
    made.__module__, made.__qualname__, made.__name__ = mod, name, name
    setattr(module(mod), name, made)
    return made


def function(*args):
    raise AssertionError("only its name is written")


rebuild = declare("torch._utils", "_rebuild_tensor_v2", types.FunctionType(
    function.__code__, {}, "rebuild"))
parameter = declare("torch._utils", "_rebuild_parameter", types.FunctionType(
    function.__code__, {}, "parameter"))
WIDTH = {"Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Double": 8, "Complex": 8}
STORAGE = {k: declare("torch", k + "Storage") for k in WIDTH}
Linear = declare("torch.nn.modules.linear", "Linear")
BatchNorm1d = declare("torch.nn.modules.batchnorm", "BatchNorm1d")
ReLU = declare("torch.nn.modules.activation", "ReLU")
GELU = declare("torch.nn.modules.activation", "GELU")
Conv1d = declare("torch.nn.modules.conv", "Conv1d")
Sequential = declare("torch.nn.modules.container", "Sequential")
MLPClassifier = declare("units", "MLPClassifier")
Namespace = declare("argparse_standin", "Namespace")
Namespace.__module__ = "argparse"
module("argparse").Namespace = Namespace


class Storage:
    def __init__(self, kind, data, key=None, numel=None):
        self.kind, self.data, self.key = kind, data, key
        self.numel = len(data) // WIDTH[kind] if numel is None else numel


class Reduce:
    def __init__(self, *what):
        self.what = what

    def __reduce__(self):
        return self.what


def tensor(kind, shape, data, offset=0, stride=None, storage=None):
    storage = storage or Storage(kind, data)
    if stride is None:
        stride, step = [], 1
        for n in reversed(shape):
            stride.insert(0, step)
            step *= n
    return Reduce(rebuild, (storage, offset, tuple(shape), tuple(stride), False,
                            collections.OrderedDict()))


def floats(values):
    return struct.pack("<%df" % len(values), *values)


rng = random.Random(5)


def rand(*shape, lo=-1.0, hi=1.0):
    n = 1
    for s in shape:
        n *= s
    return tensor("Float", shape, floats([rng.uniform(lo, hi) for _ in range(n)]))


# ---- files ---------------------------------------------------------------------------


def dump(obj, legacy=False):
    """The pickle and the storages by key."""
    storages, out = {}, io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, o):
            if not isinstance(o, Storage):
                return None
            if o.key is None:
                o.key = str(len(storages))
            storages[o.key] = o
            pid = ("storage", STORAGE[o.kind], o.key, "cpu", o.numel)
            return pid + (None,) if legacy else pid

    Pickler(out, 2).dump(obj)
    return out.getvalue(), storages


def write_zip(path, data, storages, method=zipfile.ZIP_STORED, extra=(), byteorder=b"little",
              skip=()):
    with zipfile.ZipFile(path, "w", method) as z:
        z.writestr("archive/data.pkl", data)
        if byteorder:
            z.writestr("archive/byteorder", byteorder)
        for key, s in storages.items():
            if key not in skip:
                z.writestr("archive/data/" + key, s.data)
        z.writestr("archive/version", b"3\n")
        for name, text in extra:
            z.writestr(name, text)


def write_legacy(path, data, storages, keys=None, tail=b"", little=True, cut=0):
    b = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    b += pickle.dumps({"protocol_version": 1001, "little_endian": little,
                       "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2) + data
    keys = sorted(storages) if keys is None else keys
    b += pickle.dumps(keys, 2)
    for k in keys:
        if k in storages:
            b += struct.pack("<q", storages[k].numel) + storages[k].data
    b += tail
    open(path, "wb").write(b[: len(b) - cut])


# ---- heads ---------------------------------------------------------------------------


def make(cls, parameters=(), buffers=(), modules=(), **more):
    m = cls.__new__(cls)
    m.__dict__.update(training=True, _parameters=collections.OrderedDict(parameters),
                      _buffers=collections.OrderedDict(buffers),
                      _modules=collections.OrderedDict(modules), **more)
    return m


def linear(out, inp, bias=True, weight=None):
    w = weight or rand(out, inp)
    return make(Linear, [("weight", Reduce(parameter, (w, True, collections.OrderedDict()))),
                         ("bias", rand(out) if bias else None)], in_features=inp,
                out_features=out)


def norm(n, **more):
    count = tensor("Long", (), struct.pack("<q", 7))
    more.setdefault("eps", 1e-5)
    return make(BatchNorm1d, [("weight", rand(n)), ("bias", rand(n))],
                [("running_mean", rand(n)), ("running_var", rand(n, lo=0.1, hi=2)),
                 ("num_batches_tracked", count)], **more)


def mlp(*modules):
    return make(MLPClassifier, modules=[("m%d" % i, m) for i, m in enumerate(modules)])


def head():
    rng.seed(5)
    return mlp(linear(6, 4), norm(6), linear(2, 6))


def state_dict():
    rng.seed(5)
    d = collections.OrderedDict()
    m = head()
    for name, part in m._modules.items():
        for k, v in list(part._parameters.items()) + list(part._buffers.items()):
            if v is not None:
                d[name + "." + k] = v
    return d


def attack(name, *args):
    mod, _, fn = name.rpartition(".")
    declare(mod if mod != "os" else "os", fn, types.FunctionType(function.__code__, {}, fn)) \
        if mod != "os" else None
    return Reduce(getattr(sys.modules[mod], fn), args)


def zipped(obj, **how):
    return lambda path: write_zip(path, *dump(obj()), **how)


def legacy(obj, **how):
    return lambda path: write_legacy(path, *dump(obj(), True), **how)


def raw(text):
    return lambda path: open(path, "wb").write(text)


def changed(fn, change):
    def write(path):
        fn(path)
        b = bytearray(open(path, "rb").read())
        open(path, "wb").write(change(b))
    return write


def flip_data(b):
    at = b.find(b"archive/data/0") + len(b"archive/data/0") + 5
    b[at] ^= 1
    return b


def crossed():  # one key as two types
    a, b = Storage("Float", floats([1, 2]), "0"), Storage("Half", b"\0" * 8, "0", 4)
    return {"a.weight": tensor("Float", (1, 2), b"", storage=a),
            "b.weight": tensor("Half", (1, 4), b"", storage=b)}


def one(t):
    return {"a.weight": t}


def view(shape, stride, offset=0, n=4):
    return lambda: one(tensor("Float", shape, floats(range(n)), offset, stride))


def three():
    return mlp(linear(3, 4))


def nan():
    return mlp(linear(2, 2, weight=tensor("Float", (2, 2), floats([1, 2, float("nan"), 4]))))


def nested(n):
    m = linear(2, 4)
    for i in range(n):
        m = make(Sequential, modules=[("0", m)])
    return m


def graph():  # 60 ^ 8 modules, if every way to one counts
    m = make(Sequential)
    for _ in range(8):
        m = make(Sequential, modules=[(str(i), m) for i in range(60)])
    return m


def checkpoint(model):
    return {"cfg": {"model": {"encoder_layers": 1, "encoder_embed_dim": 16,
                              "encoder_attention_heads": 1, "token_dropout": True}}, "model": model}


def fair_small():
    return checkpoint({fair_name(k): v for k, v in [
        ("esm.embeddings.word_embeddings.weight", rand(33, 16)),
        ("esm.encoder.emb_layer_norm_after.weight", rand(16)),
        ("esm.encoder.emb_layer_norm_after.bias", rand(16))] + [
        ("esm.encoder.layer.0." + name + end, rand(*shape, *more))
        for name, shape, last in (
            ("attention.self.query", [16], 16), ("attention.self.key", [16], 16),
            ("attention.self.value", [16], 16), ("attention.output.dense", [16], 16),
            ("attention.LayerNorm", [16], 0), ("LayerNorm", [16], 0),
            ("intermediate.dense", [8], 16), ("output.dense", [16], 8))
        for end, more in ((".weight", [last] if last else []), (".bias", []))]})


def hidden(name, value):  # a module with that in place of its own
    m = mlp(linear(2, 4))
    m.__dict__[name] = value
    return m


VARIANTS = {
    # sound
    "legacy-state": legacy(state_dict), "legacy-fair": legacy(fair_small),
    "head": zipped(head), "deflated": zipped(head, method=zipfile.ZIP_DEFLATED),
    "legacy": legacy(head), "state": zipped(state_dict), "no-byteorder": zipped(head, byteorder=None),
    "plain": zipped(lambda: mlp(linear(5, 4), make(GELU, approximate="none"), linear(3, 5))),
    "no-bias": zipped(lambda: mlp(linear(2, 4, bias=False))),
    "transposed": zipped(lambda: one(tensor("Float", (2, 3), floats([1, 4, 2, 5, 3, 6]), 0, (1, 2)))),
    "straight": zipped(lambda: one(tensor("Float", (2, 3), floats([1, 2, 3, 4, 5, 6])))),
    "nested": zipped(lambda: nested(5)),
    "one-class": zipped(lambda: mlp(linear(1, 4))),
    # pickles that attack
    "exec": zipped(lambda: attack("os.system", "touch executed")),
    "exec-inside": zipped(lambda: {"a.weight": attack("os.system", "touch executed")}),
    "exec-legacy": legacy(lambda: attack("os.system", "touch executed")),
    "unknown-class": zipped(lambda: attack("numpy.core.multiarray.scalar", 1)),
    # tensors that lie
    "offset": zipped(view((2, 2), (2, 1), 1)), "outside": zipped(view((2, 3), (3, 1))),
    "bomb": zipped(view((1 << 40, 2), (0, 1))), "overflow": zipped(view((1 << 40, 1 << 40), (0, 0))),
    "far": zipped(view((2, 1), (1 << 62, 1))), "negative": zipped(view((2, 2), (-1, 1))),
    "dims": zipped(view((1,) * 9, (1,) * 9)), "ranks": zipped(view((2, 2), (1,))),
    "size-text": zipped(view(("x", 2), (2, 1))),
    # archives that lie
    "storage-missing": zipped(head, skip=("3",)),
    "storage-short": zipped(lambda: one(tensor("Float", (1, 2), b"", storage=Storage("Float", b"\0" * 7, "0", 2)))),
    "storage-types": zipped(crossed),
    "storage-class": zipped(lambda: one(tensor("Complex", (1, 1), b"\0" * 8))),
    "big-endian": zipped(head, byteorder=b"big"),
    "duplicate": zipped(head, extra=[("archive/data/0", b"x")]),
    "two-pickles": zipped(head, extra=[("other/data.pkl", b"N.")]),
    "no-pickle": lambda p: write_zip(p, b"N.", {}) or os.rename(p, p) or changed(
        lambda q: None, lambda b: b.replace(b"data.pkl", b"data.pkx"))(p),
    "trailing": lambda p: write_zip(p, dump(head())[0] + b"x", dump(head())[1]),
    "huge": lambda p: write_zip(p, b"N" * (16 << 20) + b".", {}, method=zipfile.ZIP_DEFLATED),
    "crc": changed(zipped(head), flip_data),
    "cut": changed(zipped(head), lambda b: b[:-30]),
    "cut-head": changed(zipped(head), lambda b: b[30:]),
    "legacy-cut": legacy(head, cut=1), "legacy-tail": legacy(head, tail=b"x"),
    "legacy-keys": legacy(head, keys=["0", "1"]), "legacy-strange": legacy(view((2, 2), (2, 1)), keys=["x"]),
    "legacy-big": legacy(head, little=False),
    "legacy-twice": legacy(lambda: {"a.weight": rand(2, 2), "b.weight": rand(2, 2)}, keys=["0", "0"]),
    "empty": raw(b""), "text": raw(b"hello world, this is no model at all\n"),
    "bare": raw(pickle.dumps({"a": 1}, 2)),
    # heads that are none
    "list": zipped(lambda: [1, 2]), "dict": zipped(lambda: {"a": 1}), "nothing": zipped(dict),
    "three": zipped(three), "nan": zipped(nan), "deep": zipped(lambda: nested(12)),
    "conv": zipped(lambda: mlp(make(Conv1d), linear(2, 4))),
    "chain": zipped(lambda: mlp(linear(6, 4), linear(2, 5))),
    "norms": zipped(lambda: mlp(linear(6, 4), norm(6), norm(6), linear(2, 6))),
    "norm-width": zipped(lambda: mlp(linear(6, 4), norm(5), linear(2, 6))),
    "norm-first": zipped(lambda: mlp(norm(6), linear(6, 4), linear(2, 6))),
    "norm-late": zipped(lambda: mlp(linear(6, 4), make(ReLU), norm(6), linear(2, 6))),
    "norm-eps": zipped(lambda: mlp(linear(6, 4), norm(6, eps="x"), linear(2, 6))),
    "both": zipped(lambda: mlp(linear(6, 4), make(ReLU), linear(6, 6), make(GELU), linear(2, 6))),
    "tanh": zipped(lambda: mlp(linear(6, 4), make(GELU, approximate="tanh"), linear(2, 6))),
    "vector": zipped(lambda: one(rand(4))), "graph": zipped(graph),
    "modules-text": zipped(lambda: hidden("_modules", "some text")),
    "modules-set": zipped(lambda: hidden("_modules", {1, 2})),
    "parameters-text": zipped(lambda: hidden("_parameters", "some text")),
    "language": zipped(lambda: {"esm.embeddings.word_embeddings.weight": rand(4, 4)}),
    # checkpoints of fair-esm that are none
    "no-cfg": zipped(lambda: {"model": {}, "args": {}}),
    "bad-cfg": zipped(lambda: {"model": {}, "cfg": {"model": {"encoder_layers": "6"}}}),
    "model-number": zipped(lambda: {"model": {"a": 1}, "cfg": {"model": {}}}),
    "model-text": zipped(lambda: checkpoint("some text")),
    "model-class": zipped(lambda: checkpoint(collections.OrderedDict)),
    "model-list": zipped(lambda: checkpoint(["some", "text"])),
    "bin-text": zipped(lambda: "some text"), "bin-list": zipped(lambda: [1, 2, 3]),
    "long-name": zipped(lambda: {"x" * 256: rand(2)}),
}


# ---- language models -----------------------------------------------------------------


def read_safetensors(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    kinds = {"F32": "Float", "F16": "Half", "BF16": "BFloat16", "I64": "Long"}
    header = json.loads(b[8 : 8 + n])
    header.pop("__metadata__", None)
    return collections.OrderedDict(
        (k, tensor(kinds[v["dtype"]], v["shape"],
                   b[8 + n + v["data_offsets"][0] : 8 + n + v["data_offsets"][1]]))
        for k, v in header.items())


FAIR = [("esm.embeddings.word_embeddings", "encoder.sentence_encoder.embed_tokens"),
        ("esm.encoder.emb_layer_norm_after", "encoder.sentence_encoder.emb_layer_norm_after"),
        ("esm.contact_head", "contact_head"), ("esm.encoder.layer.", "encoder.sentence_encoder.layers."),
        ("attention.self.query", "self_attn.q_proj"), ("attention.self.key", "self_attn.k_proj"),
        ("attention.self.value", "self_attn.v_proj"), ("attention.output.dense", "self_attn.out_proj"),
        ("attention.self.rotary_embeddings", "self_attn.rot_emb"),
        ("attention.LayerNorm", "self_attn_layer_norm"), ("intermediate.dense", "fc1"),
        ("output.dense", "fc2"), (".LayerNorm", ".final_layer_norm"), ("lm_head", "encoder.lm_head")]


def fair_name(name):
    for ours, theirs in FAIR:
        name = name.replace(ours, theirs)
    return name


def fair_esm(directory, path, more="0"):
    config = json.load(open(directory + "/config.json"))
    model = collections.OrderedDict((fair_name(k), v) for k, v in
                                    read_safetensors(directory + "/model.safetensors").items()
                                    if "position_ids" not in k)
    model["encoder.sentence_encoder.version"] = rand(1)
    for i in range(int(more)):
        model["strange.%d" % i] = rand(1)
    cfg = Namespace()
    cfg.__dict__.update(arch="esm2", encoder_layers=config["num_hidden_layers"],
                        encoder_embed_dim=config["hidden_size"],
                        encoder_attention_heads=config["num_attention_heads"],
                        token_dropout=True, lr=[0.0004])
    write_zip(path, *dump({"model": model, "cfg": {"model": cfg, "_name": None}}))


def huggingface(directory, out, shards):
    os.makedirs(out, exist_ok=True)
    for name in ("config.json", "vocab.txt"):
        open(out + "/" + name, "w").write(open(directory + "/" + name).read())
    tensors = list(read_safetensors(directory + "/model.safetensors").items())
    if not shards:
        write_zip(out + "/pytorch_model.bin", *dump(collections.OrderedDict(tensors)))
        return
    where = {}
    for i, part in enumerate((tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :])):
        name = "pytorch_model-%05d-of-00002.bin" % (i + 1)
        write_zip(out + "/" + name, *dump(collections.OrderedDict(part)))
        where.update((k, name) for k, _ in part)
    json.dump({"metadata": {}, "weight_map": where},
              open(out + "/pytorch_model.bin.index.json", "w"))


def virnucpro(kind, text, path):
    rows = [line.rstrip("\n").split("\t") for line in open(text)]
    ids = [i for i, _ in rows]
    values = [[float(x) for x in v.split(",")] for _, v in rows]
    if kind == "nucleotide":
        data = [{"label": i, "mean_representation": v} for i, v in zip(ids, values)]
    elif kind == "proteins":
        data = [tensor("Float", (len(v),), floats(v)) for v in values]
    else:
        data = tensor("Float", (len(values), len(values[0])), floats(sum(values, [])))
    write_zip(path, *dump({kind: ids, "data": data}))


def main():
    if sys.argv[1] == "fair-esm":
        fair_esm(*sys.argv[2:])
    elif sys.argv[1] == "virnucpro":
        virnucpro(*sys.argv[2:])
    elif sys.argv[1] in ("huggingface", "hf-shards"):
        huggingface(*sys.argv[2:], sys.argv[1] == "hf-shards")
    elif sys.argv[1] == "variants":
        print(*VARIANTS)
    else:
        VARIANTS[sys.argv[1]](sys.argv[2])


if __name__ == "__main__":
    main()
