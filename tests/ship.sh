#!/usr/bin/env bash
# A model is found by its name, without configuration: beside the programs, in a clone and
# where they are installed; vn-classify and vn-predict take the one that ships where none is
# named. All on stand-ins of its names; then on what ships. Prints "ok"/"not ok"/"skip" lines.
set -u
. "$T/fixture.sh"
mkmodel=$B/tests/mkmodel
real=$(cd "$T/../bin" && pwd)
make_dna 90 >reads.fa

# A tree as a clone is when it was built, and an installed one, each with the stand-ins.
sum() { sha256sum <"$1/model.safetensors" | cut -c 1-64; }
stand_ins() { # folder, seed, threshold
    mkdir -p "$1" && "$mkmodel" --seed "$2" "$1/vn-virus" &&
        "$mkmodel" --head --input 32 --seed "$2" --inputs '[{"model": "vn-virus", "sha256": "'"$(sum "$1/vn-virus")"'",
            "layer": 2, "pool": "mean", "width": 32}]' "$1/vn-virus-head" &&
        sed -i "s/\"labels\"/\"threshold\": $3, \"labels\"/" "$1/vn-virus-head/config.json"
}
stand_ins clone/examples/models 1 0.4 && stand_ins local/share/vn/models 3 0.7 &&
    stand_ins named 2 0.5 && mkdir clone/bin local/bin &&
    cp "$real"/vn-* clone/bin && cp "$real"/vn-* local/bin
say $? "stand-ins"
top=$PWD
unset VN_MODELS
in_tree() { # tree, command...
    local tree=$1
    shift
    PATH=$top/$tree/bin:$PATH "$@"
}
is() { # tree, what: vn-model names its weights, as do the programs
    [ "$(in_tree "$1" vn-model info vn-virus | sed -n 's/^sha256: //p')" = "$(sum "$2")" ]
}
chain() { # tree, options of vn-classify: all of the programs, by name
    local tree=$1
    shift
    in_tree "$tree" bash -o pipefail -c 'vn-orf "$0" | vn-pack -m vn-virus |
        vn-embed -m vn-virus --device cpu --pool auto | vn-classify "$@"' "$top/reads.fa" "$@"
}

# ---- lookup ------------------------------------------------------------------------------

is clone clone/examples/models/vn-virus
say $? "a clone: beside bin, in examples/models"
is local local/share/vn/models/vn-virus
say $? "installed: beside bin, in share/vn/models"
for tree in clone local; do
    chain $tree -q -m vn-virus-head >$tree.frames 2>err && [ "$(wc -l <$tree.frames)" -gt 90 ]
    say $? "$tree: vn-pack, vn-embed and vn-classify find it, too"
done
! cmp -s clone.frames local.frames
say $? "they are two models"
mkdir away && mv local "away/vn 1" && is "away/vn 1" "away/vn 1/share/vn/models/vn-virus"
say $? "an installed tree that was moved"
mkdir links && ln -s "$top/away/vn 1/bin/vn-model" links && rm clone/bin/vn-model &&
    ln -s "../../away/vn 1/bin/vn-model" clone/bin/vn-model && is clone "away/vn 1/share/vn/models/vn-virus" &&
    [ "$(links/vn-model info vn-virus | sed -n 's/^directory: //p')" = "$top/away/vn 1/share/vn/models/vn-virus" ]
say $? "a link to a program is the program"
mv "away/vn 1" local && rm clone/bin/vn-model && cp "$real/vn-model" clone/bin
export VN_MODELS=/nowhere:$top/named
is local named/vn-virus
say $? "\$VN_MODELS comes first"
mv named/vn-virus{,_UR50D} && is local named/vn-virus_UR50D && mv named/vn-virus{_UR50D,}
say $? "there with _UR50D, too"
export VN_MODELS=/nowhere
is local local/share/vn/models/vn-virus
say $? "then what ships"
mkdir here && cp -r named/vn-virus here && (cd here && is ../local vn-virus) 2>/dev/null
cd here && is local vn-virus
say $? "a directory of that path comes before all"
cd .. && mkdir vn-virus && is local local/share/vn/models/vn-virus && rmdir vn-virus
say $? "a directory that holds no model does not count"
lost() { # words..., then the name
    local name=${*: -1} rc word
    in_tree local vn-model info "$name" >out 2>err
    rc=$?
    [ $rc = 66 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] || return 1
    for word in "${@:1:$#-1}"; do grep -qF -- "$word" err || return 1; done
}
lost "'nowhere'" "$top/local/share/vn/models" "$top/local/examples/models" "(/nowhere)" nowhere
say $? "an unknown name: the error lists where it was looked for"
unset VN_MODELS
lost "'nowhere'" "$top/local/share/vn/models" '$VN_MODELS is not set' nowhere
say $? "the same without \$VN_MODELS"
lost "'./vn-virus': no directory with a config.json" ./vn-virus && lost "'.'" . && lost "'../x'" ../x && lost "'/x'" /x && lost "''" ""
say $? "what can only be a path is not looked up"

