"""Windows of the packed sequences, and their open frames, by vn-orf's rule, in PyTorch.

A base is 0 1 2 3 for A C G T, a token one of the 64 codons. All is done where the data
lies, on the GPU or the CPU, in arrays of fixed shape."""
import os
import sys

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from data import CLASSES, PARTS  # noqa: E402

CLS, PAD, EOS, MASK = 0, 1, 2, 68
FIRST, CODONS = 4, 64  # token of codon AAA; in alphabetical order
AMINO = "KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLF"  # NCBI's code 1
STOP = 255
# Training and calibration: as many viral windows as others. What is tested: the others in the
# proportions of the windows in which the project's first baselines were measured.
TRAIN_MIX = {"virus": 0.5, "microbe": 0.28, "fungi": 0.11, "human": 0.07, "eukaryote": 0.04}
TEST_MIX = {"virus": 0.5, "microbe": 0.2689, "fungi": 0.1127, "human": 0.1184}


# BLOSUM62 (Henikoff and Henikoff 1992), below the diagonal, in the order of its letters.
BLOSUM_LETTERS = "ARNDCQEGHILKMFPSTWYV"
BLOSUM62 = """
4
-1 5
-2 0 6
-2 -2 1 6
0 -3 -3 -3 9
-1 1 0 0 -3 5
-1 0 0 2 -4 2 5
0 -2 0 -1 -3 -2 -2 6
-2 0 1 -1 -3 0 0 -2 8
-1 -3 -3 -3 -1 -3 -3 -4 -3 4
-1 -2 -3 -4 -1 -2 -3 -4 -3 2 4
-1 2 0 -1 -3 1 1 -2 -1 -3 -2 5
-1 -1 -2 -3 -1 0 -2 -3 -2 1 2 -1 5
-2 -3 -3 -3 -2 -3 -3 -3 -1 0 0 -3 0 6
-1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4 7
1 -1 1 0 -1 0 0 0 -1 -2 -2 0 -1 -2 -1 4
0 -1 0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1 1 5
-3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1 1 -4 -3 -2 11
-2 -2 -2 -3 -2 -1 -2 -3 2 -1 -1 -2 -1 3 -3 -2 -2 2 7
0 -3 -3 -3 -1 -2 -2 -3 -3 3 1 -2 1 -1 -2 -2 0 -3 -1 4
"""


def substitutes():
    """[64, 64]: of each codon the cumulated chances of the one that takes its place in a
    relative, itself and stops left out: as residues replace one another, 2^(score / 2), times
    1/3 for a transition, 1/6 for a transversion at each base."""
    rows = [[int(x) for x in line.split()] for line in BLOSUM62.split("\n") if line]
    chance = torch.zeros(CODONS, CODONS)
    for x in range(CODONS):
        for y in range(CODONS):
            if x == y or "*" in (AMINO[x], AMINO[y]):
                continue
            i, j = sorted(BLOSUM_LETTERS.index(AMINO[k]) for k in (x, y))
            chance[x, y] = 2 ** (min(rows[j][i], 4) / 2)
            for shift in 4, 2, 0:
                bases = (x >> shift & 3) ^ (y >> shift & 3)  # A ^ G = C ^ T = 2
                chance[x, y] *= (1, 1 / 6, 1 / 3, 1 / 6)[bases]
    return (chance / chance.sum(1, keepdim=True).clamp(min=1e-9)).cumsum(1)


def token_table():
    """Token of codon 16 a + 4 b + c; STOP for the three of NCBI's code 1."""
    return torch.tensor([STOP if AMINO[i] == "*" else FIRST + i for i in range(CODONS)],
                        dtype=torch.uint8)


def frames(codes, table):
    """[n, L] bases -> [n, 6, L // 3] tokens, PAD behind the shorter frames, and [n, 6]: open?
    Frames are in vn-orf's order, 1 2 3 -1 -2 -3. Open: at least one codon, and no stop."""
    both = torch.stack((codes, 3 - codes.flip(1)), 1).int()
    codon = both[..., :-2] * 16 + both[..., 1:-1] * 4 + both[..., 2:]
    token = table[codon]
    room = codes.shape[1] // 3
    parts = [torch.nn.functional.pad(token[..., f::3], (0, room - token[..., f::3].shape[-1]),
                                     value=PAD) for f in range(3)]
    tokens = torch.stack(parts, 2).flatten(1, 2)
    return tokens, (tokens != STOP).all(-1) & (tokens != PAD).any(-1)


