# vn-view: NAME | STATUS | COMMAND, see run.sh. Values are checked in tests/oracle/.

# ---- tables ----
a table of vectors | 0 | $B/tests/mkvectors n=3 d=2 null=2 window=1 | vn-view | cut -f 1,2 | cmp - <(printf 'id\trecord\nread0\t0\nread1\t1\nread2\t2\n')
nulls are dots | 0 | $B/tests/mkvectors n=4 d=2 null=2 window=1 | vn-view --to tsv --columns embedding | sed -n '3p;5p' | cmp - <(printf '.\n.\n')
text is escaped | 0 | $B/tests/mkvectors n=1 d=1 carry=1 | vn-view --columns note | tail -1 | grep -qx 'a\\tb\\\\0'
json | 0 | $B/tests/mkvectors n=2 d=2 null=2 carry=1 window=1 | vn-view --to json --columns id,note,embedding | tail -1 | cmp - <(printf '{"id":"read1","note":"note 1","embedding":null}\n')
no rows: the names only | 0 | $B/tests/mkvectors n=0 | vn-view | cmp - <(printf 'id\trecord\tembedding\n')
no rows as json: nothing | 0 | [ -z "$($B/tests/mkvectors n=0 | vn-view --to json)" ]
several files are one stream | 0 | $B/tests/mkvectors n=3 >a; $B/tests/mkvectors n=2 window=1 >b; cmp <(vn-view a b) <(cat a b | vn-view) && [ $(vn-view a - <b | tail -1 | cut -f 2) = 4 ]
files that do not fit | 76 | $B/tests/mkvectors n=3 d=4 >a; $B/tests/mkvectors n=2 d=5 >b; vn-view a b
an empty file among several | 65 | $B/tests/mkvectors n=3 >a; : >z; for to in tsv npy arrow; do for f in 'a z' 'z a' 'a z a' 'a a z' 'z z' z; do vn-view --to $to $f >o 2>e; [ $? = 65 ] && grep -q "'z'.*the input is empty" e || exit 1; done; done; vn-view a z
an empty file among several, not strict | 65 | $B/tests/mkvectors n=3 >a; : >z; vn-view --lax a z 2>e; rc=$?; grep -q "'z'" e && exit $rc
the second file is missing | 66 | $B/tests/mkvectors n=3 >a; vn-view a nowhere
a file is missing | 66 | vn-view nowhere
columns in the order asked for | 0 | $B/tests/mkvectors n=1 | vn-view --columns record,id | cmp - <(printf 'record\tid\n0\tread0\n')
a column that is not there | 2 | $B/tests/mkvectors n=1 | vn-view --columns id,nope
columns: a name is empty | 0 | $B/tests/mkvectors n=1 >a; for c in '' , ,id id, id,,record; do vn-view --columns "$c" a >o 2>e; [ $? = 2 ] && [ ! -s o ] && grep -q -e 'names no column' -e 'a name is empty' e || exit 1; done
control characters are escaped, in lists too | 0 | $B/tests/mkvectors n=1 d=1 carry=1 note="$(printf 'a\033[2J\001\177b\303\251')" | vn-view --columns note | tail -1 | cmp - <(printf 'a\\x1b[2J\\x01\\x7fb\303\251\n')
reports show clean names | 0 | f=$(printf 'x\033[2J\ny'); $B/tests/mkvectors n=1 >"$f"; for o in --check --header --stats; do vn-view $o "$f" >o && head -1 o | grep -q 'x \[2J y' && ! grep -q "$(printf '\033')" o || exit 1; done; head -c 900 "$f" >"$f"2; vn-view --check "$f"2 2>e >o; cmp o <(printf 'x [2J y2\tnot ok\n')
a column asked for twice | 76 | $B/tests/mkvectors n=1 | vn-view --columns id,id
an unknown format | 2 | vn-view --to csv </dev/null
an unknown option | 2 | vn-view --frob </dev/null
-o: complete or not at all | 65 | $B/tests/mkvectors n=900 d=64 >a; echo old >t; head -c 100000 a | vn-view -o t; rc=$?; [ "$(cat t)" = old ] && [ -z "$(ls t.*)" ] && exit $rc
-o: the same as standard output | 0 | $B/tests/mkvectors n=90 >a; vn-view -o t a && cmp t <(vn-view a)
-v: a summary | 0 | $B/tests/mkvectors n=90 | vn-view -v 2>&1 >/dev/null | grep -q '^vn-view: 90 records, '
quiet by itself | 0 | $B/tests/mkvectors n=90 | vn-view 2>&1 >/dev/null | cmp - /dev/null
threads are accepted | 0 | $B/tests/mkvectors n=9 | vn-view -t 2 >/dev/null
--no-provenance is accepted | 0 | $B/tests/mkvectors n=9 | vn-view --no-provenance >/dev/null

