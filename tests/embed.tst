# vn-embed and vn-pool: NAME | STATUS | COMMAND, see run.sh

# ---- rows and vectors ----
every record has a row, in the order it came | 0 | . $T/embed.sh; some | vn-embed -m m | rows | cut -f 1-5 | cmp - <(printf 'r%d\t%d\t%s\tfloat32\t%d\n' 0 0 ok 3 1 1 ok 30 2 2 empty 0 3 3 ok 17 4 4 ok 64 5 5 ok 5 6 6 ok 120)
vectors: null where there is nothing to embed | 0 | . $T/embed.sh; some | vn-embed -m m --pool mean | rows | cut -f 1,3- | grep null | cmp - <(printf 'r2\tempty\tfloat32\t1\tnull\n')
batches stay as they were | 0 | . $T/embed.sh; some | vn-embed -m m --pool mean | rows --batches | cmp - <(printf '4\n3\n')
a large batch leaves in parts | 0 | . $T/embed.sh; mktokens 200000 200000 200000 200000 3 | vn-embed -m m --layer 0 --max-tokens 300000 | rows --batches | cmp - <(printf '3\n2\n')
no records | 0 | . $T/embed.sh; mktokens | vn-embed -m m | vn-pool | rows | cmp - /dev/null
only empty records | 0 | . $T/embed.sh; mktokens - - - | vn-embed -m m | vn-pool | rows | grep -c null | grep -x 3
carried columns come along | 0 | . $T/embed.sh; some | vn-embed -m m | grep -a sample
two streams in a row | 0 | . $T/embed.sh; (some; some) | vn-embed -m m | rows | tail -1 | cut -f 1,2 | grep -x 'r6	13'
one and two residues | 0 | . $T/embed.sh; mktokens 0,20,2 0,20,5,2 | vn-embed -m m | rows | cut -f 5 | cmp - <(printf '3\n4\n')
silent | 0 | . $T/embed.sh; some | vn-embed -m m 2>err | vn-pool 2>>err >/dev/null; [ ! -s err ]

# ---- a record's result depends on the record ----
threads change nothing | 0 | . $T/embed.sh; some >t; for p in fp32 bf16; do vn-embed -m m --no-provenance --precision $p -t 1 t >a; vn-embed -m m --no-provenance --precision $p -t 2 t >b; cmp a b || exit 1; done
a permutation changes nothing | 0 | . $T/embed.sh; fasta >a.fa; paste - - <a.fa | sort -k 2 | tr '\t' '\n' >b.fa; for f in a b; do vn-pack --vocab esm2 $f.fa | vn-embed -m m >$f.vn; by_id $f.vn >$f; done; cmp a b && [ $(sort -u a | wc -l) = 60 ]
the packing changes nothing | 0 | . $T/embed.sh; fasta >a.fa; for n in 64 100 500 4096 65536; do vn-pack --vocab esm2 --max-tokens $n a.fa | vn-embed -m m | tee $n.vn | by_record - >$n; cmp 64 $n || exit 1; done; [ $(wc -l <64) = 60 ] && ! cmp -s <(rows --batches 64.vn) <(rows --batches 500.vn)
the packing changes nothing in bf16 | 0 | . $T/embed.sh; fasta >a.fa; for n in 64 500 65536; do vn-pack --vocab esm2 --max-tokens $n a.fa | vn-embed -m m --precision bf16 --pool mean | by_record - >$n; cmp 64 $n || exit 1; done
alone or together | 0 | . $T/embed.sh; fasta >a.fa; vn-pack --vocab esm2 a.fa | vn-embed -m m --pool mean | by_record - | cut -f 1,3- >all; paste - - <a.fa | sed -n 1,9p | while IFS='	' read -r id s; do printf '%s\n%s\n' "$id" "$s" | vn-pack --vocab esm2 | vn-embed -m m --pool mean | rows | cut -f 1,3-; done | cmp - <(head -9 all)

