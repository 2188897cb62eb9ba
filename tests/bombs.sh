#!/usr/bin/env bash
# Small streams that stand for much, given to every program behind the reader: their memory
# follows what has come, not what it stands for. And nulls where numbers should be. Prints
# "ok"/"not ok" lines for run.sh.
set -u
. "$T/fixture.sh"
"$B/tests/mkmodel" --layers 2 --width 32 --heads 2 model || exit 1
make_head || exit 1
bomb() { "$B/tests/mkbomb" "$@" >bomb.vn; }

# NAME | exit status | MiB at most | words of the message, if any | command
check() {
    local name=$1 want=$2 most=$3 words=$4 status kib
    shift 4
    rm -f rss
    timeout 60 "$B/tests/child" --rss rss -- "$@" bomb.vn >out 2>err
    status=$?
    kib=$(cat rss)
    ldd "$(command -v "$1")" | grep -q libasan && kib=0 # it keeps freed memory
    [ $status = "$want" ] && [ "$kib" -le $((most * 1024)) ] && grep -q "$words" err out
    say $? "$name: $((kib / 1024)) MiB"
    [ $status = "$want" ] || echo "# exit status $status, wanted $want: $(head -1 err)"
}

bomb embeddings n=16384 d=16384 # 1 GiB of null vectors
check "empty lists to wide vectors, pool" 0 64 '' vn-pool
[ "$("$B/tests/rows" out | grep -c null)" = 16384 ]
say $? "empty lists to wide vectors, pool: a row for each"
bomb embeddings n=300 d=1000000000
check "vectors of 4 GB, pool" 76 64 "1000000000 values, expected at most" vn-pool
bomb embeddings n=300000
check "many empty lists, pool" 0 64 '' vn-pool
bomb tokens n=300000
check "many empty lists, embed" 0 64 '' vn-embed -m model --device cpu --precision fp32
bomb tokens n=4000000 # 512 MB of null vectors
check "many empty lists, embed and pool" 0 256 '' \
    vn-embed -m model --device cpu --precision fp32 --pool mean
bomb vectors n=500000
check "many vectors, classify" 0 64 '' vn-classify -m head
bomb vectors n=40 d=2000000 # 320 MB of zeros
check "vectors of 8 MB, classify" 76 64 "width 8, the stream has width 2000000" \
    vn-classify -m head
bomb none n=1073741824
check "no columns, embed" 76 64 "a stream of records, expected tokens" \
    vn-embed -m model --device cpu
check "no columns, pool" 76 64 "a stream of records, expected embeddings" vn-pool
check "no columns, classify" 76 64 "a stream of records, expected vectors" vn-classify -m head

bomb tokens n=9 null=1
check "nulls among tokens, embed" 65 256 "batch 0: column 'tokens' has nulls" \
    vn-embed -m model --device cpu --precision fp32
for level in 1 2; do
    bomb embeddings n=9 null=$level
    check "nulls among rows at level $level, pool" 65 64 \
        "batch 0: column 'embedding' has nulls" vn-pool
done
bomb vectors n=9 null=1
check "nulls in vectors, classify" 65 64 "batch 0: column 'embedding' has nulls" \
    vn-classify -m head
exit $((failures > 0))
