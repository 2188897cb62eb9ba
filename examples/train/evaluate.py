#!/usr/bin/env python3
"""Measures a trained model on the test part, and writes its card.

    evaluate.py --data reads.npz --run RUN [--bin DIR] [-n 10000] [-o RUN/evaluation]

Scores the same windows through vn-orf | vn-pack | vn-embed | vn-classify and through PyTorch,
and compares both; AUROC and AUPR by length and class, calibration, thresholds, plots, and
three baselines of k-mers trained on windows of the part 'train'. Needs scikit-learn and
matplotlib."""
import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import numpy as np  # noqa: E402
import torch  # noqa: E402

import baselines  # noqa: E402
import card  # noqa: E402
import metrics  # noqa: E402
import model as model_files  # noqa: E402
from data import CLASSES  # noqa: E402
from reads import TEST_MIX, TRAIN_MIX, Reads, frames, text  # noqa: E402
from train import NAME, TESTED, read_scores  # noqa: E402

SEED = 7


def windows(reads, part, length, n, mix, seed):
    g = torch.Generator(reads.device).manual_seed(seed + length)
    return reads.windows(part, mix, length, n, g)


def write_fasta(path, drawn):
    """Reads whose names say where they are from."""
    codes, klass, record, start, back = drawn
    with open(path, "w") as out:
        for seq, k, r, s, b in zip(text(codes), klass.tolist(), record.tolist(),
                                   start.tolist(), back.tolist()):
            strand = "-" if b else "+"
            out.write(f">{CLASSES[k]}:{r}:{s}-{s + len(seq)}:{strand}\n{seq}\n")


def by_programs(options, fasta):
    """(score of each read, NaN without one; seconds; frames scored)."""
    run = options.run
    calls = fasta.removesuffix(".fa") + ".tsv"
    tool = {p: os.path.join(options.bin, f"vn-{p}")
            for p in ("orf", "pack", "embed", "classify")}
    precision = options.precision
    since = time.monotonic()
    subprocess.run(["bash", "-c", f"set -o pipefail; '{tool['orf']}' --chunk 0 '{fasta}' | "
                    f"'{tool['pack']}' -m '{run}/{NAME}' | '{tool['embed']}' -m '{run}/{NAME}' "
                    f"--precision {precision} --pool auto | '{tool['classify']}' "
                    f"-m '{run}/{NAME}-head' --by source -o '{calls}'"], check=True)
    spent = time.monotonic() - since
    with open(calls) as table:
        head = table.readline().rstrip("\n").split("\t")
        rows = [line.rstrip("\n").split("\t") for line in table]
    virus = head.index("score_virus")
    return np.array([float(r[virus]) if r[virus] != "." else np.nan for r in rows]), spent


def areas(truth, score, share=None):
    """What has no score is left out once, and once below all others."""
    have = np.isfinite(score)
    low = np.where(have, score, -1.0)
    return {name: {"auroc": metrics.auroc(t, s),
                   "aupr": metrics.average_precision(t, s, share)}
            for name, t, s in (("missing", truth[have], score[have]),
                               ("as others", truth, low))}


def measures(truth, klass, score):
    """Of one length. Against one class, the AUPR is as if half of the reads were viral, so
    that it is comparable between classes of which there are more and fewer reads."""
    have = np.isfinite(score)
    out = {"reads": len(score), "viral": int(truth.sum()), "without a frame": {},
           **areas(truth, score), "ece": metrics.ece(truth[have], score[have]), "against": {}}
    for k, name in enumerate(CLASSES):
        mine = klass == k
        if not mine.any():
            continue
        out["without a frame"][name] = float((~have[mine]).mean())
        if name != "virus":
            pair = mine | truth
            out["against"][name] = areas(truth[pair], score[pair], 0.5)
    return out


