#!/usr/bin/env bash
# Scatters one FASTA file over jobs, each with the whole pipe, and joins the tables in input
# order.
#
#   run.sh MODEL HEAD reads.fa       writes calls.tsv
set -euo pipefail
export VN_M=$1 VN_H=$2
one() {
    set -o pipefail
    vn-pack -m "$VN_M" | vn-embed -m "$VN_M" -t 1 --pool mean | vn-classify -m "$VN_H"
}
export -f one
rm -rf parts && mkdir parts

# --recstart cuts at records, --keep-order gives the tables back in the order of the input;
# {#} names a part by its number. --halt: the first failure ends all.
SHELL=$(command -v bash) parallel --will-cite --halt now,fail=1 --jobs 2 --pipe \
    --recstart '>' --block 2k --keep-order 'one > parts/{#}.tsv' <"$3"

# One header; record numbers count within a part, so they are dropped.
tables=(parts/*)
for ((i = 1; i <= ${#tables[@]}; i++)); do
    tail -n +$((i == 1 ? 1 : 2)) "parts/$i.tsv"
done | cut -f 1,3- >calls.tsv
[ "$(($(wc -l <calls.tsv) - 1))" = "$(grep -c '^>' "$3")" ]
