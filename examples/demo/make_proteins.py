#!/usr/bin/env python3
"""Makes proteins.fa: of some real DNA records, the longest stop-free frame, translated.

    make_proteins.py FOLDER > proteins.fa

FOLDER holds the four files named below. Records are taken at even distances, so that a run
over the same files gives the same bytes. Standard library only; run once, by hand.
"""

import gzip
import os
import sys

FILES = [("viral", "viral_tr.fa.gz"), ("microbe", "microbe_tr.fa.gz"),
         ("fungal", "euk_tr.fa.gz"), ("human", "human_tr.fa.gz")]
PER_FILE = 12
SHORTEST = 40  # residues

BASES = "TCAG"
CODE = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODONS = {a + b + c: CODE[16 * i + 4 * j + k]
          for i, a in enumerate(BASES) for j, b in enumerate(BASES)
          for k, c in enumerate(BASES)}
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def records(path):
    name, parts = None, []
    with gzip.open(path, "rt", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(">"):
                if name is not None:
                    yield name, "".join(parts)
                name, parts = line[1:].split()[0], []
            else:
                parts.append(line.strip().upper())
    if name is not None:
        yield name, "".join(parts)


def longest_open_frame(dna):
    """(residues, frame) of the longest piece without a stop; ties: the first frame."""
    best, where = "", ""
    for sign, strand in (("+", dna), ("-", dna.translate(COMPLEMENT)[::-1])):
        for shift in range(3):
            protein = "".join(CODONS.get(strand[i:i + 3], "X")
                              for i in range(shift, len(strand) - 2, 3))
            piece = max(protein.split("*"), key=len)
            if len(piece) > len(best):
                best, where = piece, f"{sign}{shift + 1}"
    return best, where


def main():
    folder = sys.argv[1]
    for kind, file in FILES:
        found = []
        for name, dna in records(os.path.join(folder, file)):
            protein, frame = longest_open_frame(dna)
            if len(protein) >= SHORTEST:
                found.append((name, len(dna), protein, frame))
        for i in range(PER_FILE):
            name, bases, protein, frame = found[i * len(found) // PER_FILE]
            print(f">{kind}/{name.strip('|')} frame={frame} bases={bases}")
            for at in range(0, len(protein), 60):
                print(protein[at:at + 60])


main()
