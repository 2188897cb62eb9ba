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

# The demo: its own data, model and checks.
(cd "$fixture" && bash "$examples/demo/run.sh" demo) >out 2>err
say $? demo
# A failure in the middle of the pipe is the demo's failure.
mkdir broken && printf '#!/bin/sh\nexit 1\n' >broken/vn-pool && chmod +x broken/vn-pool
cp -r "$examples/demo" demo-copy
sed 's|^export PATH=.*|export PATH="'"$fixture"'/broken:'"$T"'/../bin:$PATH"|
     s|^top=.*|top='"$T"'/..|' "$examples/demo/run.sh" >demo-copy/run.sh
(bash demo-copy/run.sh demo2) >out 2>err
[ $? != 0 ]
say $? "demo: fails when a program of the pipe fails"
exit $((failures > 0))
