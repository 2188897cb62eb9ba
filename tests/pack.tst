# vn-pack. Columns of the helper "tokens": batch, record, id, status, tokens, text.

# ---- options
help | 0 | vn-pack --help >help && grep -q -- --max-tokens help && grep -q 'too long' help
version | 0 | vn-pack --version | grep -q '^vn-pack [0-9]'
codons: what is none names the record | 65 | printf '>a\nACG\n>b\nACG<mask>ACG\n' >x.fa; vn-pack --vocab codon x.fa 2>err; rc=$?; grep -qx "vn-pack: bad sequence file 'x.fa': record 2 at byte 7: byte 0x3c at offset 3 is no nucleotide" err && exit $rc
no-vocabulary | 2 | vn-pack </dev/null
model-and-vocabulary | 2 | vn-pack -m x --vocab esm2 </dev/null
refused-options | 0 | for o in '--vocab dna' '--max-tokens 0' '--max-tokens 8x' '--max-tokens=' '--max-tokens 1G' '--window 0' '--window -1' '--window 8388609' '--max-length -1' '--max-length 1.5' '--long keep_it' '--long refuse' '--long truncate' '--long window' '--max-latency 0' '--max-latency 1.5' '--max-latency 86400001' '--unknown' '-t 0'; do vn-pack --vocab esm2 $o </dev/null >out 2>err; [ $? = 2 ] && [ -s err ] && ! [ -s out ] || { echo "$o"; exit 1; }; done
suffixes | 0 | vn-pack --vocab esm2 --max-tokens 8k --window 1Ki </dev/null | $B/tests/tokens && vn-pack --vocab esm2 --window 8Mi </dev/null | $B/tests/tokens
stdin-is-a-terminal | 2 | type script >/dev/null || { echo 'skip: no script(1)'; exit 2; }; script -qec 'vn-pack --vocab esm2 -o x' /dev/null </dev/null
stdout-is-a-terminal | 2 | type script >/dev/null || { echo 'skip: no script(1)'; exit 2; }; echo '>a' >x.fa; script -qec 'vn-pack --vocab esm2 x.fa' /dev/null </dev/null