# ---- windows of long records ----
windows: vectors are those of the windows, put together | 0 | . $T/embed.sh; . $T/windows.sh; fasta >a.fa; for p in mean mean-all cls max; do pieces 30 <a.fa | vn-pack --vocab esm2 | vn-embed -m m --pool $p | vectors >w; fasta | vn-pack -q --vocab esm2 --max-length 30 --long window | vn-embed -m m --pool $p | vectors >v; [ $(wc -l <v) = 60 ] && merge 30 $p a.fa w | near v || exit 1; done
windows: the packing and the threads change nothing | 0 | . $T/embed.sh; fasta >a.fa; for n in 40 64 500 65536; do vn-pack -q --vocab esm2 --max-tokens $n --max-length 30 --long window a.fa | vn-embed -m m --pool mean -t $((n % 3 + 1)) | by_record - >$n; cmp 40 $n || exit 1; done; cut -f 3 40 | sort | uniq -c | tr -s ' ' | cmp - <(printf ' 12 ok\n 48 windowed\n')
windows: records that are not long are as ever | 0 | . $T/embed.sh; fasta >a.fa; vn-pack -q --vocab esm2 --max-length 90 --long window a.fa | vn-embed -m m --pool mean | rows | grep '	ok	' | sort >a; vn-pack -q --vocab esm2 a.fa | vn-embed -m m --pool mean | rows | sort | comm -12 - a | cmp - a && [ $(wc -l <a) -gt 30 ]
windows: in a large batch that leaves in parts | 0 | . $T/embed.sh; (echo '>a'; yes MKTAYIAKQR | head -n 60000; echo '>b'; echo MKTAYIAKQR; echo '>c'; yes MKTAYIAKQR | head -n 2) >x.fa; vn-pack -q --vocab esm2 --max-tokens 2M --max-length 4 --long window x.fa >t; vn-embed -m m --layer 0 --pool mean t >v && [ "$(vn-view --check t | cut -f 4)" = '1 batches' ] && [ "$(rows --batches v | wc -l)" -gt 1 ] && rows v | cut -f 1-3 | sort | cmp - <(printf 'a\t0\twindowed\nb\t1\twindowed\nc\t2\twindowed\n')
windows: token rows are refused | 76 | . $T/embed.sh; fasta | vn-pack -q --vocab esm2 --max-length 30 --long window | vn-embed -m m 2>err; rc=$?; grep -q 'pool them' err && exit $rc
windows: one that is too long for the model's memory | 0 | . $T/embed.sh; printf '>a\nMKTAYIAKQRMKT\n>b\nMK\n>c\nMKTAYIAKQRM\n' | vn-pack -q --vocab esm2 --max-length 10 --long window | vn-embed -q -m m --pool mean --max-tokens 11 | by_record - | cut -f 1,3,6 >x; grep -c 'too long	null' x | grep -x 2 && grep -q '^b	ok	' x
windows: one that is not finite | 0 | . $T/embed.sh; poison; printf '>a\nMKTAYIAKQRMKTW\n>b\nMKTAYIAKQRMKTA\n' | vn-pack -q --vocab esm2 --max-length 10 --long window | vn-embed -q -m m --pool mean | by_record - | cut -f 1,3,6 >x; grep -q '^a	not finite	null' x && grep -q '^b	windowed	[^n]' x
windows: called, as whole records are | 0 | . $T/embed.sh; mkmodel --head --input 32 head; fasta | vn-pack -q --vocab esm2 --max-length 30 --long window | vn-embed -m m --pool mean | vn-classify -m head >calls && [ $(grep -c '	windowed$' calls) = 48 ] && ! grep '	\.	' calls

