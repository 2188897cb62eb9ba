#!/usr/bin/env bash
# Every program at the ends of a broken pipe: full disk, closed or vanished output, cut,
# flipped, foreign and missing input, killed neighbours, signals. What is promised: never
# exit status 0 unless all is accounted for, a documented status, a message, and no file
# under the final name that is not complete. Prints "ok"/"not ok" lines for run.sh.
set -u
. "$T/fixture.sh"
make_fixture 60 || exit 1
child=$B/tests/child
# vn-join as a filter of one input: its last argument, or standard input
cat >join <<'END'
#!/bin/bash
args=() file=-
while [ $# -gt 0 ]; do
    case $1 in
    -o) args+=("$1" "$2") && shift ;;
    -*) args+=("$1") ;;
    *) file=$1 ;;
    esac
    shift
done
exec vn-join vectors2.vn "$file" "${args[@]}"
END
chmod +x join
sed 's/vn-join vectors2.vn/vn-compare scores.vn/' join >compare && chmod +x compare

# NAME | the program's arguments for reading standard input | its input
programs() {
    cat <<END
orf|vn-orf --chunk 100|dna.fa
orf protein|vn-orf --chunk 100 --to protein|dna.fa.gz
orf live|vn-orf --chunk 100 --max-latency 50|dna.fa
pack|vn-pack -m model|reads.fa
pack gz|vn-pack -m model|reads.fa.gz
pack live|vn-pack -m model --max-latency 50|reads.fa
pack records|vn-pack -m model --window 50|records.vn
embed|vn-embed -m model --device cpu --precision fp32|tokens.vn
embed pooled|vn-embed -m model --device cpu --precision fp32 --pool mean|tokens.vn
pool|vn-pool|embeddings.vn
join|./join|vectors.vn
classify|vn-classify -m head|vectors.vn
classify stream|vn-classify -m head --format stream|vectors.vn
classify by source|vn-classify --by source|frames.vn
compare|./compare|scores.vn
view tsv|vn-view --to tsv|scores.vn
view json|vn-view --to json|scores.vn
view npy|vn-view --to npy|vectors.vn
view safetensors|vn-view --to safetensors|vectors.vn
view arrow|vn-view --to arrow|scores.vn
view header|vn-view --header|scores.vn
view stats|vn-view --stats|scores.vn
END
}
each() { # function, called with name, input and the command
    local name command input
    while IFS='|' read -r name command input <&3; do
        # shellcheck disable=SC2086
        "$1" "$name" "$input" $command
    done 3< <(programs)
}
# status wanted (several: 74,141), name, what really came; stderr in ./err must say something
# unless the status is that of SIGPIPE
expect() {
    local want=$1 name=$2 got=$3
    case ,$want, in
    *,"$got",*)
        if [ "$got" != 141 ] && [ "$got" != 0 ] && [ "$got" -lt 128 ] && ! [ -s err ]; then
            say_not_ok "$name"
            echo "# exit status $got without a message"
        else
            say_ok "$name"
        fi ;;
    *) say_not_ok "$name"
        echo "# exit status $got, wanted $want: $(head -1 err)" ;;
    esac
}

# ---- output ---------------------------------------------------------------------------

