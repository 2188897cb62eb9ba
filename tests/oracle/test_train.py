"""examples/train/: its frames are vn-orf's, its model's files give the programs the scores that
PyTorch has, its rules are those written down, and a run that was stopped goes on as if not."""
import argparse
import os
import random
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from conftest import DEVICE

TRAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "train")
sys.path.insert(0, TRAIN)
import data  # noqa: E402
import metrics  # noqa: E402
import model  # noqa: E402
import reads  # noqa: E402
import train  # noqa: E402

torch.set_num_threads(1)  # a few small products: threads only wait for one another


def sequence(r, n, weights=(4, 6, 6, 3)):
    return "".join(r.choices("ACGT", weights, k=n))


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Random records of every class and part: with few T, so that many frames are open."""
    r, sets = random.Random(3), {}
    for part in data.PARTS:
        for k, klass in enumerate(data.CLASSES):
            sets[klass, part] = [data.Record(f"{klass}{part}{i}", klass, part, f"g{i % 3}",
                                             sequence(r, 700 - 50 * i).encode())
                                 for i in range(8)]
    path = tmp_path_factory.mktemp("pack") / "reads.npz"
    made = data.Pack(sets)
    made.write(str(path))
    return str(path), sets


def test_pack(pack, tmp_path):
    path, sets = pack
    loaded = reads.Reads(path)
    want = {r.seq.decode() for s in sets.values() for r in s}
    got = {reads.text(loaded.bases[s:s + n][None])[0]
           for s, n in zip(loaded.start.tolist(), loaded.length.tolist())}
    assert got == want
    data.Pack(sets).write(str(tmp_path / "again.npz"))
    assert (tmp_path / "again.npz").read_bytes() == open(path, "rb").read()


def test_windows(pack):
    loaded = reads.Reads(pack[0])
    g = torch.Generator().manual_seed(1)
    codes, klass, record, start, back = loaded.windows("tune", reads.TRAIN_MIX, 500, 400, g)
    assert (klass == 0).sum() == 200 and 100 < back.sum() < 300
    for i in range(400):
        whole = loaded.bases[loaded.start[record[i]]:][:loaded.length[record[i]]]
        window = whole[start[i]:start[i] + 500]
        assert torch.equal(codes[i], 3 - window.flip(0) if back[i] else window)
        assert data.PARTS[loaded.part[record[i]]] == "tune"
        assert loaded.klass[record[i]] == klass[i]


def orf_frames(vn, to, seqs):
    """{(read, frame): what vn-orf prints}."""
    rows = vn("vn-orf", "--chunk", 0, "--to", to, input="".join(
        f">s{i}\n{s}\n" for i, s in enumerate(seqs)).encode()).stdout.decode().split("\n")
    found = {}
    for name, text in zip(rows[:-1:2], rows[1::2]):
        number, frame = name[2:].split("_chunk_1")
        found[int(number), "F1 F2 F3 R1 R2 R3".split().index(frame)] = text
    return found


@pytest.mark.parametrize("length", [3, 4, 5, 52, 149, 150, 151, 500])
def test_frames(vn, length):
    """Every open frame, in the same order, with the same codons, and what they stand for."""
    r = random.Random(length)
    seqs = [sequence(r, length, (4, 5, 5, 1 + i % 4)) for i in range(2000)]
    codes = torch.tensor([["ACGT".index(c) for c in s] for s in seqs], dtype=torch.uint8)
    tokens, is_open = reads.frames(codes, reads.token_table())
    found = {(i, f): [t - reads.FIRST for t in tokens[i, f].tolist() if t != reads.PAD]
             for i, f in is_open.nonzero().tolist()}
    assert len(found) > 250
    codons = model.VOCABULARY[reads.FIRST:reads.MASK]
    assert {k: "".join(reads.AMINO[t] for t in v) for k, v in found.items()} == orf_frames(
        vn, "protein", seqs)
    # vn-orf's slice may have one or two bases more, which are no codon
    assert {k: "".join(codons[t] for t in v) for k, v in found.items()} == {
        k: s[:len(s) // 3 * 3] for k, s in orf_frames(vn, "nucleotide", seqs).items()}


def test_substitutes():
    """Chances of a relative's codon: none for itself and for stops, most for synonyms."""
    table = reads.substitutes()
    chance = table.diff(dim=1, prepend=torch.zeros(64, 1))
    codons = model.VOCABULARY[reads.FIRST:reads.MASK]
    stops = [i for i, a in enumerate(reads.AMINO) if a == "*"]
    assert torch.allclose(table[[i for i in range(64) if i not in stops], -1], torch.ones(61))
    assert chance.diagonal().abs().max() < 1e-6 and chance[:, stops].abs().max() < 1e-6
    assert codons[chance[codons.index("AAA")].argmax()] == "AAG"
    assert codons[chance[codons.index("TTC")].argmax()] == "TTT"


