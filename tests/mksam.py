#!/usr/bin/env python3
"""Writes reads.sam, and reads.fa with the same reads, from a seed: pairs, reads on the reverse
strand, alignments that are not the read's first, reads without letters.

    mksam.py READS
"""
import random
import sys

LETTERS, OPPOSITE = "ACGTNRYSWKMBDHV", "TGCANYRSWMKVHDB"
REVERSE, OTHER = 16, (256, 2048, 2048 | 16)
COMPLEMENT = str.maketrans(LETTERS, OPPOSITE)
draw = random.Random(7)

with open("reads.fa", "w", encoding="ascii") as fasta, \
        open("reads.sam", "w", encoding="ascii") as sam:
    sam.write("@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:100000\n@CO\tmade up\n")
    for i in range(int(sys.argv[1])):
        n = 0 if i % 50 == 9 else draw.randint(1, 300)
        read = "".join(draw.choices(LETTERS if i % 5 == 2 else "ACGT", k=n))
        flag = draw.choice([0, 16, 4, 4 | 1 | 64, 1 | 16 | 128, 1 | 64 | 128])
        part = {64: "/1", 128: "/2"}.get(flag & 192, "")
        fasta.write(f">r{i}{part}\n{read}\n" if read else f">r{i}{part}\n")
        for f in [flag] + ([] if flag & 4 else draw.choices(OTHER, k=i % 3)):
            seq = read.translate(COMPLEMENT)[::-1] if f & REVERSE else read
            place = ("*", 0, 0, "*") if f & 4 or not n else ("chr1", i + 1, 60, f"{n}M")
            f |= 0 if place[1] else 4
            sam.write("\t".join(map(str, (f"r{i}", f, *place, "*", 0, 0, seq or "*",
                                          "I" * n or "*"))) + "\tNM:i:0\n")
