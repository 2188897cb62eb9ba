#!/usr/bin/env bash
# Binary data are neither written to a terminal (but with --force) nor awaited from one; text
# goes there. Prints "ok"/"not ok" lines for run.sh.
set -u
. "$T/fixture.sh"
make_fixture 20 || exit 1

on() { # in|out, status wanted, words wanted on standard error ('': none), name, command...
    local side=$1 want=$2 words=$3 name=$4 status
    shift 4
    python3 "$T/terminal.py" "$side" "$@" >out.txt 2>err </dev/null
    status=$?
    [ $status = "$want" ] && if [ -n "$words" ]; then grep -q "$words" err; else [ ! -s err ]; fi
    say $? "$name (status $status, wanted $want)"
}
refused='standard output is a terminal'
embed='vn-embed -m model --device cpu --precision fp32'
classify='vn-classify -m head'

while read -r command <&3; do
    # shellcheck disable=SC2086
    {
        on out 2 "$refused" "$command: terminal on stdout" $command
        [ ! -s out.txt ]
        say $? "$command: nothing has been written there"
        on out 0 '' "$command: --force" $command --force
        [ -s out.txt ]
        say $? "$command: --force writes"
        on out 0 '' "$command: a file instead" $command -o kept
    }
done 3< <(commands)

on out 0 '' 'classify: a table on the terminal' $classify vectors.vn
grep -q read19 out.txt
say $? 'classify: the whole table'
on out 0 '' 'compare: a report on the terminal' vn-compare vectors.vn vectors.vn
on out 0 '' 'orf: FASTA on the terminal' vn-orf --to protein dna.fa
on out 0 '' 'view: text on the terminal' vn-view vectors.vn
on out 0 '' 'view: a check on the terminal' vn-view --check vectors.vn

for command in 'vn-orf -o x' 'vn-pack -m model -o x' "$embed -o x" 'vn-pool -o x' 'vn-join vectors.vn - -o x' 'vn-compare calls.tsv -' "$classify" vn-view \
    'vn-view --check'; do
    # shellcheck disable=SC2086
    on in 2 'standard input is a terminal' "$command: terminal on stdin" $command
done
[ $failures = 0 ]
