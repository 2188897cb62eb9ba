"""vn-predict against a PyTorch run of the whole original pipeline re-stated, on the same seeded
weights: chunks, six frames and their rule (tests/ref/sixframes.py), DNABERT-S by its formulas on
the ids of Hugging Face's tokenizer (tests/ref/dnabert.py), ESM-2 by fair-esm, both means, the
two vectors in their order, VirNucPro's classifier with its batch norm as a torch module
(imported by vn-model), softmax, and the consensus. Labels are equal, scores within 1e-4."""
import json
import os
import random
import sys

import pytest
import torch
from tokenizers import Tokenizer
from torch import nn

from conftest import DEVICE

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ref"))
import dnabert  # noqa: E402
import fairesm  # noqa: E402
import sixframes  # noqa: E402

torch.set_num_threads(1)  # small products: threads only wait for one another

CLASSES = ("others", "virus")
ESM = (3, 48, 3)          # layers, width, heads
DNA = (3, 96, 6, 128, 300)  # layers, width, heads, inner width, merges
HIDDEN = 32


def reads(n):
    """Of 1 to 1500 bases, with few stop codons, so that many frames are open; some with N,
    lower case, and letters of several bases."""
    r = random.Random(11)
    out = [("one", "A"), ("no_codon", "NNNNNN"), ("empty", ""), ("twice", "ACGTGC" * 30),
           ("twice", "GCCGGA" * 25)]
    for i in range(n):
        length = r.choice([3, 50, 150, 299, 300, 301, 450, 700, 1500])
        letters, weights = r.choice([("ACGT", (3, 6, 6, 2)), ("ACGT", (2, 6, 6, 1)),
                                     ("ACGTNacgtR", (30, 60, 60, 20, 5, 3, 6, 6, 2, 1))])
        out.append((f"read{i}", "".join(r.choices(letters, weights, k=length))))
    return out