# ---- --pool, and vn-pool ----
fused and vn-pool give the same bytes | 0 | . $T/embed.sh; some >t; vn-embed -m m t >e; for p in auto mean mean-all cls max; do cmp <(vn-embed -m m --pool $p t | rows) <(vn-pool --pool $p e | rows) || exit 1; done
fused and vn-pool in bf16 | 0 | . $T/embed.sh; some >t; vn-embed -m m --precision bf16 t >e; for p in mean max; do cmp <(vn-embed -m m --precision bf16 --pool $p t | rows) <(vn-pool --pool $p e | rows) || exit 1; done
pool: the rules differ | 0 | . $T/embed.sh; some >t; for p in mean mean-all cls max; do vn-embed -m m --pool $p t | rows | sed -n 2p | cut -f 6; done | sort -u | wc -l | grep -x 4
pool auto is the mean over residues | 0 | . $T/embed.sh; some >t; cmp <(vn-embed -m m --pool auto t | rows) <(vn-embed -m m --pool mean t | rows) && cmp <(vn-embed -m m t | vn-pool | rows) <(vn-embed -m m --pool mean t | rows)
pool none is the default | 0 | . $T/embed.sh; some >t; cmp <(vn-embed -m m --no-provenance t) <(vn-embed -m m --no-provenance --pool none t)
pool: another word | 2 | . $T/embed.sh; some | vn-embed -m m --pool median
vn-pool: another word | 2 | . $T/embed.sh; some | vn-embed -m m | vn-pool --pool median
vn-pool: none is no rule | 2 | . $T/embed.sh; some | vn-embed -m m | vn-pool --pool none
vn-pool of half rows | 0 | . $T/embed.sh; some | vn-embed -m m --dtype f16 | vn-pool | rows | cut -f 4 | sort -u | grep -x float32
vn-pool auto wants a known vocabulary | 76 | . $T/embed.sh; some --vocabulary none --kind embeddings --rows | vn-pool
vn-pool with a rule takes any vocabulary | 0 | . $T/embed.sh; some --vocabulary none --kind embeddings --rows | vn-pool --pool mean | rows | wc -l | grep -x 7
vn-pool wants embeddings | 76 | . $T/embed.sh; some | vn-pool
vn-pool wants the column | 76 | . $T/embed.sh; some --kind embeddings | vn-pool
vn-pool keeps statuses | 0 | . $T/embed.sh; mktokens --status 5:odd - | vn-embed -m m | vn-pool | rows | cut -f 3 | cmp - <(printf 'odd\nempty\n')

# ---- --dtype ----
dtype f16 | 0 | . $T/embed.sh; some | vn-embed -m m --dtype f16 | rows | cut -f 4 | sort -u | grep -x float16
dtype f32 is the default | 0 | . $T/embed.sh; some >t; cmp <(vn-embed -m m --no-provenance t) <(vn-embed -m m --no-provenance --dtype f32 t)
dtype f16 is not for vectors | 2 | . $T/embed.sh; some | vn-embed -m m --dtype f16 --pool mean
dtype: another word | 2 | . $T/embed.sh; some | vn-embed -m m --dtype bf16

# ---- --layer ----
layers differ, the last is the default | 0 | . $T/embed.sh; some >t; for l in 0 1 2; do vn-embed -m m --layer $l t | rows >$l; done; ! cmp -s 0 1 && ! cmp -s 1 2 && vn-embed -m m t | rows | cmp - 2
layer beyond the last | 2 | . $T/embed.sh; some | vn-embed -m m --layer 3
layer below 0 | 2 | . $T/embed.sh; some | vn-embed -m m --layer -1
layer: no number | 2 | . $T/embed.sh; some | vn-embed -m m --layer last

