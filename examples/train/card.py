"""Plots and the model card, from what evaluate.py measured."""
import json
import os

import matplotlib
import numpy as np

import metrics

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


def plot(folder, results, curves):
    """roc.png: one panel per length, the model and the baselines, reads without a frame as
    not viral; reliability.png."""
    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 4), sharey=True)
    for axis, (length, lines) in zip(axes, curves.items()):
        for name, (truth, score) in lines.items():
            false, true, _ = metrics.curve(truth, score)
            axis.plot(np.append(0, false), np.append(0, true), linewidth=1,
                      label=f"{name}: {metrics.auroc(truth, score):.3f}")
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
        axis.set(title=f"{length} bp", xlabel="false positives")
        axis.legend(fontsize=6, loc="lower right")
    axes[0].set_ylabel("true positives")
    figure.savefig(os.path.join(folder, "roc.png"), dpi=100, bbox_inches="tight")
    plt.close(figure)
    figure, axis = plt.subplots(figsize=(4, 4))
    for length, found in results.items():
        mean, share, _ = zip(*found["reliability"])
        axis.plot(mean, share, marker="o", markersize=3, linewidth=1,
                  label=f"{length} bp: ECE {found['ece']:.3f}")
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axis.set(xlabel="score", ylabel="share of viral reads")
    axis.legend(fontsize=7)
    figure.savefig(os.path.join(folder, "reliability.png"), dpi=100, bbox_inches="tight")
    plt.close(figure)


def rows(head, lines):
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for line in lines:
        text.append("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v)
                                      for v in line) + " |")
    return "\n".join(text) + "\n"


def quality(results):
    return rows(["bp", "reads", "AUROC, reads without a frame left out", "counted as others",
                 "AUPR, left out", "as others", "ECE"],
                [[n, r["reads"], r["missing"]["auroc"], r["as others"]["auroc"],
                  r["missing"]["aupr"], r["as others"]["aupr"], r["ece"]]
                 for n, r in results.items()])


def against(results):
    return rows(["bp", "viral reads against", "AUROC, left out", "as others",
                 "AUPR, left out", "as others", "of these without a frame", "of viral reads"],
                [[n, name, *(a[how][what] for what in ("auroc", "aupr")
                             for how in ("missing", "as others")),
                  r["without a frame"][name], r["without a frame"]["virus"]]
                 for n, r in results.items() for name, a in r["against"].items()])


def baselines(results):
    names = sorted({b for r in results.values() for b in r.get("baselines", {})})
    if not names:
        return "Not run.\n"
    return rows(["AUROC", *(f"{n} bp" for n in results)],
                [[name, *(r["baselines"][name] for r in results.values())] for name in names])


def thresholds(results):
    return rows(["bp", "asked", "threshold", "false positives", "recall"],
                [[n, f"{t['asked']:.0%}", f"{t['threshold']:.6g}", t["false positives"],
                  t["recall"]] for n, r in results.items() for t in r["thresholds"]
                 if t["of"] == str(n)])


def how(made):
    """The losses, of the stages that there were."""
    text = "The label of a read is held to the smooth maximum over its open frames"
    if "teacher" in made["stages"]:
        text += (", and each frame to what a larger model says, "
                 "after pre-training on masked codons")
    return text + "."


def write(path, run, name, head, results):
    with open(os.path.join(run, "train.json")) as file:
        made = json.load(file)
    stages = "; ".join(f"{k} {v['step']} steps" for k, v in made["stages"].items())
    with open(os.path.join(run, name, "config.json")) as file:
        c = json.load(file)
    size = sum(os.path.getsize(os.path.join(run, d, "model.safetensors"))
               for d in (name, name + "-head"))
    agreed = [r["agreement with PyTorch"] for r in results.values()]
    spent = sum(s["spent"] for s in made["stages"].values())
    with open(path, "w") as out:
        out.write(f"""# {name}

A small language model of codons with a head that calls reads of 150 to 500 bp viral or not:
`vn-predict reads.fa -o DIR`, or `vn-orf | vn-pack | vn-embed | vn-classify --by source`.

- **Encoder**: ESM-2's architecture, {c['num_hidden_layers']} layers, {c['hidden_size']} wide, \
{c['num_attention_heads']} heads, inner width {c['intermediate_size']}; head over the mean of \
the codons; {made['parameters'] / 1e6:.2f} M parameters, {size / 1e6:.1f} MB in FP16.
- **Trained** on {made['device']}, PyTorch {made['torch']}, {spent / 60:.0f} minutes: \
{stages}. {how(made)} Settings, log and seeds: `train.json`.
- **Data**: coding sequences of Debian's `metaphlan2-data` (Expat), human chromosomes 20 \
(`vt-examples`, MIT) and X, *Plasmodium falciparum* (`smalt-examples`, GPL-3), *Caenorhabditis \
elegans*, *Drosophila melanogaster* (`r-bioc-bsgenome`, `r-bioc-biostrings`, Artistic-2.0); \
sha256 of the packed windows' source {made['data_sha256']}.
- **Split**: test: viral genes with (GeneID div 1000) mod 10 = 7, other records whose \
accession's CRC-32 is 7 mod 10, chromosome 20 in bins of 5 Mbp with bin mod 5 = 4. Tuned on \
those with 3, calibrated on those with 5 (bins mod 10 = 3, 5). Records that resemble any test \
record, at least 80 % identity over 100 bp by mmseqs2, are in no part: whole genes, of \
chromosomes the stretch.

## On the test part

Half of the reads viral, the others microbes, fungi and protists, human as 54 : 22 : 24. The
score of a read is the highest over its open frames. Bacteria and archaea are one class: the
records' names do not tell them apart.

{quality(results)}
Against one class the AUPR is as if half of the reads were viral:

{against(results)}
![ROC](roc.png)

The same windows by k-mers of both strands (5-mers; length and amino acids of the longest
stretch without a stop; scikit-learn, trained on windows of the training part):

{baselines(results)}
## Calibration and thresholds

One line, fitted to the calibration part where half of the reads are viral, is folded into the
head's last layer. Where viral reads are rarer the scores are too high by the odds.

![reliability](reliability.png)

Thresholds for a share of false positives among all other reads, from the calibration part,
and what they give on the test part:

{thresholds(results)}
PyTorch and the programs, in single precision: largest difference of a read's score \
{max(a['largest difference'] for a in agreed):.2g} over {sum(a['reads'] for a in agreed)} \
reads, equal labels {min(a['equal labels'] for a in agreed):.4%}.

## What it cannot do

- **Non-coding DNA has no open frame**, or a short-lived one by chance: reads without any get no
  score (`no open frame`), and are not to be taken for "others" in a count of viral reads.
- All training sequences but those of animals are coding: untranslated ends of viral genomes,
  RNA genes and promoters of microbes were never seen.
- Much of what it goes by is which codons a genome prefers: a virus that is adapted to its
  host, or a gene that came from elsewhere, misleads it.
- Genes of temperate phages in bacteria, and bacterial cargo in phages, carry labels that may
  be wrong: about 1.4 % of the viral genes look bacterial. Retroviral elements of the human
  genome resemble viruses because they are.
- Sequences are those known in 2013; bacteria and archaea are a sample; plants are missing.
- Reads of less than 150 bp were not measured.
""")
