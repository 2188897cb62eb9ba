"""Measures of scores against truth, in NumPy. Equal scores share their ranks."""
import numpy as np


def auroc(truth, score):
    truth, score = np.asarray(truth, bool), np.asarray(score, np.float64)
    values, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n1, n0 = truth.sum(), (~truth).sum()
    if not n1 or not n0:
        return float("nan")
    return float((rank[truth].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def curve(truth, score):
    """(false positives, true positives, threshold) as rates, one point per distinct score."""
    truth, score = np.asarray(truth, bool), np.asarray(score, np.float64)
    order = np.argsort(-score, kind="stable")
    hit, score = truth[order], score[order]
    last = np.append(np.nonzero(np.diff(score))[0], len(score) - 1)
    return (np.cumsum(~hit)[last] / max(1, (~hit).sum()),
            np.cumsum(hit)[last] / max(1, hit.sum()), score[last])


def average_precision(truth, score, share=None):
    """With a share: as if so much of everything were true, whatever the counts are."""
    truth = np.asarray(truth, bool)
    if not truth.any() or truth.all():
        return float("nan")
    share = truth.mean() if share is None else share
    false, true, _ = curve(truth, score)
    called = true * share + false * (1 - share)
    precision = np.divide(true * share, called, out=np.zeros_like(called), where=called > 0)
    return float((np.diff(true, prepend=0) * precision).sum())


def reliability(truth, p, bins=15):
    """[(mean probability, share of truth, count)] of the bins of equal width that are used."""
    truth, p = np.asarray(truth, bool), np.asarray(p, np.float64)
    at = np.minimum((p * bins).astype(int), bins - 1)
    return [(float(p[at == b].mean()), float(truth[at == b].mean()), int((at == b).sum()))
            for b in range(bins) if (at == b).any()]


def ece(truth, p, bins=15):
    """Expected calibration error: |mean probability - share of truth|, weighed by counts."""
    return float(sum(abs(m - s) * n for m, s, n in reliability(truth, p, bins)) / len(p))


def threshold_at(truth, score, rate):
    """The lowest score from which at most this share of what is not true is called."""
    negative = np.sort(np.asarray(score, np.float64)[~np.asarray(truth, bool)])[::-1]
    above = int(rate * len(negative))
    return float(np.nextafter(np.float32(negative[above]), np.float32(np.inf)))
