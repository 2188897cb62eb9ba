# vn-join on made-up vectors: NAME | STATUS | COMMAND, see run.sh

# ---- what comes out
vectors stand side by side, in the order of the input | 0 | . $T/fixture.sh; vectors n=3000 d=3 seed=1 window=700 batch=64 >a; vectors n=3000 d=5 seed=2 window=300 batch=50 >b; vn-join a b >c && vn-view --check c && vn-view --to tsv --columns embedding c | tail -n +2 | cmp - <(paste -d , <(in_order a) <(in_order b)) && vn-view --to tsv --columns record c | tail -n +2 | cmp - <(seq 0 2999)
the order of the arguments is the order of the vectors | 0 | . $T/fixture.sh; vectors n=9 d=3 >a; vectors n=9 d=5 seed=2 >b; vn-join b a | vn-view --to tsv --columns embedding | tail -n +2 | cmp - <(paste -d , <(in_order b) <(in_order a))
packing makes no difference | 0 | . $T/fixture.sh; vectors n=2000 d=3 window=1 batch=7 null=9 >a1; vectors n=2000 d=3 window=900 batch=100 null=9 >a2; vectors n=2000 seed=2 window=1 batch=2000 >b1; vectors n=2000 seed=2 window=400 batch=3 >b2; vn-join a1 b1 | vn-view --to tsv >c1; vn-join a2 b2 | vn-view --to tsv >c2; [ $(wc -l <c1) = 2001 ] && cmp c1 c2
rows that wait in a file are the same | 0 | . $T/fixture.sh; vectors n=3000 d=3 seed=1 window=700 batch=64 null=9 status=1 >a; vectors n=3000 d=50 seed=2 window=1500 batch=50 null=7 carry=1 >b; for k in 1 30Ki 1Gi; do vn-join --no-provenance --buffer $k a b >$k || exit; done; vn-view --check 1Gi && cmp 1 1Gi && cmp 30Ki 1Gi
files, pipes and standard input are the same | 0 | . $T/fixture.sh; vectors n=900 >a; vectors n=900 seed=2 window=200 >b; vn-join --no-provenance a b >c; mkfifo f; cat a >f & vn-join --no-provenance f - <b | cmp - c && cat b | vn-join --no-provenance <(cat a) - | cmp - c && vn-join --no-provenance - b <a | cmp - c
three streams | 0 | . $T/fixture.sh; for s in 1 2 3; do vectors n=500 d=$s seed=$s window=$((s * 50)) >$s; done; vn-join 1 2 3 >c; vn-view --check c && vn-view --header c | grep 'fixed_size_list<float32>\[6\]' >/dev/null
no records | 0 | . $T/fixture.sh; vectors n=0 >a; vn-join a a >c && vn-view --check c
two streams in a row on both sides | 0 | . $T/fixture.sh; vectors n=100 >a; vectors n=50 >b; cat a b >ab; cat b a >ba; vn-join ab ba 2>e; [ $? = 76 ] && vectors n=50 seed=2 >b2; vectors n=100 seed=2 >a2; cat a2 b2 >ab2; vn-join ab ab2 >c && vn-view --stats c | grep -q 150
columns: the first stream's, then others | 0 | . $T/fixture.sh; vectors status=1 >a; vectors carry=1 >b; vn-join a b | vn-view --to tsv | sed -n 1p | cmp - <(printf 'id\trecord\tembedding\tstatus\tsource\tnote\n') && vn-join b a | vn-view --to tsv | sed -n 1p | cmp - <(printf 'id\trecord\tembedding\tsource\tnote\tstatus\n')
no status anywhere: one is made | 0 | . $T/fixture.sh; vectors n=3 >a; vn-join a a | vn-view --to tsv --columns status | cmp - <(printf 'status\nok\nok\nok\n')
a vector missing in one stream: null, and which | 0 | . $T/fixture.sh; vectors n=6 null=3 status=1 >a; vectors n=6 null=2 status=1 >b; vn-join a b >c; vn-view --to tsv --columns record,status c | cmp - <(printf 'record\tstatus\n0\tok\n1\tempty (stream 2)\n2\ttoo long (stream 1)\n3\tempty (stream 2)\n4\tok\n5\tempty\n') && vn-view --to tsv --columns embedding c | grep -c '^\.$' | grep -x >/dev/null 4
everything of one input goes along | 0 | . $T/fixture.sh; records 100 >r.vn; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; for c in protein nucleotide; do vn-pack --vocab esm2 --column $c --window 90 --max-tokens 700 r.vn | vn-embed -m m --device cpu --precision fp32 --pool mean >$c.vn; done; vn-join nucleotide.vn protein.vn >j.vn; vn-view --to tsv --columns id,record,source,chunk,frame,start,end,status r.vn | cmp - <(vn-view --to tsv --columns id,record,source,chunk,frame,start,end,status j.vn)

