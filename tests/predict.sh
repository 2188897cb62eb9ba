#!/usr/bin/env bash
# vn-predict: the graph by one command is the graph by hand; a row for each read, in order;
# whatever goes wrong ends in the status of its cause, with nothing half-done, no process and
# no file left; neither side of the graph can hold up the other for ever. make bench runs
# it on 100,000 reads (bench_predict.sh). Prints "ok"/"not ok" lines.
set -u
. "$T/fixture.sh"
mkmodel=$B/tests/mkmodel
"$mkmodel" --seed 3 esm && "$mkmodel" --dnabert --width 48 --heads 3 --seed 4 dna || exit 1
inputs='[{"width": 48, "model": "dna", "pool": "mean-all"}, {"width": 32, "model": "esm", "layer": 2}]'
"$mkmodel" --head --input 80 --inputs "$inputs" --seed 9 both
"$mkmodel" --head --input 32 --inputs '[{"width": 32, "model": "esm"}]' protein
"$mkmodel" --head --input 48 --inputs '[{"width": 48, "model": "dna"}]' dna-only
"$mkmodel" --head --input 32 unnamed
make_dna 300 >reads.fa
predict="vn-predict --device cpu -t 2"
bad=$T/bad/seq

# ---- results ---------------------------------------------------------------------------

by_hand() { # chunk
    vn-orf --chunk "$1" reads.fa >records.vn
    vn-pack -m dna records.vn | vn-embed -m dna --device cpu --pool auto >dna.vn
    vn-pack -m esm records.vn | vn-embed -m esm --device cpu --pool auto >esm.vn
    vn-join dna.vn esm.vn | vn-classify -m both --format stream >scores.vn
}
by_hand 120 2>err
vn-classify -m both --by source <(vn-join dna.vn esm.vn) >want.calls
vn-classify -m both <(vn-join dna.vn esm.vn) >want.frames
vn-classify --format virnucpro -o want scores.vn

$predict -m both --chunk 120 -o out reads.fa >said 2>err
[ $? = 0 ] && cmp want.calls out/calls.tsv && cmp want.frames out/frames.tsv &&
    [ "$(ls -A out | xargs)" = "calls.tsv frames.tsv provenance.jsonl" ] && [ ! -s said ]
say $? "both models: the files of the graph by hand, and no others"
[ "$(cat err)" = "$(grep -h 'no token' err)" ]
say $? "both models: nothing is said but what the programs warn of"
cmp <(cut -f 1,2 out/calls.tsv) <(echo "id	record" && seq 0 299 | sed 's/.*/dna&\t&/')
say $? "a row for each read, in order"
[ "$(cut -f 3 out/calls.tsv | sort | uniq -c | awk '$1 > 30' | wc -l)" = 3 ]
say $? "both labels and no label are there"

$predict -m both --chunk 120 --format virnucpro --quiet -o files <reads.fa 2>err
[ $? = 0 ] && [ ! -s err ] && diff -r want <(:) 2>/dev/null
cmp files/calls.tsv want.calls && cmp want/prediction_results.txt files/prediction_results.txt &&
    cmp want/prediction_results_highestscore.csv files/prediction_results_highestscore.csv &&
    [ ! -s err ] && [ "$(ls -A files | wc -l)" = 5 ]
say $? "VirNucPro's files as well, from standard input, quietly"
cp -r files again && $predict -m both --chunk 120 -o again reads.fa 2>err &&
    [ "$(ls -A again | xargs)" = "calls.tsv frames.tsv provenance.jsonl" ]
say $? "files of an earlier run that this one does not make are gone"
cp -r files held && rm held/frames.tsv && mkdir -p held/frames.tsv/x && cp -r held was
head -n 2 reads.fa | $predict -q -m both --chunk 120 -o held 2>err
[ $? = 74 ] && diff -r held was && grep -q "^vn-predict: cannot replace '.*held/frames.tsv'" err
say $? "where one result cannot get its name, none does"

