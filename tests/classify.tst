# vn-classify on made-up vectors: NAME | STATUS | COMMAND, see run.sh

# ---- the table ----
ids and numbers come out in input order | 0 | . $T/fixture.sh; make_head; vectors n=5000 window=700 batch=64 | vn-classify -m head >t && cmp <(cut -f 1,2 t) <(printf 'id\trecord\n'; seq 0 4999 | sed 's/.*/read&\t&/')
the result does not depend on packing | 0 | . $T/fixture.sh; make_head; vectors n=999 window=1 batch=7 null=10 | vn-classify -m head >a; vectors n=999 window=400 batch=64 null=10 | vn-classify -m head >b; cmp a b && [ $(wc -l <a) = 1000 ]
columns | 0 | . $T/fixture.sh; make_head; vectors status=1 carry=1 | vn-classify -m head >c; head -n 1 c | cmp - <(printf 'id\trecord\tlabel\tscore_others\tscore_virus\tstatus\tsource\tnote\n')
columns of three classes | 0 | . $T/fixture.sh; make_head --classes a,b,c; vectors | vn-classify -m head >c; head -n 1 c | cmp - <(printf 'id\trecord\tlabel\tscore_a\tscore_b\tscore_c\tstatus\n')
scores sum to 1, the label is the highest | 0 | . $T/fixture.sh; make_head --classes a,b,c; vectors n=500 | vn-classify -m head | awk -F '\t' 'NR > 1 { s = $4 + $5 + $6; if (s < 0.999999 || s > 1.000001) exit 1; l = $4 >= $5 && $4 >= $6 ? "a" : $5 >= $6 ? "b" : "c"; if (l != $3) exit 2; seen[l]++ } END { exit !(seen["a"] && seen["b"] && seen["c"] && NR == 501) }'
no vector: dots and the status that came | 0 | . $T/fixture.sh; make_head; vectors n=8 null=2 status=1 | vn-classify -m head | cut -f 1,3-6 | grep -v 'ok$' | cmp - <(printf 'id\tlabel\tscore_others\tscore_virus\tstatus\nread1\t.\t.\t.\tempty\nread3\t.\t.\t.\tempty\nread5\t.\t.\t.\tempty\nread7\t.\t.\t.\tempty\n')
no vector, even records | 0 | . $T/fixture.sh; make_head; vectors n=9 null=3 status=1 | vn-classify -m head | grep -c "^read[28]	.*	\.	\.	\.	too long$" | grep -x >/dev/null 2
no status column: empty | 0 | . $T/fixture.sh; make_head; vectors n=9 null=3 | vn-classify -m head | grep -c "	\.	\.	\.	empty$" | grep -x >/dev/null 3
not finite | 0 | . $T/fixture.sh; make_head; vectors n=9 bad=4 | vn-classify -m head | grep -v 'ok$' | tail -1 | cmp - <(printf 'read4\t4\t.\t.\t.\tnot finite\n')
carried values are escaped, absent ones are dots | 0 | . $T/fixture.sh; make_head; vectors n=7 carry=1 | vn-classify -m head | cut -f 7,8 | cmp - <(printf 'source\tnote\n0\ta\\tb\\\\0\n10\tnote 1\n20\t.\n30\tnote 3\n40\tnote 4\n50\t.\n60\tnote 6\n')
no records: a header | 0 | . $T/fixture.sh; make_head; vectors n=0 | vn-classify -m head | cmp - <(printf 'id\trecord\tlabel\tscore_others\tscore_virus\tstatus\n')
two streams in a row | 0 | . $T/fixture.sh; make_head; (vectors n=100; vectors n=50) | vn-classify -m head >t; [ $(wc -l <t) = 151 ] && tail -1 t | cut -f 1,2 | grep -x >/dev/null 'read49	149'
a head in $VN_MODELS | 0 | . $T/fixture.sh; mkdir m; make_head; mv head m/h1; vectors | VN_MODELS=m vn-classify -m h1 >/dev/null
any number of threads | 0 | . $T/fixture.sh; make_head; vectors n=5000 batch=64 >v; vn-classify -m head -t 1 v >a; for t in 2 3 20; do vn-classify -m head -t $t v | cmp - a || exit; done
a batch of very many rows | 0 | . $T/fixture.sh; make_head; vectors n=300000 batch=300000 >v; vn-classify -m head -t 1 v >a; vectors n=300000 batch=5000 | vn-classify -m head -t 3 >b; vn-classify -m head -t 3 v >c; [ $(wc -l <a) = 300001 ] && cmp a b && cmp a c
damage is told after what came before it, and its batch | 65 | . $T/fixture.sh; make_head; vectors n=1000 batch=10 >v; for t in 1 3; do head -c $(($(stat -c %s v) / 2)) v | vn-classify -m head -t $t >o$t 2>e$t; rc=$?; [ $rc = 65 ] || exit 1; done; cmp o1 o3 && cmp e1 e3 && [ $(wc -l <o1) -gt 400 ] && exit $rc

