#!/usr/bin/env bash
# Torture: in every program the first, second, third ... allocation, read, write, open, close
# and rename fails, one a run, until a run has fewer of them. Whatever happens, the exit
# status is a documented one and there is a message; 0 means that the output is complete.
# (jansson says of memory that it could not get that the file is damaged: hence 65.)
# Then the calls that are legal but rare: one byte a read, short writes, EINTR, EAGAIN.
# Prints "ok"/"not ok" lines for run.sh.
set -u
. "$T/fixture.sh"
if ldd "$T/../bin/vn-pack" | grep -q libasan; then
    echo "skip torture # not under the address sanitizer, which has allocators of its own"
    exit 0
fi
make_fixture 12 || exit 1
fault=$B/tests/fault.so

programs() {
    cat <<END
pack|vn-pack -m model --window 5|reads.fa
pack gz|vn-pack -m model --window 5|reads.fa.gz
embed|vn-embed -m model --device cpu --precision fp32 -t 2|tokens.vn
embed pooled|vn-embed -m model --device cpu --precision fp32 --pool mean -t 1|tokens.vn
pool|vn-pool|embeddings.vn
classify|vn-classify -m head|vectors.vn
classify stream|vn-classify -m head --format stream|vectors.vn
view tsv|vn-view --to tsv|scores.vn
view json|vn-view --to json|scores.vn
view npy|vn-view --to npy|vectors.vn
view safetensors|vn-view --to safetensors|vectors.vn
view arrow|vn-view --to arrow|scores.vn
view check|vn-view --check|tokens.vn
view stats|vn-view --stats|tokens.vn
END
}

# One run with the fault $1; with $2 = file the output is a file of its own, else standard
# output. Sets status and fired.
once() {
    local rule=$1 where=$2 input=$3
    shift 3
    rm -f fired out
    if [ "$where" = file ]; then
        VN_FAULT=$rule VN_FAULT_FIRED=fired LD_PRELOAD=$fault timeout 20 "$@" -o out <"$input" \
            >/dev/null 2>err
    else
        VN_FAULT=$rule VN_FAULT_FIRED=fired LD_PRELOAD=$fault timeout 20 "$@" <"$input" >out 2>err
    fi
    status=$?
    fired=0
    [ -e fired ] && fired=1
}

# Is the outcome of a run with a fault one of those promised? Says what is not.
judge() {
    local where=$1 reference=$2 statuses=$3
    if [ $status = 0 ]; then
        cmp -s out "$reference" || echo "status 0, output differs"
    else
        case ,$statuses, in *,$status,*) ;; *) echo "status $status: $(head -1 err)" ;; esac
        [ -s err ] || echo "status $status without a message"
        if [ "$where" = file ]; then
            [ -e out ] && echo "status $status, the file is there"
            ls out.*.tmp >/dev/null 2>&1 && echo "status $status, a temporary file is left"
        elif head -c 4 out | cmp -s - <(printf '\377\377\377\377') && 
            vn-view --check out >/dev/null 2>&1; then
            echo "status $status, but the stream on standard output passes --check"
        fi
    fi
    rm -f out.*.tmp
}

torture() { # name, call, file or stdout, statuses, input, command
    local name=$1 call=$2 where=$3 statuses=$4 input=$5 k=1 n=0 bad= verdict failed=0
    shift 5
    once none "$where" "$input" true >/dev/null 2>&1
    rm -f reference.* out
    if [ "$where" = file ]; then "$@" -o out <"$input" 2>err && mv out reference
    else "$@" <"$input" >reference 2>err; fi || { say_not_ok "$name"; return; }
    while :; do
        once "$call:$k" "$where" "$input" "$@"
        [ $fired = 1 ] || break
        n=$((n + 1))
        [ $status != 0 ] && failed=$((failed + 1))
        verdict=$(judge "$where" reference "$statuses")
        [ -n "$verdict" ] && bad="$bad
#   $call $k: $verdict"
        # every one of the first; then at growing distances
        if [ $k -lt 25 ]; then k=$((k + 1)); else k=$((k + k / 6)); fi
        [ $k -lt 100000 ] || break
    done
    if [ $n = 0 ] || [ $failed = 0 ]; then
        say_not_ok "$name: $call"
        echo "# no fault fired, or none was noticed ($n fired, $failed noticed)"
    elif [ -n "$bad" ]; then
        say_not_ok "$name: $call"
        echo "#$(echo "$bad" | head -6)"
    else
        say_ok "$name: $call ($n faults, $failed noticed)"
    fi
}

# Between pipes: on a file nothing of this would happen.
rare() { # name, input, command
    local name=$1 input=$2 rule bad=
    shift 2
    "$@" <"$input" >reference 2>/dev/null
    for rule in read:one write:short read:eintr,write:eintr read:eagain,write:eagain; do
        # shellcheck disable=SC2002
        cat "$input" | VN_FAULT=$rule LD_PRELOAD=$fault timeout 20 "$@" 2>err | cat >out
        status=${PIPESTATUS[1]}
        [ "$status" = 0 ] && cmp -s out reference || bad="$bad $rule ($status)"
    done
    [ -z "$bad" ]
    say $? "$name: short counts, EINTR, EAGAIN${bad:+ #$bad}"
}

while IFS='|' read -r name command input <&3; do
    # shellcheck disable=SC2086
    {
        rare "$name" "$input" $command
        torture "$name" alloc stdout 1,65,66,76 "$input" $command
        torture "$name" read stdout 1,66 "$input" $command
        torture "$name" write stdout 74 "$input" $command
        case $name in view\ check | view\ stats) continue ;; esac
        torture "$name" open file 1,66,74 "$input" $command
        torture "$name" close file 1,66,74 "$input" $command
        torture "$name" rename file 74 "$input" $command
    }
done 3< <(programs)
once popt:1 stdout tokens.vn vn-pool
[ "$fired$status" = 11 ] && [ -s err ]
say $? "no memory for the options"
exit $((failures > 0))