# ---- provenance
each chain keeps its programs, told apart | 0 | . $T/fixture.sh; vectors pg='"program":"x","model":"m"' >a; vectors pg='"program":"y","model":"n"' d=3 >b; vn-join --no-provenance a b >c; vn-view --header c | grep '^vn.pg' | cmp - <(printf 'vn.pg.0\t{"program":"x","model":"m","input":0}\nvn.pg.1\t{"program":"y","model":"n","input":1}\nvn.pg.2\t{"program":"vn-join","version":"0.1.0","widths":[8,3]}\n')
a joined stream can be joined | 0 | . $T/fixture.sh; for s in a b c; do vectors pg="\"program\":\"$s\"" d=2 seed=1 >$s; done; vn-join a b >ab; vn-join --no-provenance c ab >x; vn-view --header x | grep -o '"program":"[^"]*","input":.' | cmp - <(printf '"program":"c","input":0\n"program":"a","input":1\n"program":"b","input":2\n') && vn-view --header x | grep -F '"widths":[2,2,2]' >/dev/null

# ---- what does not fit together
a record is missing | 65 | . $T/fixture.sh; vectors n=300 drop=77 >a; vectors n=300 >b; vn-join b a 2>e >o; rc=$?; grep -q "'a': record 77 is missing" e && exit $rc
a record comes twice | 65 | . $T/fixture.sh; vectors n=300 again=77 >a; vectors n=300 >b; vn-join a b 2>e >o; rc=$?; grep -q "'a': record 77 comes twice" e && exit $rc
one has fewer records | 65 | . $T/fixture.sh; vectors n=300 >a; vectors n=299 >b; vn-join a b 2>e >o; rc=$?; grep -q "'b' ends after 299 records, 'a' has more" e && exit $rc
one has no records | 65 | . $T/fixture.sh; vectors n=300 >a; vectors n=0 >b; vn-join b a
ids differ | 76 | . $T/fixture.sh; make_rows 9 | grep ok >r; sed '$s/^[^\t]*/x/' r >s; $B/tests/mkrecords <r >r.vn; $B/tests/mkrecords <s >s.vn; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; for f in r s; do vn-pack --vocab esm2 $f.vn | vn-embed -m m --device cpu --precision fp32 --pool mean >$f; done; vn-join r s 2>e >o; rc=$?; grep -q "record [0-9]* is 'read.*' in 'r', 'x' in 's'" e && exit $rc
a column of both differs | 76 | . $T/fixture.sh; vectors carry=1 >a; vectors carry=1 note=x >b; vn-join a b 2>e >o; rc=$?; grep -q "record 0: column 'note' differs in 'a' and 'b'" e && exit $rc
a column of both has two types | 76 | . $T/fixture.sh; vectors carry=1 >a; vectors add=source >b; vn-join a b 2>e >o; rc=$?; grep -q "column 'source' is uint64 in 'a', utf8 in 'b'" e && exit $rc
a column that only the second and third have differs | 76 | . $T/fixture.sh; vectors >a; vectors carry=1 >b; vectors carry=1 note=x >c; vn-join a b b >o && vn-join a b c 2>e >o; rc=$?; grep -q "record 0: column 'note' differs in 'b' and 'c'" e && exit $rc
a column that only the second and third have has two types | 76 | . $T/fixture.sh; vectors >a; vectors carry=1 >b; vectors add=source >c; vn-join a b c 2>e >o; rc=$?; grep -q "column 'source' is uint64 in 'b', utf8 in 'c'" e && exit $rc
another kind | 76 | . $T/fixture.sh; vectors >a; vectors kind=scores >b; vn-join a b 2>e >o; rc=$?; grep -q "'b'" e && exit $rc
the second is cut | 65 | . $T/fixture.sh; vectors >a; head -c -9 a >b; vn-join a b
nothing is left of a failure | 0 | . $T/fixture.sh; vectors n=300 >a; vectors n=299 >b; vn-join -o c a b 2>e; [ $? = 65 ] && [ "$(echo *)" = 'a b e' ]
max-waiting: too few | 65 | . $T/fixture.sh; vectors n=1000 window=500 batch=10 >a; vn-join --max-waiting 20 a a 2>e >o; rc=$?; grep -q "more than 20 rows would wait" e && exit $rc

