# vn-orf. The helper tests/ref/sixframes.py re-states VirNucPro's rules in Python.

# ---- options
help | 0 | vn-orf --help >help && grep -q -- --min-aa help && grep -q 'no codon' help
version | 0 | vn-orf --version | grep -q '^vn-orf [0-9]'
refused-options | 0 | for o in '--chunk -1' '--chunk 1.5' '--chunk=' '--chunk 536870913' '--to fasta' '--to proteins' '--code 0' '--code 7' '--code 8' '--code 17' '--code 20' '--code 34' '--code 1x' '--min-aa 0' '--min-aa 1G' '--unknown' '-t 0'; do vn-orf $o </dev/null >out 2>err; [ $? = 2 ] && [ -s err ] && ! [ -s out ] || { echo "$o"; exit 1; }; done
codes-there-are | 0 | for c in 1 2 3 4 5 6 9 10 11 12 13 14 15 16 21 22 23 24 25 26 27 28 29 30 31 32 33; do vn-orf --code $c </dev/null >/dev/null || exit 1; done
suffixes | 0 | $B/tests/mkfasta ladder 1100 | vn-orf --to chunk --chunk 1k | md5sum >a; $B/tests/mkfasta ladder 1100 | vn-orf --to chunk --chunk 1000 | md5sum | cmp - a

# ---- VirNucPro's files and rules
reference-files | 0 | d=$VN_TEST_DATA/virnucpro; [ -d $d ] || { echo "skip: no $d"; exit 0; }; x=$d/test_with_orfs; vn-orf --chunk 500 --to chunk $x.fa | cmp - ${x}_chunked500.fa && vn-orf --to nucleotide $x.fa | cmp - ${x}_identified_nucleotide.fa && vn-orf --to protein $x.fa | cmp - ${x}_identified_protein.faa && cut -f 1 $d/reference_vanilla_output/prediction_results.txt | tail -n +2 >ids && vn-orf $x.fa | vn-view --columns id | tail -n +2 | cmp - ids
every-length-150 | 0 | $B/tests/mkfasta ladder 5000 >x; vn-orf --to chunk --chunk 150 x >a; python3 $T/ref/sixframes.py chunk 150 <x | cmp - a
every-length-300 | 0 | $B/tests/mkfasta ladder 5000 >x; vn-orf --to chunk --chunk 300 x >a; python3 $T/ref/sixframes.py chunk 300 <x | cmp - a
every-length-500 | 0 | $B/tests/mkfasta ladder 5000 >x; vn-orf --to chunk --chunk 500 x >a; python3 $T/ref/sixframes.py chunk 500 <x | cmp - a
every-length-1000 | 0 | $B/tests/mkfasta ladder 5000 >x; vn-orf --to chunk --chunk 1000 x >a; python3 $T/ref/sixframes.py chunk 1000 <x | cmp - a
small-chunks | 0 | $B/tests/mkfasta ladder 100 >x; for c in 0 1 2 3 4 5 6 7 60 61 99 100 101; do vn-orf --to chunk --chunk $c x >a; python3 $T/ref/sixframes.py chunk $c <x | cmp - a || { echo $c; exit 1; }; done
six-frames | 0 | $B/tests/mkfasta odd 1500 >x; for c in 0 150 300 500; do vn-orf --chunk $c x | vn-view >a; python3 $T/ref/sixframes.py rows $c <x | cmp - a || { echo $c; exit 1; }; done; cut -f 10 a | sort | uniq -c | awk '$1 > 10 {n++} END {exit n < 4}'
six-frames-short | 0 | $B/tests/mkfasta ladder 200 7 >x; for c in 0 1 2 3 4 5 10 100; do vn-orf --chunk $c x | vn-view >a; python3 $T/ref/sixframes.py rows $c <x | cmp - a || { echo $c; exit 1; }; done
six-frames-fasta | 0 | $B/tests/mkfasta odd 500 5 >x; for k in protein nucleotide; do vn-orf --chunk 300 --to $k x >a; python3 $T/ref/sixframes.py $k 300 <x | cmp - a || { echo $k; exit 1; }; done
min-aa | 0 | $B/tests/mkfasta odd 1000 9 >x; for m in 1 2 20 60 1000; do vn-orf --chunk 300 --min-aa $m x | vn-view >a; python3 $T/ref/sixframes.py rows 300 $m <x | cmp - a || { echo $m; exit 1; }; done; tail -n +2 a | cut -f 10 | grep ok >/dev/null && exit 1; grep -q 'too short' a
statuses | 0 | printf '>a\n\n>b\nACGTN\n>c\nAC\n>d\nTAATTAATTAAC\n>e\nNNNNNNNN\n>f\nctaattagttag\n>\nACNGTNAC\n' | vn-orf | vn-view
codes | 0 | printf '>a\nATGAGACTGTAGTGATAATCATTAAAA\n' >x; for c in 1 2 6 22 23 25 33; do vn-orf --code $c x | vn-view --columns id,protein | sed "1d;s/^/$c /"; done
fastq | 0 | printf "@r one\nACGTTGCA\n+\nIIIIIIII\n" | vn-orf | vn-view | tail -n 1