# ---- --threshold ----
threshold 0 and 1 | 0 | . $T/fixture.sh; make_head; vectors n=50 >v; [ $(vn-classify -m head --threshold 0 v | cut -f 3 | grep -cx virus) = 50 ] && [ $(vn-classify -m head --threshold 1 v | cut -f 3 | grep -cx others) = 50 ]
threshold: from this score up, as printed | 0 | . $T/fixture.sh; make_head; vectors n=99 >v; x=$(vn-classify -m head v | tail -n +2 | cut -f 5 | sort -g | sed -n 50p); vn-classify -m head --threshold $x v | cut -f 3 | grep -cx virus | grep -x >/dev/null 50
threshold is for two classes | 2 | . $T/fixture.sh; make_head --classes a,b,c; vectors | vn-classify -m head --threshold 0.5
threshold out of range | 2 | . $T/fixture.sh; make_head; vectors | vn-classify -m head --threshold 1.5
threshold no number | 2 | . $T/fixture.sh; make_head; vectors | vn-classify -m head --threshold 0,5
threshold nan | 2 | . $T/fixture.sh; make_head; vectors | vn-classify -m head --threshold nan

# ---- --format ----
format stream: a scores stream, whole | 0 | . $T/fixture.sh; make_head; vectors n=300 null=7 status=1 carry=1 | vn-classify -m head --format stream >s && vn-view --check s && vn-view --header s | grep >/dev/null scores
format stream has the rows of the table | 0 | . $T/fixture.sh; make_head; vectors n=300 null=7 status=1 carry=1 >v; cmp <(vn-classify -m head v) <(vn-classify -m head --format stream v | vn-view --to tsv)
format tsv is the default | 0 | . $T/fixture.sh; make_head; vectors >v; cmp <(vn-classify -m head v) <(vn-classify -m head --format tsv v)
format: another word | 2 | . $T/fixture.sh; make_head; vectors | vn-classify -m head --format csv
provenance names the head | 0 | . $T/fixture.sh; make_head; sum=$(sha256sum <head/model.safetensors | cut -c 1-64); vectors | vn-classify -m head --format stream >s; vn-view --header s | grep >/dev/null "$sum"
provenance without arguments is the same for any file name | 0 | . $T/fixture.sh; make_head; vectors >v; cp v w; cmp <(vn-classify -m head --format stream --no-provenance v) <(vn-classify -m head --format stream --no-provenance w)