def with_ends(tokens):
    """[m, R] residues, none of them PAD -> [m, R + 2] with <cls> and <eos>, int64."""
    out = torch.full((tokens.shape[0], tokens.shape[1] + 2), EOS, device=tokens.device)
    out[:, 0] = CLS
    out[:, 1:-1] = tokens
    return out


class Reads:
    """The packed sequences on a device."""

    def __init__(self, path, device="cpu"):
        with np.load(path) as pack:
            a = {k: pack[k] for k in pack.files}
        packed = torch.from_numpy(a["bases"]).to(device)
        self.bases = torch.stack([packed >> s & 3 for s in (0, 2, 4, 6)], 1).flatten()
        self.device, self.table = device, token_table().to(device)
        self.length = torch.from_numpy(a["length"].astype(np.int64)).to(device)
        self.start = self.length.cumsum(0) - self.length
        self.klass, self.part = a["klass"], a["part"]
        self.cache = {}

    def places(self, part, klass, length):
        """(records of a class that hold such a window, how many windows up to each)."""
        key = part, klass, length
        if key not in self.cache:
            mine = np.nonzero((self.part == PARTS.index(part))
                              & (self.klass == CLASSES.index(klass)))[0]
            record = torch.from_numpy(mine).to(self.device)
            record = record[self.length[record] >= length]
            if not len(record):
                raise SystemExit(f"no {klass} record of {length} letters in part '{part}'")
            self.cache[key] = record, (self.length[record] - length + 1).cumsum(0)
        return self.cache[key]

    def windows(self, part, mix, length, n, generator):
        """n windows, the classes in these proportions, any place of any record equally
        likely, either strand: bases [n, length], class [n], record [n], start [n], reversed
        [n] (the start is on the record's strand)."""
        dev = self.device
        counts = [int(round(n * p)) for p in mix.values()]
        counts[0] += n - sum(counts)
        record, start, klass = [], [], []
        for name, count in zip(mix, counts):
            records, upto = self.places(part, name, length)
            u = torch.rand(count, device=dev, dtype=torch.float64, generator=generator)
            u = (u * upto[-1]).long()
            i = torch.searchsorted(upto, u, right=True)
            record.append(records[i])
            start.append(u - (upto[i] - (self.length[records[i]] - length + 1)))
            klass.append(torch.full((count,), CLASSES.index(name), device=dev))
        record, start, klass = (torch.cat(x) for x in (record, start, klass))
        at = (self.start[record] + start)[:, None] + torch.arange(length, device=dev)
        codes = self.bases[at]
        back = torch.rand(n, device=dev, generator=generator) < 0.5
        codes = torch.where(back[:, None], 3 - codes.flip(1), codes)
        return codes, klass, record, start, back

    def batch(self, part, mix, length, n, capacity, generator):
        """Frames of n random windows in arrays of fixed shape: tokens [capacity, R + 2], the
        place of each frame in [n * 6], which of them are there, the viral reads [n], and the
        reads all of whose frames, one at least, are there. length mod 3 must be 2: then all
        frames are of one length, and nothing is padded."""
        codes, klass, *_ = self.windows(part, mix, length, n, generator)
        shuffle = torch.randperm(n, device=self.device, generator=generator)
        tokens, is_open = frames(codes[shuffle], self.table)
        upto = is_open.sum(1).cumsum(0)
        usable = (upto <= capacity) & is_open.any(1)
        place = torch.argsort(~is_open.flatten(), stable=True)[:capacity]
        there = torch.arange(len(place), device=self.device) < upto[-1]
        chosen = tokens.flatten(0, 1)[place]
        chosen = torch.where(there[:, None], chosen, torch.full_like(chosen, 5))
        return with_ends(chosen), place, there, klass[shuffle] == 0, usable

    def frames_per_read(self, part, mix, length):
        g = torch.Generator(self.device).manual_seed(1)
        codes, *_ = self.windows(part, mix, length, 4096, g)
        return frames(codes, self.table)[1].sum().item() / 4096


def text(codes):
    """[n, L] bases -> list of strings."""
    letters = np.frombuffer(b"ACGT", np.uint8)[codes.cpu().numpy()]
    return [row.tobytes().decode() for row in letters]