def at_thresholds(truth, score, thresholds, length):
    """What the stored thresholds reach here; no score, no call."""
    called = np.where(np.isfinite(score), score, -1.0)
    rows = []
    for rate, values in thresholds.items():
        for which in (str(length), "all"):
            hit = called >= values[which]
            rows.append({"asked": float(rate), "of": which, "threshold": values[which],
                         "false positives": float(hit[~truth].mean()),
                         "recall": float(hit[truth].mean())})
    return rows


def agreement(ours, theirs):
    both = np.isfinite(ours) & np.isfinite(theirs)
    if (np.isfinite(ours) != np.isfinite(theirs)).any():
        raise SystemExit("vn-orf and PyTorch differ on which reads have an open frame")
    return {"reads": len(ours), "scored": int(both.sum()),
            "largest difference": float(np.abs(ours - theirs)[both].max()),
            "equal labels": float(((ours >= 0.5) == (theirs >= 0.5))[both].mean())}


def evaluate_length(options, reads, net, head, length, folder):
    drawn = windows(reads, "test", length, options.number, TEST_MIX, SEED)
    codes, klass = drawn[0], drawn[1].cpu().numpy()
    truth = klass == 0
    fasta = os.path.join(folder, f"test{length}.fa")
    write_fasta(fasta, drawn)
    theirs = torch.sigmoid(read_scores(net, reads, codes)).cpu().numpy().astype(np.float64)
    is_open = frames(codes, reads.table)[1].cpu().numpy()
    theirs[~is_open.any(1)] = np.nan
    score, spent = by_programs(options, fasta)
    found = measures(truth, klass, score)
    found["frames per read"] = float(is_open.sum(1).mean())
    found["reads/s from FASTA to table"] = len(score) / spent
    found["agreement with PyTorch"] = agreement(score, theirs)
    found["thresholds"] = at_thresholds(truth, score, head["thresholds"], length)
    found["reliability"] = metrics.reliability(truth[np.isfinite(score)],
                                               score[np.isfinite(score)])
    if options.baseline_reads:
        train = windows(reads, "train", length, options.baseline_reads, TRAIN_MIX, SEED)
        kept = baselines.run(train[0].cpu().numpy(), train[1].cpu().numpy() == 0,
                             codes.cpu().numpy())
        found["baselines"] = {name: metrics.auroc(truth, s) for name, s in kept.items()}
        drawn_curves = {name: (truth, s) for name, s in kept.items()}
    else:
        drawn_curves = {}
    drawn_curves[NAME] = truth, np.where(np.isfinite(score), score, -1.0)
    return found, drawn_curves


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", required=True, help="the folder of train.py")
    parser.add_argument("-o", "--output", help="folder (default: RUN/evaluation)")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--bin", default=os.path.join(here, "..", "..", "bin"))
    parser.add_argument("-n", "--number", type=int, default=10000, help="windows per length")
    parser.add_argument("--precision", default="fp32", help="of vn-embed")
    parser.add_argument("--baseline-reads", type=int, default=40000,
                        help="to train the baselines on, per length; 0: without")
    parser.add_argument("--device", default="cpu", help="of PyTorch and of drawing windows")
    return parser.parse_args()


def main():
    options = parse()
    folder = options.output or os.path.join(options.run, "evaluation")
    os.makedirs(folder, exist_ok=True)
    reads = Reads(options.data, options.device)
    net = model_files.load(options.run, NAME).to(options.device)
    with open(f"{options.run}/{NAME}-head/config.json") as file:
        head = json.load(file)
    results, curves = {}, {}
    for length in TESTED:
        results[length], curves[length] = evaluate_length(options, reads, net, head, length,
                                                          folder)
        print(length, json.dumps({k: v for k, v in results[length].items()
                                  if k not in ("reliability", "thresholds")}), flush=True)
    model_files.write_json(os.path.join(folder, "results.json"), results)
    card.plot(folder, results, curves)
    card.write(os.path.join(folder, "CARD.md"), options.run, NAME, head, results)


if __name__ == "__main__":
    main()