output() {
    local name=$1 input=$2
    shift 2
    timeout 20 "$@" <"$input" >/dev/full 2>err
    expect 74 "$name: full disk" $?
    timeout 20 "$@" <"$input" >&- 2>err
    expect 74 "$name: standard output closed" $?
    timeout 20 "$child" --broken-pipe --ignore-sigpipe -- "$@" <"$input" 2>err
    expect 141 "$name: reader gone, SIGPIPE ignored" $?
    timeout 20 "$child" --broken-pipe -- "$@" <"$input" 2>err
    expect 141 "$name: reader gone" $?
    "$@" -o out/full <"$input" 2>err && [ -s out/full ]
    say $? "$name: -o FILE"
    "$@" --no-provenance -o out/again <"$input" 2>err
    # what is said must not land in a file that was given the free descriptor
    "$@" --no-provenance -v -o out/more <"$input" >&- 2>&- && cmp -s out/again out/more
    say $? "$name: standard output and error closed, -o FILE"
    rm -f out/*
    timeout 20 "$@" -o /dev/full <"$input" 2>err
    expect 74 "$name: -o on a full disk" $?
    timeout 20 "$@" -o missing/x <"$input" 2>err
    expect 74 "$name: -o in no folder" $?
}
mkdir out
each output

vn-model info model >/dev/full 2>err
expect 74 "model info: full disk" $?
vn-model info model >&- 2>err
expect 74 "model info: standard output closed" $?
"$child" --broken-pipe --ignore-sigpipe -- vn-model info model 2>err
expect 141 "model info: reader gone, SIGPIPE ignored" $?
"$child" --broken-pipe -- vn-model info model 2>err
expect 141 "model info: reader gone" $?

# Work stops at once, although there would be input for ever.
endless() { while cat reads.fa; do :; done 2>/dev/null; }
endless | timeout 20 "$child" --broken-pipe --ignore-sigpipe -- vn-pack -m model --window 100 2>err
expect 141 "pack: an endless input, reader gone" "${PIPESTATUS[1]}"

# ---- input ----------------------------------------------------------------------------

input() {
    local name=$1 input=$2 size at status
    shift 2
    "$@" <&- >out/x 2>err
    expect 66 "$name: standard input closed" $?
    "$@" nowhere >out/x 2>err
    expect 66 "$name: missing file" $?
    "$@" . >out/x 2>err
    expect 66 "$name: a folder as input" $?
    # plain text may end anywhere; a look at the header reads no more than that
    case $name in pack | orf | *\ live | view\ header) return ;; esac
    size=$(stat -c %s "$input")
    local bad=
    for at in 1 7 8 64 $((size / 3)) $((size / 2)) $((size - 300)) $((size - 9)) $((size - 8)) \
        $((size - 4)) $((size - 1)); do
        head -c "$at" "$input" >cut
        cat cut | "$@" >out/x 2>err
        status=${PIPESTATUS[1]}
        [ "$status" = 65 ] && [ -s err ] || bad="$bad $at:$status"
        rm -f out/y
        "$@" -o out/y cut 2>err && bad="$bad $at:0"
        # a report on several files is kept whatever one of them was like
        case $name in *stats) ;; *) [ -e out/y ] && bad="$bad $at:file" ;; esac
    done
    [ -z "$bad" ]
    say $? "$name: cut input${bad:+ # at$bad}"
    case $name:$input in
    pack*) ;; # no text is a text without records
    *.vn)
        "$@" </dev/null >out/x 2>err
        expect 65 "$name: empty input" $? ;;
    esac
    rm -f out/*
}
each input

flipped() {
    local name=$1 input=$2
    case $name in pack* | orf* | view\ header) return ;; esac
    shift 2
    local bad=
    for at in 12 200 -2000 -600; do
        python3 - "$input" $at >flip <<'END'
import sys
b = bytearray(open(sys.argv[1], "rb").read())
b[int(sys.argv[2])] ^= 4
sys.stdout.buffer.write(b)
END
        "$@" flip >out/x 2>err
        # 76: a schema that no longer says that it is ours
        case $?:$at in 65:* | 76:12) ;; *) bad="$bad $at" ;; esac
        [ -s err ] || bad="$bad $at (silent)"
    done
    [ -z "$bad" ]
    say $? "$name: a flipped bit${bad:+ # at$bad}"
}
each flipped

wrong_kind() { # every stream but the right ones is refused as such
    local name=$1 right=$2 file
    case $right in *.vn) ;; *) return ;; esac
    shift 2
    case $name in view\ npy | view\ safetensors) ;; view*) return ;; esac
    for file in tokens.vn embeddings.vn vectors.vn scores.vn; do
        case $name:$file in *by\ source:vectors.vn) continue ;; esac # asks for a head
        [ $file = "$right" ] && continue
        case $name:$file in view*:embeddings.vn) continue ;; esac
        "$@" $file >out/x 2>err
        expect 76 "$name: refuses $file" $?
    done
}
each wrong_kind
vn-pack -m model vectors.vn >out/x 2>err
expect 65,76 "pack: refuses vectors.vn" $?
echo "not a stream, but text" | vn-view --check >out/x 2>err
expect 65 "view: refuses text" $?

# ---- killed neighbours -------------------------------------------------------------------

# A pipe of four programs with an input that never ends by itself; stage $1 is killed by
# signal $2. The last program must not exit 0 nor leave its file; unless it was killed
# itself, it says why.
killed() {
    local stage=$1 signal=$2 name="stage $1 of the pipe killed by $2" i status
    rm -f p1 p2 p3 in out/*
    mkfifo in p1 p2 p3
    vn-pack -m model --window 50 --max-tokens 1000 <in >p1 2>err1 & local pid1=$!
    vn-embed -m model --device cpu --precision fp32 -t 1 <p1 >p2 2>err2 & local pid2=$!
    vn-pool <p2 >p3 2>err3 & local pid3=$!
    vn-classify -m head -o out/calls.tsv <p3 2>err & local pid4=$!
    exec 4>in
    for i in 1 2 3 4 5; do cat reads.fa; done >&4
    for i in $(seq 50); do # until something has come through to the last one
        ls out/calls.tsv.*.tmp >out/.seen 2>/dev/null && break
        sleep 0.02
    done
    local pid=pid$stage
    kill -"$signal" "${!pid}"
    # the input ends only after the victim is dead, so that what follows is not its doing
    while kill -0 "${!pid}" 2>/dev/null && [ -d "/proc/${!pid}" ] &&
        ! grep -q '^State:.Z' "/proc/${!pid}/status" 2>/dev/null; do sleep 0.01; done
    exec 4>&-
    wait $pid1 $pid2 $pid3 2>/dev/null
    wait $pid4 2>/dev/null
    status=$?
    if [ "$stage" = 1 ] || [ "$stage" = 2 ] || [ "$stage" = 3 ]; then
        expect 65 "$name" $status
    else
        [ $status -gt 128 ]
        say $? "$name"
    fi
    [ ! -e out/calls.tsv ]
    say $? "$name: no table"
    if [ "$stage" != 4 ] || [ "$signal" = TERM ]; then
        rm -f out/.seen
        [ -z "$(ls -A out)" ]
        say $? "$name: no temporary file"
    fi
}
for stage in 1 2 3 4; do
    killed $stage KILL
    killed $stage TERM
done 2>/dev/null

# ---- signals and temporary files -----------------------------------------------------------

signalled() {
    local name=$1 input=$2 signal pid status
    [ "$name" = "view header" ] && return # it does not wait for the rest of its input
    shift 2
    for signal in TERM INT HUP; do
        rm -rf out && mkdir out
        rm -f in && mkfifo in
        # a shell starts jobs with SIGINT ignored, and nohup with SIGHUP: reset them
        env --default-signal=INT,TERM,HUP "$@" -o out/x <in 2>err & pid=$!
        exec 4>in
        head -c $(($(stat -c %s "$input") / 2)) "$input" >&4
        for _ in $(seq 100); do
            [ -n "$(ls out)" ] && break
            sleep 0.01
        done
        local seen
        seen=$(ls out)
        kill -$signal $pid
        wait $pid 2>/dev/null
        status=$?
        exec 4>&-
        [ $status -gt 128 ] && [ -n "$seen" ] && [ -z "$(ls -A out)" ]
        say $? "$name: $signal leaves no file behind (status $status${seen:+, was $seen})"
    done
}
each signalled 2>/dev/null

exit $((failures > 0))