# ---- pipes of which none may hold up another: a writer that fills one before the other
one pipe after the other | 0 | . $T/fixture.sh; vectors n=20000 d=64 >a; vectors n=20000 d=64 seed=2 >b; mkfifo fa fb; (cat a >fa; cat b >fb) & timeout 60 vn-join -v --buffer 1 --no-provenance fa fb 2>e >c && cmp c <(vn-join --no-provenance a b) && ! grep -q ' 0 MiB in temporary' e
the other one first | 0 | . $T/fixture.sh; vectors n=20000 d=64 >a; vectors n=20000 d=64 seed=2 >b; mkfifo fa fb; (cat b >fb; cat a >fa) & timeout 60 vn-join --buffer 1 --no-provenance fa fb >c && cmp c <(vn-join --no-provenance a b)
in memory there is room enough | 0 | . $T/fixture.sh; vectors n=20000 d=64 >a; mkfifo fa fb; (cat a >fa; cat a >fb) & timeout 60 vn-join -v fa fb 2>e >c && grep -q ' 0 MiB in temporary' e
FIFOs that are opened in another order | 0 | . $T/fixture.sh; vectors n=100 >a; mkfifo fa fb; tee fb <a >fa & timeout 60 vn-join fa fb >c; vn-view --check c
no place for temporary files | 74 | . $T/fixture.sh; vectors n=20000 d=64 >a; mkfifo fa fb; (cat a >fa; cat a >fb) 2>/dev/null & p=$!; TMPDIR=nowhere timeout 60 vn-join --buffer 1 fa fb >c; rc=$?; cat <>fb >/dev/null & q=$!; wait $p; kill $q; exit $rc
no place for rows that wait | 74 | . $T/fixture.sh; vectors n=300 >a; TMPDIR=nowhere vn-join a a >b && TMPDIR=nowhere vn-join --buffer 1 a a 2>e >c; rc=$?; grep -q "^vn-join: 'a': cannot make a temporary file in 'nowhere'" e && [ $(wc -l <e) = 1 ] && exit $rc
no room for rows that wait | 74 | . $T/fixture.sh; vectors n=9000 d=64 window=9000 >a; ulimit -f 1000; vn-join --buffer 1 a a 2>e >c; rc=$?; grep -q "^vn-join: 'a': cannot write to a temporary file" e && exit $rc
no temporary file is left | 0 | . $T/fixture.sh; vectors n=20000 d=64 >a; mkdir t; mkfifo fa fb; (cat a >fa; cat a >fb) & TMPDIR=t timeout 60 vn-join --buffer 1 fa fb >c && [ -z "$(ls t)" ]
the whole graph, from one input | 0 | . $T/fixture.sh; records 2000 >r.vn; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; embed() { vn-pack --vocab esm2 --column $1 --window 2000 | vn-embed -m m --device cpu --precision fp32 --pool mean; }; mkfifo f; for b in 1 256Mi; do (tee >(embed nucleotide >f) <r.vn | embed protein | timeout 120 vn-join --buffer $b f - >j.vn) && vn-view --check j.vn || exit 1; done
a writer that dies | 65 | . $T/fixture.sh; vectors n=9000 >a; mkfifo f; head -c 100000 a >f & timeout 60 vn-join f a
an error in one does not wait for the other | 65 | . $T/fixture.sh; vectors n=300 again=77 >a; mkfifo f; sleep 30 >f & timeout 10 vn-join f <(head -c 3 a) & p=$!; timeout 10 vn-join a <(echo no stream; sleep 20); rc=$?; kill %1 $p 2>/dev/null; exit $rc
an error is not held up by a pipe that is ahead | 65 | . $T/fixture.sh; vectors n=20000 d=64 >a; timeout 20 vn-join --buffer 1 <(cat a) <(sleep 0.5; echo no stream)

# ---- the command line
one stream | 2 | . $T/fixture.sh; vectors >a; vn-join a
no stream | 2 | vn-join
standard input twice | 2 | vn-join - -
too many streams | 2 | vn-join $(seq 65)
a file that is not there | 66 | . $T/fixture.sh; vectors >a; vn-join a nowhere
a folder | 66 | . $T/fixture.sh; vectors >a; vn-join . a
buffer 0 | 2 | vn-join --buffer 0 a b
max-waiting 0 | 2 | vn-join --max-waiting 0 a b
silence | 0 | . $T/fixture.sh; vectors >a; vn-join a a 2>e >o && [ ! -s e ]
verbose | 0 | . $T/fixture.sh; vectors n=30 null=3 >a; vn-join -v a a 2>e >o; grep -Eq '^vn-join: 30 records of 2 streams, 10 without a vector; 0 MiB in temporary files; .* s, [0-9]+ records/s, peak [0-9]+ MiB$' e && [ $(wc -l <e) = 1 ]
help | 0 | vn-join --help | grep >/dev/null -- '--buffer'
version | 0 | vn-join --version | grep -x >/dev/null 'vn-join 0\.1\.0'
