#!/usr/bin/env bash
# Two samples through the Snakefile.
#
#   run.sh MODEL HEAD reads.fa       writes calls/one.tsv, calls/two.tsv
set -euo pipefail
mkdir -p reads
cp "$3" reads/one.fa
head -n 20 "$3" >reads/two.fa
snakemake --quiet --cores 2 --snakefile "$(dirname "$0")/Snakefile" \
    --config model="$(realpath "$1")" head="$(realpath "$2")" samples=one,two
