#!/usr/bin/env python3
"""What VirNucPro makes of a FASTA file before its models see it, re-stated from the formulas; but
U is T, and proteins are refused.

    sixframes.py chunk|protein|nucleotide|rows C [MIN_AA] < FASTA

Written to be read beside the published description, with strings and dictionaries and without
any table of ours; slow. "rows" is the records stream of vn-orf as vn-view prints it. C = 0 is
ours: the whole sequence is one chunk.
"""
import math
import sys

AMINO_ACIDS = {
    "A": "GCA GCC GCG GCT", "C": "TGC TGT", "D": "GAC GAT", "E": "GAA GAG", "F": "TTC TTT",
    "G": "GGA GGC GGG GGT", "H": "CAC CAT", "I": "ATA ATC ATT", "K": "AAA AAG",
    "L": "CTA CTC CTG CTT TTA TTG", "M": "ATG", "N": "AAC AAT", "P": "CCA CCC CCG CCT",
    "Q": "CAA CAG", "R": "AGA AGG CGA CGC CGG CGT", "S": "AGC AGT TCA TCC TCG TCT",
    "T": "ACA ACC ACG ACT", "V": "GTA GTC GTG GTT", "W": "TGG", "Y": "TAC TAT",
    "*": "TAA TAG TGA"}
CODONS = {codon: aa for aa, codons in AMINO_ACIDS.items() for codon in codons.split()}
assert len(CODONS) == 64
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}


def records(lines):
    name, seq = None, []
    for line in lines:
        line = line.rstrip("\n")
        if line.startswith(">"):
            if name is not None:
                yield name, "".join(seq)
            name, seq = (line[1:].split(maxsplit=1) or [""])[0], []
        else:
            seq.append(line)
    if name is not None:
        yield name, "".join(seq)


def chunks(length, size):
    """(start, end) of each chunk."""
    if not size or length <= size:
        return [(0, length)]
    n = math.ceil(length / size)
    again = n * size - length
    lower = int(again / n)
    need = again - lower * (n - 1)
    out, start = [], 0
    for k in range(n):
        out.append((start, min(start + size, length)))
        start += size - (lower + 1 if k < need else lower)
    return out


def frames(chunk):
    """(frame, protein or None if it has a stop, nucleotides, places) of all six."""
    forward = list(enumerate(chunk.upper().replace("U", "T")))
    reverse = [(i, COMPLEMENT.get(c, c)) for i, c in reversed(forward)]
    for sign, strand in (1, forward), (-1, reverse):
        letters = "".join(c for _, c in strand)
        for f in range(3):
            protein = "".join(CODONS.get(letters[i:i + 3], "")
                              for i in range(f, len(letters) - 2, 3))
            part = strand[f:f + 1 + 3 * len(protein)]
            yield (sign * (f + 1), None if "*" in protein else protein,
                   "".join(c for _, c in part), sorted(i for i, _ in part))


def rows(source, name, seq, size, min_aa):
    foreign = set(seq.upper()) & set("EFIJLOPQZ")
    for k, (start, end) in enumerate(chunks(len(seq), size), 1):
        part, found, short, closed = seq[start:end], False, False, False
        for frame, protein, dna, places in [] if foreign else frames(part):
            closed |= protein is None
            if not protein or len(protein) < min_aa:
                short |= bool(protein)
                continue
            found = True
            yield (f"{name}_chunk_{k}{'F' if frame > 0 else 'R'}{abs(frame)}", protein, dna,
                   source, k, frame, start + places[0], start + places[-1] + 1, "ok")
        if not found:
            why = ("not nucleotides" if foreign else "empty" if not part else
                   "too short" if short else
                   "no open frame" if closed else "no codon")
            yield f"{name}_chunk_{k}", "", "", source, k, 0, start, end, why


def main(what, size, min_aa="1"):
    size, min_aa, out, record = int(size), int(min_aa), sys.stdout.write, 0
    if what == "rows":
        out("id\trecord\tprotein\tnucleotide\tsource\tchunk\tframe\tstart\tend\tstatus\n")
    for source, (name, seq) in enumerate(records(sys.stdin)):
        if what == "chunk":
            for k, (start, end) in enumerate(chunks(len(seq), size), 1):
                out(f">{name}_chunk_{k}\n")
                for i in range(start, end, 60):
                    out(seq[i:min(i + 60, end)] + "\n")
            continue
        for row in rows(source, name, seq, size, min_aa):
            if what == "rows":
                out("\t".join(map(str, (row[0], record, *row[1:]))) + "\n")
                record += 1
            elif row[-1] == "ok":
                out(f">{row[0]}\n{row[1 if what == 'protein' else 2]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
