#!/usr/bin/env bash
# vn-predict on 10,000 and on 100,000 reads of 150 bp with small models on the CPU: a row for
# each read, in order; reads a second, and the peak memory of each program, which does not
# grow with their number (beyond the first 16,384 rows, which are what vn-pack looks at).
#
# SHAPES=virnucpro takes models as large as VirNucPro's, ESM-2 3B and DNABERT-S with a head on
# both, all random; DEVICE=cuda a GPU; READS="N..." other numbers of reads.
set -eu
SHAPES=${SHAPES:-small} DEVICE=${DEVICE:-cpu}
case $SHAPES in
small) esm=(--width 32) dna=(--width 48 --heads 3) widths=(48 32) hidden=16 ;;
virnucpro)
    esm=(--layers 36 --width 2560 --heads 40 --type f16)
    dna=(--layers 12 --width 768 --heads 12 --ffn 3072 --merges 4087 --type f16)
    widths=(768 2560) hidden=512
    ;;
*) echo "bench_predict.sh: no shapes '$SHAPES'" >&2 && exit 2 ;;
esac
"$B/tests/mkmodel" "${esm[@]}" --seed 3 esm
"$B/tests/mkmodel" --dnabert "${dna[@]}" --seed 4 dna
"$B/tests/mkmodel" --head --input $((widths[0] + widths[1])) --hidden $hidden --seed 9 --inputs \
    "[{\"width\": ${widths[0]}, \"model\": \"dna\"}, {\"width\": ${widths[1]}, \"model\": \"esm\"}]" head
for n in ${READS:-10000 30000 100000}; do
    "$B/tests/mkfasta" genome $((n * 150)) | sed 1d | tr -d '\n' | fold -w 150 | head -n "$n" |
        awk '{ print ">read" NR - 1; print }' >reads.fa
    from=$(date +%s%N)
    vn-predict --device "$DEVICE" -m head -o out -v reads.fa 2>err
    ms=$((($(date +%s%N) - from) / 1000000))
    cut -f 1,2 out/calls.tsv | tail -n +2 | cmp - <(seq 0 $((n - 1)) | sed 's/.*/read&\t&/')
    echo "$n reads, a row for each, in order: $((1000 * n / ms)) reads/s; peak memory in MiB:"
    [ "$SHAPES" = small ] || grep -a ' s after \|records, .* s, ' err || true
    sed -n 's/^\(vn-[a-z]*\): .*peak \([0-9]*\) MiB$/\1 \2/p' err | sort | xargs echo "   "
done
