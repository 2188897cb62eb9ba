#!/usr/bin/env bash
# Virus calls with the model that ships: 48 real reads of DNA in, a table out, and every promise
# on the way checked, against calls.tsv, too: labels and statuses equal, scores within 1e-3.
# Exit status 1 if anything is not as it should be. VN_DEVICE=cuda:0 runs it on a GPU.
#
#   run.sh [FOLDER]      where results go; default: a temporary folder, removed at the end
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
export PATH="$top/bin:$PATH"
unset VN_MODELS # what ships is found without it

if [ $# -gt 0 ]; then
    mkdir -p "$1" && cd "$1"
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
fi

echo "vn-predict examples/demo/reads.fa -o calls"
vn-predict --device "${VN_DEVICE:-cpu}" --precision fp32 "$here/reads.fa" -o calls

# Every read has its row, in the order of the input.
grep '^>' "$here/reads.fa" | sed 's/^>//; s/ .*//' >ids.in
tail -n +2 calls/calls.tsv | cut -f 1 >ids.out
cmp ids.in ids.out

echo
echo "One read of each kind, in calls/calls.tsv:"
echo
awk -F '\t' 'NR == 1 || !seen[substr($1, 1, index($1, "/"))]++ {
    printf "  %-62s %-7s %-12s %s\n", $1, $3, $5, $6
}' calls/calls.tsv
echo
echo "What the $(wc -l <ids.in) reads are, by their names, and what they are called:"
echo
awk -F '\t' -v format='  %-34s %5s %7s %7s %11s\n' '
    NR == 1 { printf format, "", "reads", "virus", "others", "no call"; next }
    {
        kind = substr($1, 1, index($1, "/") - 1)
        if (!n[kind]++) order[++kinds] = kind
        called[kind, $3]++
        if ($3 != ".") { all++; right += ($3 == "virus") == (kind == "virus") }
    }
    END {
        name["virus"] = "viruses"; name["microbe"] = "bacteria and archaea"
        name["fungi"] = "fungi and protists"; name["human"] = "human chromosome 20"
        for (i = 1; i <= kinds; i++) {
            k = order[i]
            printf format, name[k], n[k],
                +called[k, "virus"], +called[k, "others"], +called[k, "."]
        }
        printf "\nOf %d calls %d are right. ", all, right
        print "No call: a stop codon closes all six frames, so that"
        print "there is no frame to look at; that is no sign of either."
        if (2 * right <= all) { print "demo: most should be right" >"/dev/stderr"; exit 1 }
    }' calls/calls.tsv

if [ "${REFRESH:-}" = 1 ]; then
    cp calls/calls.tsv "$here/calls.tsv"
fi
if ! vn-compare --tolerance 1e-3 "$here/calls.tsv" calls/calls.tsv >report; then
    cat report >&2
    echo "demo: these are not the calls of $here/calls.tsv" >&2
    exit 1
fi
echo
echo "As expected: labels equal to those of examples/demo/calls.tsv, scores within 1e-3. How"
echo "often the model is right on 10,000 reads of each length: examples/models/vn-virus/CARD.md"