# ---- input
threads-change-nothing | 0 | $B/tests/mkfasta reads 30000 >x; vn-orf --no-provenance -t 1 x >a; for t in 2 3 20; do vn-orf --no-provenance -t $t x | cmp - a || exit; done; vn-view --check a | grep -E '	([5-9]|[0-9]{2,}) batches' >/dev/null
damaged-input-whatever-the-threads | 65 | $B/tests/mkfasta reads 20000 >x; for t in 1 4; do head -c -9 x | vn-orf --no-provenance -t $t >o$t 2>e$t; rc=$?; [ $rc = 65 ] || exit 1; done; cmp o1 o4 && cmp e1 e4 && [ $(stat -c %s o1) -gt 100000 ] && exit $rc
silent-success | 0 | printf '>a\nACGT\n>b\n' | vn-orf 2>err >/dev/null && ! [ -s err ]
empty-input | 0 | : >e.fa; vn-orf e.fa 2>err >out && ! [ -s err ] && vn-view --check out | grep '	0 records	' >/dev/null && vn-orf -v e.fa 2>&1 >/dev/null | grep "'e.fa' has no records" >/dev/null && vn-orf --to protein e.fa >out && ! [ -s out ]
stdin-file-dash | 0 | $B/tests/mkfasta odd 300 >x.fa; o='vn-orf --no-provenance'; $o x.fa >a; $o <x.fa >b; cat x.fa | $o - >c; $o -o d x.fa; cmp a b && cmp a c && cmp a d && $o --to protein x.fa >e && $o --to protein -o f x.fa && cmp e f
compressed-equals-plain | 0 | $B/tests/mkfasta odd 1000 >x; vn-orf --no-provenance x >want; gzip -k x; zstd -qk x; bgzip -c x >x.bgz; for f in x.gz x.zst x.bgz; do vn-orf --no-provenance $f | cmp - want || exit 1; done
fastq-equals-fasta | 0 | $B/tests/mkfasta reads 500 >x.fq; awk 'NR % 4 == 1 {print ">" substr($0, 2)} NR % 4 == 2' x.fq >x.fa; vn-orf --no-provenance x.fa >a; vn-orf --no-provenance x.fq | cmp - a
several-files | 0 | printf '>a\nACGTACG\n' >1; printf '@b\nACG\n+\nIII\n' >2; : >e; vn-orf 1 e 2 | vn-view --columns id,record,source,chunk
lower-case-is-upper-case | 0 | $B/tests/mkfasta odd 300 >x; sed '/^>/!y/acgtn/ACGTN/' x >up; vn-orf --no-provenance x >a; vn-orf --no-provenance up | cmp - a
# proteins are said to be none of nucleotides, whatever the letters' case; other odd letters are not
proteins | 0 | . $T/fixture.sh; make_reads 50 >p.fa; for f in p.fa <(tr A-Z a-z <p.fa); do vn-orf $f 2>err >out && [ "$(cat err)" = "vn-orf: of $(grep -v '>' p.fa | cut -c 1-64 | tr -d '\n' | wc -c) letters looked at $(grep -v '>' p.fa | cut -c 1-64 | tr -dc EFIHKLMPQRSVWYD | wc -c) are none of A C G T U N: nucleotide sequences are expected, not proteins" ] && vn-view --check out >/dev/null || exit 1; done; vn-orf -q p.fa 2>err >out && ! [ -s err ]
no-proteins | 0 | printf '>a\nACGUNacgtn\n>b\n\n>c\n---...***---\n>d\nRYKMSWBDHV\n' >x; vn-orf x 2>err >out && ! [ -s err ] && $B/tests/mkfasta odd 300 | vn-orf 2>err >out && ! [ -s err ]
half-of-the-letters | 0 | printf '>a\nACGTUN\n>b\nRYKMSW\n' >x; vn-orf x 2>err >out && ! [ -s err ] && printf 'e\n' >>x && vn-orf x 2>err >out && grep -qx 'vn-orf: of 13 letters looked at 7 are none of A C G T U N: .*' err
RNA | 0 | printf '>a\nAUGGCUAGCAAAGGT\n>b\naugguu\n' >x; vn-orf x 2>err >out && grep -qx 'vn-orf: of 21 letters looked at 5 are U and 1 are T: codons with U translate to nothing, write RNA with T' err && vn-orf -q x 2>err >out && [ ! -s err ] && sed '/^>/!y/Uu/Tt/' x | vn-orf 2>err >out && [ ! -s err ] && printf '>a\nUTN\n' | vn-orf 2>err >out && [ ! -s err ]
mask | 65 | printf '>a\nACGT\n>b\nAC<mask>GT\n' | vn-orf 2>err; rc=$?; grep -q 'record 2, byte 8' err && exit $rc
missing-file | 66 | vn-orf nowhere.fa
missing-second-file | 66 | echo '>a' >1; vn-orf -o out 1 nowhere.fa; rc=$?; [ "$(echo *)" = 1 ] && exit $rc
bad-file-leaves-nothing | 65 | for to in stream protein chunk; do vn-orf --to $to -o out $T/bad/seq/digit.fa; rc=$?; [ -z "$(ls)" ] || exit 1; done; exit $rc
cut-anywhere | 0 | $B/tests/mkfasta odd 40 | gzip >x; size=$(stat -c %s x); for to in stream nucleotide; do for n in 1 2 3 17 18 19 100 500 $((size / 2)) $((size - 1)); do head -c $n x | vn-orf --to $to >/dev/null 2>err; [ $? = 65 ] || { echo "$to $n"; exit 1; }; done; done

