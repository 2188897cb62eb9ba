"""vn-pack against fair-esm's Alphabet, and against readers of FASTA that are not ours."""
import io
import os
import random
import subprocess

import esm
import polars
import pyarrow.ipc
import pytest

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
BIN = os.environ.get("VN_BIN", os.path.join(TESTS, "..", "bin"))

ALPHABET = esm.data.Alphabet.from_architecture("ESM-1b")
TOKENS = list("LAGVSERTIDPKQNFYMHWCXBUZO.-") + ["<mask>"]
SPECIAL_LENGTHS = [1, 2, 3, 59, 60, 61, 1022, 1024, 5000]


def pack(text, *options):
    out = subprocess.run([os.path.join(BIN, "vn-pack"), "--vocab", "esm2", *options],
                         input=text.encode() if isinstance(text, str) else text, check=True,
                         capture_output=True)
    return out.stdout


def rows(stream):
    """The stream's rows in input order, every column as Python values."""
    table = pyarrow.ipc.open_stream(io.BytesIO(stream)).read_all()
    table.validate(full=True)
    table = table.sort_by("record")
    assert table["record"].to_pylist() == list(range(table.num_rows))
    return table.to_pydict()


def sequences(n, seed):
    rng = random.Random(seed)
    lengths = SPECIAL_LENGTHS + [rng.randint(1, 700) for _ in range(n)]
    return ["".join(rng.choices(TOKENS, k=k)) for k in lengths]


def fair_esm(seqs):
    """Token ids as the batch converter makes them, without the padding."""
    converter = ALPHABET.get_batch_converter()
    out = []
    for i, s in enumerate(seqs):
        _, _, batch = converter([(str(i), s)])
        out.append(batch[0].tolist())
    return out


def fasta(seqs, width=60):
    text = []
    for i, s in enumerate(seqs):
        text.append(f">s{i} made up")
        if "<" in s:
            text.append(s)
        else:
            text += [s[k:k + width] for k in range(0, len(s), width)]
    return "\n".join(text) + "\n"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ids_are_fair_esms(seed):
    seqs = sequences(60, seed)
    got = rows(pack(fasta(seqs)))
    assert got["id"] == [f"s{i}" for i in range(len(seqs))]
    assert got["tokens"] == fair_esm(seqs)
    assert set(got["status"]) == {"ok"}


def test_a_padded_batch_of_fair_esm():
    seqs = sequences(20, 4)
    _, _, batch = ALPHABET.get_batch_converter()(list(enumerate(seqs)))
    lengths = (batch != ALPHABET.padding_idx).sum(1).tolist()
    got = rows(pack(fasta(seqs)))["tokens"]
    assert got == [row[:n].tolist() for row, n in zip(batch, lengths)]


def test_the_alphabet():
    assert ALPHABET.all_toks == ["<cls>", "<pad>", "<eos>", "<unk>", *TOKENS[:-1],
                                 "<null_1>", "<mask>"]
    got = rows(pack("".join(f">{i}\n{t}\n" for i, t in enumerate(TOKENS))))["tokens"]
    assert got == [[0, ALPHABET.get_idx(t), 2] for t in TOKENS]


def test_letters_outside_are_unknown():
    """'*' and J: one <unk> each, as fair-esm has it for letters that it does not know."""
    assert rows(pack(">a\nMJ*K\n"))["tokens"] == [[0, 20, 3, 3, 15, 2]]
    assert ALPHABET.get_idx("J") == ALPHABET.get_idx("*") == 3


def test_lower_case_counts_as_upper():
    seqs = [s for s in sequences(20, 5) if "<" not in s] + ["ACDEFGHIKLMNPQRSTVWY"]
    assert rows(pack(fasta([s.lower() for s in seqs])))["tokens"] == fair_esm(seqs)


def test_truncation_is_of_residues():
    seqs = sequences(40, 6)
    got = rows(pack(fasta(seqs), "--max-length", "100", "--long", "truncate"))
    want = [t[:101] + [2] if len(t) > 102 else t for t in fair_esm(seqs)]
    assert got["tokens"] == want
    assert got["status"] == ["truncated" if len(t) > 102 else "ok" for t in fair_esm(seqs)]


@pytest.mark.parametrize("options", [[], ["--window", "7"], ["--max-tokens", "300"],
                                     ["--window", "50", "--max-tokens", "1000"]])
def test_every_record_once(options):
    seqs = sequences(400, 7)
    seqs[17] = seqs[200] = ""
    got = rows(pack(fasta(seqs), *options))
    assert got["tokens"] == [t if len(t) > 2 else [] for t in fair_esm(seqs)]
    assert [i for i, s in enumerate(got["status"]) if s == "empty"] == [17, 200]


def test_polars_reads_it():
    seqs = sequences(30, 8)
    frame = polars.read_ipc_stream(io.BytesIO(pack(fasta(seqs)))).sort("record")
    assert frame["tokens"].to_list() == fair_esm(seqs)
    assert frame["id"].to_list() == [f"s{i}" for i in range(len(seqs))]


def test_ids_decode_as_python_decodes_them():
    rng = random.Random(9)
    alphabet = [b"a", b"\xff", b"\xc3", b"\xa9", b"\xe2", b"\x82", b"\xac", b"\xf0", b"\x9f",
                b"\xa7", b"\xed", b"\xa0", b"\xf4", b"\x90", b"\x80", b"\xc0", b"\xe0"]
    ids = [b"".join(rng.choices(alphabet, k=rng.randint(1, 9))) for _ in range(3000)]
    got = rows(pack(b"".join(b">" + i + b" title\nMK\n" for i in ids)))["id"]
    assert got == [i.decode("utf-8", "replace") for i in ids]


def test_fasta_as_fair_esm_reads_it(tmp_path):
    """esm.data.FastaBatchedDataset, on a file with upper case letters and one blank line."""
    seqs = [s for s in sequences(80, 10) if "<" not in s]
    path = tmp_path / "x.fa"
    path.write_text(fasta(seqs, 70) + "\n")
    theirs = esm.data.FastaBatchedDataset.from_file(path)
    got = rows(pack(path.read_text()))
    assert got["id"] == [label.split()[0] for label in theirs.sequence_labels]
    assert got["tokens"] == fair_esm(theirs.sequence_strs)
