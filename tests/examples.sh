#!/usr/bin/env bash
# Runs what examples/ holds, each in a folder of its own with a tiny model; skips by name
# what needs a program that is not here. Prints "ok"/"not ok"/"skip" lines for run.sh.
set -u
. "$T/fixture.sh"
make_fixture 40 || exit 1
examples=$T/../examples
fixture=$PWD
model=$fixture/model head=$fixture/head reads=$fixture/reads.fa

run() { # name, test of the result
    local name=$1 rc
    shift
    rm -rf "$fixture/run" && mkdir "$fixture/run" && cd "$fixture/run" || exit 1
    bash "$examples/$name/run.sh" "$model" "$head" "$reads" >out 2>err && "$@"
    rc=$?
    cd "$fixture" || exit 1
    say $rc "$name"
    [ $rc = 0 ] || sed 's/^/# /' run/err | head -5
}
# The table of the fixture, from the same reads, model and head.
expected() { cmp calls.tsv "$fixture/calls.tsv"; }
have() { command -v "$1" >/dev/null; }

run shell expected

# Every read has a row, and what has a call has the same one by way of FASTA.
sixframes_result() {
    cmp <(cut -f 7 calls.tsv | tail -n +2 | uniq) <(seq 0 39) &&
        cmp <(awk '$6 == "ok"' calls.tsv | cut -f 1,3-5) <(tail -n +2 fasta.tsv | cut -f 1-4) &&
        [ "$(wc -l <fasta.tsv)" -gt 80 ] && grep -q 'no open frame' calls.tsv
}
reads=$fixture/dna.fa
run sixframes sixframes_result
reads=$fixture/reads.fa

fifo_result() { expected && vn-view --check max.arrows && [ -z "$(jobs -p)" ]; }
run fifo fifo_result

# Without a head the chain ends at once, and with it the second consumer.
rm -rf run && mkdir run && cd run || exit 1
timeout 20 bash "$examples/fifo/run.sh" "$model" nowhere "$reads" >out 2>err
[ $? = 66 ] && [ ! -e calls.tsv ] && [ -z "$(ls -A | grep -vx 'max.arrows\|out\|err')" ]
say $? "fifo: a consumer that fails"
cd "$fixture" || exit 1

PYTHON=${ORACLE_PYTHON:-python3}
export PYTHON
if "$PYTHON" -c 'import pyarrow' 2>/dev/null; then
    run python grep -q '"\?label' out
else
    echo "skip python # no PyArrow for python3"
fi

snakemake_result() {
    cmp calls/one.tsv "$fixture/calls.tsv" && cmp <(cut -f 1 calls/two.tsv | tail -n +2) \
        <(head -n 20 "$reads" | sed -n 's/^>\([^ ]*\).*/\1/p')
}
if have snakemake; then run snakemake snakemake_result; else echo "skip snakemake # not installed"; fi

parallel_result() { cmp calls.tsv <(cut -f 1,3- "$fixture/calls.tsv"); }
if have parallel; then run parallel parallel_result; else echo "skip parallel # GNU parallel is not installed"; fi

echo "skip nextflow # written, not run"

# The demo: its own reads, the model that ships, the calls that are expected.
demo() { # folder, what to change in expected calls: awk's statements, or nothing
    rm -rf "$1" && cp -r "$examples/demo" "$1" && sed -i 's|^top=.*|top='"${top:-$T/..}"'|' "$1/run.sh" &&
        awk -F '\t' -v OFS='\t' "${2:-}"' 1' "$examples/demo/calls.tsv" >"$1/calls.tsv" &&
        bash "$1/run.sh" "$1/out" >out 2>err
}
demo demo && grep -q 'Of [0-9]* calls [0-9]* are right' out && cmp <(cut -f 1,3 demo/out/calls/calls.tsv) <(cut -f 1,3 demo/calls.tsv)
say $? demo
VN_MODELS=/nowhere demo demo 'NR == 5 { $5 += 9e-4 }'
say $? "demo: scores may differ by 1e-3"
for change in 'NR == 5 { $5 += 0.0012 }' 'NR == 9 { $3 = $3 == "virus" ? "others" : "virus" }' '$6 == "no open frame" { $6 = "empty" }' 'NR == 7 { next }'; do
    ! demo demo "$change" && grep -q 'these are not the calls' err
    say $? "demo: fails where this was expected: $change"
done
# A failure in the middle of the pipe is the demo's failure.
mkdir -p broken/bin && ln -s "$T"/../bin/vn-[!p]* "$T"/../bin/vn-pack broken/bin && cp "$T/../bin/vn-predict" broken/bin &&
    rm broken/bin/vn-embed && printf '#!/bin/sh\nexit 1\n' >broken/bin/vn-embed && chmod +x broken/bin/vn-embed
! top=$fixture/broken demo demo && grep -q "'vn-embed -m vn-virus' ended with status 1" err
say $? "demo: fails when a program of the pipe fails"

# What it shows was not trained on: the names of the reads keep the rule of the test part.
python3 - "$examples/demo/reads.fa" <<'END'
import re, sys, zlib
kinds = {}
for line in open(sys.argv[1]):
    if not line.startswith(">"):
        continue
    kind, name = line[1:].split("/")[:2]
    kinds[kind] = kinds.get(kind, 0) + 1
    if kind == "virus":
        assert int(name[7:]) // 1000 % 10 == 7, name
    elif kind == "human":
        assert int(name.split(":")[2].split("+")[0]) // 5000000 % 5 == 4, name
    else:
        accession = re.search(r"\|ref\|([^.|]*)", name)[1]
        assert zlib.crc32(accession.encode()) % 10 == 7, name
assert kinds == {"virus": 24, "microbe": 13, "fungi": 5, "human": 6}, kinds
END
say $? "demo: all reads are of the test part"
exit $((failures > 0))
