# vn-compare: NAME | STATUS | COMMAND, see run.sh

# ---- the same
a table and itself | 0 | . $T/compare.sh; calls 300 >a; vn-compare a a >r && fact same yes && fact labels.agreement 1 && fact scores.virus.spearman 1 && fact scores.others.pearson 1 && fact scores.virus.pairs 270 && fact labels.none 30 && fact verdict accept && fact records.both 300
a table and the stream that it is of | 0 | . $T/fixture.sh; . $T/compare.sh; make_head; vectors n=3000 null=7 status=1 window=900 >v; vn-classify -m head v >t; vn-classify -m head --format stream v >s; for x in 't s' 's t' 's s'; do vn-compare --tolerance 0 $x >r && fact same yes && fact records.both 3000 && fact labels.none 428 || exit 1; done
VirNucPro's frames, a table, a list of its own | 0 | . $T/compare.sh; calls 50 >t; virnucpro t >f; grep -v 'empty$' t >u; vn-compare --tolerance 0 f u >r && fact a.form 'VirNucPro frames' && fact b.form table && fact scores.virus.pairs 45
VirNucPro's chunks have no scores | 0 | . $T/compare.sh; calls 50 | grep -v 'empty$' >t; (printf 'Modified_ID\tIs_Virus\n'; awk -F '\t' 'NR > 1 { print $1 "\t" ($3 == "virus" ? "True" : "False") }' t | sort -r) >c; vn-compare c t >r && fact a.form 'VirNucPro chunks' && fact labels.same 45 && ! grep -q '^scores' r
VirNucPro's chunks with scores | 1 | printf 'Modified_ID\tIs_Virus\tmax_score_0\tmax_score_1\nx\tTrue\t0.25\t0.75\n' >c; printf 'id\tlabel\tscore_virus\tscore_others\nx\tvirus\t0.5\t0.25\n' >t; vn-compare c t >r; rc=$?; . $T/compare.sh; fact scores.virus.difference.max 0.25 && fact scores.others.difference.max 0 && exit $rc
the reference files | 0 | . $T/compare.sh; d=$VN_TEST_DATA/virnucpro/reference_vanilla_output; [ -d $d ] || { echo "skip: no $d"; exit; }; vn-compare $d/prediction_results.txt $d/prediction_results.txt >r && fact records.both 4 && fact labels.same 4 && vn-compare $d/prediction_results_highestscore.csv $d/prediction_results_highestscore.csv >r && fact labels.same 2
vectors, packed differently | 0 | . $T/fixture.sh; . $T/compare.sh; vectors n=3000 null=9 status=1 window=1 >a; vectors n=3000 null=9 status=1 window=800 batch=50 >b; vn-compare --tolerance 0 a b >r && fact vectors.pairs 2667 && fact vectors.none 333 && fact vectors.cosine.min 1 && fact vectors.relative_l2.max 0
tables in any order | 0 | . $T/compare.sh; calls 500 >a; (head -1 a; tail -n +2 a | sort -k 4) >b; vn-compare a b >r && fact records.both 500 && vn-compare b a >r
columns in any order, and others between | 0 | printf 'id\tscore_b\tx\tlabel\tscore_a\nq\t0.25\t1\ta\t0.75\n' >a; printf 'id\tlabel\tscore_a\tscore_b\nq\ta\t0.75\t0.25\n' >b; vn-compare a b
files, pipes and standard input | 0 | . $T/fixture.sh; . $T/compare.sh; calls 900 >a; calls 900 >b; vn-compare a - <b >r1; vn-compare - b <a >r2; mkfifo f; cat a >f & vn-compare f <(cat b) >r3; for i in 1 2 3; do grep -v file r$i | cmp - <(vn-compare a b | grep -v file) || exit 1; done
pipes of which one is filled first | 0 | . $T/fixture.sh; vectors n=20000 d=64 >a; mkfifo fa fb; (cat a >fa; cat a >fb) & timeout 60 vn-compare --buffer 1 fa fb
no rows | 0 | . $T/compare.sh; calls 0 >a; vn-compare a a >r && fact records.both 0 && fact labels.agreement . && fact verdict . && fact scores.virus.pearson . && fact scores.virus.difference.max . && vn-compare --format json a a | python3 -c 'import json, sys; r = json.load(sys.stdin); assert r["verdict"] is None and r["scores"]["virus"]["difference"]["max"] is None and r["difference"] == [] and r["same"] is True'
no vectors | 0 | . $T/fixture.sh; . $T/compare.sh; vectors n=0 >a; vn-compare a a >r && fact vectors.cosine.mean . && fact vectors.relative_l2.max .
one row | 0 | . $T/compare.sh; calls 1 >a; vn-compare a a >r && fact scores.virus.pearson . && fact scores.virus.spearman . && fact scores.virus.difference.median 0
carriage returns | 0 | . $T/compare.sh; calls 30 >a; sed 's/$/\r/' a >b; vn-compare --tolerance 0 a b

