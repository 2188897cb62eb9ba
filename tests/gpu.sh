#!/usr/bin/env bash
# Runs the tests that need a GPU (make check-gpu), on what has been built; without a usable
# GPU it says why and ends with status 69. Ends with the tally of tests/run.sh.
#
#   B=build/release tests/gpu.sh [-v] [NAME...]     only tests whose name contains a NAME
#
#   unit          t_cuda, t_ops, t_rows, t_attn, t_profile, every line of embed.tst with
#                 --device cuda
#   invariance    the same bytes whatever order, packing, token budget and number of GPUs
#   SANITIZER ON  compute-sanitizer's memcheck, racecheck and synccheck, each on t_cuda (which
#                 asks for more memory than there is: calls that fail are no finding),
#                 t_ops, t_rows and t_attn (few, small shapes) and on vn-embed with a small
#                 model: what they said is left in $LOGS (build/gpu-logs). Each takes SAN_LIMIT
#                 seconds (120) at most; SAN_ARGS are passed on.
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
export T=$top/tests B=${B:-build/last}
case $B in /*) ;; *) B=$top/$B ;; esac
export B PATH="$top/bin:$B/tests:$PATH" LC_ALL=C
LOGS=${LOGS:-$top/build/gpu-logs}

verbose=() names=()
for a in "$@"; do
    if [ "$a" = -v ]; then verbose=(-v); else names+=("$a"); fi
done
wanted() {
    [ ${#names[@]} = 0 ] && return 0
    local n
    for n in "${names[@]}"; do case $1 in *"$n"*) return 0 ;; esac; done
    return 1
}

passed=0 failed=0 skipped=0
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
ok() { passed=$((passed + 1)); [ ${#verbose[@]} = 0 ] || echo "ok $1"; }
skip() { skipped=$((skipped + 1)); echo "skip $1 # $2"; }
bad() { failed=$((failed + 1)); echo "not ok $1${2:+ # $2}"; }

# ---- the GPU, or nothing ----------------------------------------------------------------

mkmodel --layers 2 --seed 5 m || exit 1
mktokens 3 30 - 17 / 64 5 120 >t || exit 1
vn-embed -m m --device cuda -v t 2>err >/dev/null
rc=$?
if [ $rc != 0 ]; then
    sed 's/^/# /' err
    echo "not ok a usable GPU # vn-embed --device cuda ends with status $rc"
    echo "0 passed, 1 failed, 0 skipped"
    [ $rc = 69 ] && exit 69
    exit 1
fi
sed -n "s/.*device '\(.*\)', precision.*/# \1/p" err
gpus=1 # that this process may use
while vn-embed -m m --device "cuda:$gpus" t >/dev/null 2>&1; do gpus=$((gpus + 1)); done
echo "# $gpus in use"

# ---- unit ------------------------------------------------------------------------------

# What is skipped for want of a GPU although there is one has failed.
unit() {
    (cd "$top" && tests/run.sh -v "$@") >out 2>&1 || grep -q '^not ok ' out || bad "unit $*"
    sed -i -E '/^skip .*no (usable )?device/s/^skip/not ok/' out
    if [ ${#verbose[@]} = 0 ]; then grep -v -e '^ok ' -e '^$' out; else cat out; fi |
        grep -v '^[0-9]* passed, '
    passed=$((passed + $(grep -c '^ok ' out)))
    failed=$((failed + $(grep -c '^not ok ' out)))
    skipped=$((skipped + $(grep -c '^skip ' out)))
}
wanted "unit t_cuda t_profile" && unit t_cuda t_profile
wanted "unit t_ops" && unit t_ops
wanted "unit t_rows" && unit t_rows
wanted "unit t_attn" && unit t_attn
wanted "unit embed" && VN_TEST_DEVICE=cuda VN_TEST_NO_ROOM=75 unit embed

# ---- invariance ------------------------------------------------------------------------

by_record() { rows "$1" | sort -n -k 2,2; }
by_id() { rows "$1" | cut -f 1,3- | sort; }

# Records of 1 to 400 residues, the same every time.
fasta() { # how many
    awk -v n="$1" 'BEGIN { s = 7; for (i = 0; i < n; i++) { printf ">p%d\n", i
        for (j = 1 + (i * 37) % (i % 9 ? 150 : 400); j > 0; j--) { s = (s * 16807) % 2147483647
            printf "%s", substr("LAGVSERTIDPKQNFYMHWC", 1 + s % 20, 1) } print "" } }'
}

same() { # name, file, file: equal, and not empty
    if [ -s "$2" ] && cmp -s "$2" "$3"; then ok "$1"; else bad "$1" "$(cmp "$2" "$3" 2>&1)"; fi
}

