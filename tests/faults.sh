#!/usr/bin/env bash
# Torture: in every program the first, second, third ... allocation, read, write, open, close
# and rename fails, one a run, until a run has fewer of them. Whatever happens, the exit
# status is a documented one and there is a message; 0 means that the output is complete.
# (Some libraries say of memory that they could not get that the file is damaged: 65.)
# Then the calls that are legal but rare: one byte a read, short writes, EINTR, EAGAIN.
# Prints "ok"/"not ok" lines for run.sh.
set -u
. "$T/fixture.sh"
if ldd "$T/../bin/vn-pack" | grep -q libasan; then
    echo "skip torture # not under the address sanitizer, which has allocators of its own"
    exit 0
fi
make_fixture 12 || exit 1
(head -n 1 calls.tsv && tail -n +2 calls.tsv | sort -r) >reversed.tsv
fault=$B/tests/fault.so

programs() {
    cat <<END
orf|vn-orf --chunk 100|dna.fa
orf nucleotide|vn-orf --chunk 100 --to nucleotide|dna.fa
orf live|vn-orf --chunk 100 --max-latency 3600k|dna.fa
pack|vn-pack -m model --window 5|reads.fa
pack gz|vn-pack -m model --window 5|reads.fa.gz
pack live|vn-pack -m model --window 5 --max-latency 3600k|reads.fa
pack records|vn-pack -m model --window 50|records.vn
embed|vn-embed -m model --device cpu --precision fp32 -t 2|tokens.vn
embed pooled|vn-embed -m model --device cpu --precision fp32 --pool mean -t 1|tokens.vn
pool|vn-pool|embeddings.vn
join|vn-join vectors2.vn -|vectors.vn
classify|vn-classify -m head|vectors.vn
classify stream|vn-classify -m head --format stream|vectors.vn
classify by source|vn-classify --by source|frames.vn
compare|vn-compare scores.vn -|scores.vn
compare table|vn-compare --truth calls.tsv calls.tsv -|reversed.tsv
view tsv|vn-view --to tsv|scores.vn
view json|vn-view --to json|scores.vn
view npy|vn-view --to npy|vectors.vn
view safetensors|vn-view --to safetensors|vectors.vn
view arrow|vn-view --to arrow|scores.vn
view check|vn-view --check|tokens.vn
view stats|vn-view --stats|tokens.vn
END
}

# One run with the fault $1; with $2 = stdout the output is standard output; with file, dir
# or force one of its own, for force where a copy of the directory before/ is. Sets status
# and fired.
once() {
    local rule=$1 where=$2 input=$3
    shift 3
    rm -rf fired out out.*.tmp
    [ "$where" = force ] && cp -r before out
    if [ "$where" != stdout ]; then
        VN_FAULT=$rule VN_FAULT_FIRED=fired LD_PRELOAD=$fault timeout 20 "$@" -o out <"$input" \
            >/dev/null 2>err
    else
        VN_FAULT=$rule VN_FAULT_FIRED=fired LD_PRELOAD=$fault timeout 20 "$@" <"$input" >out 2>err
    fi
    status=$?
    fired=0
    [ -e fired ] && fired=1
}

# Is the outcome of a run with a fault one of those promised? Says what is not. 143 is an
# end by the signal of a rule CALL:N:term: all or nothing, and no message.
judge() {
    local where=$1 reference=$2 statuses=$3
    [ "$where" != stdout ] && ls -d out.*.tmp >/dev/null 2>&1 &&
        echo "status $status, a temporary file is left"
    if [ $status = 0 ]; then
        diff -rq out "$reference" >/dev/null || echo "status 0, output differs"
    else
        case ,$statuses, in *,$status,*) ;; *) echo "status $status: $(head -1 err)" ;; esac
        [ -s err ] || [ $status = 143 ] || echo "status $status without a message"
        if [ $status = 143 ] && diff -rq out "$reference" >/dev/null 2>&1; then
            :
        elif [ "$where" = force ]; then
            diff -rq out before >/dev/null || echo "status $status, the directory has changed"
        elif [ "$where" != stdout ]; then
            [ -e out ] && echo "status $status, the output is there"
        elif head -c 4 out | cmp -s - <(printf '\377\377\377\377') && 
            vn-view --check out >/dev/null 2>&1; then
            echo "status $status, but the stream on standard output passes --check"
        fi
    fi
}