# ---- head against stream ----
wrong width | 76 | . $T/fixture.sh; make_head; vectors d=9 | vn-classify -m head
head wants facts that the stream has | 0 | . $T/fixture.sh; make_head --inputs '[{"width": 8, "model": "m", "layer": 3, "pool": "mean"}]'; vectors pg='"program":"x","model":"m","layer":3,"pool":"mean"' | vn-classify -m head >/dev/null
another model | 76 | . $T/fixture.sh; make_head --inputs '[{"width": 8, "model": "m"}]'; vectors pg='"program":"x","model":"n"' | vn-classify -m head
another layer | 76 | . $T/fixture.sh; make_head --inputs '[{"width": 8, "layer": 3}]'; vectors pg='"program":"x","layer":4' | vn-classify -m head
chunks of another length | 76 | . $T/fixture.sh; make_head; sed -i '1s/$/"chunk": 500,/' head/config.json; for n in 500 300; do vectors pg="\"program\":\"vn-orf\",\"chunk\":$n" >$n; done; vectors d=3 pg='"program":"vn-orf","chunk":300' >b; vn-classify -m head 500 >o && vectors | vn-classify -m head >o && vn-classify -m head 300 2>e >o; rc=$?; grep -q "was trained on chunks of 500, the stream's have 300" e && exit $rc
chunks of another length, in the second place | 76 | . $T/fixture.sh; make_head --input 11 --inputs '[{"width": 8}, {"width": 3}]'; sed -i '1s/$/"chunk": 500,/' head/config.json; vectors pg='"program":"vn-orf","chunk":500' >a; for n in 500 300; do vectors d=3 seed=2 pg="\"program\":\"vn-orf\",\"chunk\":$n" >$n; done; vn-join a 500 | vn-classify -m head >o && vn-join a 300 | vn-classify -m head 2>e >o; rc=$?; grep -q "chunks of 500, the stream's have 300" e && exit $rc
a head whose chunk is no number | 65 | . $T/fixture.sh; make_head; sed -i '1s/$/"chunk": "500",/' head/config.json; vectors | vn-classify -m head
another pooling | 76 | . $T/fixture.sh; make_head --inputs '[{"width": 8, "pool": "mean"}]'; vectors pg='"program":"x","pool":"cls"' | vn-classify -m head
another hash | 76 | . $T/fixture.sh; make_head --inputs '[{"width": 8, "sha256": "ab"}]'; vectors pg='"program":"x","sha256":"cd"' | vn-classify -m head
the stream does not say | 76 | . $T/fixture.sh; make_head --inputs '[{"width": 8, "model": "m"}]'; vectors | vn-classify -m head
nothing is written on a mismatch | 0 | . $T/fixture.sh; make_head; vectors d=9 | vn-classify -m head -o t; [ $? = 76 ] && [ ! -e t ]
the message says expected and found | 0 | . $T/fixture.sh; make_head; vectors d=9 >v; vn-classify -m head v 2>e; grep -q "width 8.*width 9" e
another kind | 76 | . $T/fixture.sh; make_head; vectors kind=scores | vn-classify -m head
another kind, no head | 76 | vn-pack --vocab esm2 </dev/null 2>/dev/null >t; vn-classify t 2>e; rc=$?; grep -qx "vn-classify: 't': a stream of tokens, expected vectors or scores" e && exit $rc
a column in the way | 76 | . $T/fixture.sh; make_head; vectors add=label | vn-classify -m head
a score column in the way | 76 | . $T/fixture.sh; make_head; vectors add=score_virus | vn-classify -m head

# ---- heads of several inputs, on joined streams
two inputs | 0 | . $T/fixture.sh; make_two_inputs; vn-join a b | vn-classify -m head >t && [ $(wc -l <t) = 101 ]
two inputs for a head of one | 76 | . $T/fixture.sh; make_two_inputs; make_head --input 11; vn-join a b | vn-classify -m head 2>e; rc=$?; grep -q "wants 1 vector side by side, the stream has 2" e && exit $rc
two inputs in the other order | 76 | . $T/fixture.sh; make_two_inputs; vn-join b a | vn-classify -m head 2>e; rc=$?; grep -q "wants a vector of width 8 in place 1, the stream has one of width 3 there" e && exit $rc
two inputs, one vector | 76 | . $T/fixture.sh; make_two_inputs; vn-classify -m head a 2>e; rc=$?; grep -q "wants 2 vectors side by side, the stream has 1" e && exit $rc
two inputs, another model in the second place | 76 | . $T/fixture.sh; make_two_inputs; vectors d=3 pg='"program":"x","model":"c"' >c; vn-join a c | vn-classify -m head 2>e; rc=$?; grep -q "wants vectors of model 'b' in place 2, the stream has model 'c'" e && exit $rc
two inputs, the facts of one do not count for the other | 76 | . $T/fixture.sh; make_two_inputs; vectors d=3 >c; vn-join a c | vn-classify -m head 2>e; rc=$?; grep -q "in place 2, the stream does not say its model" e && exit $rc

# ---- streams of scores, without a head
scores again are the same scores | 0 | . $T/fixture.sh; make_head; vectors n=300 null=7 status=1 carry=1 | vn-classify -m head --format stream >s; cmp <(vn-view --to tsv s) <(vn-classify s) && cmp <(vn-view --to tsv s) <(vn-classify --format stream s | vn-view --to tsv)
scores with another threshold | 0 | . $T/fixture.sh; make_scores | $B/tests/mkscores | vn-classify --threshold 0.25 | cut -f 3 | cmp - <(printf 'label\nvirus\nvirus\n.\nothers\nvirus\nvirus\n.\nvirus\n.\n')
scores with a head | 76 | . $T/fixture.sh; make_head; make_scores | $B/tests/mkscores | vn-classify -m head
scores of three classes, threshold | 2 | . $T/fixture.sh; make_scores | $B/tests/mkscores classes=a,b,c | vn-classify --threshold 0.5

