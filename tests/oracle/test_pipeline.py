"""The whole chain, FASTA to table, against PyTorch: fair-esm's ESM-2 and a plain MLP with the
weights of the same safetensors files; and every pipe on the way, kept with tee, opened with
PyArrow."""

import os
import random
import subprocess
from pathlib import Path

import esm
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("VN_BIN", ROOT / "bin"))
B = Path(os.environ.get("B", ROOT / "build/last"))
DEMO = ROOT / "examples/demo/proteins.fa"
LAYERS, WIDTH, HEADS = 3, 48, 3


def sh(command, cwd):
    env = dict(os.environ, PATH=f"{BIN}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=cwd, env=env,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def odd_records():
    """Lengths and letters at the edges; None: nothing to embed."""
    rng = random.Random(5)
    letters = "LAGVSERTIDPKQNFYMHWC"
    yield "one", "M"
    yield "two", "MK"
    yield "empty", ""
    yield "rare", "MXBUZOXXKLV"
    yield "unknown", "X" * 40
    for n in (3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1022, 1023, 1500):
        yield f"len{n}", "".join(rng.choice(letters) for _ in range(n))
    yield "one", "MKV"  # ids are labels: the same one again is legal


def demo_records():
    name, parts = None, []
    for line in DEMO.read_text().splitlines():
        if line.startswith(">"):
            if name is not None:
                yield name, "".join(parts)
            name, parts = line[1:].split()[0], []
        else:
            parts.append(line)
    yield name, "".join(parts)


class Reference:
    """Scores of one sequence by fair-esm and torch, in fp32 and one at a time."""

    def __init__(self, folder):
        weights = load_file(folder / "model/model.safetensors")
        self.model = esm.model.esm2.ESM2(LAYERS, WIDTH, HEADS, alphabet="ESM-1b",
                                         token_dropout=True)
        state = {"embed_tokens.weight": weights["esm.embeddings.word_embeddings.weight"]}
        for i in range(LAYERS):
            ours, theirs = f"esm.encoder.layer.{i}.", f"layers.{i}."
            names = {"attention.self.query": "self_attn.q_proj",
                     "attention.self.key": "self_attn.k_proj",
                     "attention.self.value": "self_attn.v_proj",
                     "attention.output.dense": "self_attn.out_proj",
                     "attention.LayerNorm": "self_attn_layer_norm",
                     "intermediate.dense": "fc1", "output.dense": "fc2",
                     "LayerNorm": "final_layer_norm"}
            for a, b in names.items():
                for part in ("weight", "bias"):
                    state[f"{theirs}{b}.{part}"] = weights[f"{ours}{a}.{part}"]
            state[f"{theirs}self_attn.rot_emb.inv_freq"] = weights[
                f"{ours}attention.self.rotary_embeddings.inv_freq"]
        for part in ("weight", "bias"):
            state[f"emb_layer_norm_after.{part}"] = weights[
                f"esm.encoder.emb_layer_norm_after.{part}"]
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        assert not unexpected
        assert all(m.startswith(("lm_head", "contact_head")) for m in missing), missing
        self.model.eval()
        self.convert = self.model.alphabet.get_batch_converter()
        self.head = load_file(folder / "head/model.safetensors")

    @torch.no_grad()
    def scores(self, sequence):
        tokens = self.convert([("x", sequence)])[2]
        assert tokens.shape[1] == len(sequence) + 2
        states = self.model(tokens, repr_layers=[LAYERS])["representations"][LAYERS][0]
        x = states[1:-1].mean(0)
        n = len(self.head) // 2
        for i in range(n):
            x = self.head[f"layers.{i}.weight"] @ x + self.head[f"layers.{i}.bias"]
            if i < n - 1:
                x = torch.relu(x)
        return torch.softmax(x, 0).tolist()


@pytest.fixture(scope="module", params=["odd", "demo"])
def chain(request, tmp_path_factory):
    """Runs the pipe; (folder, records)."""
    folder = tmp_path_factory.mktemp(request.param)
    records = list(odd_records() if request.param == "odd" else demo_records())
    with open(folder / "reads.fa", "w") as f:
        for name, sequence in records:
            f.write(f">{name} something else\n{sequence}\n")
    mkmodel = B / "tests/mkmodel"
    sh(f"{mkmodel} --layers {LAYERS} --width {WIDTH} --heads {HEADS} --seed 3 model; "
       f"{mkmodel} --head --input {WIDTH} --hidden 24,16 --classes others,virus --seed 10 head",
       folder)
    sh("vn-pack -m model --max-tokens 600 --window 20 reads.fa | tee tokens.arrows"
       " | vn-embed -m model --device cpu --precision fp32 --dtype f32 | tee embeddings.arrows"
       " | vn-pool --pool mean | tee vectors.arrows"
       " | vn-classify -m head --format stream | tee scores.arrows"
       " | vn-view --to tsv > viewed.tsv; "
       "vn-classify -m head vectors.arrows > calls.tsv", folder)
    return folder, records


def table(path):
    lines = path.read_text().splitlines()
    header = lines[0].split("\t")
    return header, [dict(zip(header, line.split("\t"))) for line in lines[1:]]


def test_scores_and_labels(chain):
    folder, records = chain
    header, rows = table(folder / "calls.tsv")
    assert header[:6] == ["id", "record", "label", "score_others", "score_virus", "status"]
    assert [r["id"] for r in rows] == [name for name, _ in records]
    assert [r["record"] for r in rows] == [str(i) for i in range(len(records))]
    reference = Reference(folder)
    worst, labels = 0.0, set()
    for row, (name, sequence) in zip(rows, records):
        if not sequence:
            assert (row["label"], row["score_virus"], row["status"]) == (".", ".", "empty")
            continue
        expected = reference.scores(sequence)
        got = [float(row["score_others"]), float(row["score_virus"])]
        worst = max(worst, *(abs(a - b) for a, b in zip(got, expected)))
        assert row["label"] == ("virus" if expected[1] > expected[0] else "others"), name
        assert row["status"] == "ok"
        labels.add(row["label"])
    print(f"largest difference of a score: {worst:.2g}")
    assert worst < 1e-5
    assert labels == {"others", "virus"}  # else equal labels would prove little


def test_table_is_the_scores_stream(chain):
    folder, _ = chain
    assert (folder / "viewed.tsv").read_bytes() == (folder / "calls.tsv").read_bytes()


@pytest.mark.parametrize("stage", ["tokens", "embeddings", "vectors", "scores"])
def test_pyarrow_opens_every_pipe(chain, stage):
    folder, records = chain
    with pa.OSFile(str(folder / f"{stage}.arrows")) as f, pa.ipc.open_stream(f) as reader:
        data = reader.read_all()
    data.validate(full=True)
    assert reader.schema.metadata[b"vn.kind"] == stage.encode()
    assert sorted(data["record"].to_pylist()) == list(range(len(records)))
    by_record = {r["record"]: r for r in data.to_pylist()}
    for i, (name, sequence) in enumerate(records):
        row = by_record[i]
        assert row["id"] == name
        if stage == "tokens":
            assert len(row["tokens"]) == (len(sequence) + 2 if sequence else 0)
        elif stage == "embeddings":
            assert len(row["embedding"]) == (len(sequence) + 2 if sequence else 0)
        elif stage == "vectors":
            assert (row["embedding"] is None) == (not sequence)
        else:
            assert (row["label"] is None) == (not sequence)


def test_scores_stream_equals_table(chain):
    folder, _ = chain
    _, rows = table(folder / "calls.tsv")
    with pa.OSFile(str(folder / "scores.arrows")) as f, pa.ipc.open_stream(f) as reader:
        scores = reader.read_all().to_pylist()
    assert [r["record"] for r in scores] == list(range(len(rows)))  # in input order
    for a, b in zip(rows, scores):
        for name in ("score_others", "score_virus"):
            assert (a[name] == ".") if b[name] is None else float(a[name]) == pytest.approx(
                b[name], rel=6e-8)