# ---- different
a label | 1 | . $T/compare.sh; calls 200 >a; change a 3 3 other >b; vn-compare a b >r; rc=$?; fact same no && fact labels.same 179 && fact labels.agreement 0.9944444444444445 && fact verdict accept && shown 'difference	q1	label	virus	other' && exit $rc
the verdict's edges | 0 | . $T/compare.sh; labels 1000 0 >a; for x in '9 accept' '10 validate' '11 validate' '50 validate' '51 standard'; do set -- $x; labels 1000 $1 >b; vn-compare a b >r; [ $? = 1 ] && fact verdict $2 || { echo $x; exit 1; }; done
a score beyond the tolerance | 1 | . $T/compare.sh; one 0.5 >a; one 0.5002 >b; vn-compare a b >r; rc=$?; shown 'difference	q	score_virus	0.5	0.5002' && exit $rc
a score within the tolerance | 0 | . $T/compare.sh; one 0.5 >a; one 0.50009 >b; vn-compare a b >r; rc=$?; fact records.different 0 && fact scores.virus.difference.max 9.000301e-05 && exit $rc
tolerance is up to and with | 0 | . $T/compare.sh; one 0.5 >a; one 0.75 >b; vn-compare --tolerance 0.25 a b
tolerance 0 | 1 | . $T/compare.sh; one 0.5 >a; one 0.50000006 >b; vn-compare --tolerance 0 a b
no number in both | 0 | . $T/compare.sh; one nan >a; one . >b; vn-compare a b >r; fact scores.virus.none 1 && vn-compare a b
infinity in both | 0 | . $T/compare.sh; one inf >a; vn-compare a a
no number in one | 1 | . $T/compare.sh; one nan >a; one 0.5 >b; vn-compare a b >r; rc=$?; fact scores.virus.one_sided 1 && fact scores.virus.pairs 0 && shown 'difference	q	score_virus	nan	0.5' && exit $rc
infinities of two signs | 1 | . $T/compare.sh; one inf >a; one -inf >b; vn-compare --tolerance 1e30 a b
a status | 1 | . $T/compare.sh; calls 40 >a; sed 's/empty$/too long/' a >b; vn-compare a b >r; rc=$?; fact records.status_differs 4 && fact records.different 4 && fact labels.none 4 && exit $rc
a call in one only | 1 | . $T/compare.sh; calls 40 >a; change a 3 3 . | sed '3s/ok$/empty/' >b; vn-compare a b >r; rc=$?; fact labels.only_a 1 && fact labels.only_b 0 && fact labels.records 36 && fact labels.same 35 && shown 'difference	q1	label	virus	.' && exit $rc
a record is missing | 1 | . $T/compare.sh; calls 40 >a; sed 5d a >b; vn-compare a b >r; rc=$?; fact records.only_a 1 && fact records.both 39 && fact labels.same 35 && fact labels.records 36 && shown 'difference	q3	record	there	.' && vn-compare b a >r; fact records.only_b 1 && shown 'difference	q3	record	.	there' && exit $rc
records at the end of a stream are missing | 1 | . $T/fixture.sh; . $T/compare.sh; vectors n=99 >a; vectors n=70 >b; vn-compare a b >r; rc=$?; fact records.only_a 29 && fact records.both 70 && shown 'difference	read70	record	there	.' && exit $rc
what is missing comes in its order | 1 | . $T/compare.sh; calls 40 >a; head -1 a >b; vn-compare --show 40 a b >r; rc=$?; grep ^difference r | sed 1d | cut -f 2 | cmp - <(seq 0 39 | sed 's/^/q/') && exit $rc
ids that come twice, by their order | 0 | printf 'id\tlabel\nx\ta\nx\tb\ny\tc\nx\td\n' >a; printf 'id\tlabel\ny\tc\nx\ta\nx\tb\nx\td\n' >b; vn-compare a b
ids that come twice, in another order | 1 | . $T/compare.sh; printf 'id\tlabel\nx\ta\nx\tb\n' >a; printf 'id\tlabel\nx\tb\nx\ta\n' >b; vn-compare a b >r; rc=$?; fact labels.same 0 && exit $rc
an id that comes more often in one | 1 | . $T/compare.sh; printf 'id\tlabel\nx\ta\nx\ta\nx\ta\n' >a; printf 'id\tlabel\nx\ta\n' >b; vn-compare a b >r; rc=$?; fact records.both 1 && fact records.only_a 2 && exit $rc
vectors that differ | 1 | . $T/fixture.sh; . $T/compare.sh; vectors n=50 >a; vectors n=50 seed=2 >b; vn-compare a b >r; rc=$?; fact records.different 50 && [ $(grep -c '^difference	read' r) = 10 ] && exit $rc
a vector in one only | 1 | . $T/fixture.sh; . $T/compare.sh; vectors n=50 null=10 >a; vectors n=50 >b; vn-compare a b >r; rc=$?; fact vectors.only_b 5 && fact records.different 5 && shown 'difference	read9	vector	.	there' && exit $rc
a vector that is no number | 1 | . $T/fixture.sh; . $T/compare.sh; vectors n=50 bad=3 >a; vectors n=50 >b; vn-compare a a >r && fact vectors.undefined 1 && vn-compare a b
by length | 0 | . $T/fixture.sh; . $T/compare.sh; records 30 >r.vn; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; vn-pack --vocab esm2 r.vn | vn-embed -m m --device cpu --precision fp32 --pool mean >a; vn-compare a a >r && fact vectors.length_in letters && grep -x >/dev/null "vectors.by_length	256	511	[0-9]*	1	1	0	0" r && grep >/dev/null "vectors.by_length	from	to	pairs	cosine_mean	cosine_min" r
show | 1 | . $T/compare.sh; calls 40 >a; change a 3 3 x >b; vn-compare --show 0 a b >r; rc=$?; ! grep -q ^difference r && fact records.different 1 && exit $rc