class Original:
    """The features of a frame, one at a time."""

    def __init__(self, folder):
        self.dna = dnabert.load(str(folder / "dna"))
        self.tokenizer = Tokenizer.from_file(str(folder / "dna" / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.esm = fairesm.load(str(folder / "esm"))
        self.convert = self.esm.alphabet.get_batch_converter()

    @torch.no_grad()
    def feature(self, protein, nucleotides):
        ids = self.tokenizer.encode(nucleotides).ids
        first = dnabert.hidden(self.dna, ids, [DNA[0]])[DNA[0]].mean(0)
        tokens = self.convert([("x", protein)])[2]
        states = self.esm(tokens, repr_layers=[ESM[0]])["representations"][ESM[0]][0]
        return torch.cat([first, states[1:len(protein) + 1].mean(0)])


class MLPClassifier(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.hidden_layer = nn.Linear(width, HIDDEN)
        self.bn1 = nn.BatchNorm1d(HIDDEN)
        self.dropout = nn.Dropout(0.2)
        self.output_layer = nn.Linear(HIDDEN, 2)

    def forward(self, x):
        return self.output_layer(self.dropout(torch.relu(self.bn1(self.hidden_layer(x)))))


def classifier(features):
    """Seeded, with statistics of these features and an output that spreads the scores."""
    torch.manual_seed(5)
    model = MLPClassifier(features.shape[1])
    with torch.no_grad():
        model.hidden_layer.weight.normal_(0, 1)
        hidden = model.hidden_layer(features)
        model.bn1.running_mean.copy_(hidden.mean(0))
        model.bn1.running_var.copy_(hidden.var(0))
        model.bn1.weight.uniform_(0.5, 1.5)
        model.bn1.bias.normal_(0, 0.3)
        model.output_layer.weight.normal_(0, 0.4)
        model.eval()
        model.output_layer.bias -= model(features).mean(0)
    return model


@pytest.fixture(scope="module", params=[300, 500])
def run(request, vn, tool, tmp_path_factory):
    """(folder with the results, rows of the frames, their scores by torch)."""
    chunk, folder = request.param, tmp_path_factory.mktemp("predict")
    tool("mkmodel", "--layers", ESM[0], "--width", ESM[1], "--heads", ESM[2], "--seed", 3,
         folder / "esm")
    tool("mkmodel", "--dnabert", "--layers", DNA[0], "--width", DNA[1], "--heads", DNA[2],
         "--ffn", DNA[3], "--merges", DNA[4], "--seed", 4, folder / "dna")
    records = reads(60)
    (folder / "reads.fa").write_text("".join(f">{n} more\n{s}\n" for n, s in records))
    rows = [row for i, (name, seq) in enumerate(records)
            for row in sixframes.rows(i, name, seq, chunk, 1)]
    original = Original(folder)
    features = torch.stack([original.feature(row[1], row[2]) for row in rows if row[-1] == "ok"])
    head = classifier(features)
    torch.save(head.state_dict(), folder / "500_model.pth")
    vn("vn-model", "import", "--chunk", chunk, "-o", folder / "head", folder / "500_model.pth")
    config = json.loads((folder / "head/config.json").read_text())
    config["inputs"] = [{"model": "dna", "pool": "mean-all", "width": DNA[1]},
                        {"model": "esm", "pool": "mean", "layer": ESM[0], "width": ESM[1]}]
    (folder / "head/config.json").write_text(json.dumps(config))
    vn("vn-predict", "-q", "--device", DEVICE, "--precision", "fp32", "--model", "head",
       "--format", "virnucpro", "-o", "out", "reads.fa", cwd=folder)
    with torch.no_grad():
        scores = iter(torch.softmax(head(features), 1).tolist())
    return folder / "out", rows, [next(scores) if row[-1] == "ok" else None for row in rows]


def table(path):
    return [line.split("\t") for line in path.read_text().splitlines()][1:]


def same(label, numbers, want, tie):
    """A row's label and scores are those of the original."""
    index = int(want[1] >= want[0] if tie else want[1] > want[0])
    assert label == CLASSES[index]
    return max(abs(float(a) - b) for a, b in zip(numbers, want, strict=True))


def best(scores):
    return [max(s[c] for s in scores) for c in (0, 1)]


def test_frames(run):
    out, rows, scores = run
    got = table(out / "frames.tsv")
    assert [g[0] for g in got] == [row[0] for row in rows]
    assert [g[5] for g in got] == [row[-1] for row in rows]
    assert [g[6:11] for g in got] == [[str(x) for x in row[3:8]] for row in rows]
    for g, s in zip(got, scores, strict=True):
        assert (g[2] == ".") == (s is None)
    worst = max(same(g[2], g[3:5], s, False) for g, s in zip(got, scores) if s)
    assert worst <= 1e-4
    virus = [s[1] for s in scores if s]
    assert min(virus) < 0.1 and max(virus) > 0.9  # else equal labels would prove little
    assert 0.2 < sum(v > 0.5 for v in virus) / len(virus) < 0.8


def test_sources(run):
    out, rows, scores = run
    got = table(out / "calls.tsv")
    groups = {}
    for row, s in zip(rows, scores, strict=True):
        groups.setdefault(row[3], []).extend([s] if s else [])
    assert len(got) == len(groups) == 65
    for g, s in zip(got, groups.values()):
        assert (g[2] == ".") == (not s)
        assert not s or same(g[2], g[3:5], best(s), True) <= 1e-4
    assert {g[2] for g in got} == {"others", "virus", "."}


def test_virnucpro_files(run):
    out, rows, scores = run
    scored = [(row[0], s) for row, s in zip(rows, scores) if s]
    got = table(out / "prediction_results.txt")
    assert [g[0] for g in got] == [name for name, _ in scored]
    assert max(same(g[1], g[2:], s, False) for g, (_, s) in zip(got, scored)) <= 1e-4
    chunks = {}
    for name, s in scored:
        chunks.setdefault(name[:-2], []).append(s)
    want = [[name, str(best(chunks[name])[1] >= best(chunks[name])[0])] for name in sorted(chunks)]
    assert table(out / "prediction_results_highestscore.csv") == want
    assert {is_virus for _, is_virus in want} == {"True", "False"}
