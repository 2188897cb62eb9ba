#!/usr/bin/env bash
# make check-real: VirNucPro's own results, which it made with the published weights. Each part
# is skipped by name where its weights or reference files are missing; without $VN_MODELS, all.
#
#   $VN_MODELS         directories with esm2_t36_3B_UR50D, DNABERT-S and virnucpro-500, as
#                      vn-model import makes them
#   $VN_TEST_DATA      virnucpro/test_with_orfs.fa, virnucpro/reference_vanilla_output/*
#   $VN_REAL_OPTIONS   where and how to compute (default: "--precision fp32"), for instance
#                      "--device cpu --precision fp32"
#
# Every vector has the reference's direction to a cosine of 0.99999 and its length to 1 %, scores
# are within 1e-4, ids and labels are the same, and so is the consensus file, byte for byte.
# Prints "ok"/"not ok"/"skip" lines. real.tst proves on stand-ins that it finds what is wrong.
set -u
. "$T/fixture.sh"
data=$VN_TEST_DATA/virnucpro
reference=$data/reference_vanilla_output
dna=DNABERT-S esm=esm2_t36_3B_UR50D head=virnucpro-500
read -r -a how <<<"${VN_REAL_OPTIONS---precision fp32}"

# A part, and what it needs: files of the reference, behind -- models. Is all of it there?
needs() { # name, file..., --, model...
    local name=$1 rc
    shift
    [ -n "${VN_MODELS-}" ] || { echo "skip $name # VN_MODELS is not set" && return 1; }
    for f in "$data/test_with_orfs.fa" "${@/#/$reference/}"; do
        case $f in */--) break ;; esac
        [ -e "$f" ] || { echo "skip $name # no '$f'" && return 1; }
    done
    while [ "$1" != -- ]; do shift; done
    shift
    for m; do
        vn-model info "$m" >facts 2>err
        rc=$?
        [ $rc != 66 ] || { echo "skip $name # no model '$m' in VN_MODELS" && return 1; }
        [ $rc = 0 ] || { say_not_ok "$name" && sed 's/^/# /' err && return 1; }
    done
}

text_of() { # as ptvectors; VirNucPro has no row of a chunk without an open frame
    vn-view --to tsv --columns id,embedding "$1" | awk -F '\t' 'NR > 1 && $2 != "."'
}

# Are the elements from..to of all vectors of two texts the same? to 0: all that there are.
same_vectors() { # reference, ours, from, to
    awk -F '\t' -v from="$3" -v to="$4" '
        function fail(why) { print "# " $1 ": " why; bad = 1 }
        NR == FNR { if ($1 in want) fail("twice in the reference"); want[$1] = $2; left++; next }
        !($1 in want) { fail("not in the reference, or twice here"); next }
        {
            n = split(want[$1], a, ","); delete want[$1]; left--
            if (split($2, b, ",") != n) { fail("another width"); next }
            ab = aa = bb = 0
            for (i = from; i <= (to ? to : n); i++) {
                ab += a[i] * b[i]; aa += a[i] * a[i]; bb += b[i] * b[i]
            }
            if (!(aa > 0 && bb > 0)) { fail("a vector of zeros"); next }
            cosine = ab / sqrt(aa * bb); length_of = sqrt(bb / aa)
            if (!seen++ || cosine < least) least = cosine
            if (!(cosine >= 0.99999)) fail("cosine " cosine)
            if (!(length_of > 0.99 && length_of < 1.01)) fail("length of " length_of)
        }
        END {
            if (left) { print "# " left " vectors are missing"; bad = 1 }
            if (seen) printf "# %d vectors, least cosine %.9f\n", seen, least
            exit bad || !seen
        }' "$1" "$2"
}

# Lines of prediction_results.txt: ids and labels to the letter, scores within 1e-4.
same_scores() { # reference, ours
    cmp <(cut -f 1,2 "$1") <(cut -f 1,2 "$2") && cmp <(head -n 1 "$1") <(head -n 1 "$2") &&
        paste "$1" "$2" | awk -F '\t' '
            function size(x) { return x < 0 ? -x : x }
            NR == 1 { next }
            NF != 8 { print "# line " NR ": not of four columns each"; bad = 1; next }
            {
                for (i = 3; i <= 4; i++) {
                    d = size($i - $(i + 4))
                    if (d > most) most = d
                    if (!(d <= 1e-4)) { print "# " $1 ": " $i ", and here " $(i + 4); bad = 1 }
                }
            }
            END { printf "# %d rows, scores within %.2g\n", NR - 1, most; exit bad || NR < 2 }'
}

ran() { # status, name: has the program that was to give the result ended well?
    [ "$1" = 0 ] && return
    say_not_ok "$2"
    sed 's/^/# /' err
    return 1
}

# One model alone: the vectors of the frames.
set -o pipefail
branch() { # name, model, column, reference
    needs "$1" "$4" -- "$2" || return 0
    "$B/tests/ptvectors" "$reference/$4" >want 2>err &&
        vn-orf --chunk 500 "$data/test_with_orfs.fa" 2>err | vn-pack -m "$2" --column "$3" 2>>err |
        vn-embed -m "$2" --pool auto "${how[@]}" -o vectors.vn 2>>err && text_of vectors.vn >got 2>>err
    ran $? "$1" || return 0
    same_vectors want got 1 0
    say $? "$1"
}
branch "vectors of DNABERT-S" $dna nucleotide output_1_DNABERT_S.pt
branch "vectors of ESM-2 3B" $esm protein output_1_ESM.pt

# The whole, by vn-predict, with a vn-join beside it that keeps what it gives.
name="vn-predict, whole"
needs "$name" output_1_merged.pt prediction_results.txt prediction_results_highestscore.csv -- \
    $dna $esm $head || exit $((failures > 0))
REAL=$(dirname "$(command -v vn-join)") KEPT=$PWD/joined.vn
export REAL KEPT
mkdir programs && cp "$REAL/vn-predict" programs && ln -s "$REAL"/vn-[!p]* "$REAL/vn-pack" programs &&
    rm programs/vn-join && cat >programs/vn-join <<'END' && chmod +x programs/vn-join
#!/bin/bash
set -o pipefail
"$REAL/vn-join" "$@" | tee "$KEPT"
END
programs/vn-predict -q -m $head --format virnucpro "${how[@]}" -o out "$data/test_with_orfs.fa" 2>err &&
    "$B/tests/ptvectors" "$reference/output_1_merged.pt" >want 2>>err && text_of joined.vn >got 2>>err
ran $? "$name" || exit 1
width=$(vn-model info --json $dna | sed -n 's/^ *"width": \([0-9]*\),*$/\1/p')
same_vectors want got 1 "$width"
say $? "$name: the part of DNABERT-S in the joined vectors"
same_vectors want got $((width + 1)) 0
say $? "$name: the part of ESM-2 3B in the joined vectors"
same_scores "$reference/prediction_results.txt" out/prediction_results.txt
say $? "$name: prediction_results.txt"
cmp "$reference/prediction_results_highestscore.csv" out/prediction_results_highestscore.csv
say $? "$name: prediction_results_highestscore.csv"
exit $((failures > 0))