# ---- truth
truth: a list, a table and a stream are the same | 0 | . $T/fixture.sh; . $T/compare.sh; calls 200 >a; labels 200 40 >t; tail -n +2 t >l; (echo 'Modified_ID	Is_Virus'; sed '1d;s/virus/True/;s/others/False/' t) >m; vn-compare --truth t a a >r; fact truth.records 200 && for f in l m; do vn-compare --truth $f a a | cmp - r || exit 1; done
truth: by hand | 1 | . $T/compare.sh; printf 'id\tlabel\tscore_virus\na\tvirus\t0.9\nb\tvirus\t0.6\nc\tothers\t0.4\nd\tothers\t0.1\ne\t.\t.\nz\tvirus\t1\n' >a; printf 'id\tlabel\tscore_virus\na\tothers\t0.2\nb\tvirus\t0.6\nc\tvirus\t0.6\nz\tvirus\t1\n' >b; printf 'a\tvirus\nb\thuman\nc\tvirus\nd\thuman\ne\tvirus\nw\tvirus\n' >t; vn-compare --truth t a b >r; rc=$?; for x in records:5 records_not_in_truth:1 truth_without_record:1 a.tp:1 a.fp:1 a.tn:1 a.fn:2 a.tpr:0.3333333333333333 a.fpr:0.5 a.precision:0.5 a.f1:0.4 a.auroc:0.75 a.without_score:1 b.tp:1 b.fp:1 b.tn:1 b.fn:2 b.auroc:0.25 b.without_score:2 wrong.both:2 wrong.only_a:1 wrong.only_b:1; do fact truth.${x%:*} ${x#*:} || exit 9; done; exit $rc
truth: no positive records | 0 | . $T/compare.sh; calls 9 >a; labels 9 0 | sed 's/virus/x/' >t; vn-compare --truth t a a >r 2>e && grep -q "no record of 't' has the label 'virus'" e && fact truth.a.tpr . && fact truth.a.auroc .
truth: another positive label | 0 | . $T/compare.sh; calls 9 >a; vn-compare --positive others --truth a a a >r 2>e && [ ! -s e ] && fact truth.a.tpr 1 && fact truth.positive others && grep ^scores r | head -1 | grep others >/dev/null
truth: two labels for an id | 65 | . $T/compare.sh; calls 9 >a; printf 'x\tvirus\nx\tothers\n' >t; vn-compare --truth t a a 2>e; rc=$?; grep -q "'t' has two labels for 'x'" e && exit $rc
truth: an id twice, the same label | 0 | . $T/compare.sh; calls 9 >a; printf 'q0\tvirus\nq0\tvirus\n' >t; vn-compare --truth t a a >r && fact truth.records 1
truth: one column | 65 | . $T/compare.sh; calls 9 >a; printf 'x\ny\n' >t; vn-compare --truth t a a
truth: no file | 66 | . $T/compare.sh; calls 9 >a; vn-compare --truth nowhere a a
truth: for vectors | 2 | . $T/fixture.sh; vectors >a; vn-compare --truth a a a
truth from standard input | 0 | . $T/compare.sh; calls 9 >a; vn-compare --truth - a a <a >r && fact truth.records 9

# ---- output
json is json, and has the figures of the text | 1 | . $T/compare.sh; calls 200 >a; change a 7 3 other | change - 8 5 0.125 >b; labels 200 50 >t; vn-compare --truth t a b >r; vn-compare --truth t --format json a b >j; rc=$?; python3 $T/flat.py <j | cmp - r && exit $rc
odd ids | 1 | . $T/compare.sh; printf 'id\tlabel\n"a\\b\\tc\\x1b\xc3\xa9\tx\n' >a; printf 'id\tlabel\n"a\\b\\tc\\x1b\xc3\xa9\ty\n' >b; vn-compare --format json a b | python3 -c 'import json, sys; assert json.load(sys.stdin)["difference"][0]["id"] == "\"a\\b\tc\x1b\u00e9"' && vn-compare a b | tail -1 | cut -f 2 | cmp - <(printf '"a\\b c \xc3\xa9\n') && vn-compare a b
ids of tables are those of streams | 0 | . $T/fixture.sh; printf '>a\\b|c\nMKV\n>\xc3\xa9\nMKVL\n' >f; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; $B/tests/mkmodel --head --input 32 h; vn-pack -m m f | vn-embed -m m --device cpu --precision fp32 --pool mean >v; vn-classify -m h v >t; vn-classify -m h --format stream v >s; vn-compare --tolerance 0 t s
names of files that are no text | 0 | . $T/compare.sh; f=$(printf 'a\xff\xc3b'); one 1 >"$f"; vn-compare --format json "$f" "$f" | python3 -c 'import json, sys; assert json.load(sys.stdin)["a"]["file"] == "a\ufffd\ufffdb"'
VirNucPro's files of vn-classify | 0 | . $T/fixture.sh; . $T/compare.sh; make_head; records 40 >r; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; $B/tests/mkmodel --head --input 32 h; vn-pack -m m r | vn-embed -m m --device cpu --precision fp32 --pool auto >v; vn-classify -m h v >t; vn-classify -m h --format virnucpro -o d v && grep -v 'no open frame' t >u; vn-compare --tolerance 0 u d/prediction_results.txt && vn-classify -m h --by chunk v | grep -v 'no open frame' >c; vn-compare --tolerance 0 c d/prediction_results_highestscore.csv >r && fact labels.agreement 1
by chunk and by source, tables and streams | 0 | . $T/fixture.sh; records 40 >r; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; $B/tests/mkmodel --head --input 32 h; vn-pack -m m r | vn-embed -m m --device cpu --precision fp32 --pool auto >v; for by in frame chunk source; do vn-classify -m h --by $by v >t; vn-classify -m h --by $by --format stream v >s; vn-compare --tolerance 0 t s && vn-compare --tolerance 0 s s || exit 1; done
output to a file | 1 | . $T/compare.sh; one 1 >a; one 0 >b; vn-compare -o r a b >o; rc=$?; [ ! -s o ] && fact same no && exit $rc
nothing is left of a failure | 0 | . $T/compare.sh; one 1 >a; head -c -1 a >b; vn-compare -o r a b 2>e; [ $? = 65 ] && [ "$(echo *)" = 'a b e' ]
silence | 0 | . $T/compare.sh; one 1 >a; vn-compare a a 2>e >r && [ ! -s e ]
verbose | 0 | . $T/compare.sh; calls 30 >a; change a 3 3 x >b; vn-compare -v a b 2>e >r; grep -Eq '^vn-compare: 30 records, 1 different; .* s, [0-9]+ records/s, peak [0-9]+ MiB$' e && [ $(wc -l <e) = 1 ]

# ---- what cannot be compared
vectors and calls | 76 | . $T/fixture.sh; . $T/compare.sh; vectors >a; calls 3 >b; vn-compare a b 2>e; rc=$?; grep -q "'a' holds vectors, 'b' calls" e && exit $rc
vectors of two widths | 76 | . $T/fixture.sh; vectors >a; vectors d=9 >b; vn-compare a b 2>e; rc=$?; grep -q "width 8 in 'a', of width 9 in 'b'" e && exit $rc
other classes | 76 | . $T/compare.sh; one 1 >a; sed 's/score_virus/score_phage/' a >b; vn-compare a b 2>e; rc=$?; grep -q "'a' has scores of the class 'virus', 'b' has not" e && exit $rc
more classes | 76 | . $T/compare.sh; one 1 >a; calls 3 >b; vn-compare a b
another kind of stream | 76 | . $T/fixture.sh; vectors kind=tokens >a; vn-compare a a
a table without labels | 76 | printf 'id\tx\na\t1\n' >a; vn-compare a a
streams of other records | 76 | . $T/fixture.sh; vectors n=9 >a; $B/tests/mkmodel --head --input 8 h; vn-classify -m h --format stream a >s; vn-pack --vocab esm2 <(printf '>x\nMKV\n') | vn-view --to tsv >/dev/null; make_reads 2 >f; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; for x in f; do vn-pack -m m f | vn-embed -m m --device cpu --precision fp32 --pool mean >v1; sed 's/read1/other/' f | vn-pack -m m | vn-embed -m m --device cpu --precision fp32 --pool mean >v2; done; vn-compare v1 v2 2>e; rc=$?; grep -q "record 1 is 'read1' in 'v1', 'other' in 'v2'" e && exit $rc

# ---- damage
a table that is cut in its last line | 65 | . $T/compare.sh; calls 30 >a; for n in 1 2 5 9 18; do head -c -$n a >b; vn-compare a b 2>e >r; [ $? = 65 ] && [ ! -s r ] && grep -q "'b', line 31" e || exit 1; done; exit 65
a line with fewer columns | 65 | . $T/compare.sh; calls 30 >a; sed '7s/	ok$//' a >b; vn-compare a b 2>e; rc=$?; grep -q "'b', line 7: 5 columns, expected 6" e && exit $rc
a score that is no number | 65 | . $T/compare.sh; for x in 0x10 1,5 ' 1' 1e 1.5.5 infinity True --1; do one "$x" >a; vn-compare a a 2>e >r; [ $? = 65 ] && grep -qF "the score of 'virus' is '$x'" e || { echo "$x"; exit 1; }; done; exit 65
Is_Virus is yes | 65 | printf 'Modified_ID\tIs_Virus\nx\tyes\n' >a; vn-compare a a 2>e; rc=$?; grep -q "line 2: Is_Virus is 'yes'" e && exit $rc
bytes that are no text | 65 | printf 'id\tlabel\nx\xff\ty\n' >a; vn-compare a a 2>e; rc=$?; grep -q "'a', line 2: is not UTF-8" e && exit $rc
a line without end | 65 | (printf 'id\tlabel\n'; head -c 2000000 /dev/zero | tr '\0' x) >a; vn-compare a a 2>e; rc=$?; grep -q "'a', line 2: the line is longer than 1 MiB" e && exit $rc
two columns of the same name | 65 | printf 'id\tlabel\tlabel\n' >a; vn-compare a a 2>e; rc=$?; grep -q "'a': two columns are called 'label'" e && exit $rc
two columns of a class | 65 | printf 'id\tlabel\tscore_x\tscore_x\n' >a; vn-compare a a 2>e; rc=$?; grep -q "'a': two columns have scores of the class 'x'" e && exit $rc
no table | 65 | echo 'hello world' >a; vn-compare a a 2>e; rc=$?; grep -q "'a' is neither a stream nor a table of calls" e && exit $rc
a list where no list is asked for | 65 | printf 'x\tvirus\n' >a; vn-compare a a
an empty file | 65 | : >a; vn-compare a a 2>e; rc=$?; grep -q "'a' is empty" e && exit $rc
a stream that is cut | 65 | . $T/fixture.sh; vectors >a; head -c -9 a >b; vn-compare a b
the second of two streams has a record twice | 65 | . $T/fixture.sh; vectors n=300 >a; vectors n=300 again=77 >b; vn-compare a b 2>e; rc=$?; grep -q "'b': record 77 comes twice" e && exit $rc
a stream lacks a record | 65 | . $T/fixture.sh; vectors n=300 >a; vectors n=300 drop=77 >b; vn-compare a b 2>e; rc=$?; grep -q "'b': record 77 is missing" e && exit $rc
max-waiting: too few | 65 | . $T/fixture.sh; vectors n=1000 window=500 batch=10 >a; vn-compare --max-waiting 20 a a 2>e; rc=$?; grep -q "more than 20 rows would wait" e && exit $rc
a failure without a number is not 1 | 2 | . $T/compare.sh; calls 3000 >a; ldd $T/../bin/vn-compare | grep libasan >/dev/null && exit 2; VN_FAULT=alloc:60 VN_FAULT_FIRED=fired LD_PRELOAD=$B/tests/fault.so vn-compare a a 2>e >r; rc=$?; [ -e fired ] && grep -q 'cannot allocate' e && exit $rc

fuzz | 0 | . $T/compare.sh; calls 20 >a; virnucpro a >b; (head -1 a; tail -n +2 a | head -3) >c; printf 'Modified_ID\tIs_Virus\nx\tTrue\ny\tFalse\n' >d; printf 'x\tvirus\ny\tothers\n' >e; printf 'id\tlabel\tscore_a\n\\x1b\\t\tq\t1e-5\n' >f; timeout 300 $B/tests/fuzz_calls -m 1000 a b c d e f

# ---- the command line
one file | 2 | . $T/compare.sh; calls 3 >a; vn-compare a
no file | 2 | vn-compare
three files | 2 | vn-compare a b c
standard input twice | 2 | vn-compare - -
standard input and truth | 2 | vn-compare --truth - - a
a file that is not there | 66 | . $T/compare.sh; calls 3 >a; vn-compare a nowhere
a folder | 66 | . $T/compare.sh; calls 3 >a; vn-compare . a
tolerance below 0 | 2 | vn-compare --tolerance -1 a b
tolerance no number | 2 | vn-compare --tolerance nan a b
format: another word | 2 | vn-compare --format xml a b
show below 0 | 2 | vn-compare --show -1 a b
buffer 0 | 2 | vn-compare --buffer 0 a b
max-waiting 0 | 2 | vn-compare --max-waiting 0 a b
help | 0 | vn-compare --help | grep >/dev/null -- '--tolerance'
version | 0 | vn-compare --version | grep -x >/dev/null 'vn-compare 0\.1\.0'
