#!/usr/bin/env bash
# From reads of DNA to calls, by way of the proteins of their open frames.
#
#   run.sh MODEL HEAD reads.fa       writes records.arrows, calls.tsv
set -euo pipefail
model=$1 head=$2 reads=$3

vn-orf --chunk 300 "$reads" | tee records.arrows |
    vn-pack -m "$model" --column protein |
    vn-embed -m "$model" --pool auto |
    vn-classify -m "$head" >calls.tsv
vn-view --check records.arrows

# The same proteins as FASTA: what has no open frame is not in it.
vn-orf --chunk 300 --to protein "$reads" |
    vn-pack -m "$model" |
    vn-embed -m "$model" --pool auto |
    vn-classify -m "$head" | cut -f 1,3- >fasta.tsv
