"""vn-orf against Biopython's copy of NCBI's genetic codes, and against EMBOSS's transeq."""
import random
import shutil
import subprocess

import pytest
from Bio.Data import CodonTable

CODONS = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def fasta(sequences):
    return "".join(f">s{i}\n{s}\n" for i, s in enumerate(sequences)).encode()


def proteins(vn, sequences, *options):
    """{(number of the sequence, "F1"): protein} of the open frames."""
    lines = vn("vn-orf", "--chunk", 0, "--to", "protein", *options,
               input=fasta(sequences)).stdout.decode().splitlines()
    return {(int(name[2:-2].removesuffix("_chunk_1")), name[-2:]): seq
            for name, seq in zip(lines[::2], lines[1::2], strict=True)}


@pytest.mark.parametrize("code", sorted(CodonTable.unambiguous_dna_by_id))
def test_codes(vn, code):
    table = CodonTable.unambiguous_dna_by_id[code].forward_table
    got = proteins(vn, CODONS, "--code", code)
    for i, codon in enumerate(CODONS):
        assert got.get((i, "F1")) == table.get(codon)
        assert got.get((i, "R1")) == table.get(codon.translate(COMPLEMENT)[::-1])


@pytest.mark.parametrize("code", [1, 2, 5, 6, 11, 16, 22, 23])
def test_transeq(vn, tmp_path, code):
    """A frame of vn-orf is one of transeq without a stop. transeq also translates a pair of
    letters at the end if all that may follow gives one amino acid: cut to whole codons; its
    reverse frames count from the end of the sequence with -alternative only."""
    if not shutil.which("transeq"):
        pytest.skip("EMBOSS is not installed (transeq)")
    r = random.Random(code)
    sequences = ["".join(r.choices("ACGT", [4, 6, 6, 1 + i % 3], k=r.randint(3, 200)))
                 for i in range(1000)]
    (tmp_path / "in.fa").write_bytes(fasta(sequences))
    subprocess.run(["transeq", "-sequence", tmp_path / "in.fa", "-outseq", tmp_path / "out",
                    "-frame", "6", "-alternative", "-table", str(code)], check=True,
                   capture_output=True)
    want, n_all = {}, 0
    for entry in (tmp_path / "out").read_text().split(">")[1:]:
        name, *lines = entry.split("\n")
        number, frame = name.split()[0][1:].split("_")
        number, frame = int(number), int(frame) - 1
        seq = "".join(lines)[:(len(sequences[number]) - frame % 3) // 3]
        n_all += bool(seq)
        if seq and "*" not in seq:
            want[number, "FR"[frame // 3] + str(frame % 3 + 1)] = seq
    assert n_all > 5500
    assert 1000 < len(want) < n_all
    assert proteins(vn, sequences, "--code", code) == want
