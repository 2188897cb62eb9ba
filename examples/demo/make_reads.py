#!/usr/bin/env python3
"""Makes reads.fa: reads of 500 bases from records of the test part, drawn by a fixed seed.

    make_reads.py reads.npz > reads.fa

reads.npz, and the list of its records beside it, are what examples/train/data.py makes; its
test part is never trained or tuned on. Of each class as many records as the share of it in
the measurements of examples/train asks for, of those with 500 letters or more, each one as
likely as the other, and of each a window at random on a random strand. One draw: none was
looked at before the next. The same file gives the same bytes. Needs NumPy; run once, by hand.
"""
import gzip
import random
import sys

import numpy as np

COUNTS = {"virus": 24, "microbe": 13, "fungi": 5, "human": 6}
LENGTH = 500
SEED = 1
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def sequence(bases, start, n):
    """n letters from `start` on; four of them are in a byte, the first in its lowest bits."""
    at = np.arange(start, start + n)
    return "".join("ACGT"[b] for b in bases[at // 4] >> 2 * (at % 4).astype(np.uint8) & 3)


def main():
    path = sys.argv[1]
    with np.load(path) as arrays:
        bases, length = arrays["bases"], arrays["length"].astype(np.int64)
    with gzip.open(path + ".records.tsv.gz", "rt") as table:
        records = [line.rstrip("\n").split("\t") for line in table]
    begins = np.cumsum(length) - length
    chance = random.Random(SEED)
    for klass, n in COUNTS.items():
        mine = [i for i, r in enumerate(records)
                if r[0] == "test" and r[1] == klass and length[i] >= LENGTH]
        for i in sorted(chance.sample(mine, n)):
            start = chance.randint(0, int(length[i]) - LENGTH)
            seq = sequence(bases, begins[i] + start, LENGTH)
            back = chance.random() < 0.5
            if back:
                seq = seq.translate(COMPLEMENT)[::-1]
            print(f">{klass}/{records[i][3]}/{start}-{start + LENGTH}{'-' if back else '+'}")
            for at in range(0, LENGTH, 60):
                print(seq[at:at + 60])


main()