# ---- alignments
sam | 0 | python3 $T/mksam.py 3000; vn-orf reads.sam 2>&1 >/dev/null | grep -q 'built without htslib' && { echo 'skip: built without htslib'; exit 0; }; vn-orf --no-provenance reads.fa >want; vn-orf --no-provenance reads.sam | cmp - want && gzip -k reads.sam && cat reads.sam.gz | vn-orf --no-provenance | cmp - want && grep '^@' reads.sam >empty.sam && vn-orf --to chunk empty.sam >out && [ ! -s out ] && grep -q '/1$' reads.fa && [ "$(vn-orf --to chunk reads.sam | grep -c '>')" = 3000 ]
bam-and-cram | 0 | type samtools >/dev/null 2>&1 || { echo 'skip: no samtools'; exit 0; }; python3 $T/mksam.py 3000; vn-orf reads.sam 2>&1 >/dev/null | grep -q 'built without htslib' && { echo 'skip: built without htslib'; exit 0; }; samtools view -b reads.sam >reads.bam && samtools view -C --output-fmt-option no_ref reads.sam >reads.cram; vn-orf --no-provenance reads.fa >want; for f in reads.bam reads.cram; do vn-orf --no-provenance $f | cmp - want && cat $f | vn-orf --no-provenance | cmp - want && vn-orf reads.fa $f reads.sam | vn-view --columns source | tail -n 1 | grep -x 8999 >/dev/null || { echo $f; exit 1; }; done
alignments-cut | 0 | type samtools >/dev/null 2>&1 || { echo 'skip: no samtools'; exit 0; }; python3 $T/mksam.py 3000; vn-orf reads.sam 2>&1 >/dev/null | grep -q 'built without htslib' && { echo 'skip: built without htslib'; exit 0; }; samtools view -b reads.sam >reads.bam && samtools view -C --output-fmt-option no_ref reads.sam >reads.cram; gzip -k reads.sam; for f in reads.sam reads.bam reads.cram reads.sam.gz; do s=$(stat -c %s $f); for at in 1 3 4 5 10 30 100 400 $((s / 3)) $((s / 2)) $((s - 300)) $((s - 39)) $((s - 38)) $((s - 29)) $((s - 28)) $((s - 10)) $((s - 2)) $((s - 1)); do head -c $at $f | vn-orf -o out 2>err; [ $? = 65 ] && [ -s err ] && [ ! -e out ] || { echo $f $at; exit 1; }; done; (cat $f; echo junk) | vn-orf 2>err >/dev/null; [ $? = 65 ] && [ "$(wc -l <err)" = 1 ] || { echo $f more; exit 1; }; done
alignments-flipped | 0 | type samtools >/dev/null 2>&1 || { echo 'skip: no samtools'; exit 0; }; python3 $T/mksam.py 3000; vn-orf reads.sam 2>&1 >/dev/null | grep -q 'built without htslib' && { echo 'skip: built without htslib'; exit 0; }; samtools view -b reads.sam >reads.bam && samtools view -C --output-fmt-option no_ref reads.sam >reads.cram; vn-orf --no-provenance reads.fa >want; for f in reads.bam reads.cram; do for at in 10 100 700 5000 20000 -1000 -30 -5; do python3 -c 'import sys; b = bytearray(open(sys.argv[1], "rb").read()); b[int(sys.argv[2])] ^= 4; sys.stdout.buffer.write(b)' $f $at >flip; vn-orf --no-provenance flip >out 2>err; rc=$?; [ $rc = 65 ] && [ -s err ] || { [ $rc = 0 ] && cmp -s out want; } || { echo $f $at $rc; exit 1; }; done; done
alignments-names | 65 | printf '@HD\tVN:1.6\nr\377\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIIII\n' >reads.sam; vn-orf reads.sam 2>&1 >/dev/null | grep -q 'built without htslib' && { echo 'skip: built without htslib'; exit 0; }; vn-orf reads.sam
alignments-endless | 141 | python3 $T/mksam.py 300; vn-orf reads.sam 2>&1 >/dev/null | grep -q 'built without htslib' && { echo 'skip: built without htslib'; exit 0; }; set +o pipefail; (cat reads.sam; while grep -v '^@' reads.sam; do :; done) 2>/dev/null | (timeout 20 vn-orf; echo $? >rc) | head -n 1 >/dev/null; exit $(cat rc)
without-htslib | 76 | printf "@HD\tVN:1.6\n" >x.sam; vn-orf x.sam 2>err >/dev/null; rc=$?; grep -q 'built without htslib' err || { echo 'skip: built with htslib'; exit 0; }; exit $rc

