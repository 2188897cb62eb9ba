# vn-model: facts, checks and imports. Files are made by mkmodel.c and mktorch.py.

# ---- info
info | 0 | . $T/model.lib; mkmodel --layers 3 --width 48 --heads 2 m && says 0 'layers: 3' vn-model info m && says 0 'head size: 24' vn-model info m && says 0 'type: F32' vn-model info m && says 0 'inv_freq from: checkpoint' vn-model info m
info json | 0 | . $T/model.lib; mkmodel m && vn-model info --json m | python3 -c 'import json,sys; d=json.load(sys.stdin); assert d["layers"]==2 and d["width"]==32 and len(d["inv_freq"])==8 and len(d["sha256"])==64'
info head | 0 | . $T/model.lib; mkmodel --head --input 7 --hidden 5,3 h && says 0 'widths: [7,5,3,2]' vn-model info h && says 0 'labels: ["others","virus"]' vn-model info h
info head json | 0 | . $T/model.lib; mkmodel --head h && vn-model info --json h | python3 -c 'import json,sys; assert json.load(sys.stdin)["inputs"]==[{"width":32}]'
info by name | 0 | . $T/model.lib; mkdir a && mkmodel a/esm2_x_UR50D && VN_MODELS=b:$PWD/a says 0 'name: esm2_x_UR50D' vn-model info esm2_x
info missing | 66 | vn-model info nothing
info broken | 65 | . $T/model.lib; mkmodel m && echo '{' > m/config.json && vn-model info m
info no weights | 66 | . $T/model.lib; mkmodel m && rm m/model.safetensors && vn-model info m
info shards | 0 | . $T/model.lib; mkmodel --shard 3 --type f16 m && says 0 'type: F16' vn-model info m
info full disk | 74 | . $T/model.lib; mkmodel m && vn-model info m >/dev/full

# ---- verify
verify | 0 | . $T/model.lib; mkmodel m && [ "$(vn-model verify m)" = "$(sha256sum m/model.safetensors | cut -c1-64)  m" ]
verify sha256 | 0 | . $T/model.lib; mkmodel m && vn-model verify m --sha256 $(sha256sum m/model.safetensors | cut -c1-64 | tr a-f A-F)
verify other sha256 | 76 | . $T/model.lib; mkmodel m && vn-model verify m --sha256 $(printf %064d 7)
verify shards | 0 | . $T/model.lib; mkmodel --shard 2 m && [ "$(vn-model verify m | cut -c1-64)" = "$(cd m && sha256sum *.safetensors | sha256sum | cut -c1-64)" ]
verify flipped | 76 | . $T/model.lib; mkmodel m; s=$(sha256sum m/model.safetensors | cut -c1-64); printf x | dd of=m/model.safetensors bs=1 seek=9000 conv=notrunc 2>/dev/null; vn-model verify m --sha256 $s
verify NaN | 65 | . $T/model.lib; mkmodel m && python3 -c 'b=bytearray(open("m/model.safetensors","rb").read()); b[-4:]=b"\0\0\xc0\x7f"; open("m/model.safetensors","wb").write(b)' && says 65 "'lm_head.bias' has the value nan at element 32" vn-model verify m; vn-model verify m
verify cut | 65 | . $T/model.lib; mkmodel m && truncate -s -1 m/model.safetensors && vn-model verify m
verify head | 0 | . $T/model.lib; mkmodel --head h && [ "$(vn-model verify h)" = "$(sha256sum h/model.safetensors | cut -c1-64)  h" ]
verify verbose | 0 | . $T/model.lib; mkmodel m && says 0 MiB vn-model verify -v m