vn-orf --chunk 500 reads.fa >records.vn
vn-pack -m esm records.vn 2>err | vn-embed -m esm --device cpu --pool auto | vn-classify -m protein >want.esm
vn-pack -m dna records.vn 2>err | vn-embed -m dna --device cpu --pool auto | vn-classify -m dna-only >want.dna
$predict -m protein -o one reads.fa 2>err && cmp one/frames.tsv want.esm
say $? "a head of proteins alone"
$predict -m dna-only -o one reads.fa 2>err && cmp one/frames.tsv want.dna
say $? "a head of nucleotides alone, into the same directory"
$predict -m unnamed --models "$PWD/esm" -o two reads.fa 2>err && cmp two/frames.tsv want.esm
say $? "--models names what the head does not"
mkdir models && cp -r dna esm models && cp -r both models/virnucpro-300
VN_MODELS=$PWD/models bash -c "cd models && exec $predict -m 300 -o ../three ../reads.fa" 2>err &&
    cmp <(vn-orf --chunk 300 reads.fa | vn-view --columns id | tail -n +2) \
        <(cut -f 1 three/frames.tsv | tail -n +2)
say $? "--model 300: virnucpro-300, chunks of 300"
gzip -c reads.fa >reads.fa.gz
$predict -v -m both --model-type both -e 120 -o "a b" reads.fa.gz >said 2>err
[ $? = 0 ] && cmp "a b/calls.tsv" want.calls && [ "$(grep -c peak err)" = 9 ] &&
    grep -q "vn-predict: results in './a b'" err && [ ! -s said ]
say $? "VirNucPro's words, gzip, a blank in the name; -v: what each program did"
: >empty.fa
$predict -m both -o nothing empty.fa 2>err && [ "$(cat nothing/*.tsv | wc -l)" = 2 ]
say $? "no reads: tables without rows"
printf '>x\nNNN\n>y\n\n' >odd.fa
$predict -m both -o odd odd.fa 2>err && [ "$(cut -f 1,3,6 odd/calls.tsv | tail -n +2 | xargs)" = "x . no codon y . empty" ]
say $? "reads without anything: rows all the same"
{
    printf '>p\nMKTAYIAKQRACGACGACGTAGCATTTGCA\n'
    awk '/^>/ && ++n > 10 { exit } { print }' reads.fa
    printf '>q\nLACGACG\n'
} >mixed.fa
$predict -m both --chunk 120 -o mixed mixed.fa 2>err
[ $? = 0 ] && grep -q 'records 2 are not nucleotides' err &&
    [ "$(awk -F '\t' '$6 == "not nucleotides" { print $1, $3, $5 }' mixed/calls.tsv | xargs)" = "p . . q . ." ] &&
    cmp <(cut -f 1,3- mixed/calls.tsv | grep -v '^[pq]	') <(head -n 11 want.calls | cut -f 1,3-)
say $? "proteins among the reads have a status, and change nothing of the others"

# --attention is for ESM-2 alone; DNABERT-S has no other
vn-pack -m esm <(vn-orf --chunk 120 reads.fa) 2>err |
    vn-embed -m esm --device cpu --pool auto --attention standard >esm.vn
vn-classify -m both <(vn-join dna.vn esm.vn) >want.standard 2>err
for word in "--attention standard" --v1-attention; do
    $predict -m both --chunk 120 $word -o standard reads.fa 2>err && cmp want.standard standard/frames.tsv &&
        ! cmp -s want.standard want.frames
    say $? "$word: ESM-2 computes as it does by hand"
done

# lengths around two thirds of 300, in one chunk and in several; with open frames and without
for n in 0 1 100 150 190 210 299 300 301 500; do
    for codon in GCC TTAATTAATTAA; do
        echo ">$codon$n" && yes $codon | tr -d '\n' | head -c $n && echo
    done
