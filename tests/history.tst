# A test for each fault that VirNucPro's history knows, under its name. What stands behind "by" is
# where the same is tested in full.

# the end token in the mean: the mean over one residue is its row. By embed.tst
eos-in-the-mean | 0 | . $T/fixture.sh; $B/tests/mkmodel m; printf '>a\nM\n' | vn-pack -m m >t; vn-embed -m m --device cpu t | vn-view --to json --columns embedding >rows; vn-embed -m m --device cpu --pool auto t | vn-view --to json --columns embedding >mean; python3 -c 'import json; r = json.loads(open("rows").readline())["embedding"]; v = json.loads(open("mean").readline())["embedding"]; assert len(r) == 3 and max(abs(a - b) for a, b in zip(r[1], v)) < 1e-6'
# the factor 0.88 of token dropout, and which layer is which: layer 0 is 0.88 of the table's row. By t_model, test_esm2.py: every layer
missing-0.88 | 0 | $B/tests/mkmodel m; printf '>a\nMKV\n' | vn-pack -m m | vn-embed -m m --device cpu --layer 0 | vn-view --to json --columns embedding >rows; python3 -c 'import json, struct; b = open("m/model.safetensors", "rb").read(); n = struct.unpack("<Q", b[:8])[0]; at = json.loads(b[8:8 + n])["esm.embeddings.word_embeddings.weight"]["data_offsets"][0] + 8 + n; w = struct.unpack("<32f", b[at + 20 * 128:at + 21 * 128]); r = json.loads(open("rows").readline())["embedding"][1]; assert max(abs(x - 0.88 * y) for x, y in zip(r, w)) < 1e-6'
layer-off-by-one | 0 | $B/tests/mkmodel m; printf '>a\nMKV\n' | vn-pack -m m >t; for l in 0 1 2; do vn-embed --no-provenance -m m --device cpu --layer $l t | vn-view --to tsv --columns embedding >$l; done; vn-embed -m m --device cpu t | vn-view --to tsv --columns embedding | cmp - 2 && ! cmp -s 0 1 && ! cmp -s 1 2 && ! vn-embed -m m --device cpu --layer 3 t >x 2>e
# GELU by tanh is off by up to 5e-4; the goldens of fair-esm are held to 2e-6, in every layer
tanh-gelu | 0 | $B/tests/t_model >out; grep -q '^ok cpu_fp32' out && grep -q '^ok reference_fp32' out
# records lost where a window or a batch is flushed
lost-on-flush | 0 | . $T/fixture.sh; $B/tests/mkmodel m; $B/tests/mkmodel --head h; for n in 1 49 50 51 99 100 101 250; do make_reads $n >r.fa; vn-pack -m m --window 50 --max-tokens 700 r.fa | vn-embed -m m --device cpu --pool auto | vn-classify -m h | tail -n +2 | cut -f 1 | cmp - <(sed -n 's/^>\([^ ]*\).*/\1/p' r.fa) || exit 1; done
# vectors put beside the ids of others, after a restart or a shorter list: pairs are by number. By t_order, join.tst
wrong-pairs | 0 | . $T/fixture.sh; $B/tests/mkmodel m; make_reads 300 >r.fa; for w in 7 90 1000; do vn-pack -m m --window $w --max-tokens 1500 r.fa | vn-embed -m m --device cpu --pool auto >v$w; in_order v$w >o$w; done; cmp o7 o90 && cmp o7 o1000 && vn-join v7 v90 >a && vn-join v1000 v1000 >b && in_order a >oa && in_order b | cmp - oa
# padding with <cls>, that shorter records attend to: a record is the same beside a long one. By t_ops, t_engine
padded-with-cls | 0 | . $T/fixture.sh; $B/tests/mkmodel m; printf '>a\nMKVLA\n' >a.fa; (cat a.fa; printf '>b\n'; printf 'MKTAYIAKQR%.0s' 1 2 3 4 5 6 7 8 9; echo) >ab.fa; for o in '--precision fp32' '--precision bf16' '--attention standard'; do for f in a ab; do vn-pack -m m $f.fa | vn-embed -m m --device cpu --pool auto $o >$f.v 2>e || exit 1; in_order $f.v | head -n 1 >$f.o; done; [ -s a.o ] && cmp a.o ab.o || exit 1; done
# --gpus 2,3 that used 0 and 1: a device that is not there is refused, not replaced. By t_fleet, gpu.sh
device-lists | 69 | $B/tests/mkmodel m; printf '>a\nM\n' | vn-pack -m m | vn-embed -m m --device cuda:98,99 >x
# proteins without a residue; chunks without an open frame that vanish
empty-proteins | 0 | printf '>a\nNNNNNN\n>b\nTTAATTAATTAATTAATTAA\n>c\nA\n' >r.fa; [ -z "$(vn-orf --to protein r.fa)" ] && [ "$(vn-orf r.fa | vn-view --columns id,status | tail -n +2 | tr '\n\t' ';,')" = 'a_chunk_1,no codon;b_chunk_1,no open frame;c_chunk_1,no codon;' ]
# a record that one side lacks: every later row got the wrong id
missing-pair | 65 | . $T/fixture.sh; $B/tests/mkmodel m; make_reads 30 >r.fa; make_reads 29 >s.fa; for f in r s; do vn-pack -m m $f.fa | vn-embed -m m --device cpu --pool auto >$f.v; done; vn-join r.v s.v >x
# a directory called "nucleotide", or one with ".fa" in its name, moved the output
names-of-directories | 0 | . $T/fixture.sh; $B/tests/mkmodel m; $B/tests/mkmodel --head h; mkdir nucleotide.fa.d; make_dna 9 >nucleotide.fa.d/x.fa; vn-predict -q --device cpu -m h --models m -o nucleotide.fa.d/out nucleotide.fa.d/x.fa && [ "$(ls nucleotide.fa.d/out | xargs)" = 'calls.tsv frames.tsv' ] && [ "$(ls | xargs)" = 'h m nucleotide.fa.d' ]
# a model for 500 compared with a reference for 300
chunks-of-another-length | 76 | . $T/fixture.sh; $B/tests/mkmodel m; $B/tests/mkmodel --head h; sed -i 's/"labels"/"chunk": 300, "labels"/' h/config.json; make_dna 9 >r.fa; vn-predict -q --device cpu -m h --models m --chunk 500 -o out r.fa