# ---- --device, --precision ----
device cpu and auto | 0 | . $T/embed.sh; some | vn-embed -m m --device cpu >/dev/null && some | vn-embed -m m --device auto >/dev/null
device reference | 0 | . $T/embed.sh; some | vn-embed -m m --device reference -v 2>&1 >/dev/null | grep "device 'cpu (reference)'"
device that is not there | 69 | . $T/embed.sh; some | vn-embed -m m --device cuda:99
a device twice | 2 | . $T/embed.sh; some | vn-embed -m m --device cuda:0,1,0 2>err; rc=$?; grep -q "0 is there twice" err && exit $rc
a device that is not there, of two | 69 | . $T/embed.sh; some | vn-embed -m m --device cuda:98,99
a list with a gap | 2 | . $T/embed.sh; some | vn-embed -m m --device cuda:0,,1
a list with an end | 2 | . $T/embed.sh; some | vn-embed -m m --device cuda:0,
a list of other devices | 2 | . $T/embed.sh; some | vn-embed -m m --device cpu,cpu
device: another word | 2 | . $T/embed.sh; some | vn-embed -m m --device tpu
precision bf16 differs from fp32 | 0 | . $T/embed.sh; some >t; ! cmp -s <(vn-embed -m m t | rows) <(vn-embed -m m --precision bf16 t | rows)
precision fp32 is the default on the CPU | 0 | . $T/embed.sh; some >t; cmp <(vn-embed -m m --device cpu --no-provenance t) <(vn-embed -m m --device cpu --no-provenance --precision fp32 t)
precision auto says what it was | 0 | . $T/embed.sh; some | vn-embed -m m --device cpu -v 2>err | grep -a -o '"precision":"fp32"' && grep "device 'cpu.*precision fp32" err
precision fp16 is refused on the CPU | 76 | . $T/embed.sh; some | vn-embed -m m --device cpu --precision fp16
precision: another word | 2 | . $T/embed.sh; some | vn-embed -m m --precision fp8

# ---- reading, running and writing at once ----
a failing output ends it while the input is silent | 74 | . $T/embed.sh; mkfifo p; exec 3<>p; some >&3; timeout 20 vn-embed -m m <p >/dev/full
rows come while the input is silent | 0 | . $T/embed.sh; mkfifo p; exec 3<>p; some >&3; timeout 20 vn-embed -m m --pool mean <p >o & while [ ! -s o ]; do sleep 0.05; done; for i in $(seq 100); do [ $(rows o 2>/dev/null | wc -l) = 7 ] && break; sleep 0.05; done; n=$(rows o 2>/dev/null | wc -l); kill %1; [ $n = 7 ]
what is damaged fails after all before it | 65 | . $T/embed.sh; (some; some | head -c 2000) | vn-embed -m m 2>err >o; rc=$?; [ $(rows o 2>/dev/null | wc -l) = 11 ] && exit $rc

# ---- --max-tokens ----
too long is a status | 0 | . $T/embed.sh; some >t; vn-embed -m m --max-tokens 60 t | rows | cut -f 3,5 | cmp - <(printf 'ok\t3\nok\t30\nempty\t0\nok\t17\ntoo long\t0\nok\t5\ntoo long\t0\n')
too long, fused and pooled | 0 | . $T/embed.sh; some >t; cmp <(vn-embed -m m --max-tokens 60 --pool mean t | rows) <(vn-embed -m m --max-tokens 60 t | vn-pool | rows)
too long changes no neighbour | 0 | . $T/embed.sh; some >t; cmp <(vn-embed -m m --max-tokens 60 t | rows | grep -v long) <(vn-embed -m m t | rows | grep -v -e r4 -e r6)
max-tokens 0 | 2 | . $T/embed.sh; some | vn-embed -m m --max-tokens 0
max-tokens: no number | 2 | . $T/embed.sh; some | vn-embed -m m --max-tokens many
max-tokens beyond a message, token rows | 2 | . $T/embed.sh; some | vn-embed -m m --max-tokens 9000000
max-tokens beyond memory | 0 | . $T/embed.sh; [ $(cat /proc/sys/vm/overcommit_memory) != 1 ] || { echo 'skip: the system promises memory that is not there'; exit; }; some >t; vn-embed -m m --pool mean --max-tokens 2147483647 t 2>err >o; [ $? = ${VN_TEST_NO_ROOM:-1} ] && grep 'records of 2147483647 tokens' err