# ---- vn-classify without -m ---------------------------------------------------------------

chain local --by source >calls 2>err
[ $? = 0 ] && [ "$(grep -vc 'no token' err)" = 1 ] &&
    grep -q "^vn-classify: no head was named: using 'vn-virus-head', sha256 $(sum local/share/vn/models/vn-virus-head | cut -c 1-12)\$" err
say $? "vn-classify says what it takes"
chain local --by source -m vn-virus-head 2>err | cmp - calls && ! grep -q using err
say $? "the calls are those of the head by its name, which is not said then"
chain local -q 2>err >/dev/null && ! grep -q using err
say $? "nothing is said with -q"
chain local --format stream 2>err >scores.vn
vn-view --header scores.vn | grep -q "\"head\":\"vn-virus-head\",\"head_sha256\":\"$(sum local/share/vn/models/vn-virus-head)\",\"head_threshold\":0.7}"
say $? "it is in the provenance"
in_tree local vn-classify --by source scores.vn 2>err | cmp - calls && [ ! -s err ]
say $? "a stream of scores needs none"
fits_not() { # words, name, command...: 76, nothing written
    local words=$1 name=$2 rc
    shift 2
    "$@" -o new >out 2>err
    rc=$?
    [ $rc = 76 ] && grep -q "no head was named with -m, and the one that ships does not fit: .*$words" err && [ ! -e new ] && [ ! -s out ]
    say $? "$name"
    [ $rc = 76 ] || sed 's/^/# /' err
}
"$mkmodel" --width 48 --heads 3 other && "$mkmodel" --seed 9 same && mkdir shadow && "$mkmodel" --seed 9 shadow/vn-virus
embed() { vn-orf reads.fa | vn-pack -m "$1" 2>err | vn-embed -m "$1" --device cpu --pool "${2:-auto}" >v.vn; }
embed other && fits_not "width 32, the stream has width 48" "vectors of another width are refused" in_tree local vn-classify v.vn
embed same && fits_not "model 'vn-virus', the stream has model 'same'" "vectors of another encoder are refused" in_tree local vn-classify v.vn
embed shadow/vn-virus && fits_not "sha256 .* the stream has sha256" "and of one that only has its name" in_tree local vn-classify v.vn
embed local/share/vn/models/vn-virus max && fits_not "pool 'mean', the stream has pool 'max'" "and of another pooling" in_tree local vn-classify v.vn
mkdir -p bare/bin && cp "$real"/vn-* bare/bin && in_tree bare vn-classify v.vn >out 2>err
[ $? = 66 ] && [ ! -s out ] && grep -q "no head was named with -m: cannot find 'vn-virus-head': .*$top/bare/share/vn/models" err
say $? "programs without their models say so"

# ---- the head's threshold -----------------------------------------------------------------

called() { # threshold: the labels of the calls are those of score_virus
    awk -F '\t' -v t="$1" 'NR > 1 { want = $5 == "." ? "." : $5 >= t ? "virus" : "others"; if ($3 != want) exit 1; n[want]++ }
        END { exit !(n["virus"] > 5 && n["others"] > 5) }'
}
called 0.7 <calls && ! called 0.5 <calls
say $? "a read is virus if its highest score reaches the head's threshold"
called 0.7 <<<"$(chain local -q 2>err)"
say $? "and so is a frame"
chain local -q --by source --threshold 0.5 2>err >half && called 0.5 <half && ! cmp -s half calls &&
    in_tree local vn-classify --by source --threshold 0.5 scores.vn | cmp - half
