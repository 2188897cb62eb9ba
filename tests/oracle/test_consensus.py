"""vn-classify against plain restatements: VirNucPro's classifier in torch, its consensus and
its files in Python with numpy's own text of a float32."""

import os
import random
import subprocess

import numpy as np
import torch
from conftest import TOP
from safetensors.torch import load_file

CLASSES = ("others", "virus")


def rows_of(seed, n_sources):
    """Frames of chunks of sources with scores that are often equal; some rows have none."""
    rng = random.Random(seed)
    for source in range(n_sources):
        for chunk in range(1, rng.randint(1, 9) + 1):
            start, end = 400 * chunk - 400, 400 * chunk + rng.choice((-100, 0, 100))
            frames = [f for f in (1, 2, 3, -1, -2, -3) if rng.random() < 0.4]
            name = f"read{source}_chunk_{chunk}"
            for f in frames:
                p = np.float32(rng.choice((rng.random(), rng.randint(0, 8) / 8,
                                           10 ** -rng.uniform(3, 12))))
                scores = (np.float32(1) - p, p) if rng.random() < 0.95 else None
                yield (f"{name}{'F' if f > 0 else 'R'}{abs(f)}", source, chunk, f, start, end,
                       "ok" if scores else "not finite", scores)
            if not frames:
                yield name, source, chunk, 0, start, end, "no open frame", None


def table(rows):
    return "".join("\t".join(map(str, r[:7])) + "\t" +
                   ("\t".join("%.9g" % s for s in r[7]) if r[7] else ".\t.") + "\n"
                   for r in rows).encode()


def stream(tmp_path, rows):
    path = tmp_path / "s"
    mk = os.path.join(TOP, os.environ.get("B", "build/last"), "tests", "mkscores")
    path.write_bytes(subprocess.run([mk], input=table(rows), capture_output=True,
                                    check=True).stdout)
    return path


def lines(done):
    return [line.split("\t") for line in done.stdout.decode().splitlines()]


def consensus(rows, key):
    """Groups in order of appearance: rows, and the highest score of each class."""
    groups = {}
    for r in rows:
        groups.setdefault(key(r), []).append(r)
    for g in groups.values():
        scored = [r[7] for r in g if r[7]]
        yield g, [max(s[c] for s in scored) for c in (0, 1)] if scored else None


def label_of(best, threshold=None):
    if best is None:
        return "."
    if threshold is not None:
        return CLASSES[int(best[1] >= np.float32(threshold))]
    return CLASSES[int(best[1] >= best[0])]


def test_by_chunk_and_source(vn, tmp_path):
    rows = list(rows_of(1, 400))
    path = stream(tmp_path, rows)
    for threshold in (None, 0.5, 0.9):
        extra = [] if threshold is None else ["--threshold", threshold]
        chunks = {}
        got = lines(vn("vn-classify", "--by", "chunk", *extra, path))[1:]
        want = list(consensus(rows, lambda r: (r[1], r[2])))
        assert len(got) == len(want)
        for line, (group, best) in zip(got, want):
            assert line[0] == f"read{group[0][1]}_chunk_{group[0][2]}"
            assert line[2] == label_of(best, threshold)
            if best:
                assert [np.float32(x) for x in line[3:5]] == best
                chunks.setdefault((group[0][1], line[2]), []).append(group)
        got = lines(vn("vn-classify", "--by", "source", *extra, path))[1:]
        want = list(consensus(rows, lambda r: r[1]))
        assert len(got) == len(want) == 400
        for line, (group, best) in zip(got, want):
            assert line[0] == f"read{group[0][1]}"
            assert line[2] == label_of(best, threshold)
            if not best:
                continue
            made = chunks[group[0][1], line[2]]
            covered = {i for g in made for r in g for i in range(r[4], r[5])}
            told = [tuple(map(int, x.split("-"))) for x in line[10].split(",")]
            assert line[9] == str(len(made))
            assert {i for a, b in told for i in range(a, b)} == covered
            assert all(b < c for (_, b), (c, _) in zip(told, told[1:]))


def test_virnucpro_files(vn, tmp_path):
    rows = list(rows_of(2, 700))
    out = tmp_path / "out"
    vn("vn-classify", "--format", "virnucpro", "-o", out, stream(tmp_path, rows))
    scored = [r for r in rows if r[7]]
    text = "Sequence_ID\tPrediction\tscore1\tscore2\n"
    for r in scored:
        text += f"{r[0]}\t{CLASSES[int(r[7][1] > r[7][0])]}\t" + "\t".join(map(str, r[7])) + "\n"
    assert (out / "prediction_results.txt").read_text() == text
    best = {}
    for r in scored:
        best.setdefault(r[0][:-2], []).append(r[7])
    text = "Modified_ID\tIs_Virus\n"
    for name in sorted(best):
        text += f"{name}\t{max(s[1] for s in best[name]) >= max(s[0] for s in best[name])}\n"
    assert (out / "prediction_results_highestscore.csv").read_text() == text


def test_mlp(vn, tool, tmp_path):
    """3328 to 512 to 2, as VirNucPro's, on joined vectors."""
    head = tmp_path / "head"
    tool("mkmodel", "--head", "--input", 3328, "--hidden", 512, "--inputs",
         '[{"width": 768}, {"width": 2560}]', head)
    parts = []
    for i, d in enumerate((768, 2560)):
        path = tmp_path / str(d)
        path.write_bytes(tool("mkvectors", "n=700", f"d={d}", f"seed={i}", f"window={90 + i}"))
        vn("vn-view", "--to", "safetensors", path, "-o", tmp_path / "x")
        parts.append(load_file(tmp_path / "x")["embedding"])
    joined = vn("vn-join", tmp_path / "768", tmp_path / "2560").stdout
    (tmp_path / "j").write_bytes(joined)
    w = {k: v.double() for k, v in load_file(head / "model.safetensors").items()}
    x = torch.cat(parts, 1).double()
    hidden = torch.relu(x @ w["layers.0.weight"].T + w["layers.0.bias"])
    want = torch.softmax(hidden @ w["layers.1.weight"].T + w["layers.1.bias"], 1)
    got = lines(vn("vn-classify", "-m", head, tmp_path / "j"))[1:]
    scores = torch.tensor([[float(v) for v in line[3:5]] for line in got]).double()
    assert (scores - want).abs().max() < 2e-6
    again = lines(vn("vn-classify", "-m", head, "-t", "1", tmp_path / "j"))[1:]
    assert again == got