# ---- --by
by chunk | 0 | . $T/fixture.sh; make_scores | $B/tests/mkscores | vn-classify --by chunk
by source | 0 | . $T/fixture.sh; make_scores | $B/tests/mkscores | vn-classify --by source
by chunk, threshold | 0 | . $T/fixture.sh; make_scores | $B/tests/mkscores | vn-classify --by chunk --threshold 0.6 | cut -f 1,3 | cmp - <(printf 'id\tlabel\na_chunk_1\tvirus\na_chunk_2\t.\na_chunk_3\tothers\na_chunk_4\tothers\na_chunk_5\tothers\nb_chunk_1\tothers\nc_chunk_1\t.\n')
by source, threshold | 0 | . $T/fixture.sh; make_scores | $B/tests/mkscores | vn-classify --by source --threshold 0.95 | cut -f 1,3,8- | cmp - <(printf 'id\tlabel\tend\tchunks\tcalled\tintervals\na\tothers\t2000\t5\t4\t0-500,801-2000\nb\tothers\t300\t1\t1\t0-300\nc\t.\t2\t1\t0\t.\n')
by source, the threshold of the head that made the scores | 0 | . $T/fixture.sh; make_scores | $B/tests/mkscores pg='"program":"x","head_threshold":0.95' >s; cmp <(vn-classify --by source s) <(vn-classify --by source --threshold 0.95 s) && ! cmp -s <(vn-classify --by source s) <(vn-classify --by source --threshold 0.5 s)
a threshold of the head that is none | 0 | . $T/fixture.sh; for x in 0 -1 1.5 '"a"' null true '[0.5]' '""'; do make_scores | $B/tests/mkscores pg='"program":"x","head_threshold":'$x | vn-classify >t 2>e; [ $? = 76 ] && [ ! -s t ] && grep -q "its head has the threshold" e || { echo $x; exit 1; }; done
a threshold of the head for three classes | 76 | $B/tests/mkscores classes=a,b,c pg='"program":"x","head_threshold":0.5' </dev/null | vn-classify
three classes | 0 | . $T/fixture.sh; make_scores | sed 's/\.$/.\t./; s/[0-9]$/&\t0.5/' | $B/tests/mkscores classes=x,y,z | vn-classify --by chunk | cut -f 3 | cmp - <(printf 'label\ny\n.\nx\nz\nz\nz\n.\n')
packing makes no difference to --by | 0 | . $T/fixture.sh; make_head --input 32; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; records 200 >r.vn; for w in 1 50 9999; do vn-pack --vocab esm2 --window $w --max-tokens 300 r.vn | vn-embed -m m --device cpu --precision fp32 --pool mean >v; for by in frame chunk source; do vn-classify -m head --by $by v >$by.$w; done; done; for by in frame chunk source; do cmp $by.1 $by.50 && cmp $by.1 $by.9999 || exit 1; done; [ $(wc -l <source.1) = 201 ]
by source and by frame count alike | 0 | . $T/fixture.sh; make_head --input 32; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; records 90 | vn-pack --vocab esm2 | vn-embed -m m --device cpu --precision fp32 --pool mean | vn-classify -m head --format stream >s; vn-classify --by chunk s >c; vn-classify --by source s >t; [ $(tail -n +2 c | wc -l) = $(vn-view --to tsv --columns source,chunk s | tail -n +2 | sort -u | wc -l) ] && awk -F '\t' 'NR == FNR { if (FNR > 1) n[$7, $3]++; next } FNR > 1 && $3 != "." && n[FNR - 2, $3] != $10 { exit 1 }' c t && vn-classify --by source -v s 2>e >/dev/null && grep -q ' records, 90 sources; labels' e
by, as a stream | 0 | . $T/fixture.sh; make_scores | $B/tests/mkscores >s; for by in chunk source; do vn-classify --by $by --format stream s >t; vn-view --check t && vn-view --to tsv t | cmp - <(vn-classify --by $by s) || exit 1; done
two streams in a row, by source | 0 | . $T/fixture.sh; make_scores | $B/tests/mkscores >s; cat s s | vn-classify --by source | cut -f 1,2 | cmp - <(printf 'id\trecord\na\t0\nb\t1\nc\t2\na\t3\nb\t4\nc\t5\n')
by source, records without an id | 0 | . $T/fixture.sh; make_head --input 32; $B/tests/mkmodel --layers 1 --width 32 --heads 2 m; printf '>\nATGGCA\n> text\n\n>c\nATGAAA\n' >x; vn-orf x | vn-pack --vocab esm2 | vn-embed -m m --device cpu --pool mean | vn-classify -m head --by source | cut -f 1,2 | cmp - <(printf 'id\trecord\n\t0\n\t1\nc\t2\n') && vn-pack --vocab esm2 x | vn-view --columns id,record | sort | cmp - <(printf '\t0\n\t1\nc\t2\nid\trecord\n') && vn-orf x | vn-view --columns id | sed -n 's/[FR][1-3]$//; 1!p' | uniq | cmp - <(printf '_chunk_1\nc_chunk_1\n')
by, no records | 0 | $B/tests/mkscores </dev/null >s; vn-classify --by source s | cmp - <(printf 'id\trecord\tlabel\tscore_others\tscore_virus\tstatus\tstart\tend\tchunks\tcalled\tintervals\n')
a source is missing | 65 | . $T/fixture.sh; make_scores | grep -v ^b | $B/tests/mkscores | vn-classify --by source 2>e; rc=$?; grep -q 'source 2 comes where source 1 was expected' e && exit $rc
a chunk is missing | 65 | . $T/fixture.sh; make_scores | grep -v chunk_4 | $B/tests/mkscores | vn-classify --by chunk 2>e; rc=$?; grep -q 'chunk 5 of source 0 comes where chunk 4 was expected' e && exit $rc
by without the columns | 76 | . $T/fixture.sh; make_head; vectors | vn-classify -m head --by source 2>e; rc=$?; grep -q "without the column 'source'" e && exit $rc
by: another word | 2 | vn-classify -m h --by read