say $? "--threshold takes its place"
in_tree local vn-classify --format virnucpro -o files scores.vn && awk -F '\t' 'NR > 1 && ($2 == "virus") != ($4 >= $3) { exit 1 }' files/prediction_results.txt
say $? "VirNucPro's files have VirNucPro's rule"
head=local/share/vn/models/vn-virus-head/config.json
cp $head config.json
for bad in '0' '-0.5' '1.5' '"0.5"' 'null' '1e-60'; do
    sed "s/\"threshold\": 0.7/\"threshold\": $bad/" config.json >$head
    in_tree local vn-classify -q v.vn >out 2>err
    [ $? = 65 ] && grep -q "config.json': .*'threshold'" err
    say $? "a head with the threshold $bad is refused"
done
"$mkmodel" --head --classes a,b,c three && sed -i 's/"labels"/"threshold": 0.5, "labels"/' three/config.json && vn-classify -m three v.vn >out 2>err
[ $? = 65 ] && grep -q "of 3 classes" err
say $? "a head of three classes with a threshold is refused"
cp config.json $head

# ---- vn-predict without a model -----------------------------------------------------------

in_tree local vn-predict --device cpu -t 2 -o out1 reads.fa >said 2>err
[ $? = 0 ] && cmp calls out1/calls.tsv && chain local -q 2>/dev/null | cmp - out1/frames.tsv && [ ! -s said ]
say $? "vn-predict: the calls of the model that ships, in chunks of 500"
grep -q "^vn-predict: no head was named: using 'vn-virus-head', sha256 $(sum local/share/vn/models/vn-virus-head | cut -c 1-12), of 'vn-virus', sha256 $(sum local/share/vn/models/vn-virus | cut -c 1-12)\$" err &&
    [ "$(grep -vc 'no token' err)" = 1 ]
say $? "vn-predict says what it takes"
python3 - out1/provenance.jsonl "$(sum local/share/vn/models/vn-virus)" "$(sum local/share/vn/models/vn-virus-head)" <<'END'
import json, sys
made = [json.loads(line) for line in open(sys.argv[1])]
assert [m["program"] for m in made] == ["vn-orf", "vn-pack", "vn-embed", "vn-classify"], made
assert made[0]["chunk"] == 500 and made[2]["model"] == "vn-virus" and made[2]["sha256"] == sys.argv[2]
assert made[3]["head"] == "vn-virus-head" and made[3]["head_sha256"] == sys.argv[3]
END
say $? "what made the calls is beside them"
in_tree local vn-predict --device cpu -q -m vn-virus-head -o out2 reads.fa 2>err && [ ! -s err ] && cmp out[12]/calls.tsv
say $? "the same by name"
in_tree local vn-predict --device cpu -q --models "$top/same" -o out3 reads.fa 2>err
[ $? = 76 ] && [ ! -e out3 ] && grep -q "wants vectors of model 'vn-virus', the stream has model 'same'" err
say $? "vn-predict: another encoder is refused"
in_tree bare vn-predict --device cpu -o out3 reads.fa >said 2>err
[ $? = 66 ] && [ ! -e out3 ] && grep -q "cannot find 'vn-virus-head': .*$top/bare/share/vn/models" err
say $? "vn-predict: programs without their models say so"

# ---- what ships ---------------------------------------------------------------------------

models=$T/../examples/models
[ "$(du -sbL "$models" | cut -f 1)" -le 8000000 ]
say $? "what ships is 8 MB at most"
vn-model verify vn-virus >verified 2>err && vn-model verify vn-virus-head >>verified 2>err &&
    [ "$(cut -d ' ' -f 1 verified | xargs)" = "$(sum "$models/vn-virus") $(sum "$models/vn-virus-head")" ]
say $? "it is whole"
vn-model info vn-virus-head >info && grep -q '^labels: \["others","virus"\]$' info && grep -q '^threshold: 0' info &&
    grep -q '^thresholds: ' info && grep -q "^inputs: .*\"sha256\":\"$(sum "$models/vn-virus")\"" info
say $? "the head is that of the model, and has thresholds"
[ -s "$models/vn-virus/CARD.md" ] &&
    sed -n 's/.*!\[.*\](\(.*\)).*/\1/p' "$models/vn-virus/CARD.md" | while read -r f; do [ -s "$models/vn-virus/$f" ] || exit 1; done
say $? "it has a card, and what the card shows"
vn-predict --device cpu -q -o shipped reads.fa 2>err && [ "$(wc -l <shipped/calls.tsv)" = 91 ] && ! cmp -s shipped/calls.tsv calls
say $? "it calls"
exit $((failures > 0))