# ---- status ----
a status is kept, but for ok | 0 | . $T/embed.sh; mktokens --status 5:cut -:why -:ok - 70:ok 70:cut 5:truncated 70:truncated -:truncated | vn-embed -m m --max-tokens 60 | rows | cut -f 3,5 | cmp - <(printf 'cut\t5\nwhy\t0\nempty\t0\nempty\t0\ntoo long\t0\ncut\t0\ntruncated\t5\ntoo long\t0\nempty\t0\n')
not finite is a status | 0 | . $T/embed.sh; poison; mktokens 0,20,2 0,22,5,2 0,5,2 | vn-embed -m m | rows | cut -f 3,5 | cmp - <(printf 'ok\t3\nnot finite\t0\nok\t3\n')
not finite, fused and pooled | 0 | . $T/embed.sh; poison; mktokens 0,20,2 0,22,5,2 0,5,2 >t; cmp <(vn-embed -m m --pool mean t | rows) <(vn-embed -m m t | vn-pool | rows)

# ---- model ----
no model | 2 | . $T/embed.sh; some | vn-embed
no such model | 66 | . $T/embed.sh; some | vn-embed -m nowhere
a model in $VN_MODELS | 0 | . $T/embed.sh; mkdir d; mv m d/esm2_x; some | VN_MODELS=d vn-embed -m esm2_x >/dev/null
damaged weights | 65 | . $T/embed.sh; truncate -s -4 m/model.safetensors; some | vn-embed -m m
shards, prefix and types of the file do not matter | 0 | . $T/embed.sh; some >t; mkmodel --layers 2 --seed 5 --shard 3 --no-prefix n; cmp <(vn-embed -m m t | rows) <(vn-embed -m n t | rows)

# ---- input ----
file, standard input, dash | 0 | . $T/embed.sh; some >t; vn-embed -m m --no-provenance t >a; vn-embed -m m --no-provenance <t >b; vn-embed -m m --no-provenance - <t >c; cmp a b && cmp a c
no such file | 66 | . $T/embed.sh; vn-embed -m m nothing.vn
two files | 2 | . $T/embed.sh; some >t; vn-embed -m m t t
not a stream | 65 | . $T/embed.sh; echo '>a' | vn-embed -m m
another kind | 76 | . $T/embed.sh; some | vn-embed -m m | vn-embed -m m
another vocabulary | 76 | . $T/embed.sh; some --vocabulary dnabert-s | vn-embed -m m
codons for a model of residues | 76 | . $T/embed.sh; printf '>a\nATGGCC\n' | vn-pack --vocab codon | vn-embed -m m 2>err; rc=$?; grep -q "the stream's vocabulary is 'codon', the model's is 'esm2'" err && exit $rc
no vocabulary | 76 | . $T/embed.sh; some --vocabulary none | vn-embed -m m
tokens of another type | 76 | . $T/embed.sh; some --wide | vn-embed -m m
an embedding is there already | 76 | . $T/embed.sh; some --taken | vn-embed -m m
null tokens | 65 | . $T/embed.sh; some --null | vn-embed -m m
tokens outside the vocabulary | 65 | . $T/embed.sh; mktokens 5 / 0,33,2 | vn-embed -m m
tokens outside the vocabulary: where | 0 | . $T/embed.sh; (mktokens 5 / 3 0,33,2 | vn-embed -m m 2>&1 >/dev/null || true) | grep "'standard input': batch 1: from row 0 on: token 33 at position 1 of sequence 1, expected 0 to 32"