# ---- input
rows | 0 | printf '>a one\nMKT\n>b\n\n>c\nAJ*<mask>k\nW\n' | vn-pack --vocab esm2 -q | $B/tests/tokens
codons | 0 | printf '>a\nATGGCcN\n>b\nAC\n>c\nATNUUU\n' >x.fa; vn-pack -v --vocab codon x.fa 2>err | vn-view --to tsv --columns record,id,status,tokens >got; printf '0\ta\tok\t0,18,41,2\n1\tb\tempty\t\n2\tc\tok\t0,3,67,2\n' | cmp - <(tail -n +2 got | sort -n) && grep -q 'codons that have no token, sent as <unk>: 1' err && grep -q '3 records, 4 codons, 8 tokens' err
codons: where it is none | 65 | printf '>a\nATG\n>b\nATG<mask>\n' | vn-pack --vocab codon 2>err; rc=$?; grep -q "byte 0x3c at offset 3 is no nucleotide" err && exit $rc
codons: cut | 0 | printf '>a\nATGGCCNNN\n' | vn-pack --vocab codon --max-length 2 --long truncate 2>err | vn-view --to tsv --columns status,tokens | tail -n 1 | grep -x 'truncated	0,18,41,2' && grep -q 'records cut to 2 codons: 1' err
codons: the nucleotides of a records stream | 0 | printf '>a\nATGGCCAA\n' | vn-orf --chunk 0 | vn-pack --vocab codon | vn-view --to tsv --columns id,tokens | grep -x 'a_chunk_1F1	0,18,41,2'
fastq | 0 | printf '@a one\nMKT\n+\nIII\n@b\n\n+\n\n' | vn-pack --vocab esm2 | $B/tests/tokens
silent-success | 0 | printf '>a\nMKT\n>b\n' | vn-pack --vocab esm2 2>err >/dev/null && ! [ -s err ]
empty-input | 0 | : >e.fa; vn-pack --vocab esm2 e.fa 2>err >out && ! [ -s err ] && $B/tests/tokens out >rows && ! [ -s rows ] && vn-pack -v --vocab esm2 e.fa 2>&1 >/dev/null | grep "'e.fa' has no records" >/dev/null
stdin-file-dash | 0 | $B/tests/mkfasta protein 300 >x.fa; vn-pack --no-provenance --vocab esm2 x.fa >a; vn-pack --no-provenance --vocab esm2 <x.fa >b; cat x.fa | vn-pack --no-provenance --vocab esm2 - >c; vn-pack --no-provenance --vocab esm2 -o d x.fa; cmp a b && cmp a c && cmp a d
compressed-equals-plain | 0 | $B/tests/mkfasta protein 3000 >x.fa; vn-pack --no-provenance --vocab esm2 x.fa >want; head -n 5000 x.fa >1; tail -n +5001 x.fa >2; (gzip -c 1; gzip -c 2) >x.gz; (bgzip -c 1; bgzip -c 2) >x.bgz; (zstd -qc 1; zstd -qc --check 2) >x.zst; for f in x.gz x.bgz x.zst; do vn-pack --no-provenance --vocab esm2 $f | cmp - want || exit 1; cat $f | vn-pack --no-provenance --vocab esm2 | cmp - want || exit 1; done
crlf-and-layout-equal-plain | 0 | $B/tests/mkfasta protein 300 >x.fa; vn-pack --no-provenance --vocab esm2 x.fa >want; sed 's/$/\r/' x.fa >crlf.fa; sed 's/^>/\n>/' x.fa >blank.fa; head -c -1 x.fa >open.fa; sed '/^>/!s/./& /g' x.fa >spaced.fa; sed '/^>/!y/ACDEFGHIKLMNPQRSTVWY/acdefghiklmnpqrstvwy/' x.fa >lower.fa; for f in crlf blank open spaced lower; do vn-pack --no-provenance --vocab esm2 $f.fa | cmp - want || { echo $f; exit 1; }; done
several-files | 0 | $B/tests/mkfasta protein 300 >x.fa; n=$(grep -n '^>' x.fa | cut -d: -f1 | sed -n 150p); head -n $((n - 1)) x.fa >1; tail -n +$n x.fa | gzip >2.gz; vn-pack --no-provenance --vocab esm2 x.fa >want; : >e; vn-pack --no-provenance --vocab esm2 1 e 2.gz | cmp - want && cat 1 | vn-pack --no-provenance --vocab esm2 - 2.gz | cmp - want
fasta-and-fastq-files | 0 | printf '>a\nMKT\n' >1; printf '@b\nACD\n+\nIII\n' >2; vn-pack --vocab esm2 1 2 | $B/tests/tokens
missing-file | 66 | vn-pack --vocab esm2 nowhere.fa
missing-second-file | 66 | echo '>a' >1; vn-pack --vocab esm2 -o out 1 nowhere.fa; rc=$?; [ "$(echo *)" = 1 ] && exit $rc
directory | 66 | vn-pack --vocab esm2 .
bad-files | 0 | cd $T/bad/seq; for f in *.*; do [ $f = make.sh ] && continue; vn-pack --vocab esm2 $f 2>&1 >/dev/null; echo "  status $?"; done
utf16-without-mark | 0 | for s in '>\0a\0\n\0' '\0>\0a\0\n' '@\0a\0\n\0' '\0@\0a\0\n'; do printf "$s" | vn-pack --vocab esm2 2>err >/dev/null; [ $? = 65 ] && grep -q 'the text is UTF-16' err || exit 1; done
bad-file-leaves-nothing | 65 | vn-pack --vocab esm2 -o out $T/bad/seq/digit.fa; rc=$?; [ -z "$(ls)" ] && exit $rc
cut-anywhere | 0 | $B/tests/mkfasta short 40 >x.fa; gzip -k x.fa; bgzip -c x.fa >x.bgz; zstd -qk x.fa; for f in x.fa.gz x.bgz x.fa.zst; do size=$(stat -c %s $f); for n in 1 2 3 4 17 18 19 100 500 $((size / 2)) $((size - 28)) $((size - 9)) $((size - 1)); do head -c $n $f | vn-pack --vocab esm2 >/dev/null 2>err; [ $? = 65 ] || { echo "$f $n"; exit 1; }; done; done
second-file-damaged | 65 | printf '>a\nMKT\n' >1; vn-pack --vocab esm2 1 $T/bad/seq/cut.fa.gz | ( ! $B/tests/tokens 2>/dev/null )
fuzz | 0 | printf '>a x\nMKT<mask>A-.*\n\n>b\nMM\n' >g.fa; printf '@a x\nMKT\n+\nIII\n@b\nA\n+b\nI\n' >g.fq; $B/tests/fuzz_fastx -m 1000 g.fa g.fq $T/bad/seq/*.*

# ---- length
keep | 0 | printf '>a\nMKTAYI\n>b\nMK\n' | vn-pack --vocab esm2 --max-length 3 | $B/tests/tokens
truncate | 0 | printf '>a\nM<mask>TAYI\n>b\nMK\n>c\nMKT\n>d\n' | vn-pack --vocab esm2 --max-length 3 --long truncate -q | $B/tests/tokens
refuse | 0 | printf '>a\nMKTAYI\n>b\nMK\n>c\nMKT\n>d\n' | vn-pack --vocab esm2 --max-length 3 --long refuse -q | $B/tests/tokens
window | 0 | printf '>a\nM<mask>TAYIAK\n>b\nMKTA\n>c\nMKTAY\n>d\n' | vn-pack --vocab esm2 --max-length 4 --long window 2>err >x && grep -q 'windows of 4 residues: 2' err && vn-view --header x | grep -q '"max_length":4,"long":"window","window":6' && vn-view --columns id,status,tokens x | sort >got; printf '>1\nM<mask>TA\n>2\nAYIA\n>3\nAK\n>4\nMKTA\n>5\nAY\n' | vn-pack --vocab esm2 | vn-view --columns record,tokens | tail -n +2 | sort -n | cut -f 2 >w; { printf 'a\twindowed\t'; sed -n 1,3p w | paste -sd,; printf 'b\tok\t'; sed -n 4p w; printf 'c\twindowed\t'; sed -n 4,5p w | paste -sd,; printf 'd\tempty\t\n'; } >want; grep -v '^id' got | cmp - want
window-of-nucleotides | 2 | $B/tests/mkmodel --dnabert m; printf '>a\nACGT\n' | vn-pack -m m --max-length 4 --long window 2>err; rc=$?; grep -q vn-orf err && exit $rc
window-of-codons | 2 | vn-pack --vocab codon --max-length 4 --long window </dev/null 2>err; rc=$?; grep -q vn-orf err && exit $rc
warnings | 0 | printf '>a\nMKTAYI\n>b\n*J\n' >x; vn-pack --vocab esm2 --max-length 3 --long truncate x 2>&1 >/dev/null; vn-pack --vocab esm2 --max-length 3 --long refuse x 2>&1 >/dev/null; vn-pack -q --vocab esm2 --max-length 3 --long refuse x 2>&1 >/dev/null
longer-than-a-batch | 0 | (echo '>long'; yes MKTAYIAKQR | head -n 300000; echo '>short'; echo MKT) | vn-pack --vocab esm2 >x; $B/tests/tokens x | cut -f 1-5; $B/tests/tokens -b x
huge-id | 0 | (printf '>'; head -c 1000000 /dev/zero | tr '\0' x; printf ' words\nMKT\n') | vn-pack --vocab esm2 | $B/tests/tokens | awk '{print length($3), $4, $5}'

# ---- packing
batches-in-budget | 0 | $B/tests/mkfasta short 2000 | vn-pack --vocab esm2 --max-tokens 1000 | $B/tests/tokens -b | awk '$2 > 1000 {bad = 1} $2 < 900 {low++} {n += $1} END {exit bad || low > 1 || n != 2000}'
window-of-one-keeps-the-order | 0 | $B/tests/mkfasta short 100 | vn-pack --vocab esm2 --window 1 | $B/tests/tokens | awk '$1 != NR - 1 || $2 != NR - 1 {exit 1}'
window-bounds-displacement | 0 | $B/tests/mkfasta short 3000 | vn-pack --vocab esm2 --window 100 --max-tokens 2000 | $B/tests/tokens | awk '{d = NR - 1 - $2; if (d >= 200 || d <= -200) exit 1} END {exit NR != 3000}'
threads-change-nothing | 0 | $B/tests/mkfasta protein 3000 >x.fa; vn-pack --no-provenance -t 1 --vocab esm2 x.fa >a; for t in 2 3 20; do vn-pack --no-provenance -t $t --vocab esm2 x.fa | cmp - a || exit; done; vn-view --check a | grep -E '	([5-9]|[0-9]{2,}) batches' >/dev/null
threads-change-nothing-of-records | 0 | $B/tests/mkfasta reads 30000 | vn-orf --no-provenance >r; cat r r >rr; vn-pack --no-provenance -t 1 --vocab esm2 rr >a; for t in 2 3 20; do vn-pack --no-provenance -t $t --vocab esm2 rr | cmp - a || exit; vn-pack --no-provenance -t $t --vocab esm2 r r | cmp - a || exit; done
damaged-records-whatever-the-threads | 65 | $B/tests/mkfasta reads 30000 | vn-orf >r; for t in 1 4; do head -c -99 r | vn-pack --no-provenance -t $t --vocab esm2 >o$t 2>e$t; rc=$?; [ $rc = 65 ] || exit 1; done; cmp o1 o4 && cmp e1 e4 && grep -q truncated e1 && [ $(stat -c %s o1) -gt 100000 ] && exit $rc
summary | 0 | printf '>a\nMKTAY*\n>b\n>c\nMK\n' | vn-pack -v --vocab esm2 --max-length 2 --long refuse --max-tokens 4 2>&1 >/dev/null | sed 's/; [0-9.]* s, .*/; SPEED/'
memory-is-bounded | 0 | case $B in *san*) echo 'skip: sanitizers keep memory'; exit 0;; esac; $B/tests/mkfasta protein 5000 >1.fa; for i in 1 2 3 4 5 6 7 8 9 10; do cat 1.fa; done >10.fa; gzip -1k 1.fa 10.fa; for f in 1.fa 10.fa 1.fa.gz 10.fa.gz; do for k in 1 2 3; do $B/tests/child --rss rss.$f -- vn-pack --max-tokens 16384 --vocab esm2 $f >/dev/null; done; sort -n rss.$f | head -n 1; done | awk '{r[NR] = $1} END {exit r[2] > 1.05 * r[1] || r[4] > 1.05 * r[3]}'

