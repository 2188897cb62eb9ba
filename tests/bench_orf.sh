#!/usr/bin/env bash
# How fast vn-orf reads: MB of FASTA a second on one core, the best of three, from a file in the
# page cache to a discarded stream or FASTA: reads of 150 letters, of which every second has
# open frames, coding sequences, which have one each, and a chromosome, where nearly all
# is closed.
set -eu
best() { # command: smallest wall time of three, in ms
    local from ms low=
    for _ in 1 2 3; do
        from=$(date +%s%N)
        taskset -c 0 "$@" >/dev/null
        ms=$((($(date +%s%N) - from) / 1000000))
        if [ -z "$low" ] || [ $ms -lt "$low" ]; then low=$ms; fi
    done
    echo "$low"
}
"$B/tests/mkfasta" genome 100000000 >chromosome.fa
"$B/tests/mkfasta" genome 75000000 | sed 1d | tr -d '\n' | fold -w 150 |
    awk '{print ">read" NR; print}' >reads.fa
# every stop codon of the first frame becomes an alanine's
awk 'NR % 2 {print; next} {
    s = ""
    for (i = 1; i <= 148; i += 3) {
        codon = substr($0, i, 3)
        s = s (codon ~ /^(TAA|TAG|TGA)$/ ? "GCT" : codon)
    }
    print s
}' reads.fa >coding.fa
for f in reads coding chromosome; do
    bytes=$(wc -c <$f.fa)
    for to in stream protein nucleotide chunk; do
        ms=$(best vn-orf --chunk 500 --to $to $f.fa)
        awk -v label="vn-orf --to $to $f.fa" -v bytes="$bytes" -v ms="$ms" \
            'BEGIN { printf "%-44s %7.0f MB/s\n", label, bytes / 1e3 / ms }'
    done
    vn-orf -v $f.fa 2>&1 >/dev/null | tail -n 1
done