# ---- usage
no command | 2 | vn-model
one word | 2 | vn-model info
unknown command | 2 | vn-model eat m
too many | 2 | vn-model info a b c
import to nowhere | 2 | vn-model import x.pt
import to two | 2 | vn-model import x.pt -o a --to b
import type | 2 | vn-model import x.pt -o a --type f8
import chunk | 2 | vn-model import x.pt -o a --chunk 0
options of import | 2 | vn-model info m -o d
option type elsewhere | 2 | vn-model info m --type f16
sha256 elsewhere | 2 | vn-model info m --sha256 $(printf %064d 7)
sha256 too short | 2 | vn-model verify m --sha256 12
json elsewhere | 2 | vn-model verify m --json
help | 0 | vn-model --help >help && grep -q -- --labels help
version | 0 | vn-model --version

# ---- import: heads
import formats agree | 0 | . $T/model.lib; same_head head deflated legacy no-byteorder state
import strides | 0 | . $T/model.lib; same_head straight transposed
import no bias | 0 | . $T/model.lib; same_head no-bias && says 0 'widths: [4,2]' vn-model info no-bias
import nested | 0 | . $T/model.lib; same_head nested
import values | 0 | python3 $T/mktorch.py straight x.pt && vn-model import -q x.pt -o d && python3 -c 'import struct; b=open("d/model.safetensors","rb").read(); assert struct.unpack("<8f", b[-32:])==(1,2,3,4,5,6,0,0)'
import notes | 0 | . $T/model.lib; python3 $T/mktorch.py head x.pt && says 0 'tensors: 8 read, 4 renamed, 4 folded, 0 dropped' vn-model import x.pt -o d
import quiet | 0 | python3 $T/mktorch.py head x.pt && [ -z "$(vn-model import -q x.pt -o d 2>&1)" ]
import labels | 0 | . $T/model.lib; python3 $T/mktorch.py plain x.pt && vn-model import -q x.pt -o d --labels a,b,c && says 0 'labels: ["a","b","c"]' vn-model info d && says 0 'activation: gelu' vn-model info d
import labels missing | 2 | python3 $T/mktorch.py plain x.pt && vn-model import x.pt -o d
import labels of another number | 2 | . $T/model.lib; python3 $T/mktorch.py head sd.pth && says 2 "vn-model: --labels: 1 given, 'sd.pth' has 2 classes" vn-model import -q sd.pth -o d --labels a && [ "$(ls)" = "$(printf 'err.txt\nout.txt\nsd.pth')" ] && vn-model import sd.pth -o d --labels a,b,c
import labels that none has | 2 | . $T/model.lib; l() { says 2 "vn-model: --labels: $1" vn-model import nothing -o d --labels "$2"; }; l "'a' is given twice" b,a,a; l 'label 2 is empty' a,; l 'label 1 is empty' ''; l 'label 2 has a tab' "a,b	c"; l 'label 1 has a tab or the end' $'a\nb,c'; l 'label 1 is not UTF-8' $'\xff,c'; vn-model import nothing -o d --labels a,a
import one class | 65 | . $T/model.lib; refused one-class "'x.pt': has 1 class, expected 2 or more"
import chunk in facts | 0 | . $T/model.lib; python3 $T/mktorch.py head x.pt && vn-model import -q x.pt -o d --chunk 500 && says 0 'chunk: 500' vn-model info d
import head as f16 | 0 | . $T/model.lib; python3 $T/mktorch.py head x.pt && vn-model import -q x.pt -o e && vn-model import -q x.pt -o d --type f16 && [ $(wc -c < d/model.safetensors) -lt $(wc -c < e/model.safetensors) ] && vn-model verify d
import --to | 0 | python3 $T/mktorch.py head x.y.pth && mkdir p && vn-model import -q x.y.pth --to p && vn-model verify p/x.y
import --to missing | 74 | python3 $T/mktorch.py head x.pth && vn-model import -q x.pth --to p
import exists | 2 | python3 $T/mktorch.py head x.pt && mkdir d && vn-model import x.pt -o d
import --force | 0 | . $T/model.lib; mkmodel d && touch d/mine && python3 $T/mktorch.py head x.pt && vn-model import -q x.pt -o d --force && says 0 'kind: head' vn-model info d && [ -e d/mine ] && [ ! -e d/vocab.txt ] && [ "$(ls)" = "$(printf 'd\nerr.txt\nout.txt\nx.pt')" ]
import --force into what holds no model | 2 | . $T/model.lib; mkdir d && touch d/mine f; says 2 "'d' holds files but no config.json" vn-model import nothing -o d --force; says 2 "'f' exists and is not a directory" vn-model import nothing -o f --force; says 2 "'f' exists and is not a directory" vn-model import nothing -o f; says 2 "'./f' exists and is not" vn-model import f --to . --force; says 2 "'f/'" vn-model import nothing -o f/ --force; [ "$(ls d)" = mine ] || exit 1; vn-model import nothing -o d --force
import --force into an empty directory | 0 | mkdir d && python3 $T/mktorch.py head x.pt && vn-model import -q x.pt -o d --force && vn-model verify d
import --force keeps the old on failure | 0 | . $T/model.lib; mkmodel d && s=$(vn-model verify d) && python3 $T/mktorch.py nan x.pt && says 65 'not finite' vn-model import x.pt -o d --force && [ "$s" = "$(vn-model verify d)" ]
import --force over a directory's file | 74 | . $T/model.lib; mkmodel d && mkdir d/vocab.d && rm d/vocab.txt && mv d/vocab.d d/vocab.txt && touch d/vocab.txt/mine && cp -r d before && python3 $T/mktorch.py head x.pt && says 74 "'d/vocab.txt': is a directory" vn-model import -q x.pt -o d --force && diff -r before d && [ -z "$(ls -d d.*)" ] || exit 1; vn-model import -q x.pt -o d --force
import missing | 66 | vn-model import nothing -o d
import unwritable | 74 | python3 $T/mktorch.py head x.pt && vn-model import -q x.pt -o no/where