# ---- what is cut stays cut ----
a cut input ends in failure | 65 | . $T/embed.sh; some >t; head -c $(($(stat -c %s t) - 9)) t | vn-embed -m m >o
a cut input gives a cut output | 65 | . $T/embed.sh; some >t; (head -c $(($(stat -c %s t) - 9)) t | vn-embed -m m 2>/dev/null || true) | vn-pool >o
cut anywhere: never 0 | 0 | . $T/embed.sh; some >t; vn-embed -m m t >e; for f in t e; do for n in $(seq 0 211 $(($(stat -c %s $f) - 1))); do p="vn-embed -m m"; [ $f = e ] && p=vn-pool; head -c $n $f | $p >/dev/null 2>&1; [ $? = 65 ] || exit 1; done; done
a killed upstream ends in failure | 65 | . $T/embed.sh; some >t; (cat t | head -c 2000; kill -9 $BASHPID) | vn-embed -m m >o
no file appears after failure | 0 | . $T/embed.sh; some >t; head -c 1500 t | vn-embed -m m -o o; [ $? = 65 ] && [ "$(ls)" = "$(printf 'm\nt')" ]
-o | 0 | . $T/embed.sh; some >t; vn-embed -m m --no-provenance t >a; vn-embed -m m --no-provenance t -o b; vn-embed -m m t | vn-pool --no-provenance >c; vn-embed -m m t | vn-pool --no-provenance -o d; cmp a b && cmp c d
a full disk | 74 | . $T/embed.sh; some >t; vn-embed -m m t >/dev/full
a full disk, vn-pool | 74 | . $T/embed.sh; some >t; vn-embed -m m t | vn-pool >/dev/full