done >lengths.fa
sed 's/"labels"/"chunk": 300, "labels"/' both/config.json >x && cp -r both trained && cp x trained/config.json
$predict -m trained -o short lengths.fa 2>err
[ $? = 0 ] && [ "$(grep -c '' err)" = 1 ] && grep -q 'of 20 reads 10 are much shorter than the 300 bases' err
say $? "reads shorter than the head's are counted in a warning"
$predict -q -m trained -o short lengths.fa 2>err && [ ! -s err ]
say $? "no such warning with -q"
awk '/^>/ {id = $0; next} length($0) >= 210 {print id; print}' reads.fa >long.fa
$predict -m trained -o short long.fa 2>err && ! grep -q shorter err
say $? "no such warning without such reads"
cp -r both known && sed 's/"labels"/"shortest": 150, "labels"/' both/config.json >known/config.json
$predict -m known -o short lengths.fa 2>err && [ "$(grep -c '' err)" = 1 ] && grep -q 'of 20 reads 6 are shorter than the 150 bases of the shortest that' err
say $? "reads shorter than the shortest of the head's, too"
$predict -m both -o short lengths.fa 2>err && ! grep -q shorter err
say $? "no such warning where the head's length is not known"

# ---- refusals --------------------------------------------------------------------------

cp -r out before
leftovers() { # processes of runs below this directory, files of a run
    grep -lsz "^VN_PREDICT=$PWD/" /proc/[0-9]*/environ
    find . -name '.vn-predict*' -o -type p ! -name in
}
# status wanted, words of the message, name, arguments: nothing has changed after it
fails() {
    local want=$1 words=$2 name=$3 rc
    shift 3
    timeout 20 "$@" </dev/null >said 2>err
    rc=$?
    [ $rc = "$want" ] && grep -q -e "$words" err && [ ! -s said ] && [ "$(wc -l <err)" -le 3 ]
    say $? "$name (status $rc)"
    [ $rc = "$want" ] || sed 's/^/# /' err
    diff -r before out && [ ! -e new ] && [ -z "$(leftovers)" ] ||
        { say_not_ok "$name: something has changed" && leftovers | sed 's/^/# /'; }
}
here="$predict -m both -o $PWD/out" # with $PWD in it, so that leftovers finds its processes
fails 2 'with -o' "no directory" $predict -m both reads.fa
fails 2 'auto, flash or standard' "an unknown attention" $here --attention sdpa reads.fa
fails 2 'not with --precision fp32' "standard attention in fp32" $here --v1-attention --precision fp32 reads.fa
fails 2 'tsv or virnucpro' "an unknown format" $here --format csv reads.fa
fails 2 'has 2 inputs, found 1' "too few models" $here --models esm reads.fa
fails 2 'does not say what model' "a head that names no model" $predict -m unnamed -o "$PWD/new" reads.fa
fails 2 'threshold' "a threshold that is none" $here --threshold x reads.fa
fails 66 'nowhere' "no such head" $predict -m nowhere -o "$PWD/new" reads.fa
fails 76 'no classifier head' "a model for a head" $predict -m esm -o "$PWD/new" reads.fa
fails 66 'nowhere' "no such model" $here --models dna,nowhere reads.fa
fails 76 'wants' "models in the wrong order" $here --models esm,dna reads.fa
fails 66 'missing.fa' "no such file" $here reads.fa missing.fa
fails 66 'missing.fa' "no such file, a new directory" $predict -m both -o "$PWD/new" missing.fa
fails 65 'gzip' "a damaged file" $here "$bad/cut.fa.gz"
fails 65 'line' "a digit in a sequence" $here reads.fa "$bad/digit.fa"
fails 74 "^vn-predict: cannot .*no/new'" "no place for the directory" $predict -m both -o "$PWD/no/new" reads.fa
fails 74 "^vn-predict: failed .*'/proc/" "no place in the directory" $predict -m both -o /proc reads.fa
fails 76 'trained on chunks of 300' "chunks of another length than the head's" \
    $predict -m trained -o "$PWD/new" --chunk 500 reads.fa
fails 74 'not be written' "no room for the results" bash -c "ulimit -f 4; $here reads.fa"
vn-embed -m esm --device cuda dna.vn >/dev/null 2>err
[ $? != 69 ] || fails 69 'cuda' "no GPU" $here --gpus 0 reads.fa
mkdir taken && mkdir taken/calls.tsv
$predict -m both -o taken reads.fa 2>err
[ $? = 74 ] && [ "$(ls -A taken/calls.tsv)" = "" ] && grep -q "^vn-predict: cannot .*taken/calls.tsv'" err
say $? "a directory that has the name of the results"

# ---- killed and interrupted -------------------------------------------------------------

