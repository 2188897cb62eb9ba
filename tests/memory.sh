#!/usr/bin/env bash
# Memory is bounded whatever the input: the peak resident memory of every program grows by
# less than 5 % when its input grows tenfold (windows and batches are full in both). Of
# programs that take 3 MiB that is what one run differs from the next by: up to 640 KiB are
# let pass, which are 35 bytes for each of the additional rows. The conversions that collect
# rows (for their order, for the blocks of an Arrow file) do so for more rows than that: they
# get inputs of their own that are full from the first copy on, and nothing is let pass.
# Prints "ok"/"not ok" lines for run.sh, with the figures.
set -u
. "$T/fixture.sh"
if ldd "$T/../bin/vn-pack" | grep -q libasan; then
    echo "skip memory # the address sanitizer keeps freed memory"
    exit 0
fi
make_fixture 100 || exit 1
make_reads 1000 2 >many.fa
make_dna 1000 2 >dna.fa
gzip -c many.fa >many.fa.gz
"$B/tests/mkvectors" n=300000 batch=1000 window=100000 >ordered.vn # 3 windows
"$B/tests/mkvectors" n=400000 batch=16 d=2 >blocks.vn # 11 MB of rows, more than a block

# NAME | command | its input, to be repeated: streams of one schema may follow one another |
# how often, and ten times that | KiB that are let pass
programs() {
    cat <<END
orf|vn-orf --chunk 100|dna.fa|20|640
orf protein|vn-orf --chunk 100 --to protein|dna.fa|20|640
pack|vn-pack -m model --window 500 --max-tokens 4096|many.fa|20|640
pack gz|vn-pack -m model --window 500 --max-tokens 4096|many.fa.gz|20|640
pack records|vn-pack -m model --window 500 --max-tokens 4096|records.vn|20|640
embed|vn-embed -m model --device cpu --precision fp32|tokens.vn|20|640
embed pooled|vn-embed -m model --device cpu --precision fp32 --pool mean|tokens.vn|20|640
pool|vn-pool|embeddings.vn|20|640
classify|vn-classify -m head|vectors.vn|20|640
classify stream|vn-classify -m head --format stream|vectors.vn|20|640
classify by source|vn-classify --by source|frames.vn|20|640
view tsv|vn-view --to tsv|vectors.vn|20|640
view json|vn-view --to json|vectors.vn|20|640
view npy|vn-view --to npy|ordered.vn|1|0
view safetensors|vn-view --to safetensors|ordered.vn|1|0
view arrow|vn-view --to arrow|blocks.vn|1|0
view check|vn-view --check|embeddings.vn|20|640
view stats|vn-view --stats|embeddings.vn|20|640
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

least() { # two numbers; one may be empty
    if [ -z "$1" ] || { [ -n "$2" ] && [ "$2" -lt "$1" ]; }; then echo "$2"; else echo "$1"; fi
}

while IFS='|' read -r name command input copies slack <&3; do
    a='' b='' rc=1
    for _ in 1 2 3; do # what threads have at a time differs: the least that was needed counts
        # shellcheck disable=SC2086
        a=$(least "$a" "$(peak "$copies" "$input" $command)")
        # shellcheck disable=SC2086
        b=$(least "$b" "$(peak $((10 * copies)) "$input" $command)")
        [ -n "$a" ] && [ -n "$b" ] || break
        [ $((b * 100)) -lt $((a * 105)) ] || [ $((b - a)) -lt "$slack" ]
        rc=$?
        [ $rc != 0 ] || break
    done
    if [ -z "$a" ] || [ -z "$b" ]; then
        say_not_ok "$name"
        echo "# $(head -1 err)"
        continue
    fi
    say $rc "$name: $((a / 1024)).$((a % 1024 * 10 / 1024)) MiB, tenfold input $((b / 1024)).$((b % 1024 * 10 / 1024)) MiB"
done 3< <(programs)
# vn-join has no single input: twenty copies of both, and two hundred
for n in 20 200; do
    for f in vectors vectors2; do
        for ((i = 0; i < n; i++)); do cat $f.vn; done >$f.$n
    done
done
joined() { # copies: KiB
    rm -f rss
    "$B/tests/child" --rss rss -- vn-join "vectors.$1" "vectors2.$1" >/dev/null 2>err && cat rss
}
a=$(joined 20) b=$(joined 200)
[ -n "$a" ] && [ -n "$b" ] && [ $((b - a)) -lt 640 ]
say $? "join: $a KiB, tenfold input $b KiB"
# and what waits is bounded by --buffer, whatever the width: here 80 MiB would
"$B/tests/mkvectors" n=20000 d=1000 batch=500 window=10000 >wide.vn
"$B/tests/mkvectors" n=20000 d=1000 batch=500 window=10000 seed=2 >wide2.vn
buffered() { # size, streams: KiB
    rm -f rss
    "$B/tests/child" --rss rss -- vn-join --no-provenance --buffer "$@" >joined.vn 2>err && cat rss
}
a=$(buffered 1Gi wide.vn wide2.vn) && mv joined.vn want.vn
b=$(buffered 16Mi wide.vn wide2.vn) && cmp want.vn joined.vn || b=
[ -n "$a" ] && [ -n "$b" ] && [ "$a" -gt $((64 << 10)) ] && [ "$b" -lt $((48 << 10)) ]
say $? "join: with --buffer 1Gi $a KiB, with 16Mi $b KiB"
c=$(buffered 16Mi <(cat wide.vn) <(sleep 3; cat wide2.vn)) && cmp want.vn joined.vn || c=
[ -n "$c" ] && [ "$c" -lt $((56 << 10)) ]
say $? "join: pipes, one behind the other, with --buffer 16Mi $c KiB"
rm -f rss # four pipes that are all ahead, as nobody reads what is joined
"$B/tests/child" --rss rss -- vn-join --buffer 64Mi <(cat wide.vn) <(cat wide2.vn) \
    <(cat wide.vn) <(cat wide2.vn) 2>err | { sleep 2; cat >/dev/null; }
a=$(cat rss) && [ "$a" -lt $(((64 + 40) << 10)) ]
say $? "join: four full pipes with --buffer 64Mi $a KiB"
# vn-compare keeps numbers of every record, and nothing else: what it is said to need
compared() { # suffix: KiB
    rm -f rss
    "$B/tests/child" --rss rss -- vn-compare "vectors.$1" "vectors.$1" >/dev/null 2>err && cat rss
}
a=$(compared 20) b=$(compared 200) rows=$((180 * 100))
[ -n "$a" ] && [ -n "$b" ] && [ $(((b - a) * 1024)) -lt $((640 * 1024 + 20 * rows)) ]
say $? "compare: $a KiB, tenfold input $b KiB"
table() { # rows
    awk -v n="$1" 'BEGIN {
        print "id\tlabel\tscore_others\tscore_virus"
        for (i = 0; i < n; i++) print "read" i "\tvirus\t0." i "\t0." i
    }'
}
table 20000 >small.tsv
table 200000 >large.tsv
for n in small large; do
    "$B/tests/child" --rss $n.rss -- vn-compare $n.tsv $n.tsv >/dev/null 2>err
done
a=$(cat small.rss) b=$(cat large.rss)
[ -n "$a" ] && [ -n "$b" ] && [ $(((b - a) * 1024)) -lt $((100 * 180000)) ]
say $? "compare: a table of 20000 rows $a KiB, of 200000 $b KiB"
exit $((failures > 0))
