#!/usr/bin/env bash
# The whole chain on 48 real proteins with a model that is made here, in seconds: FASTA in,
# a table of calls out, and every promise on the way checked. Exit status 1 if anything is
# not as it should be. VN_DEVICE=cuda:0 runs it on a GPU.
#
#   run.sh [FOLDER]      where results go; default: a temporary folder, removed at the end
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
build=${B:-build/last}
case $build in /*) ;; *) build=$top/$build ;; esac
export PATH="$top/bin:$PATH"

if [ $# -gt 0 ]; then
    mkdir -p "$1" && cd "$1"
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
fi

# A model of the ESM-2 architecture, 6 layers, 64 wide, and a head for its vectors.
"$build/tests/mkmodel" --layers 6 --width 64 --heads 4 --seed 8 demo-model
"$build/tests/mkmodel" --head --input 64 --hidden 32 --classes others,virus --seed 2 \
    --inputs '[{"model": "demo-model", "layer": 6, "pool": "mean", "width": 64}]' demo-head

vn-pack -m demo-model "$here/proteins.fa" |
    vn-embed -m demo-model --device "${VN_DEVICE:-cpu}" |
    vn-pool --pool mean |
    tee vectors.arrows |
    vn-classify -m demo-head -v -o calls.tsv

vn-view --check vectors.arrows # complete, undamaged

# Every record has its row, in input order.
grep '^>' "$here/proteins.fa" | sed 's/^>//; s/ .*//' >ids.in
tail -n +2 calls.tsv | cut -f 1 >ids.out
cmp ids.in ids.out

echo "The pipe: vn-pack | vn-embed | vn-pool | vn-classify. The first rows of the table:"
echo
head -n 6 calls.tsv
echo
echo "$(wc -l <ids.in) proteins in, $(wc -l <ids.out) rows out, in input order."
echo "The model and the head are RANDOM, made from a seed: these calls mean nothing. With"
echo "a published model and a trained head the same four commands give calls that do."
