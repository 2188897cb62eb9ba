# fixture.sh - sourced by test scripts: a tiny model, a head, reads, and a stream of every
# kind, made in the current directory by the tools themselves.
#
#   model/ head/        seeded: 2 layers, 32 wide; 2 classes
#   reads.fa reads.fa.gz   $1 records (default 60), a few of them empty or odd
#   dna.fa dna.fa.gz       as many reads of nucleotides
#   frames.vn               scores of frames, by hand
#   records.vn tokens.vn embeddings.vn vectors.vn vectors2.vn scores.vn

make_reads() { # number of records; seeded, so that every run makes the same
    awk -v n="$1" -v seed="${2:-1}" 'BEGIN {
        srand(seed); alphabet = "LAGVSERTIDPKQNFYMHWC"
        for (i = 0; i < n; i++) {
            print ">read" i " sample"
            if (i % 17 == 5) continue # empty
            len = 20 + int(rand() * 180); s = ""
            for (j = 0; j < len; j++) s = s substr(alphabet, 1 + int(rand() * 20), 1)
            print s
        }
    }'
}

make_dna() { # number of records; seeded; every third is free of stop codons in one frame at least
    awk -v n="$1" -v seed="${2:-1}" 'BEGIN {
        srand(seed)
        for (i = 0; i < n; i++) {
            print ">dna" i " sample"
            if (i % 17 == 5) continue # empty
            len = 20 + int(rand() * 400); s = ""
            for (j = 0; j < len; j++)
                s = s (i % 3 ? substr("ACGTacgtN", 1 + int(rand() * 8.1), 1) : j % 3 ? "C" : substr("ACGT", 1 + int(rand() * 4), 1))
            print s
        }
    }'
}

make_fixture() {
    set -e
    make_reads "${1:-60}" >reads.fa
    gzip -c reads.fa >reads.fa.gz
    make_dna "${1:-60}" >dna.fa
    gzip -c dna.fa >dna.fa.gz
    "$B/tests/mkmodel" --layers 2 --width 32 --heads 2 model
    "$B/tests/mkmodel" --head --input 32 head
    vn-pack -m model -o tokens.vn reads.fa
    vn-embed -m model --device cpu --precision fp32 -o embeddings.vn tokens.vn
    vn-pool -o vectors.vn embeddings.vn
    vn-pool --pool max -o vectors2.vn embeddings.vn
    vn-classify -m head -o calls.tsv vectors.vn
    vn-classify -m head --format stream -o scores.vn vectors.vn
    records "$((${1:-60} / 3))" batch=8 >records.vn
    make_scores | "$B/tests/mkscores" batch=4 >frames.vn
    set +e
}

# Command lines over those files, one of each kind that writes binary.
commands() {
    local embed='vn-embed -m model --device cpu --precision fp32'
    printf '%s\n' 'vn-orf dna.fa' 'vn-pack -m model reads.fa' 'vn-pack -m model records.vn' \
        "$embed tokens.vn" "$embed --pool mean tokens.vn" 'vn-pool embeddings.vn' \
        'vn-join vectors.vn vectors2.vn' 'vn-classify -m head --format stream vectors.vn' \
        'vn-view --to npy vectors.vn' 'vn-view --to safetensors vectors.vn' \
        'vn-view --to arrow vectors.vn'
}

say_ok() { echo "ok $1"; }
say_not_ok() { echo "not ok $1"; failures=$((failures + 1)); }
say() { # status, name: 0 is ok
    if [ "$1" = 0 ]; then say_ok "$2"; else say_not_ok "$2"; fi
}
failures=0

# For tests of vn-classify alone: a head for vectors of 8, and made-up streams of those.
make_head() { "$B/tests/mkmodel" --head --input 8 "$@" head; }
vectors() { "$B/tests/mkvectors" "$@"; }
make_two_inputs() { # head, and the vectors a and b that it takes side by side
    make_head --input 11 --inputs '[{"width": 8, "model": "a"}, {"width": 3, "model": "b"}]'
    vectors pg='"program":"x","model":"a"' >a
    vectors d=3 seed=2 pg='"program":"x","model":"b"' >b
}
in_order() { # the vectors of a stream, in the order of the input
    vn-view --to tsv --columns record,embedding "$1" | tail -n +2 | sort -n | cut -f 2
}

# A records stream like vn-orf's: $1 reads of up to 3 chunks with up to 6 frames, some
# chunks without one; protein and nucleotide of a row have lengths of their own. The rest
# are arguments of mkrecords.
make_rows() { # number of reads
    awk -v n="$1" 'BEGIN {
        srand(7); OFS = "\t"; aa = "LAGVSERTIDPKQNFYMHWC"; split("F1 F2 F3 R1 R2 R3", name, " ")
        for (s = 0; s < n; s++) for (c = 1; c <= 1 + int(rand() * 3); c++) {
            k = 0
            for (f = 1; f <= 6; f++) {
                if (rand() < 0.6) continue
                k++; p = d = ""
                for (i = int(rand() * 60) + 1; i; i--) p = p substr(aa, 1 + int(rand() * 20), 1)
                for (i = int(rand() * 150) + 1; i; i--) d = d substr("ACGT", 1 + int(rand() * 4), 1)
                print "read" s "_chunk_" c name[f], p, d, s, c, f < 4 ? f : 3 - f, 400 * c - 400, 400 * c + 100, "ok"
            }
            if (!k) print "read" s "_chunk_" c, "", "", s, c, 0, 400 * c - 400, 400 * c + 100, "no open frame"
        }
    }'
}
records() { # number of reads, arguments
    local n=$1
    shift
    make_rows "$n" | "$B/tests/mkrecords" "$@"
}

# Frames with scores, as vn-classify --format stream writes them: two reads, of which the
# first has a chunk without an open frame, and the second a frame without scores and a tie.
make_scores() {
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' \
        a_chunk_1F1 0 1 1 0 499 ok 0.75 0.25 a_chunk_1R2 0 1 -2 1 500 ok 0.125 0.875 \
        a_chunk_2 0 2 0 400 900 'no open frame' . . \
        a_chunk_3F2 0 3 2 801 1300 ok 0.9375 0.0625 a_chunk_4F1 0 4 1 1300 1700 ok 0.5 0.5 \
        a_chunk_5F1 0 5 1 1600 2000 ok 0.5 0.5 \
        b_chunk_1F3 1 1 3 2 300 'not finite' . . b_chunk_1R1 1 1 -1 0 300 ok 0.5 0.5 \
        c_chunk_1 2 1 0 0 2 'no codon' . .
}
