#!/usr/bin/env bash
# Runs the tests: unit programs ($B/tests/t_*), tables (tests/*.tst), scripts (tests/*.sh
# that are named in SCRIPTS below). Prints a line per failure and skip, every line with -v
# and what each file took of the processors, and ends with "N passed, N failed, N skipped".
# Exit status 1 if anything failed or nothing ran.
#
#   tests/run.sh [-v] [--update] [NAME...]     only tests whose file name contains a NAME
#
# A line of a table is   NAME | STATUS | COMMAND   run by bash with pipefail in an empty
# scratch directory; $T is tests/, bin/ is first in PATH. STATUS is the exit status wanted
# (a death by signal is never right unless asked for as 128+n). If tests/golden/TABLE.NAME
# exists, stdout must equal it; --update rewrites those that exist. A COMMAND that prints a
# line "skip: why" is counted as skipped.
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
export T=$top/tests B=${B:-build/last}
case $B in /*) ;; *) B=$top/$B ;; esac
export B
export PATH="$top/bin:$PATH"
export VN_TEST_DATA=${VN_TEST_DATA:-$top/../shared/data}
export LC_ALL=C
# what cannot be allocated is for the program to refuse, under the sanitizer too
export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1}
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$T/lsan.supp:print_suppressions=0}
SCRIPTS="headers.sh layers.sh man.sh live.sh pipes.sh terminals.sh predict.sh ship.sh faults.sh bombs.sh memory.sh examples.sh real.sh emu.sh"

PATIENCE=${PATIENCE:-600} # seconds for a program or a line: one that hangs fails with status 124

verbose=0 update=0 names=()
for a in "$@"; do
    case $a in
    -v) verbose=1 ;;
    --update) update=1 ;;
    *) names+=("$a") ;;
    esac
done
wanted() {
    [ ${#names[@]} = 0 ] && return 0
    for n in "${names[@]}"; do case $1 in *"$n"*) return 0 ;; esac; done
    return 1
}

passed=0 failed=0 skipped=0
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache # the user's own stays as it is
verdict() { # ok|not ok|skip, name, detail
    case $1 in
    ok) passed=$((passed + 1)); [ $verbose = 1 ] && echo "ok $2" ;;
    skip) skipped=$((skipped + 1)); echo "skip $2${3:+ # $3}" ;;
    *) failed=$((failed + 1)); echo "not ok $2${3:+ # $3}" ;;
    esac
    return 0
}

# Sets `used` to the hundredths of a second that all programs so far took of the processors.
# Not in $(): a subshell counts anew.
cpu() {
    times >"$scratch/times"
    used=$(awk -F'[ms ]+' 'NR == 2 { print int(100 * (60 * ($1 + $3) + $2 + $4)) }' "$scratch/times")
}
spent() { # label, `used` before
    [ $verbose = 1 ] || return 0
    cpu
    printf '# %s: %d.%02d s of CPU\n' "$1" $(((used - $2) / 100)) $(((used - $2) % 100))
}

# A program that prints "ok NAME", "not ok NAME", "skip NAME # why" lines itself.
run_program() { # label, command...
    local label=$1 out=$scratch/out rc line n=0
    shift
    rm -rf "$scratch/dir" && mkdir "$scratch/dir"
    (cd "$scratch/dir" && timeout -k 10 "$PATIENCE" "$@") >"$out" 2>&1 </dev/null
    rc=$?
    while IFS= read -r line; do
        case $line in
        "ok "*) verdict ok "$label: ${line#ok }"; n=$((n + 1)) ;;
        "not ok "*) verdict "not ok" "$label: ${line#not ok }"; n=$((n + 1)) ;;
        "skip "*) verdict skip "$label: ${line#skip }"; n=$((n + 1)) ;;
        *) echo "$line" >>"$scratch/chatter" ;;
        esac
    done <"$out"
    if [ $rc != 0 ] || [ $n = 0 ]; then
        cat "$scratch/chatter" 2>/dev/null
        verdict "not ok" "$label" "exit status $rc after $n tests"
    fi
    rm -f "$scratch/chatter"
}

run_line() { # table, name, status, command
    local table=$1 name=$2 want=$3 command=$4 rc golden=tests/golden/$1.$2
    rm -rf "$scratch/dir" && mkdir "$scratch/dir"
    (cd "$scratch/dir" && timeout -k 10 "$PATIENCE" bash -o pipefail -c "$command") >"$scratch/out" 2>"$scratch/err" </dev/null
    rc=$?
    if why=$(grep -m1 '^skip: ' "$scratch/out"); then
        verdict skip "$table: $name" "${why#skip: }"
    elif [ "$rc" != "$want" ]; then
        verdict "not ok" "$table: $name" "exit status $rc, wanted $want"
        sed 's/^/#   /' "$scratch/err" | head -5
    elif [ -e "$golden" ] && [ $update = 1 ]; then
        cp "$scratch/out" "$golden"
        verdict ok "$table: $name"
    elif [ -e "$golden" ] && ! cmp -s "$scratch/out" "$golden"; then
        verdict "not ok" "$table: $name" "stdout differs from $golden"
        diff "$golden" "$scratch/out" | head -10 | sed 's/^/#   /'
    else
        verdict ok "$table: $name"
    fi
}

trim() { local s=$1; s=${s#"${s%%[![:space:]]*}"}; printf %s "${s%"${s##*[![:space:]]}"}"; }

for t in "$B"/tests/t_*; do
    case $t in *.[do] | *\*) continue ;; esac
    wanted "${t##*/}" || continue
    cpu
    before=$used
    run_program "${t##*/}" "$t"
    spent "${t##*/}" "$before"
done
for s in $SCRIPTS; do
    [ -e "tests/$s" ] && wanted "$s" || continue
    cpu
    before=$used
    run_program "$s" bash "$T/$s"
    spent "$s" "$before"
done
for table in tests/*.tst; do
    [ -e "$table" ] || continue
    label=${table##*/} && label=${label%.tst}
    wanted "$label" || continue
    cpu
    before=$used
    while IFS='|' read -r name status command; do
        case $name in '' | '#'*) continue ;; esac
        run_line "$label" "$(trim "$name")" "$(trim "$status")" "$command"
    done <"$table"
    spent "$label.tst" "$before"
done

echo
if [ $skipped -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"
else echo "$passed passed, $failed failed"; fi
[ $failed = 0 ] && [ $passed -gt 0 ]