# The programs, with some of them replaced by scripts: a directory of them, whose vn-predict
# takes them from there.
export REAL
REAL=$(dirname "$(command -v vn-join)")
others() { # directory
    mkdir "$1" && cp "$REAL/vn-predict" "$1" && ln -s "$REAL"/vn-[!p]* "$REAL/vn-pack" "$1"
}
instead() { # DIRECTORY/PROGRAM; the script is standard input
    rm -f "$1" && cat >"$1" && chmod +x "$1"
}
others small
instead small/vn-pack <<'END'
#!/bin/sh
exec "$REAL/vn-pack" --window 100 --max-tokens 2000 "$@"
END

# so many rows that vn-orf sends the first of them, hardly any with an open frame
"$B/tests/mkfasta" genome 4500000 | sed 1d | tr -d '\n' | fold -w 500 | awk '{ print ">m" NR; print }' >many.fa

# Starts a run whose input stays open, in the background; sets pid, waits for the first rows.
start() {
    rm -rf run in && mkdir run && mkfifo in
    env --default-signal=INT,TERM,HUP small/$predict -m both -o "$PWD/run/out" <in >said 2>err &
    pid=$!
    exec 4>in
    cat reads.fa many.fa >&4
    for _ in $(seq 100); do
        [ -s "$(echo run/out/.vn*/frames.tsv)" ] && break
        sleep 0.05
    done
}
members() { # process numbers of the run's programs, in the order of their start
    grep -lsz "^VN_PREDICT=$PWD/" /proc/[0-9]*/environ | tr -dc '0-9\n' | sort -n | xargs
}
all_gone() { # within tenths of a second
    local i
    for ((i = 0; i < $1; i++)); do
        [ -z "$(leftovers)" ] && [ -z "$(ls -A run)" ] && return
        sleep 0.1
    done
    leftovers | sed 's/^/# left: /'
    return 1
}
ended() { # name, status wanted, seconds allowed
    local rc from=$SECONDS
    wait $pid
    rc=$?
    [ $rc = "$2" ] && [ $((SECONDS - from)) -le "${3:-20}" ] && all_gone 1
    say $? "$1 (status $rc)"
    [ $rc = "$2" ] || sed 's/^/# /' err
    exec 4>&-
}

start
set -- $(members)
[ $# = 12 ]
say $? "twelve programs at work"
from=${EPOCHREALTIME/[.,]/}
kill -TERM $pid
wait $pid
rc=$?
left=$(leftovers)
took=$(((${EPOCHREALTIME/[.,]/} - from) / 1000))
[ $rc = 143 ] && [ -z "$left" ] && [ $took -lt 2000 ] && [ -z "$(ls -A run)" ]
say $? "SIGTERM: all of them are gone within 2 s ($took ms)"
exec 4>&-
for n in $(seq 12); do
    start
    set -- $(members)
    victim=$(tr '\0' ' ' <"/proc/${!n}/cmdline" 2>/dev/null | cut -c 1-40)
    kill -KILL "${!n}"
    ended "kill -9 of program $n: $victim" 137
done 2>/dev/null
start
pkill -KILL -P $pid -f vn-predict # the watcher
ended "kill -9 of the watcher" 137
start
kill -KILL $pid
all_gone 30
say $? "kill -9 of vn-predict itself: nothing is left"
exec 4>&-
wait $pid 2>/dev/null
for signal in INT:130 HUP:129; do
    start
    kill -${signal%:*} $pid
    ended "SIG${signal%:*}" ${signal#*:}
done
start
set -- $(members)
kill -STOP "$5" "$7"
from=${EPOCHREALTIME/[.,]/}
kill -TERM $pid
ended "SIGTERM, with two programs stopped" 143
[ $(((${EPOCHREALTIME/[.,]/} - from) / 1000)) -lt 2000 ]
say $? "SIGTERM, with two programs stopped: within 2 s"
start
$predict -m both -o "$PWD/run/out" reads.fa 2>second
[ $? = 75 ] && grep -qx "vn-predict: '.*/run/out' is in use by another run" second && [ -s run/out/.vn*/frames.tsv ]
say $? "a second run into the same directory is refused"
exec 4>&-
wait $pid && [ "$(wc -l <run/out/calls.tsv)" = 9301 ]
say $? "left alone, the same run is complete"

# Killed between the moves that give the results their names, after the first, the second ...
others moves
instead moves/mv <<'END'
#!/bin/sh
"/bin/${0##*/}" "$@" || exit
case $* in
*run/out/.vn-predict.*run/out/.vn-predict.*) ;;
*) n=$(($(cat moved) + 1)) && echo $n >moved && [ $n != "$(cat fatal)" ] || kill -KILL "$(cat pid)" ;;
esac
END
ln moves/mv moves/rm
moved() { # reads, fatal move: a run that replaces what is in run/out
    echo 0 >moved && echo "$2" >fatal
    moves/$predict -m both --format virnucpro --chunk 500 -o run/out "$1" >said 2>err &
    echo $! >pid
    wait $!
}
results() { (cd "$1" && cat calls.tsv frames.tsv provenance.jsonl prediction_results*); }
all_swept() { # within 3 s
    local i
    for ((i = 0; i < 30; i++)); do
        [ -z "$(leftovers)" ] && return
        sleep 0.1
    done
    leftovers | sed 's/^/# left: /'
    return 1
}
awk '/^>/ && ++n > 50 { exit } { print }' reads.fa >fewer.fa
for f in fewer reads; do
    rm -rf run && mkdir run && moved $f.fa 0 && mv run/out of_$f
