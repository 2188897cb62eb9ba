#!/usr/bin/env bash
# One line from FASTA to calls; the same line with the vectors kept on the way.
#
#   run.sh MODEL HEAD reads.fa       writes calls.tsv, vectors.arrows
set -euo pipefail
model=$1 head=$2 reads=$3

vn-pack -m "$model" "$reads" | vn-embed -m "$model" --pool mean |
    vn-classify -m "$head" >calls.tsv

vn-pack -m "$model" "$reads" | vn-embed -m "$model" --pool mean | tee vectors.arrows |
    vn-classify -m "$head" >again.tsv

# What was kept is worth something only if it is complete; another head needs no GPU again.
vn-view --check vectors.arrows
vn-classify -m "$head" vectors.arrows | cmp - calls.tsv
cmp calls.tsv again.tsv
