#!/usr/bin/env python3
"""Gets labelled sequences from Debian packages and packs them for training.

    data.py [--cache DIR] [-o reads.npz]

Classes, and what of them is test, are told by the records' names; the rules stand below. What
is not test and resembles a test record (mmseqs2: at least 80 % identity over 100 bp) is left
out. The result, the same bytes from the same packages: arrays of one .npz (see Pack), 2 bits
a base. Needs NumPy, apt-get, dpkg, and 4 GB of memory; about ten minutes on two cores."""
import argparse
import gzip
import hashlib
import os
import re
import subprocess
import sys
import zlib

import numpy as np

PACKAGES = ["metaphlan2-data", "vt-examples", "smalt-examples", "r-bioc-biostrings",
            "r-bioc-bsgenome", "mmseqs2", "libgzstream0"]
MARKERS = "var/lib/metaphlan2-data/markers.fasta"
HUMAN = "usr/share/doc/vt/examples/ref/20.fa.gz"
OTHERS = {  # file -> class: never test
    "usr/share/doc/smalt/test/data/hs37chrXtrunc.fa.gz": "human",
    "usr/share/doc/smalt/test/data/genome_1.fa.gz": "eukaryote",  # Plasmodium falciparum
    "usr/lib/R/site-library/BSgenome/extdata/ce2chrX.fa.gz": "eukaryote",
    "usr/lib/R/site-library/Biostrings/extdata/dm3_upstream2000.fa.gz": "eukaryote",
}
CLASSES = ["virus", "microbe", "fungi", "human", "eukaryote"]
PARTS = ["train", "test", "tune", "calibrate"]
COUNTS = {"virus": 61709, "microbe": 931388, "fungi": 24894}  # of the marker file: fixed

# Mbp that travel, by class and part; what is missing here travels whole.
BUDGET = {("microbe", "train"): 86, ("microbe", "test"): 8, ("microbe", "tune"): 3,
          ("microbe", "calibrate"): 3, ("human", "train"): 12, ("human", "test"): 4,
          ("human", "tune"): 1.5, ("human", "calibrate"): 1.5, ("eukaryote", "train"): 9}
TILE = 1200      # letters of a record cut from a chromosome
SHORTEST = 150   # of any record
IDENTITY, ALIGNED = 0.8, 100


def digit_part(digit):
    return {7: "test", 3: "tune", 5: "calibrate"}.get(digit, "train")


def crc(text):
    return zlib.crc32(text.encode())