# ---- what is said ----
-v: a summary | 0 | . $T/embed.sh; some | vn-embed -m m -v 2>&1 >/dev/null | grep '^vn-embed: 7 records, 239 tokens, .* tokens/s, peak [0-9]* MiB$'
-v: device and precision | 0 | . $T/embed.sh; some | vn-embed -m m --device cpu -v -t 2 2>&1 >/dev/null | grep "^vn-embed: model 'm', layer 2, device 'cpu.*', precision fp32, attention flash, 2 threads"
-v: outcomes | 0 | . $T/embed.sh; some | vn-embed -m m --max-tokens 60 -v 2>&1 >/dev/null | grep -c -e "result, 'empty': 1" -e "result, 'too long': 2" | grep -x 2
too long is said without -v, not with -q | 0 | . $T/embed.sh; some >t; vn-embed -m m --max-tokens 60 t 2>&1 >/dev/null | grep -x "vn-embed: records without a result, 'too long': 2" && [ "$(vn-embed -q -m m --max-tokens 60 t 2>&1 >/dev/null)" = '' ]
wrong kind is said of the file | 76 | . $T/embed.sh; some | vn-embed -m m --pool mean -o v; vn-embed -m m v 2>err >/dev/null; rc=$?; grep "cannot use 'v': a stream of vectors, expected tokens" err || exit 1; vn-pool v 2>err >/dev/null; grep "cannot use 'v': a stream of vectors, expected embeddings" err || exit 1; exit $rc
-v of vn-pool | 0 | . $T/embed.sh; some | vn-embed -m m | vn-pool -v 2>&1 >/dev/null | grep '^vn-pool: 7 records, 239 tokens'
-q | 0 | . $T/embed.sh; some | vn-embed -m m -v -q 2>&1 >/dev/null | cmp - /dev/null
--profile | 0 | . $T/embed.sh; some >t; vn-embed -m m --profile --no-provenance t 2>err >a; grep -q '^vn-embed: attn ' err && grep -q 'ms' err && vn-embed -m m --no-provenance t | rows | cmp - <(rows a)
provenance names the model | 0 | . $T/embed.sh; sum=$(sha256sum <m/model.safetensors | cut -c 1-64); some | vn-embed -m m --device cpu --layer 1 --pool cls >v; for w in '"model":"m"' "\"sha256\":\"$sum\"" '"layer":1' '"pool":"cls"' '"precision":"fp32"' '"device":"cpu'; do grep -qaF "$w" v || exit 1; done
provenance of vn-pool names the rule | 0 | . $T/embed.sh; some | vn-embed -m m | vn-pool | grep -aF '"pool":"mean"'
token rows name no rule | 1 | . $T/embed.sh; some | vn-embed -m m | grep -aF '"pool"'
--no-provenance leaves out arguments and device | 1 | . $T/embed.sh; some | vn-embed -m m --no-provenance | vn-pool --no-provenance | grep -a -e '"arguments"' -e '"device"'
--help, --version | 0 | vn-embed --help | grep -- --precision && vn-pool --help | grep -- --pool && vn-embed --version | grep '^vn-embed 0' && vn-pool --version | grep '^vn-pool 0'
unknown options | 2 | vn-embed --resume-from 1
--attention: standard and flash differ, flash is what auto takes | 0 | . $T/embed.sh; some >t; for a in auto flash standard; do vn-embed -m m --no-provenance --attention $a t | rows >$a || exit 1; done; cmp auto flash && ! cmp -s flash standard && [ $(wc -l <standard) = 7 ]
--attention standard: the packing and the threads change nothing | 0 | . $T/embed.sh; fasta >a.fa; for n in 64 500 65536; do vn-pack --vocab esm2 --max-tokens $n a.fa | vn-embed -m m --attention standard -t $((n % 2 + 1)) --pool mean | by_record - >$n; cmp 64 $n || exit 1; done
--attention standard is in half | 2 | . $T/embed.sh; some | vn-embed -m m --attention standard --precision fp32 2>err >/dev/null; rc=$?; grep "^vn-embed: --attention standard is that of fp16: not with --precision fp32" err && exit $rc
--attention standard takes fp16 | 0 | . $T/embed.sh; some >t; vn-embed -m m --attention standard --precision fp16 t | rows >a; vn-embed -m m --attention standard t -v 2>err | rows | cmp - a && grep 'precision fp16, attention standard' err
--attention: other words | 2 | . $T/embed.sh; some | vn-embed -m m --attention sdpa
fp16 on the CPU needs standard | 76 | . $T/embed.sh; some | vn-embed -m m --device cpu --precision fp16
provenance names the attention | 0 | . $T/embed.sh; some >t; vn-embed -m m t | grep -aF '"attention":"flash"' >/dev/null && vn-embed -m m --attention standard --no-provenance t | grep -aF '"attention":"standard"' >/dev/null
unknown options of vn-pool | 2 | vn-pool --model m
threads: no number | 2 | . $T/embed.sh; some | vn-embed -m m -t 0
dnabert: pool auto is the mean over all tokens | 0 | mkdir -p d; PATH=$B/tests:$PATH; mkmodel --dnabert d; printf '>a\nACGTNNACGT\n' | vn-pack -q -m d >t; vn-embed -m d --pool auto t | rows | cut -f 3- >auto; vn-embed -m d --pool mean-all t | rows | cut -f 3- | cmp - auto && vn-embed -m d t | vn-pool | rows | cut -f 3- | cmp - auto && ! vn-embed -m d --pool mean t | rows | cut -f 3- | cmp -s - auto
dnabert: tokens of another tokenizer | 76 | PATH=$B/tests:$PATH; mkmodel --dnabert d; mkmodel --dnabert --seed 2 e; printf '>a\nACGT\n' | vn-pack -m e | vn-embed -m d
dnabert: tokens of ESM-2 | 76 | PATH=$B/tests:$PATH; mkmodel --dnabert d; printf '>a\nACGT\n' | vn-pack --vocab esm2 | vn-embed -m d
dnabert: standard attention is ESM-2's | 76 | PATH=$B/tests:$PATH; mkmodel --dnabert d; printf '>a\nACGT\n' | vn-pack -m d | vn-embed -m d --device cpu --attention standard --precision fp16
