#!/bin/sh
# Includes go from right to left only: ground, stream, sequences, model, backend, engine,
# programs; and no line of code is wider than 96 columns. Prints "ok"/"not ok" lines for
# run.sh.
cd "$T/.." || exit 1

level() { # of a file of src/, by its name
    case $1 in
    vn.h | err.* | mem.* | num.h | io.* | ahead.* | timer.* | par.* | crc.* | text.* | bits.h | sha256.* | dtype.h | cache.* | digest.* | plans.* | stats.*) echo 1 ;;
    tool.*) echo 9 ;;
    arrow*.* | flatbuf.* | encoder.* | decoder.* | export*.* | report.* | zbody.* | schema.* | batch.* | stream* | builder.* | carry.* | rowstore.* | reader.c | writer.c | order.* | joiner.* | npy.* ) echo 2 ;;
    fastx.* | reads.* | bam.* | inflate.* | codon.* | orf.* | tok* | packer.* | packrows.*) echo 3 ;;
    table.* | calls.* | idmap.* | pairs.* | facts.* | agreement.* | truth.* | compare.*) echo 2 ;;
    json.* | bpe_json.* | safetensors*.* | model.* | model_*.* | head.* | pickle*.* | ptfile.* | ptzip.* | import*.*) echo 4 ;;
    backend.* | pool.* | windows.* | cpu*) echo 5 ;;
    mlp.* | scorer.* | consensus.* | virnucpro.* | engine.* | fleet.* | memplan.* | embedder.* | pooler.* | profile*.* | net.* | esm2.* | dnabert.*) echo 6 ;;
    vn-*) echo 10 ;;
    *) echo unknown ;;
    esac
}

bad=0
for f in src/*.[ch]; do
    name=${f##*/}
    mine=$(level "$name")
    if [ "$mine" = unknown ]; then
        echo "# $f belongs to no layer: name it in tests/layers.sh"
        bad=1
        continue
    fi
    for inc in $(sed -n 's/^#include "\(.*\)"$/\1/p' "$f"); do
        theirs=$(level "$inc")
        if [ "$theirs" = unknown ] || [ "$theirs" -gt "$mine" ]; then
            echo "# $f (layer $mine) includes $inc (layer $theirs)"
            bad=1
        fi
    done
done
for f in cuda/*; do
    [ -e "$f" ] || continue
    for inc in $(sed -n 's/^#include "\(.*\)"$/\1/p' "$f"); do
        case $inc in
        vn.h | err.h | num.h | dtype.h | pool.h | backend.h | plans.h) ;;
        *) [ -e "cuda/$inc" ] || { echo "# $f includes $inc"; bad=1; } ;;
        esac
    done
done
if [ $bad = 0 ]; then echo "ok includes go left"; else echo "not ok includes go left"; fi
wide=$(LC_ALL=C.UTF-8 grep -nE '^.{97,}' src/*.[ch] cuda/*)
if [ -z "$wide" ]; then
    echo "ok 96 columns"
else
    echo "$wide" | sed 's/^/# wider than 96 columns: /'
    echo "not ok 96 columns"
    bad=1
fi
exit $bad