def test_split():
    assert data.classify("GeneID:1007001")[:2] == ("virus", "test")
    assert data.classify("GeneID:1503001")[:2] == ("virus", "tune")
    assert data.classify("GeneID:10727999")[1] == "test"
    assert data.classify("GeneID:7")[1] == "train"
    assert data.classify("gi|1|ref|NC_018264.1|:1-5") is None
    assert data.classify("gi|1|gb|AYXT01000001.1|") is None
    assert data.classify("NC_000001") is None
    for accession, klass in (("NC_015732", "microbe"), ("XM_567897", "fungi"),
                             ("NZ_AVJY01000107", "microbe"), ("NM_001000", "fungi")):
        digit = int(subprocess.run(["python3", "-c", "import binascii, sys; "
                                    "print(binascii.crc32(sys.argv[1].encode()) % 10)",
                                    accession], capture_output=True, check=True).stdout)
        want = {7: "test", 3: "tune", 5: "calibrate"}.get(digit, "train")
        assert data.classify(f"gi|5|ref|{accession}.1|:c9-2")[:2] == (klass, want)
    bins = [data.human_part(b * 5_000_000) for b in range(13)]
    assert [b for b, p in enumerate(bins) if p == "test"] == [4, 9]
    assert (bins[3], bins[5], bins.count("train")) == ("tune", "calibrate", 9)


def test_without():
    r = data.Record("t", "human", "train", "g", bytes(1200))
    left = list(data.without(r, [(300, 400), (350, 1000), (500, 600),
                                 (1100, 1150)]))
    assert [(p.name, len(p.seq)) for p in left] == [("t+0", 300)]


def test_metrics():
    r = np.random.default_rng(1)
    truth, score = r.random(300) < 0.4, np.round(r.random(300), 1)
    pairs = [(a > b) + 0.5 * (a == b) for a in score[truth] for b in score[~truth]]
    assert metrics.auroc(truth, score) == pytest.approx(np.mean(pairs), abs=1e-12)
    # a share of truth is what so many copies of the rest make
    share = truth.sum() / (truth.sum() + 7 * (~truth).sum())
    many = np.concatenate([truth] + 6 * [truth[~truth]])
    assert metrics.average_precision(truth, score, share) == pytest.approx(
        metrics.average_precision(many, np.concatenate([score] + 6 * [score[~truth]])), abs=1e-12)
    false, true, _ = metrics.curve(truth, score)
    area = np.trapezoid(np.append(0, true), np.append(0, false))
    assert area == pytest.approx(np.mean(pairs), abs=1e-12)
    p = r.random(100000)
    assert metrics.ece(r.random(100000) < p, p) < 0.01
    assert metrics.ece(r.random(100000) < p * p, p) == pytest.approx(1 / 6, abs=0.01)
    one = np.arange(200) / 200  # 5 % of 200: the ten highest, and not one less
    assert (one >= metrics.threshold_at(np.zeros(200), one, 0.05)).sum() == 10


def options(pack, folder):
    return argparse.Namespace(data=pack[0], output=str(folder), device="cpu", compile=False,
                              save_every=1e9, tune_reads=60, looks=12, wall=1e9)


def stages(steps):
    net = {"layers": 2, "width": 32, "heads": 2, "inner": 64, "hidden": [16]}
    made = {name: {**s, "net": net, "tokens": 2000, "steps": steps, "seconds": 1e9}
            for name, s in train.STAGES.items()}
    return made