done
bad=0 fresh=0 n=0
while rm -rf run && mkdir run && cp -r of_fewer run/out && n=$((n + 1)) && ! moved reads.fa $n; do
    all_swept || bad=1
    [ -e run/out/calls.tsv ] || continue
    results run/out | cmp -s - <(results of_reads) && fresh=$((fresh + 1)) || bad=1
done 2>/dev/null
[ $bad = 0 ] && [ $n -gt 6 ] && [ $fresh -gt 0 ] && all_swept
say $? "kill -9 between the moves: no calls.tsv beside files of another run, nothing is left ($n, $fresh)"

# a file system without fsync is none that fails
others sync
instead sync/sync <<'END'
#!/bin/sh
for f; do :; done
echo "sync: error syncing '$f': $WORDS" >&2
exit 1
END
for words in "Invalid argument:0" "Input/output error:74"; do
    rm -rf run && mkdir run && WORDS=${words%:*} sync/$predict -m both -o run/out fewer.fa 2>err
    [ $? = ${words#*:} ] && [ "$(ls -A run | wc -l)" = $((${words#*:} == 0)) ] &&
        ! grep -q '^sync' err && [ "$(grep -c "error syncing .*${words%:*}" err)" = $((${words#*:} > 0)) ]
    say $? "sync: ${words%:*}"
done

# ---- no deadlock ------------------------------------------------------------------------

# One of the embedders gets its input slowly, while vn-join may keep next to nothing.
others slow
instead slow/vn-join <<'END'
#!/bin/sh
exec "$REAL/vn-join" --buffer 4096 "$@"
END
instead slow/vn-embed <<'END'
#!/bin/bash
case " $* " in
*" -m $SLOW "*) while head -c 20000 >chunk.$$ && [ -s chunk.$$ ]; do cat chunk.$$; sleep 0.02; done | "$REAL/vn-embed" "$@" ;;
*) exec "$REAL/vn-embed" "$@" ;;
esac
END
make_dna 2000 9 >more.fa
$predict -m both -o "$PWD/fast" more.fa 2>err
for side in dna esm; do
    SLOW=$side timeout 120 slow/vn-predict --device cpu -t 2 -m both \
        -o "$PWD/late" more.fa 2>err && cmp fast/calls.tsv late/calls.tsv && cmp fast/frames.tsv late/frames.tsv
    say $? "$side is slow: the same results"
    rm -rf late
done

# ---- on a terminal ------------------------------------------------------------------------

python3 "$T/terminal.py" out vn-predict --device cpu -m both -o shown reads.fa >shown.txt 2>err </dev/null
[ $? = 0 ]
say $? "standard output is a terminal: nothing is written there"
exit $((failures > 0))
