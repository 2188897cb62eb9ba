#!/usr/bin/env bash
# vn-predict on 10,000 and on 100,000 reads of 150 bp with small models on the CPU: a row for
# each read, in order; reads a second, and the peak memory of each program, which does not
# grow with their number (beyond the first 16,384 rows, which are what vn-pack looks at).
set -eu
"$B/tests/mkmodel" --seed 3 esm
"$B/tests/mkmodel" --dnabert --width 48 --heads 3 --seed 4 dna
"$B/tests/mkmodel" --head --input 80 --seed 9 \
    --inputs '[{"width": 48, "model": "dna"}, {"width": 32, "model": "esm"}]' head
for n in ${READS:-10000 30000 100000}; do
    "$B/tests/mkfasta" genome $((n * 150)) | sed 1d | tr -d '\n' | fold -w 150 | head -n "$n" |
        awk '{ print ">read" NR - 1; print }' >reads.fa
    from=$(date +%s%N)
    vn-predict --device cpu -m head -o out -v reads.fa 2>err
    ms=$((($(date +%s%N) - from) / 1000000))
    cut -f 1,2 out/calls.tsv | tail -n +2 | cmp - <(seq 0 $((n - 1)) | sed 's/.*/read&\t&/')
    echo "$n reads, a row for each, in order: $((1000 * n / ms)) reads/s; peak memory in MiB:"
    sed -n 's/^\(vn-[a-z]*\): .*peak \([0-9]*\) MiB$/\1 \2/p' err | sort | xargs echo "   "
done
