"""vn-compare's figures against numpy, scipy and scikit-learn."""
import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn import metrics

QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


def table(path, ids, labels, virus):
    """A table as vn-classify writes it, scores as the shortest float32; None: no call."""
    with open(path, "w", encoding="utf-8") as out:
        out.write("id\trecord\tlabel\tscore_others\tscore_virus\tstatus\n")
        for i, (name, label, v) in enumerate(zip(ids, labels, virus)):
            if label is None:
                out.write(f"{name}\t{i}\t.\t.\t.\tempty\n")
            else:
                out.write(f"{name}\t{i}\t{label}\t{np.float32(1) - v}\t{v}\tok\n")


def made_up(seed, n, step):
    """Truth and the scores of two sets: noisy, of the second coarse enough for many ties."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    logit = rng.normal(0, 1.5, n) + 1.5 * truth
    a = 1 / (1 + np.exp(-logit))
    b = 1 / (1 + np.exp(-(logit + rng.normal(0, 0.4, n))))
    b = np.round(b / step) * step
    return truth, a.astype(np.float32), b.astype(np.float32)


def label(scores):
    return np.where(scores >= 0.5, "virus", "others").astype(object)


def report(vn, *args, status=1):
    return json.loads(vn("vn-compare", "--format", "json", *args, status=status).stdout)


@pytest.mark.parametrize("n,step", [(2, 1e-6), (3, 0.5), (17, 0.25), (1000, 1e-6),
                                    (5001, 0.01), (100000, 0.05)])
def test_scores(vn, tmp_path, n, step):
    truth, a, b = made_up(n, n, step)
    ids = [f"r{i}" for i in range(n)]
    order = np.random.default_rng(1).permutation(n)
    table(tmp_path / "a", ids, label(a), a)
    table(tmp_path / "b", [ids[i] for i in order], label(b)[order], b[order])
    (tmp_path / "t").write_text("".join(f"{i}\t{'virus' if t else 'human'}\n"
                                        for i, t in zip(ids, truth)))
    r = report(vn, "--truth", tmp_path / "t", tmp_path / "a", tmp_path / "b")
    assert r["labels"]["agreement"] == np.mean(label(a) == label(b))
    for name, x, y in (("virus", a, b), ("others", np.float32(1) - a, np.float32(1) - b)):
        s = r["scores"][name]
        d = y.astype(float) - x.astype(float)
        assert s["pairs"] == n
        for key, ours in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
            theirs = ours(x.astype(float), y.astype(float))[0] if len(set(y)) > 1 else None
            assert s[key] == (theirs if theirs is None else pytest.approx(theirs, abs=1e-12))
        assert s["difference"]["signed_mean"] == pytest.approx(d.mean(), abs=1e-12)
        assert s["difference"]["mean"] == pytest.approx(abs(d).mean(), rel=1e-12)
        assert s["difference"]["max"] == pytest.approx(abs(d).max(), rel=1e-6)
        assert s["difference"]["within_1e-3"] == np.mean(abs(d) <= 1e-3)
        assert s["difference"]["within_1e-2"] == np.mean(abs(d) <= 1e-2)
        for key, q in QUANTILES.items():
            assert s["difference"][key] == pytest.approx(np.quantile(abs(d), q), rel=1e-5,
                                                         abs=1e-7)
    judge(r, truth, {"a": a, "b": b}, {"a": label(a) == "virus", "b": label(b) == "virus"})


def judge(r, truth, scores, called):
    """The section on truth, where every record has a score."""
    for s in "ab":
        got, y = r["truth"][s], called[s]
        tn, fp, fn, tp = metrics.confusion_matrix(truth, y, labels=[False, True]).ravel()
        assert [got[k] for k in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
        with np.errstate(invalid="ignore"):
            for key, value in (("tpr", np.divide(tp, tp + fn)), ("fpr", np.divide(fp, fp + tn)),
                               ("precision", np.divide(tp, tp + fp)),
                               ("f1", np.divide(2 * tp, 2 * tp + fp + fn))):
                theirs = None if np.isnan(value) else pytest.approx(value, rel=1e-12)
                assert got[key] == theirs
        if 0 < truth.sum() < len(truth):
            assert got["auroc"] == pytest.approx(metrics.roc_auc_score(truth, scores[s]),
                                                 abs=1e-12)
        else:
            assert got["auroc"] is None
    wrong = {s: called[s] != truth for s in "ab"}
    assert r["truth"]["wrong"] == {"both": (wrong["a"] & wrong["b"]).sum(),
                                   "only_a": (wrong["a"] & ~wrong["b"]).sum(),
                                   "only_b": (wrong["b"] & ~wrong["a"]).sum()}


def test_missing_records_and_calls(vn, tmp_path):
    """Records that one set lacks or has no call for: left out, or counted, as is said."""
    n = 2000
    truth, a, b = made_up(9, n, 0.01)
    rng = np.random.default_rng(2)
    ids = [f"r{i}" for i in range(n)]
    la, lb = label(a), label(b)
    la[rng.random(n) < 0.1] = None
    lb[rng.random(n) < 0.1] = None
    in_b = rng.random(n) < 0.9
    table(tmp_path / "a", ids, la, a)
    table(tmp_path / "b", np.array(ids)[in_b], lb[in_b], b[in_b])
    (tmp_path / "t").write_text("".join(f"{i}\t{'virus' if t else 'human'}\n"
                                        for i, t in zip(ids, truth)))
    r = report(vn, "--truth", tmp_path / "t", tmp_path / "a", tmp_path / "b")
    lb[~in_b] = None
    has_a, has_b = np.array([x is not None for x in la]), np.array([x is not None for x in lb])
    both = has_a & has_b
    assert r["records"] == {"both": in_b.sum(), "only_a": n - in_b.sum(), "only_b": 0,
                            "different": r["records"]["different"],
                            "status_differs": (in_b & (has_a != has_b)).sum()}
    assert r["labels"]["records"] == (has_a | has_b).sum()
    assert r["labels"]["same"] == (both & (la == lb)).sum()
    assert r["scores"]["virus"]["pairs"] == both.sum()
    assert r["scores"]["virus"]["one_sided"] == (in_b & (has_a != has_b)).sum()
    assert r["scores"]["virus"]["spearman"] == pytest.approx(
        stats.spearmanr(a[both], b[both])[0], abs=1e-12)
    for s, called, has, scores in (("a", la, has_a, a), ("b", lb, has_b, b)):
        got = r["truth"][s]
        assert got["tp"] == ((called == "virus") & truth).sum()
        assert got["fn"] == ((called != "virus") & truth).sum()
        assert got["fp"] == ((called == "virus") & ~truth).sum()
        assert got["without_score"] == (~has).sum()
        assert got["auroc"] == pytest.approx(metrics.roc_auc_score(truth[has], scores[has]),
                                             abs=1e-12)


def test_vectors(vn, tool, tmp_path):
    """Cosines and distances of vectors, the streams packed in two ways."""
    for name, seed, window in (("a", 1, 50), ("b", 2, 700)):
        (tmp_path / name).write_bytes(tool("mkvectors", "n=3000", "d=33", f"seed={seed}",
                                           f"window={window}", "null=10"))
    r = report(vn, tmp_path / "a", tmp_path / "b")["vectors"]
    got = []
    for name in "ab":
        t = pa.ipc.open_stream(str(tmp_path / name)).read_all().sort_by("record")
        t = t.filter(t["embedding"].is_valid())
        got.append(t["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 33)
                   .astype(float))
    a, b = got
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    distance = np.linalg.norm(b - a, axis=1) / np.linalg.norm(a, axis=1)
    assert r["pairs"] == len(a) == 2700 and r["none"] == 300
    assert r["max_difference"] == pytest.approx(abs(b - a).max())
    assert r["cosine"]["mean"] == pytest.approx(cosine.mean(), abs=1e-12)
    assert r["cosine"]["min"] == pytest.approx(cosine.min(), abs=1e-12)
    assert r["cosine"]["p01"] == pytest.approx(np.quantile(cosine, 0.01), abs=1e-6)
    assert r["relative_l2"]["mean"] == pytest.approx(distance.mean(), rel=1e-12)
    assert r["relative_l2"]["max"] == pytest.approx(distance.max(), rel=1e-12)
    for key, q in QUANTILES.items():
        assert r["relative_l2"][key] == pytest.approx(np.quantile(distance, q), rel=1e-5)


def test_virnucpro(vn, tmp_path):
    """Its two files, as pandas writes them."""
    pd = pytest.importorskip("pandas")
    _, a, b = made_up(4, 600, 1e-6)
    ids = [f"s{i // 6}_chunk_1F{i % 6 % 3 + 1}" for i in range(600)]
    frames = {}
    for name, v in (("a", a), ("b", b)):
        frame = pd.DataFrame({"Sequence_ID": ids, "Prediction": label(v),
                              "score1": np.float32(1) - v, "score2": v})
        frame.to_csv(tmp_path / name, sep="\t", index=False)
        frame["Modified_ID"] = frame["Sequence_ID"].str[:-2]
        best = frame.groupby("Modified_ID").agg({"score1": "max", "score2": "max"})
        frames[name] = (best["score2"] >= best["score1"]).rename("Is_Virus")
        frames[name].to_csv(tmp_path / (name + ".csv"), sep="\t")
    r = report(vn, tmp_path / "a", tmp_path / "b")
    assert r["labels"]["agreement"] == np.mean(label(a) == label(b))
    # every id stands twice in the frames: matched in order
    assert r["scores"]["virus"]["pearson"] == pytest.approx(
        stats.pearsonr(a.astype(float), b.astype(float))[0], abs=1e-12)
    same = (frames["a"] == frames["b"]).mean()
    r = report(vn, tmp_path / "a.csv", tmp_path / "b.csv", status=int(same < 1))
    assert r["labels"]["records"] == 100 and r["labels"]["agreement"] == same
