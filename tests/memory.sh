#!/usr/bin/env bash
# Memory is bounded whatever the input: the peak resident memory of every program grows by
# less than 5 % when its input grows tenfold (windows and batches are full in both). Of
# programs that take 3 MiB that is what one run differs from the next by: up to 640 KiB are
# let pass, which are 35 bytes for each of the additional rows. Prints "ok"/"not ok" lines
# for run.sh, with the figures.
set -u
. "$T/fixture.sh"
if ldd "$T/../bin/vn-pack" | grep -q libasan; then
    echo "skip memory # the address sanitizer keeps freed memory"
    exit 0
fi
make_fixture 100 || exit 1
make_reads 1000 2 >many.fa
gzip -c many.fa >many.fa.gz
small=20 large=200

# NAME | command | its input, to be repeated: streams of one schema may follow one another
programs() {
    cat <<END
pack|vn-pack -m model --window 500 --max-tokens 4096|many.fa
pack gz|vn-pack -m model --window 500 --max-tokens 4096|many.fa.gz
embed|vn-embed -m model --device cpu --precision fp32|tokens.vn
embed pooled|vn-embed -m model --device cpu --precision fp32 --pool mean|tokens.vn
pool|vn-pool|embeddings.vn
classify|vn-classify -m head|vectors.vn
classify stream|vn-classify -m head --format stream|vectors.vn
view tsv|vn-view --to tsv|vectors.vn
view json|vn-view --to json|vectors.vn
view npy|vn-view --to npy|vectors.vn
view safetensors|vn-view --to safetensors|vectors.vn
view arrow|vn-view --to arrow|vectors.vn
view check|vn-view --check|embeddings.vn
view stats|vn-view --stats|embeddings.vn
END
}

peak() { # copies of the input, input, command: KiB of peak memory, or nothing
    local copies=$1 input=$2 i
    shift 2
    rm -f rss
    for ((i = 0; i < copies; i++)); do cat "$input"; done |
        "$B/tests/child" --rss rss -- "$@" >/dev/null 2>err || return
    cat rss
}

while IFS='|' read -r name command input <&3; do
    # shellcheck disable=SC2086
    a=$(peak $small "$input" $command) b=$(peak $large "$input" $command)
    if [ -z "$a" ] || [ -z "$b" ]; then
        say_not_ok "$name"
        echo "# $(head -1 err)"
        continue
    fi
    [ $((b * 100)) -lt $((a * 105)) ] || [ $((b - a)) -lt 640 ]
    say $? "$name: $((a / 1024)).$((a % 1024 * 10 / 1024)) MiB, tenfold input $((b / 1024)).$((b % 1024 * 10 / 1024)) MiB"
done 3< <(programs)
exit $((failures > 0))