# ---- import: language models; the safetensors directory itself is the measure
import huggingface | 0 | . $T/model.lib; mkmodel m && python3 $T/mktorch.py huggingface m b && vn-model import -q m -o 1 && vn-model import -q b -o 2 && cmp 1/model.safetensors 2/model.safetensors && cmp m/config.json 2/config.json && cmp m/vocab.txt 2/vocab.txt
import hf shards | 0 | . $T/model.lib; mkmodel m && python3 $T/mktorch.py hf-shards m b && vn-model import -q m -o 1 && vn-model import -q b -o 2 && cmp 1/model.safetensors 2/model.safetensors
import safetensors shards | 0 | . $T/model.lib; mkmodel m && mkmodel --shard 3 s && vn-model import -q m -o 1 && vn-model import -q s -o 2 && cmp 1/model.safetensors 2/model.safetensors
import fair-esm | 0 | . $T/model.lib; mkmodel --layers 11 --width 48 --heads 2 --type f16 m && python3 $T/mktorch.py fair-esm m x.pt && vn-model import -q m -o 1 && vn-model import x.pt -o 2 2>notes && cmp 1/model.safetensors 2/model.safetensors && grep -q 'dropped: encoder.sentence_encoder.version' notes && grep -q 'all values representable' notes && says 0 'heads: 2' vn-model info 2
import head options for a language model | 2 | . $T/model.lib; mkmodel m && python3 $T/mktorch.py fair-esm m x.pt && says 2 "vn-model: --labels: 'x.pt' is a language model, expected a head" vn-model import x.pt -o 1 --labels a,b && says 2 'vn-model: --chunk: ' vn-model import m -o 1 --chunk 500 && [ ! -e 1 ] || exit 1; vn-model import x.pt -o 1 --chunk 500
import many dropped | 0 | . $T/model.lib; mkmodel m && python3 $T/mktorch.py fair-esm m x.pt 100 && says 0 'encoder.sentence_encoder.version, strange.0, strange.1,' vn-model import x.pt -o 1 && grep -q ' 101 dropped: .* strange.40, ... (59 more)$' err.txt
import vocabulary | 0 | . $T/model.lib; mkmodel m && python3 $T/mktorch.py fair-esm m x.pt && vn-model import -q x.pt -o 1 && echo >>m/vocab.txt && cmp m/vocab.txt 1/vocab.txt
vocabulary with a last newline | 0 | . $T/model.lib; mkmodel m && echo >>m/vocab.txt && vn-model verify m
vocabulary other | 65 | . $T/model.lib; mkmodel m && sed -i 's/^L$/J/' m/vocab.txt && says 65 'it differs at byte 24' vn-model verify m; vn-model verify m
vocabulary of codons | 65 | . $T/model.lib; mkmodel m && { printf '%s\n' '<cls>' '<pad>' '<eos>' '<unk>'; printf '%s\n' {A,C,G,T}{A,C,G,T}{A,C,G,T}; echo '<mask>'; } >m/vocab.txt && says 65 'vocab_size 33, but the alphabet of codons has 69' vn-model verify m; vn-model verify m
vocabulary of codons, lost | 65 | cp -r $T/../examples/models/vn-virus m; vn-pack -m ./m </dev/null >t 2>/dev/null || exit 1; rm m/vocab.txt; for c in "vn-pack -m ./m" "vn-model verify ./m" "vn-embed --device cpu -m ./m t"; do $c </dev/null >out 2>err; [ $? = 65 ] && [ ! -s out ] && grep -q "mask_token_id is 68, but <mask> is 32 in the vocabulary of ESM-2, which is taken where there is no vocab.txt" err || exit 1; done; exit 65
vocabulary of another mask | 65 | . $T/model.lib; mkmodel m && sed -i 's/"mask_token_id": 32/"mask_token_id": 3/' m/config.json && says 65 'mask_token_id is 3, but <mask> is 32 in the vocabulary of ESM-2, which vocab.txt lists' vn-model verify m; vn-model verify m
vocabulary cut | 65 | . $T/model.lib; mkmodel m && truncate -s -1 m/vocab.txt && says 65 'it differs at byte 92' vn-model verify m; vn-model verify m
vocabulary too long | 65 | . $T/model.lib; mkmodel m && echo x >>m/vocab.txt && vn-model verify m
config too large | 65 | . $T/model.lib; mkmodel m && head -c 17000000 /dev/zero | tr '\0' ' ' >>m/config.json && says 65 'larger than 16777216 bytes' vn-model verify m; vn-model verify m
import config too large | 65 | . $T/model.lib; mkmodel m && head -c 17000000 /dev/zero | tr '\0' ' ' >>m/config.json && says 65 'larger than 16777216 bytes' vn-model import m -o d; vn-model import m -o d
config of many reads | 0 | . $T/model.lib; mkmodel m && head -c 131072 /dev/zero | tr '\0' ' ' >>m/config.json && vn-model verify m && vn-model import -q m -o d && cmp m/config.json d/config.json
import to f32 and back | 0 | . $T/model.lib; mkmodel --type f16 m && vn-model import -q m -o 1 && vn-model import -q m -o 2 --type f32 && vn-model import -q 2 -o 3 --type f16 && says 0 'type: F32' vn-model info 2 && python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); import mktorch as t; a, b = (t.read_safetensors(d + "/model.safetensors") for d in "13"); assert all(a[k].what[1][0].data == b[k].what[1][0].data for k in a if "inv_freq" not in k)' $T
import f16 overflow | 65 | . $T/model.lib; mkmodel m && python3 -c 'b=bytearray(open("m/model.safetensors","rb").read()); b[-4:]=b"\0\0\x80\x4f"; open("m/model.safetensors","wb").write(b)' && says 65 "'lm_head.bias' has the value 4.29497e+09" vn-model import m -o d --type f16; vn-model import m -o d --type f16
import a bin of a directory | 65 | . $T/model.lib; refused language 'name its directory'
import hf without weights | 66 | . $T/model.lib; mkmodel m && rm m/model.safetensors && vn-model import m -o d
import hf without config | 66 | . $T/model.lib; mkmodel m && rm m/config.json && vn-model import m -o d
import hf fewer layers | 65 | . $T/model.lib; mkmodel m && sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 1/' m/config.json && says 65 'num_hidden_layers is 1' vn-model verify m && vn-model import m -o d
import hf missing tensor | 65 | . $T/model.lib; mkmodel m && sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' m/config.json && vn-model import m -o d
import hf index lies | 65 | . $T/model.lib; mkmodel m && python3 $T/mktorch.py hf-shards m b && sed -i 's/00001-of/00002-of/' b/*.json && vn-model import b -o d
import hf index names more | 65 | . $T/model.lib; mkmodel m && python3 $T/mktorch.py hf-shards m b && sed -i 's/"weight_map": {/&"more": "pytorch_model-00001-of-00002.bin", /' b/*.json && says 65 'the index names 46 tensors, the shards have 45' vn-model import b -o d; vn-model import b -o d
import hf index escapes | 65 | . $T/model.lib; mkmodel m && python3 $T/mktorch.py hf-shards m b && sed -i 's/"pytorch_model-00001/"..\/x/' b/*.json && vn-model import b -o d
import hf shard missing | 66 | . $T/model.lib; mkmodel m && python3 $T/mktorch.py hf-shards m b && rm b/*00002-of*.bin && vn-model import b -o d

# ---- import: hostile files
hostile exec | 65 | . $T/model.lib; refused exec "'posix.system' at byte 2: not allowed"
hostile exec-inside | 65 | . $T/model.lib; refused exec-inside "'posix.system'"
hostile exec-legacy | 65 | . $T/model.lib; refused exec-legacy "'posix.system'"
hostile unknown-class | 65 | . $T/model.lib; refused unknown-class "'numpy.core.multiarray.scalar'"
hostile offset | 65 | . $T/model.lib; refused offset "outside its storage of 4"
hostile outside | 65 | . $T/model.lib; refused outside "outside its storage of 4"
hostile bomb | 65 | . $T/model.lib; refused bomb "outside its storage"
hostile overflow | 65 | . $T/model.lib; refused overflow "outside its storage"
hostile far | 65 | . $T/model.lib; refused far "outside its storage"
hostile negative | 65 | . $T/model.lib; refused negative "not described as torch does"
hostile dims | 65 | . $T/model.lib; refused dims "not described as torch does"
hostile ranks | 65 | . $T/model.lib; refused ranks "not described as torch does"
hostile size-text | 65 | . $T/model.lib; refused size-text "not described as torch does"
hostile storage-missing | 65 | . $T/model.lib; refused storage-missing "storage '3' is missing"
hostile storage-short | 65 | . $T/model.lib; refused storage-short "has 7 bytes, expected 2 x 4"
hostile storage-types | 65 | . $T/model.lib; refused storage-types "two types or sizes"
hostile storage-class | 65 | . $T/model.lib; refused storage-class "'torch.ComplexStorage'"
hostile big-endian | 65 | . $T/model.lib; refused big-endian "not little-endian"
hostile duplicate | 65 | . $T/model.lib; refused duplicate "not a sound zip"
hostile two-pickles | 65 | . $T/model.lib; refused two-pickles "no or several data.pkl"
hostile no-pickle | 65 | . $T/model.lib; refused no-pickle "no or several data.pkl"
hostile trailing | 65 | . $T/model.lib; refused trailing "1 bytes behind the pickle"
hostile huge | 65 | . $T/model.lib; refused huge "at most 16777216"
hostile crc | 65 | . $T/model.lib; refused crc "CRC error"
hostile cut | 65 | . $T/model.lib; refused cut "not a sound zip"
hostile cut-head | 65 | . $T/model.lib; refused cut-head "not a file of torch.save"
hostile legacy-cut | 65 | . $T/model.lib; refused legacy-cut "storage '8' is cut"
hostile legacy-tail | 65 | . $T/model.lib; refused legacy-tail "1 bytes behind the last storage"
hostile legacy-keys | 65 | . $T/model.lib; refused legacy-keys "does not list its 9 storages"
hostile legacy-strange | 65 | . $T/model.lib; refused legacy-strange "unknown storage"
hostile legacy-big | 65 | . $T/model.lib; refused legacy-big "little-endian"
hostile legacy-twice | 65 | . $T/model.lib; refused legacy-twice "one twice"
hostile empty | 65 | . $T/model.lib; refused empty "not a file of torch.save"
hostile text | 65 | . $T/model.lib; refused text "not a file of torch.save"
hostile bare | 65 | . $T/model.lib; refused bare "not a file of torch.save"
hostile list | 65 | . $T/model.lib; refused list "holds a list"
hostile dict | 65 | . $T/model.lib; refused dict "holds an integer"
hostile nothing | 65 | . $T/model.lib; refused nothing "no linear layer"
hostile nan | 65 | . $T/model.lib; refused nan "not finite"
hostile deep | 65 | . $T/model.lib; refused deep "deeper than 8"
hostile conv | 65 | . $T/model.lib; refused conv "Conv1d"
hostile chain | 65 | . $T/model.lib; refused chain "takes 5 values"
hostile norms | 65 | . $T/model.lib; refused norms "2 linear layers and 2 batch norms"
hostile norm-width | 65 | . $T/model.lib; refused norm-width "other than 6 floats"
hostile norm-first | 65 | . $T/model.lib; refused norm-first "before the linear layer"
hostile norm-late | 65 | . $T/model.lib; refused norm-late "after an activation"
hostile norm-eps | 65 | . $T/model.lib; refused norm-eps "no sensible eps"
hostile both | 65 | . $T/model.lib; refused both "both ReLU and GELU"
hostile tanh | 65 | . $T/model.lib; refused tanh "approximate GELU"
hostile vector | 65 | . $T/model.lib; refused vector "not a matrix"
hostile no-cfg | 65 | . $T/model.lib; refused no-cfg "without cfg.model"
hostile bad-cfg | 65 | . $T/model.lib; refused bad-cfg "no sensible 'encoder_layers'"
hostile model-number | 65 | . $T/model.lib; refused model-number "'model' holds an integer"
hostile model-text | 65 | . $T/model.lib; refused model-text "'model' is a string, expected tensors by name"
hostile model-list | 65 | . $T/model.lib; refused model-list "'model' is a list, expected tensors by name"
hostile model-class | 65 | . $T/model.lib; refused model-class "'model' is a class, expected tensors by name"
hostile bin-text | 65 | . $T/model.lib; refused_bin bin-text "'pytorch_model.bin' is a string, expected tensors by name"
hostile bin-list | 65 | . $T/model.lib; refused_bin bin-list "'pytorch_model.bin' is a list, expected tensors by name"
hostile modules-text | 65 | . $T/model.lib; refused modules-text "module 'the module' has no parameters and modules"
hostile modules-set | 65 | . $T/model.lib; refused modules-set "has no linear layer"
hostile parameters-text | 65 | . $T/model.lib; refused parameters-text "module 'the module' has no parameters and modules"
hostile graph | 65 | . $T/model.lib; refused graph "has more than 1024 modules"
hostile long-name | 65 | . $T/model.lib; refused long-name "has a name of 256 bytes, expected at most 255"
fuzz | 0 | for v in legacy legacy-state legacy-fair; do python3 -W ignore $T/mktorch.py $v $v.pt || exit 90; done; timeout 300 $B/tests/fuzz_import -m 500 *.pt
dnabert: info, verify, import | 0 | . $T/model.lib; mkmodel --dnabert m && says 0 'kind: DNABERT-S' vn-model info m && vn-model verify m >/dev/null && vn-model import -q m -o 1 && cmp m/tokenizer.json 1/tokenizer.json && vn-model verify 1 >/dev/null