# ---- matrices ----
npy is the same from a pipe and to a file | 0 | $B/tests/mkvectors n=999 window=500 >a; vn-view --to npy <a | cat >x; vn-view --to npy -o y a && cmp x y && head -c 6 x | cmp - <(printf '\223NUMPY')
npy does not depend on the packing | 0 | cmp <($B/tests/mkvectors n=999 window=1 batch=7 | vn-view --to npy) <($B/tests/mkvectors n=999 window=400 | vn-view --to npy)
npy of a stream without vectors | 76 | $B/tests/mkstream tokens 1 3 1 | vn-view --to npy
npy: a record is missing | 65 | $B/tests/mkvectors n=50 drop=7 | vn-view --to npy
npy: a record comes twice | 65 | $B/tests/mkvectors n=50 again=7 | vn-view --to safetensors
npy: cut | 65 | $B/tests/mkvectors n=50 | head -c 3000 | vn-view --to npy
npy: no place for the rows | 74 | $B/tests/mkvectors n=50 | TMPDIR=/nonexistent vn-view --to npy
npy leaves nothing in TMPDIR | 0 | mkdir t; $B/tests/mkvectors n=5000 d=64 | TMPDIR=t vn-view --to npy >/dev/null && [ -z "$(ls t)" ]
a full disk | 74 | $B/tests/mkvectors n=5000 d=64 | vn-view --to npy >/dev/full
a full disk, as text | 74 | $B/tests/mkvectors n=5000 | vn-view >/dev/full
a full disk, at the end | 74 | $B/tests/mkvectors n=2 | vn-view >/dev/full
a full disk, as Arrow | 74 | $B/tests/mkvectors n=2 | vn-view --to arrow >/dev/full
arrow has its magic at both ends | 0 | $B/tests/mkvectors n=2 | vn-view --to arrow >x; [ "$(head -c 6 x)$(tail -c 6 x)" = ARROW1ARROW1 ]
an Arrow file is no stream | 76 | $B/tests/mkvectors n=2 | vn-view --to arrow | vn-view

# ---- --check ----
check: sound | 0 | $B/tests/mkvectors n=999 window=300 >a; vn-view --check a | cmp - <(printf 'a\tok\tvectors\t16 batches\t999 records\t0 tokens\n')
check: standard input | 0 | $B/tests/mkstream tokens 2 3 1 | vn-view --check | grep -q '^standard input	ok	tokens	2 batches	6 records	[0-9]* tokens$'
check: every kind | 0 | for k in records tokens embeddings vectors scores all; do $B/tests/mkstream $k 2 5 1 $k || exit 1; done; vn-view --check records tokens embeddings vectors scores all | grep -c '	ok	' | grep -qx 6
fuzz | 0 | for k in records tokens embeddings vectors scores all; do $B/tests/mkstream $k 2 5 1 $k || exit 1; done; timeout 300 $B/tests/fuzz_arrow -m 300 *
check: joined | 0 | (vectors() { $B/tests/mkvectors n=$1; }; vectors 100; vectors 30) | vn-view --check | grep -q '	130 records'
check: a record is missing | 65 | $B/tests/mkvectors n=50 drop=7 | vn-view --check
check: the last record is missing: nobody can know | 0 | $B/tests/mkvectors n=50 drop=49 window=1 | vn-view --check
check: a record comes twice | 65 | $B/tests/mkvectors n=50 again=7 | vn-view --check 2>err; rc=$?; grep -q 'record 7 comes twice' err && exit $rc
check: cut | 65 | $B/tests/mkvectors n=50 | head -c 3000 | vn-view --check
check: empty | 65 | vn-view --check </dev/null
check: no stream | 65 | echo hello world | vn-view --check
check: all files are looked at | 65 | $B/tests/mkvectors n=9 >a; head -c 999 a >b; vn-view --check b a c >out 2>err; rc=$?; cmp out <(printf 'b\tnot ok\na\tok\tvectors\t1 batches\t9 records\t0 tokens\nc\tnot ok\n') && [ $(wc -l <err) = 2 ] && exit $rc
check: the first failure counts | 66 | $B/tests/mkvectors n=9 >a; head -c 999 a >b; vn-view --check c b a
check: columns of the kind | 76 | $B/tests/mkvectors n=9 kind=tokens | vn-view --check
check and stats | 2 | vn-view --check --stats </dev/null
header and format | 2 | vn-view --header --to tsv </dev/null
stats and columns | 2 | vn-view --stats --columns id </dev/null

# ---- --header, --stats ----
header | 0 | $B/tests/mkvectors n=3 d=7 pg='"program":"x"' >a; vn-view --header a | cmp - <(printf 'stream\ta\nkind\tvectors\ncolumn\tid\tutf8\ncolumn\trecord\tuint64\ncolumn\tembedding\tfixed_size_list<float32>[7]\tnullable\nvn.pg.0\t{"program":"x"}\n')
header reads no further | 0 | $B/tests/mkvectors n=3 >a; head -c 1200 a >b; vn-view --header b | grep -x 'kind	vectors'
stats | 0 | $B/tests/mkvectors n=10 d=4 null=2 | vn-view --stats | grep -qx 'embedding	162	5	.	.	.'
stats of a cut stream | 65 | $B/tests/mkvectors n=50 | head -c 3000 | vn-view --stats

# ---- --lax ----
lax: no end | 0 | $B/tests/mkvectors n=9 | head -c -8 | vn-view --lax | wc -l | grep -qx 10
not lax: no end | 65 | $B/tests/mkvectors n=9 | head -c -8 | vn-view
lax: damage is damage | 65 | $B/tests/mkvectors n=9 | head -c -200 | vn-view --lax
lax: numbers of joined foreign streams stay | 0 | (vectors() { $B/tests/mkvectors kind=other window=1 n=$1; }; vectors 3; vectors 2) | vn-view --lax --columns record | tr '\n' ' ' | grep -qx 'record 0 1 2 0 1 '
lax: check | 0 | $B/tests/mkvectors n=9 | head -c -8 | vn-view --lax --check | grep -q '	9 records'