# ---- the stream
columns | 0 | printf '>a\nACGT\n' | vn-orf --no-provenance --chunk 300 --code 11 --min-aa 2 >x; vn-view --header <x
same-bytes | 0 | $B/tests/mkfasta odd 500 >x; vn-orf --no-provenance -t 1 x >a; vn-orf --no-provenance -t 8 -v x 2>/dev/null | cmp - a
numbers | 0 | $B/tests/mkfasta odd 20000 3 >x; vn-orf --chunk 100 x | vn-view --columns record,source | awk 'NR == 1 {next} $1 != NR - 2 || $2 < last || $2 > last + 1 {exit bad = 1} {last = $2} END {exit bad || last != 19999}'
cat-counts-records-and-sources-on | 0 | printf '>a\nACGT\n>b\n' | vn-orf >1; printf '>c\nNN\n' | vn-orf >2; cat 1 2 1 | vn-view --columns id,record,source; cat 1 2 1 | vn-view --check | cut -f 2-
cat-refuses-other-chunks | 76 | printf '>a\nACGT\n' >x; vn-orf x >1; vn-orf --chunk 300 x >2; cat 1 2 | vn-view >/dev/null
summary | 0 | (printf '>a\nACGTACGTA\n>b\n>c\nNN\n>d\nTAATTAATTAATTAATTAAT\n'; $B/tests/mkfasta ladder 3) | vn-orf -v --min-aa 2 2>&1 >/dev/null | sed 's/; [0-9.]* s, .*/; SPEED/'
huge-id | 0 | (printf '>'; head -c 1000000 /dev/zero | tr '\0' x; printf ' words\n'; $B/tests/mkfasta ladder 30 | tail -n 1) | vn-orf --chunk 3 | vn-view --columns id | awk '{print length($1)}' | sort -n | uniq -c
temporary-name-is-not-followed | 0 | printf '>a\nMK\n' >x.fa; echo precious >victim; (for i in 0 1 2 3; do ln -s victim out.$BASHPID.$i.tmp; done; exec vn-orf x.fa -o out); grep -q precious victim && vn-view --check out >/dev/null
output-of-no-name | 2 | printf '>a\nMK\n' | vn-orf -o ''
file-size-limit | 74 | $B/tests/mkfasta odd 20000 >x.fa; trap 'ls out* 2>/dev/null && exit 1' EXIT; (ulimit -f 100; vn-orf --to nucleotide x.fa -o out)

# ---- length
chromosome | 0 | case $B in *san*) echo 'skip: sanitizers keep memory'; exit 0;; esac; $B/tests/mkfasta genome 30000000 >x; for o in '--chunk 500' '--chunk 300 --to chunk' '--chunk 0'; do rm -f rss; $B/tests/child --rss rss -- vn-orf $o x >/dev/null; echo "# $o: $(cat rss) KiB"; [ $(cat rss) -lt 80000 ] || exit 1; done >&2
one-open-frame-of-a-million | 0 | (echo ">a"; yes CCCCCCCCCC | head -n 100000) >x; vn-orf --chunk 0 x | vn-view --columns frame,start,end,status; vn-orf --chunk 0 --to protein x | awk "NR % 2 == 0 {print length(\$1), substr(\$1, 1, 1)}"
too-long | 0 | case $B in *san*) echo 'skip: takes gigabytes under a sanitizer'; exit 0;; esac; (echo '>a'; head -c 536870913 /dev/zero | tr '\0' A; echo; echo '>b'; echo AAAA) | vn-orf --chunk 0 2>err | vn-view --columns id,source,frame,start,end,status | tail -n +2; cat err
