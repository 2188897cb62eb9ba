"""What k-mers give on the same windows: the numbers that a model has to beat."""
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reads import AMINO, FIRST, STOP, token_table

K = 5


def canonical():
    """Column of each 5-mer: that of itself or its reverse complement, what is lower."""
    first = []
    for code in range(4 ** K):
        digits = [code >> 2 * i & 3 for i in range(K)]  # last letter first
        back = 0
        for d in digits:
            back = back << 2 | (3 - d)
        first.append(min(code, back))
    return np.unique(first, return_inverse=True)[1]


def kmers(codes):
    """[n, L] bases -> [n, 512] shares of the canonical 5-mers."""
    column, n = canonical(), len(codes)
    at = np.zeros((n, codes.shape[1] - K + 1), np.int64)
    for i in range(K):
        at = at << 2 | codes[:, i:codes.shape[1] - K + 1 + i]
    width = column.max() + 1
    flat = column[at] + np.arange(n)[:, None] * width
    return np.bincount(flat.ravel(), minlength=n * width).reshape(n, width) / at.shape[1]


def longest_orf(codes):
    """[n, L] bases -> [n, 21]: length of the longest stretch without a stop in six frames, as
    a share of the read, and its amino acids' shares."""
    table = token_table().numpy()
    letters = sorted(set(AMINO) - {"*"})
    amino = np.array([0] * FIRST + [1 + letters.index(a) if a != "*" else 0 for a in AMINO])
    both = np.stack([codes, 3 - codes[:, ::-1]], 1).astype(np.int64)
    token = table[both[..., :-2] * 16 + both[..., 1:-1] * 4 + both[..., 2:]]
    n, best = len(codes), np.zeros(len(codes), int)
    start, strand = np.zeros(n, int), np.zeros(n, int)
    for side in 0, 1:
        for f in range(3):
            run = np.zeros(n, int)
            for i in range(f, token.shape[2], 3):
                run = np.where(token[:, side, i] == STOP, 0, run + 1)
                better = run > best
                best = np.where(better, run, best)
                start = np.where(better, i - 3 * (run - 1), start)
                strand = np.where(better, side, strand)
    out = np.zeros((n, 21))
    out[:, 0] = 3 * best / codes.shape[1]
    mine = token[np.arange(n), strand]
    for i in range(codes.shape[1] // 3):
        at = np.minimum(start + 3 * i, token.shape[2] - 1)
        inside = i < best
        np.add.at(out, (np.nonzero(inside)[0], amino[mine[np.arange(n), at][inside]]), 1)
    out[:, 1:] /= np.maximum(best, 1)[:, None]
    return out


def run(train, truth, test):
    """{name: score of each test read}."""
    plain = kmers(train), kmers(test)
    more = tuple(np.hstack([k, longest_orf(c)]) for k, c in zip(plain, (train, test)))
    made = {
        "5-mers, logistic regression": (plain, LogisticRegression(C=0.1, max_iter=300)),
        "5-mers and longest ORF, logistic regression": (more, LogisticRegression(
            C=0.1, max_iter=300)),
        "5-mers and longest ORF, 64-unit MLP": (more, MLPClassifier(
            (64,), alpha=1e-2, early_stopping=True, max_iter=60, random_state=0)),
    }
    found = {}
    for name, ((a, b), estimator) in made.items():
        estimator = make_pipeline(StandardScaler(), estimator).fit(a, truth)
        found[name] = estimator.predict_proba(b)[:, 1]
    return found