# ---- models
model | 0 | $B/tests/mkmodel m; printf '>a\nMKT\n' >x.fa; vn-pack -m m x.fa >a && $B/tests/tokens a && grep -qa tokens_for a && VN_MODELS=/nowhere:$PWD vn-pack -m m x.fa | cmp - a
model-missing | 66 | vn-pack -m nowhere </dev/null
model-of-another-kind | 65 | $B/tests/mkmodel m; sed -i 's/"esm"/"bert"/' m/config.json; vn-pack -m m </dev/null
model-with-another-vocabulary | 65 | $B/tests/mkmodel m; printf 'a\nb\n' >m/vocab.txt; vn-pack -m m </dev/null
model-without-weights | 0 | $B/tests/mkmodel m; rm -f m/model*; vn-pack -m m </dev/null >/dev/null
cat-joins-budgets | 0 | $B/tests/mkfasta protein 300 >x.fa; vn-pack --vocab esm2 --max-tokens 500 x.fa >a; vn-pack --vocab esm2 x.fa >b; cat a b | vn-view --check | grep -q '	600 records	'
thousands-of-files | 0 | mkdir d; printf '>a\nMK\n' >d/a-file-with-a-name-that-is-not-short-0; for i in $(seq 3000); do ln d/a-file-with-a-name-that-is-not-short-0 d/a-file-with-a-name-that-is-not-short-$i; done; vn-pack --vocab esm2 d/* >x && vn-view --check x | grep -q '	3001 records	' && vn-view --header x | grep -q '\.\.\. and [0-9]* more'
file-size-limit | 74 | $B/tests/mkfasta protein 20000 >x.fa; trap 'ls out* 2>/dev/null && exit 1' EXIT; (ulimit -f 100; vn-pack --vocab esm2 x.fa -o out)
max-length-beyond-a-batch | 2 | printf '>a\nMK\n' | vn-pack --vocab esm2 --max-length 1G --long truncate
temporary-name-is-not-followed | 0 | printf '>a\nMK\n' >x.fa; echo precious >victim; (for i in 0 1 2 3; do ln -s victim out.$BASHPID.$i.tmp; done; exec vn-pack --vocab esm2 x.fa -o out); grep -q precious victim && vn-view --check out >/dev/null
output-of-no-name | 2 | printf '>a\nMK\n' | vn-pack --vocab esm2 -o ''
output-keeps-mode-and-link | 0 | printf '>a\nMK\n' >x.fa; echo old >real; chmod 600 real; ln -s real link; umask 022; vn-pack --vocab esm2 x.fa -o link; [ -L link ] && [ "$(stat -c %a real)" = 600 ] && vn-view --check real >/dev/null && ! ls *.tmp 2>/dev/null

# ---- records streams
records-equal-fasta | 0 | . $T/fixture.sh; make_rows 200 | grep -v 'no open' >r; cut -f 1,2 r | sed 's/^/>/; s/\t/\n/' >x.fa; for w in 7 100 16384; do vn-pack --vocab esm2 --window $w --max-tokens 500 x.fa | $B/tests/tokens >want; $B/tests/mkrecords batch=37 <r | vn-pack --vocab esm2 --window $w --max-tokens 500 | $B/tests/tokens | cmp - want || exit 1; done
records-column | 0 | . $T/fixture.sh; make_rows 50 >r; $B/tests/mkrecords <r >r.vn; vn-pack --vocab esm2 --column nucleotide r.vn | $B/tests/tokens | cut -f 3,6 | sort >a; awk -F '\t' '{ s = $3; gsub(/./, "&", s); print $1 "\t" s }' r | sort >b; cut -f 1 a | cmp - <(cut -f 1 b)
records-default-is-protein | 0 | . $T/fixture.sh; records 50 >r.vn; cmp <(vn-pack --no-provenance --vocab esm2 r.vn) <(vn-pack --no-provenance --vocab esm2 --column protein <r.vn)
records-carry-everything-but-sequences | 0 | . $T/fixture.sh; make_rows 300 >r; $B/tests/mkrecords batch=50 <r | vn-pack --vocab esm2 --window 90 --max-tokens 300 >t; vn-view --header t | grep -q nucleotide && exit 1; vn-view --check t && vn-view --to tsv --columns record,id,source,chunk,frame,start,end,status t | tail -n +2 | sort -n | cut -f 2- | cmp - <(cut -f 1,4- r)
records-without-a-result | 0 | printf '%s\n' 'a	MKT	ACG	0	1	1	0	3	ok' 'b	MK	AC	0	1	2	0	3	no open frame' 'c	.	AC	0	1	2	0	3	ok' 'd		AC	0	1	2	0	3	ok' 'e	MK	AC	0	1	2	0	3	.' 'f	.	AC	0	1	2	0	3	.' 'g	MKTV	AC	0	1	2	0	3	truncated' 'h	.	AC	0	1	2	0	3	too bad' | $B/tests/mkrecords | vn-pack --vocab esm2 | $B/tests/tokens | sort -n -k 2
records-without-status | 0 | . $T/fixture.sh; make_rows 9 | cut -f 1-8 | grep -v -P '\t0\t\d+\t\d+$' | $B/tests/mkrecords skip=status | vn-pack --vocab esm2 >t && vn-view --check t && [ "$(vn-view --to tsv --columns status t | sort | uniq -c | awk '{print $2}' | tr '\n' ' ')" = 'ok status ' ]
records-several-files | 0 | . $T/fixture.sh; make_rows 40 >r; $B/tests/mkrecords <r >1; (cat 1 1) | vn-pack --vocab esm2 --no-provenance >want; vn-pack --vocab esm2 --no-provenance 1 1 | cmp - want && [ "$(vn-view --to tsv --columns source want | sort -n | tail -1)" = 79 ] && vn-view --to tsv --columns record want | tail -n +2 | sort -n | cmp - <(seq 0 $((2 * $(wc -l <r) - 1)))
records-do-not-begin-at-0 | 65 | . $T/fixture.sh; records 9 first=1 | vn-pack --vocab esm2 2>e; rc=$?; grep -q 'record 1 comes where 0 was expected' e && exit $rc
records-bad-letter | 65 | printf 'a	MKT	A	0	1	1	0	3	ok\nb	M5	A	0	1	1	0	3	ok\n' | $B/tests/mkrecords | vn-pack --vocab esm2 2>e; rc=$?; grep -q "'standard input': record 1: byte 0x35 at offset 1 is no residue" e && exit $rc
records-of-another-kind | 76 | . $T/fixture.sh; records 9 kind=tokens | vn-pack --vocab esm2
records-missing-column | 76 | . $T/fixture.sh; records 9 skip=protein | vn-pack --vocab esm2 2>e; rc=$?; grep -q "without the column 'protein'" e && exit $rc
records-column-not-text | 76 | . $T/fixture.sh; records 9 | vn-pack --vocab esm2 --column chunk
records-column-no-sequence | 76 | . $T/fixture.sh; records 9 | vn-pack --vocab esm2 --column id
column-of-nothing | 65 | vn-pack --vocab esm2 --column protein </dev/null 2>e; rc=$?; grep -q "the input is empty" e && exit $rc
column-of-a-byte | 65 | printf '\377' | vn-pack --vocab esm2 --column protein
column-of-fasta | 76 | printf '>a\nMKT\n' | vn-pack --vocab esm2 --column protein 2>e; rc=$?; grep -q "is no stream" e && exit $rc
fasta-after-records | 76 | . $T/fixture.sh; records 9 >r.vn; printf '>a\nMKT\n' >x.fa; vn-pack --vocab esm2 r.vn x.fa
records-after-fasta | 76 | . $T/fixture.sh; records 9 >r.vn; printf '>a\nMKT\n' >x.fa; vn-pack --vocab esm2 x.fa r.vn
records-of-another-schema | 76 | . $T/fixture.sh; records 9 >r.vn; records 9 skip=nucleotide >s.vn; vn-pack --vocab esm2 r.vn s.vn
records-cut | 65 | . $T/fixture.sh; records 50 | head -c -9 | vn-pack --vocab esm2
records-verbose | 0 | . $T/fixture.sh; make_rows 50 >r; $B/tests/mkrecords <r | vn-pack -v --vocab esm2 2>e >/dev/null; n=$(grep -c 'no open' r); [ $n -gt 0 ] && grep -q " $n without a sequence;" e
dnabert: tokens of a model of nucleotides | 0 | $B/tests/mkmodel --dnabert m; printf '>a\nACGTNacgt\n>b\n\n' | vn-pack -m m 2>err >x && grep -q 'sent as \[UNK\]: 5' err && vn-view --header x | grep -q '"vocabulary":"dnabert-s","tokenizer":"[0-9a-f]\{64\}"' && $B/tests/tokens x | grep -c . | grep -qx 2
dnabert: no tokenizer.json | 66 | $B/tests/mkmodel --dnabert m; rm m/tokenizer.json; vn-pack -m m </dev/null
dnabert: a damaged tokenizer.json | 65 | $B/tests/mkmodel --dnabert m; truncate -s -9 m/tokenizer.json; vn-pack -m m </dev/null
dnabert: truncated to letters | 0 | $B/tests/mkmodel --dnabert m; printf '>a\nACGTACGTACGT\n' | vn-pack -q --no-provenance -m m --max-length 5 --long truncate | $B/tests/tokens | cut -f 5 >x; printf '>a\nACGTA\n' | vn-pack -q --no-provenance -m m | $B/tests/tokens | cut -f 5 | cmp - x
