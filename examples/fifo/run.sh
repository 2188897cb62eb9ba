#!/usr/bin/env bash
# One stream, two consumers: embeddings of every residue are pooled in two ways at once,
# without computing them twice and without a file between.
#
#   run.sh MODEL HEAD reads.fa       writes calls.tsv, max.arrows
set -euo pipefail
model=$1 head=$2 reads=$3

fifos=$(mktemp -d)
# Whatever happens: no FIFO stays, and no consumer waits on one for ever.
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$fifos"' EXIT
mkfifo "$fifos/copy"

vn-pool --pool max -o max.arrows "$fifos/copy" &
second=$!

vn-pack -m "$model" "$reads" | vn-embed -m "$model" | tee "$fifos/copy" |
    vn-pool --pool mean | vn-classify -m "$head" -o calls.tsv

wait "$second" # its exit status counts as well