torture() { # name, call, where (see once), statuses, input, command
    local name=$1 call=$2 where=$3 statuses=$4 input=$5 k=1 n=0 bad= verdict failed=0
    local how=${call#"${call%%:*}"}
    shift 5
    rm -rf reference out
    [ "$where" = force ] && cp -r before out
    if [ "$where" != stdout ]; then "$@" -o out <"$input" 2>err && mv out reference
    else "$@" <"$input" >reference 2>err; fi || { say_not_ok "$name"; return; }
    while :; do
        once "${call%%:*}:$k$how" "$where" "$input" "$@" 2>/dev/null # of the shell
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
        case $name in compare*) other=2 ;; *) other=1 ;; esac # 1: the two differ
        rare "$name" "$input" $command
        torture "$name" alloc stdout $other,65,66,76 "$input" $command
        torture "$name" read stdout $other,66 "$input" $command
        torture "$name" write stdout 74 "$input" $command
        case $name in view\ check | view\ stats) continue ;; esac
        torture "$name" open file $other,66,74 "$input" $command
        torture "$name" close file $other,66,74 "$input" $command
        torture "$name" rename file 74 "$input" $command
    }
done 3< <(programs)

# ---- vn-model: imports make a directory, and may find one there

python3 -W ignore "$T/mktorch.py" fair-esm model fair.pt &&
    python3 -W ignore "$T/mktorch.py" head head.pt &&
    python3 -W ignore "$T/mktorch.py" huggingface model hf && cp -r model before &&
    echo mine >before/notes.txt || exit 1

# NAME | where | status of a failing CALL ... | command
models() {
    cat <<END
info|stdout|alloc=1,65,66 read=66 open=66 mmap=66|vn-model info model
info json|stdout|alloc=1,65,66|vn-model info --json head
verify|stdout|alloc=1,65,66 open=66 mmap=66|vn-model verify model
import fair-esm|dir|alloc=1,65,66 write=74 open=65,66,74 close=74 rename=74|vn-model import -q fair.pt
import hf|dir|alloc=1,65,66 read=66 open=65,66,74 mmap=66|vn-model import -q hf
import --force|force|alloc=1,65,66 write=74 open=65,66,74 close=74 rename=74 mmap=66|vn-model import -q --force head.pt
import, killed|dir|open:term=143 write:term=143 close:term=143 rename:term=143|vn-model import -q fair.pt
import --force, killed|force|open:term=143 write:term=143 close:term=143 rename:term=143|vn-model import -q --force head.pt
END
}
while IFS='|' read -r name where calls command <&3; do
    for call in $calls; do
        # shellcheck disable=SC2086
        torture "$name" "${call%=*}" "$where" "${call#*=}" /dev/null $command
    done
done 3< <(models)

# Where the old files cannot be put back they are not removed either.
n=0
for k in 1 2 3 4 5 6 7 8 9; do
    once "rename:$k+" force /dev/null vn-model import -q --force head.pt
    kept=$(echo out.*.tmp)
    grep -q "now in '$kept' and cannot be put back" err || continue
    n=$((n + 1))
    rm -f out/config.json "$kept"/[!o]*
    for f in "$kept"/old-*; do mv "$f" "out/${f#*/old-}"; done
    [ $status = 74 ] && diff -rq out before >err || break
done
[ $n -ge 3 ] && [ $k = 9 ]
say $? "import --force: what cannot be put back is kept ($n)"

once popt:1 stdout tokens.vn vn-pool
[ "$fired$status" = 11 ] && [ -s err ]
say $? "no memory for the options"
exit $((failures > 0))