# Everything that may not matter, for one model and precision.
invariance() { # name, vn-embed's options...
    local name=$1 n
    shift
    vn-pack --vocab esm2 --max-tokens 4096 a.fa >a.tok
    vn-embed -m model --device cuda "$@" a.tok >a.emb || { bad "$name" "status $?"; return; }
    by_record a.emb >want
    vn-embed -m model --device cuda "$@" a.tok | by_record - >got
    same "$name: again" want got
    for n in 500 20000 300000; do
        vn-pack --vocab esm2 --max-tokens $n a.fa | vn-embed -m model --device cuda "$@" |
            by_record - >got
        same "$name: packed to $n tokens" want got
    done
    vn-embed -m model --device cuda --max-tokens 1000 "$@" a.tok | by_record - >got
    same "$name: a budget of 1000 tokens" want got
    by_id a.emb >want
    vn-pack --vocab esm2 b.fa | vn-embed -m model --device cuda "$@" | by_id - >got
    same "$name: permuted" want got
    if [ "$gpus" -ge 2 ]; then
        vn-pack --vocab esm2 --max-tokens 2000 a.fa >a.tok
        vn-embed --no-provenance -m model --device cuda:0 "$@" a.tok >one
        vn-embed --no-provenance -m model --device cuda:0,1 "$@" a.tok >two
        same "$name: two GPUs" one two
    else
        skip "$name: two GPUs" "there is one"
    fi
}

shape() { # layers, width, heads, records
    local p rows
    wanted "invariance $2/$3" || return 0
    rm -rf model
    mkmodel --layers "$1" --width "$2" --heads "$3" model
    fasta "$4" >a.fa
    paste - - <a.fa | sort -k 2 | tr '\t' '\n' >b.fa
    for p in fp32 bf16 fp16; do
        invariance "invariance $2/$3 $p pooled" --precision $p --pool mean
        rows=f32
        [ $p = fp16 ] && rows=f16
        invariance "invariance $2/$3 $p rows" --precision $p --dtype $rows
    done
}
shape 2 32 2 300   # heads of 16
shape 2 96 4 300   # of 24
shape 2 128 4 300  # of 32
shape 2 320 5 300  # of 64
shape 2 256 2 300  # of 128
shape 6 320 20 4000 # 8M: more tokens than a device runs at once

# ---- sanitizers ------------------------------------------------------------------------

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)

# Whether it works at all on this machine: some virtual machines refuse it.
refused=
if [ -z "$sanitizer" ]; then
    refused="compute-sanitizer is not installed"
elif wanted "memcheck racecheck synccheck t_cuda t_ops t_rows t_attn vn-embed"; then
    "$sanitizer" --tool memcheck vn-embed -m m --device cuda t >/dev/null 2>err ||
        grep -q 'ERROR SUMMARY: [1-9]' err ||
        refused="compute-sanitizer does not work here: $(grep -m 1 -i -e 'not supported' -e error err)"
fi

# Whether all that racecheck found lies in cuBLASLt's own kernels, whose names begin with
# nvjet_ on Hopper: their warps meet at mbarriers, which it does not seem to follow.
MOST_RACES=5000
library_only() { # log
    grep -a -q "RACECHECK SUMMARY: [1-9][0-9]* hazards" "$1" &&
        [ "$(grep -a -c 'Race reported' "$1")" -lt $MOST_RACES ] &&
        ! grep -a -o 'access at [^+]*' "$1" | grep -q -v '^access at nvjet_'
}

sanitize() { # tool, what, command...
    local tool=$1 name="$1 on $2" log=$LOGS/$1.$2 rc limit=20
    shift 2
    wanted "$name" || return 0
    [ -z "$refused" ] || { skip "$name" "$refused"; return 0; }
    [ "$tool" = racecheck ] && limit=$MOST_RACES
    "$@" >"$log.plain" 2>&1 # algorithms are searched for once, and not under the sanitizer
    # shellcheck disable=SC2086
    timeout -k 10 "${SAN_LIMIT:-120}" "$sanitizer" --tool "$tool" --error-exitcode 99 \
        --report-api-errors no --print-limit $limit --log-file "$log.log" ${SAN_ARGS:-} "$@" >"$log.out" 2>&1
    rc=$?
    if [ $rc = 0 ]; then
        ok "$name"
    elif [ $rc = 99 ] && [ "$tool" = racecheck ] && library_only "$log.log"; then
        echo "# $name: $(grep -a -c 'Race reported' "$log.log") hazards, all in cuBLASLt"
        ok "$name"
    else
        bad "$name" "status $rc (99: the sanitizer found something, 124: no time left), see $log.log"
        grep -a '^=========' "$log.log" | grep -a -v '^========= *$' | head -n 15 | sed 's/^/#   /'
        tail -n 5 "$log.out" | sed 's/^/#   /'
    fi
}
mkdir -p "$LOGS"
for tool in memcheck racecheck synccheck; do
    sanitize $tool t_cuda "$B/tests/t_cuda" small
    sanitize $tool t_ops "$B/tests/t_ops" small
    sanitize $tool t_rows "$B/tests/t_rows" small
    sanitize $tool t_attn "$B/tests/t_attn" small
    for p in fp32 bf16 fp16; do
        sanitize $tool vn-embed-$p vn-embed -m m --device cuda --precision $p --pool mean \
            -o /dev/null t
    done
done

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