def classify(name):
    """(class, part, group) of a record of the marker file, or None: left out."""
    if name.startswith("GeneID:"):
        number = int(name[7:])
        return "virus", digit_part(number // 1000 % 10), f"virus{number // 1000}"
    match = re.search(r"\|ref\|(([A-Z]{2})_([A-Z]{0,4}\d*)[A-Z0-9]*)", name)
    if not match or match[2] not in ("NC", "NZ", "XM", "NM") or match[1] == "NC_018264":
        return None
    accession, kind = match[1], match[2]
    part = digit_part(crc(accession) % 10)
    if kind in ("XM", "NM"):
        return "fungi", part, accession
    draft = re.match(r"NZ_([A-Z]{4}\d\d)", accession)  # contigs of one genome
    return "microbe", part, draft[1] if draft else accession


def human_part(start):
    """Of chromosome 20, by bins of 5 Mbp: the test's are fixed, the others follow it."""
    place = start // 5_000_000
    return "test" if place % 5 == 4 else {3: "tune", 5: "calibrate"}.get(place % 10, "train")


class Record:
    __slots__ = ("name", "klass", "part", "group", "seq")

    def __init__(self, name, klass, part, group, seq):
        self.name, self.klass, self.part, self.group, self.seq = name, klass, part, group, seq


def pieces(seq):
    """Runs of A C G T; (start, letters)."""
    for match in re.finditer(rb"[ACGT]{%d,}" % SHORTEST, seq):
        yield match.start(), match[0]


def read_fasta(path):
    with (gzip.open(path) if path.endswith(".gz") else open(path, "rb")) as file:
        text = file.read()
    for entry in text.split(b">")[1:]:
        head, _, body = entry.partition(b"\n")
        yield head.split()[0].decode(), body.translate(None, b"\r\n").upper()


def spread(records, letters):
    """Records of at most so many letters, in the order of their hash, first one of each group,
    then a second: so that no genome prevails."""
    groups, order = {}, []
    for r in sorted(records, key=lambda r: (crc(r.name + "#"), r.name)):
        rank = groups[r.group] = groups.get(r.group, -1) + 1
        order.append((rank, len(order), r))
    chosen = []
    for _, _, r in sorted(order, key=lambda o: o[:2]):
        letters -= len(r.seq)
        if letters < 0:
            break
        chosen.append(r)
    return chosen


def marker_records(root):
    counts = dict.fromkeys(COUNTS, 0)
    for name, seq in read_fasta(os.path.join(root, MARKERS)):
        found = classify(name)
        if not found:
            continue
        counts[found[0]] += 1
        for at, piece in pieces(seq):
            yield Record(f"{name}+{at}" if at else name, *found, piece)
    if counts != COUNTS:
        sys.exit(f"data.py: '{MARKERS}' is another one: expected {COUNTS}, found {counts}")


def tiles(path, klass, part_of):
    for name, seq in read_fasta(path):
        for start in range(0, len(seq), TILE):
            for at, piece in pieces(seq[start:start + TILE]):
                where = f"{os.path.basename(path).split('.')[0]}:{name}:{start + at}"
                yield Record(where, klass, part_of(start), where, piece)


def all_records(root):
    yield from marker_records(root)
    yield from tiles(os.path.join(root, HUMAN), "human", human_part)
    for path, klass in OTHERS.items():
        yield from tiles(os.path.join(root, path), klass, lambda start: "train")


def within_budget(records):
    """({(class, part): records}, all test records)."""
    sets = {}
    for r in records:
        sets.setdefault((r.klass, r.part), []).append(r)
    test = [r for (_, part), s in sorted(sets.items()) if part == "test" for r in s]
    for key, mbp in BUDGET.items():
        # a quarter more than the budget: room for what resembles a test record
        sets[key] = spread(sets[key], mbp * 1e6 * (1 if key[1] == "test" else 1.25))
    return sets, test


def write_fasta(path, records):
    with open(path, "wb") as out:
        for i, r in enumerate(records):
            out.write(b">%d\n%s\n" % (i, r.seq))


def similar(mmseqs, folder, records, test, threads):
    """[(index of the record, start, end)] of what aligns to a test record. A seed of 15
    letters, spaced, is in most alignments of 100 bp at 80 %, and in nearly all longer ones."""
    write_fasta(f"{folder}/query.fa", records)
    write_fasta(f"{folder}/target.fa", test)
    if os.path.exists(f"{folder}/hits.tsv"):
        os.remove(f"{folder}/hits.tsv")
    subprocess.run([mmseqs, "easy-search", "query.fa", "target.fa", "hits.tsv", "tmp",
                    "--search-type", "3", "--min-seq-id", str(IDENTITY), "--min-aln-len",
                    str(ALIGNED), "-e", "1e-5", "--max-seqs", "20", "--strand", "2",
                    "--mask", "0", "--threads", str(threads), "-v", "2", "--format-output",
                    "query,qstart,qend"], cwd=folder, check=True,
                   env={**os.environ, "LD_LIBRARY_PATH": os.path.dirname(mmseqs) + "/../lib/"
                        + os.uname().machine + "-linux-gnu"})
    with open(f"{folder}/hits.tsv") as hits:
        for line in hits:
            query, a, b = map(int, line.split())
            yield query, min(a, b) - 1, max(a, b)


def without(record, intervals):
    """What is left of a tile beside the intervals."""
    at = 0
    for start, end in sorted(intervals) + [(len(record.seq),) * 2]:
        if start - at >= SHORTEST:
            yield Record(f"{record.name}+{at}", record.klass, record.part, record.group,
                         record.seq[at:start])
        at = max(at, end)


def deduplicate(mmseqs, folder, sets, test, threads):
    """Genes that resemble a test record go, of tiles the part that does; then, as a tile may
    hold more repeats than the search lists, what is left of tiles is searched again."""
    rest = [r for (_, part), s in sorted(sets.items()) if part != "test" for r in s]
    for round in 1, 2:
        found = {}
        for query, start, end in similar(mmseqs, folder, rest, test, threads):
            found.setdefault(query, []).append((start, end))
        kept = []
        for i, r in enumerate(rest):
            if i not in found:
                kept.append(r)
            elif round == 1 and r.klass in ("human", "eukaryote"):
                kept.extend(without(r, found[i]))
        print(f"search {round}: of {len(rest)} records {len(found)} resemble a test record",
              file=sys.stderr)
        sure = [r for r in kept if r.klass not in ("human", "eukaryote")]
        rest = [r for r in kept if r.klass in ("human", "eukaryote")] if round == 1 else kept
        if round == 1:
            genes = sure
    result = {key: s for key, s in sets.items() if key[1] == "test"}
    for r in genes + rest:
        result.setdefault((r.klass, r.part), []).append(r)
    for key, mbp in BUDGET.items():
        if key[1] != "test":
            result[key] = spread(result[key], mbp * 1e6)
    return result


class Pack:
    """The arrays: bases (uint8, four a byte, lowest bits first, A C G T = 0 1 2 3, records end
    to end), length, klass (index of CLASSES), part (of PARTS), group (numbers), name."""

    def __init__(self, sets):
        records = [r for key in sorted(sets, key=lambda k: (PARTS.index(k[1]), CLASSES.index(
            k[0]))) for r in sorted(sets[key], key=lambda r: r.name)]
        text = np.frombuffer(b"".join(r.seq for r in records), np.uint8)
        code = np.zeros(256, np.uint8)
        code[list(b"ACGT")] = range(4)
        code = code[np.pad(text, (0, -len(text) % 4), constant_values=ord("A"))].reshape(-1, 4)
        groups = {}
        self.arrays = {
            "bases": code[:, 0] | code[:, 1] << 2 | code[:, 2] << 4 | code[:, 3] << 6,
            "length": np.array([len(r.seq) for r in records], np.uint32),
            "klass": np.array([CLASSES.index(r.klass) for r in records], np.uint8),
            "part": np.array([PARTS.index(r.part) for r in records], np.uint8),
            "group": np.array([groups.setdefault(r.group, len(groups)) for r in records],
                              np.uint32),
        }
        self.table = "".join(f"{r.part}\t{r.klass}\t{len(r.seq)}\t{r.name}\n" for r in records)

    def write(self, path):
        with open(path + ".tmp", "wb") as out:
            np.savez(out, **self.arrays)
        os.replace(path + ".tmp", path)
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        name = os.path.basename(path)
        with open(path + ".sha256", "w") as out:
            out.write(f"{digest}  {name}\n")
        with gzip.GzipFile(path + ".records.tsv.gz", "wb", mtime=0) as out:
            out.write(self.table.encode())
        print(f"{digest}  {name}, {os.path.getsize(path) / 1e6:.1f} MB")

    def report(self):
        a = self.arrays
        for p, part in enumerate(PARTS):
            for k, klass in enumerate(CLASSES):
                mine = (a["klass"] == k) & (a["part"] == p)
                if mine.any():
                    print(f"{part}\t{klass}\t{mine.sum()} records\t"
                          f"{a['length'][mine].sum() / 1e6:.1f} Mbp")


def fetch(cache):
    root = os.path.join(cache, "root")
    if not os.path.exists(os.path.join(root, "complete")):
        os.makedirs(root, exist_ok=True)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=cache, check=True)
        for package in PACKAGES:
            names = [n for n in os.listdir(cache) if n.startswith(package + "_")]
            subprocess.run(["dpkg", "-x", sorted(names)[-1], "root"], cwd=cache, check=True)
        open(os.path.join(root, "complete"), "w").close()
    return root


def find_mmseqs(root):
    with open("/proc/cpuinfo") as info:
        flags = info.read()
    kind = "avx2" if " avx2 " in flags else "sse4.1"
    return os.path.abspath(os.path.join(root, f"usr/bin/mmseqs-{kind}"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cache", default="cache",
                        help="for the packages (350 MB; 2 GB unpacked)")
    parser.add_argument("-o", "--output", default="reads.npz")
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    parser.add_argument("--fraction", type=float, default=1, help="of the records, for trials")
    options = parser.parse_args()
    root = fetch(options.cache)
    keep = int(options.fraction * 2**32)
    sets, test = within_budget(r for r in all_records(root) if crc(r.name) < keep)
    folder = os.path.join(options.cache, "search")
    os.makedirs(folder, exist_ok=True)
    pack = Pack(deduplicate(find_mmseqs(root), folder, sets, test, options.threads))
    pack.report()
    pack.write(options.output)


if __name__ == "__main__":
    main()