# ---- --format virnucpro
virnucpro: the published files, from their scores | 0 | d=$VN_TEST_DATA/virnucpro/reference_vanilla_output; [ -e $d ] || { echo "skip: no reference files"; exit 0; }; tail -n +2 $d/prediction_results.txt | awk -F '\t' '{ s = $1; sub(/.*seq_/, "", s); sub(/_.*/, "", s); print $1, s - 1, 1, -substr($1, length($1)), 0, 500, "ok", $3, $4 }' OFS='\t' | $B/tests/mkscores | vn-classify --format virnucpro -o out && [ "$(ls out)" = "$(printf 'prediction_results.txt\nprediction_results_highestscore.csv')" ] && cmp out/prediction_results.txt $d/prediction_results.txt && cmp out/prediction_results_highestscore.csv $d/prediction_results_highestscore.csv
virnucpro a tie | 0 | . $T/fixture.sh; make_scores | $B/tests/mkscores | vn-classify --format virnucpro -o out; cat out/*
virnucpro: sorted by id, chunks of one name are one | 0 | printf 'z_chunk_1F1\t0\t1\t1\t0\t9\tok\t0.75\t0.25\nz_chunk_10F1\t1\t1\t1\t0\t9\tok\t0.25\t0.75\nZF1\t2\t1\t1\t0\t9\tok\t0.25\t0.75\nz_chunk_1F2\t3\t1\t1\t0\t9\tok\t0.125\t0.875\n' | $B/tests/mkscores | vn-classify --format virnucpro -o out && cmp out/prediction_results_highestscore.csv <(printf 'Modified_ID\tIs_Virus\nZ\tTrue\nz_chunk_1\tTrue\nz_chunk_10\tTrue\n')
virnucpro: numbers as numpy prints them | 0 | printf 'a1F1\t0\t1\t1\t0\t9\tok\t1\t0\na1F2\t0\t1\t1\t0\t9\tok\t0.0001\t0.00001\na1F3\t0\t1\t1\t0\t9\tok\t0.00012345679\t0.1\na1R1\t0\t1\t1\t0\t9\tok\t1.5e-7\t1e-45\n' | $B/tests/mkscores | vn-classify --format virnucpro -o out && cut -f 3,4 out/prediction_results.txt | cmp - <(printf 'score1\tscore2\n1.0\t0.0\n1e-04\t1e-05\n0.00012345679\t0.1\n1.5e-07\t1e-45\n')
virnucpro: no directory named | 2 | . $T/fixture.sh; make_scores | $B/tests/mkscores | vn-classify --format virnucpro
virnucpro: with --by | 2 | vn-classify --format virnucpro --by chunk -o x
virnucpro: with --threshold | 2 | vn-classify --format virnucpro --threshold 0.5 -o x
virnucpro: three classes | 76 | $B/tests/mkscores classes=a,b,c </dev/null | vn-classify --format virnucpro -o x; rc=$?; [ ! -e x ] && exit $rc
virnucpro: a failure leaves nothing | 65 | . $T/fixture.sh; make_scores | $B/tests/mkscores | head -c -9 | vn-classify --format virnucpro -o x; rc=$?; [ ! -e x ] && exit $rc
virnucpro: no place for it | 74 | . $T/fixture.sh; make_scores | $B/tests/mkscores | vn-classify --format virnucpro -o a/b
virnucpro: a file in the way | 74 | . $T/fixture.sh; echo x >x; make_scores | $B/tests/mkscores | vn-classify --format virnucpro -o x

# ---- rows that do not add up ----
a record is missing | 65 | . $T/fixture.sh; make_head; vectors n=300 drop=77 | vn-classify -m head
the last record of a window is missing, at the end too | 65 | . $T/fixture.sh; make_head; vectors n=300 window=1 drop=0 | vn-classify -m head
a record comes twice | 65 | . $T/fixture.sh; make_head; vectors n=300 again=77 | vn-classify -m head
a record comes twice, late | 65 | . $T/fixture.sh; make_head; vectors n=300 window=1 batch=1 again=299 | vn-classify -m head
no file then | 0 | . $T/fixture.sh; make_head; vectors n=300 drop=77 | vn-classify -m head -o t; [ $? = 65 ] && [ ! -e t ]
max-waiting: enough | 0 | . $T/fixture.sh; make_head; vectors n=1000 window=200 batch=10 | vn-classify -m head --max-waiting 200 >/dev/null
max-waiting: too few | 65 | . $T/fixture.sh; make_head; vectors n=1000 window=500 batch=10 | vn-classify -m head --max-waiting 20
max-waiting: the message helps | 0 | . $T/fixture.sh; make_head; vectors n=1000 window=500 batch=10 >v; vn-classify -m head --max-waiting 20 v 2>e; grep -q "more than 20 rows would wait: it is lost, or vn-pack's --window was more than half of that" e
control characters are escaped | 0 | . $T/fixture.sh; make_head; vectors n=1 carry=1 "$(printf 'note=\033[1m')" | vn-classify -m head | tail -1 | cut -f 8 | cmp - <(printf '\\x1b[1m\n')
max-waiting 0 | 2 | . $T/fixture.sh; make_head; vectors | vn-classify -m head --max-waiting 0
max-waiting no number | 2 | . $T/fixture.sh; make_head; vectors | vn-classify -m head --max-waiting many

# ---- the command line ----
no such head | 66 | . $T/fixture.sh; vectors | vn-classify -m nowhere
a head that is no head | 65 | mkdir h; echo '{}' >h/config.json; echo x >h/model.safetensors; vn-classify -m h </dev/null
a language model for a head | 65 | $B/tests/mkmodel m; vn-classify -m m </dev/null 2>e; rc=$?; grep -qF "member 'model_type' is \"esm\", expected \"vn-head\"" e && exit $rc
two files | 2 | vn-classify -m h a b
unknown option | 2 | vn-classify -m h --frames
file and standard input are the same | 0 | . $T/fixture.sh; make_head; vectors >v; cmp <(vn-classify -m head v) <(vn-classify --model head - <v) && cmp <(vn-classify -m head v) <(vn-classify -m head <v)
output | 0 | . $T/fixture.sh; make_head; vectors >v; vn-classify -m head -o a v && vn-classify -m head --output=b v && vn-classify -m head v | cmp - a && cmp a b && [ "$(ls)" = "$(printf 'a\nb\nhead\nv')" ]
silence | 0 | . $T/fixture.sh; make_head; vectors | vn-classify -m head 2>e >/dev/null && [ ! -s e ]
verbose: labels and statuses add up | 0 | . $T/fixture.sh; make_head; vectors n=30 null=3 status=1 | vn-classify -m head -v 2>e >/dev/null; grep -Eq '^vn-classify: 30 records; labels: (others [0-9]+, )?virus [0-9]+, no call 10; status: .*ok 20.* s, [0-9]+ records/s, peak [0-9]+ MiB$' e && [ $(wc -l <e) = 1 ]
quiet | 0 | . $T/fixture.sh; make_head; vectors | vn-classify -m head -v -q 2>e >/dev/null && [ ! -s e ]
help | 0 | vn-classify --help | grep >/dev/null -- '--threshold' && vn-classify -h | grep >/dev/null -- '--max-waiting'
version | 0 | vn-classify --version | grep -x >/dev/null 'vn-classify 0\.1\.0'
