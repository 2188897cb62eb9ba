#!/usr/bin/env bash
# How fast vn-pack reads: MB of text a second, the best of three, from a file in the page
# cache to a discarded stream; gzip's own speed on the same file stands beside it. For DNABERT-S
# (the published tokenizer where it is in $VN_TEST_DATA) bases a second, on one thread.
set -eu
best() { # command: smallest wall time of three, in ms
    local from ms low=
    for _ in 1 2 3; do
        from=$(date +%s%N)
        "$@" >/dev/null
        ms=$((($(date +%s%N) - from) / 1000000))
        if [ -z "$low" ] || [ $ms -lt "$low" ]; then low=$ms; fi
    done
    echo "$low"
}
report() { # label, bytes of text, ms
    awk -v label="$1" -v bytes="$2" -v ms="$3" \
        'BEGIN { printf "%-44s %7.0f MB/s\n", label, bytes / 1e3 / ms }'
}

"$B/tests/mkfasta" protein 250000 >proteins.fa
"$B/tests/mkfasta" reads 500000 >reads.fq
gzip -1k proteins.fa
bytes=$(wc -c <proteins.fa)
echo "proteins.fa: 250000 records, $bytes bytes; reads.fq: 500000 records, $(wc -c <reads.fq) bytes"
report "vn-pack --vocab esm2 proteins.fa" "$bytes" "$(best vn-pack --vocab esm2 proteins.fa)"
report "vn-pack --vocab esm2 proteins.fa | cat" "$bytes" \
    "$(best sh -c 'vn-pack --vocab esm2 proteins.fa | cat')"
report "vn-pack --vocab esm2 proteins.fa.gz" "$bytes" "$(best vn-pack --vocab esm2 proteins.fa.gz)"
report "gzip -dc proteins.fa.gz" "$bytes" "$(best gzip -dc proteins.fa.gz)"
report "vn-pack --vocab esm2 reads.fq" "$(wc -c <reads.fq)" "$(best vn-pack --vocab esm2 reads.fq)"

dna=$VN_TEST_DATA/dnabert-s what="as published"
if [ ! -e "$dna/tokenizer.json" ]; then
    dna=dna what="of random merges"
    "$B/tests/mkmodel" --dnabert --width 16 --heads 1 --ffn 16 --layers 1 --merges 4087 dna
fi
"$B/tests/mkfasta" genome 20000000 >genome.fa
bases=$(awk 'NR % 4 == 2 { n += length } END { print n }' reads.fq)
best_bases() { # label, bases, arguments of vn-pack
    local label=$1 n=$2
    shift 2
    report "$label" "$n" "$(best vn-pack -q -t 1 -m "$dna" "$@")" | sed 's/ MB\/s/ Mbp\/s/'
}
echo "DNABERT-S, tokenizer $what; genome.fa: one record of 20000000 bases"
best_bases "vn-pack -t 1 -m dnabert-s reads.fq" "$bases" reads.fq
best_bases "vn-pack -t 1 -m dnabert-s genome.fa" 20000000 genome.fa
vn-pack --vocab esm2 -v proteins.fa 2>&1 >/dev/null | tail -n 1