def test_scores(vn, pack, tmp_path):
    """Through the programs and through PyTorch, on weights with spread."""
    run = train.Run(options(pack, tmp_path), stages(4))
    torch.manual_seed(5)
    net = train.build(run.stages["student"]).eval()
    for p in net.parameters():
        p.data += 0.05 * torch.randn_like(p)
    train.fold(net, 1.5, -0.25)
    model.export(net, str(tmp_path), "m", {"thresholds": {"0.01": {"all": 0.5}}})
    shipped = model.load(str(tmp_path), "m")
    for length in 150, 151, 152:
        codes, truth = train.labelled(run, "test", reads.TEST_MIX, length, 200)
        want = torch.sigmoid(train.read_scores(shipped, run.reads, codes)).tolist()
        fasta = "".join(f">{i}\n{s}\n" for i, s in enumerate(reads.text(codes))).encode()
        out = vn("vn-orf", "--chunk", 0, input=fasta).stdout
        out = vn("vn-pack", "-m", tmp_path / "m", input=out).stdout
        out = vn("vn-embed", "-m", tmp_path / "m", "--device", DEVICE, "--precision", "fp32",
                 "--pool", "auto", input=out).stdout
        out = vn("vn-classify", "-m", tmp_path / "m-head", "--by", "source", input=out).stdout
        head, *rows = [line.split("\t") for line in out.decode().splitlines()]
        got = [r[head.index("score_virus")] for r in rows]
        assert len(got) == 200 and 50 < sum(g != "." for g in got)
        for g, w in zip(got, want):
            assert (w == 0) == (g == ".")
            assert g == "." or abs(float(g) - w) < 1e-5
        assert np.std([float(g) for g in got if g != "."]) > 0.01


def test_resume(pack, tmp_path):
    """Stopped after 3 of 7 steps, or not: the same weights."""
    ends = []
    for stops in ((), (3,)):
        run = train.Run(options(pack, tmp_path / str(len(stops))), stages(7))
        stage = train.Stage(run, "pretrain", run.stages["pretrain"])
        sampler = train.Sampler(run, stage.s)
        for step in range(7):
            if step in stops:
                stage.save()
                stage = train.Stage(run, "pretrain", run.stages["pretrain"])
                assert stage.schedule.step == step
            stage.net.train()
            stage.step(stage.net, sampler, train.masked_loss)
        ends.append(stage.average.state_dict())
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])


def test_wall(pack, tmp_path):
    """No time: the first step is saved, and the next process begins there."""
    given = options(pack, tmp_path)
    given.wall = 0
    run = train.Run(given, stages(9))
    for step in 1, 2:
        with pytest.raises(SystemExit) as end:
            train.Stage(run, "teacher", {**run.stages["teacher"], "from": None}).train()
        assert end.value.code == 75
        state = torch.load(tmp_path / "teacher.pt", weights_only=True)
        assert state["step"] == step


def test_whole_run(pack, tmp_path):
    """All stages, calibration and export, and again from what is there; a stage that needs
    another one refuses to begin without it."""
    run = train.Run(options(pack, tmp_path), stages(3))
    with pytest.raises(FileNotFoundError):
        train.Stage(run, "student", run.stages["student"])
    for _ in range(2):
        for name, settings in run.stages.items():
            stage = train.Stage(run, name, settings).train()
            assert stage.schedule.step == 3
        train.finish(run, stage, types.SimpleNamespace(data=pack[0]))
    for name in "vn-virus/config.json", "vn-virus-head/model.safetensors", "train.json":
        assert (tmp_path / name).stat().st_size > 0


def test_ablate_without_teacher(pack, tmp_path, capsys):
    """Without a teacher's stage the variant that needs one is left out, and of those that differ
    in what there is not, all but one."""
    net = '{"layers": 1, "width": 32, "heads": 2, "inner": 64, "hidden": [16]}'
    chosen = train.settings_of(argparse.Namespace(preset="cpu", time=1, set=[
        f"student.net={net}", "student.steps=1", "student.tokens=2000"]))
    run = train.Run(options(pack, tmp_path), chosen)
    train.ablate(run, 1e9, ["as it is", "labels only", "teacher only", "no noise"])
    said = capsys.readouterr()
    assert [row.split("\t")[0] for row in said.out.splitlines()] == [
        "variant", "as it is", "no noise"]
    assert "left out 'teacher only': it needs the stage 'teacher'" in said.err
    assert "left out 'labels only': with this preset it is no other" in said.err
    kept = [name for name, change in train.ABLATIONS.items()
            if set(train.needed({**chosen["student"], **change})) <= set(chosen)]
    assert set(train.ABLATIONS) - set(kept) == {"teacher only"}


def test_calibration():
    """A known line is found again, and folded in."""
    g = torch.Generator().manual_seed(1)
    z = torch.randn(40000, dtype=torch.float64, generator=g) * 3
    truth = (torch.rand(40000, generator=g) < torch.sigmoid(0.5 * z - 0.3)).numpy()
    z[:10] = -torch.inf
    a, b = train.fit({150: (truth, z)})
    assert abs(a - 0.5) < 0.03 and abs(b + 0.3) < 0.05
    net = train.build(stages(1)["student"]).eval()
    tokens = torch.randint(4, 24, (5, 20))
    before = net(tokens)
    train.fold(net, a, b)
    assert torch.allclose(net(tokens), a * before + b, atol=1e-5)
