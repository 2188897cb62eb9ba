#!/bin/sh
# Trains the model that ships, and measures it: data, training, evaluation. What is done is not
# done again; what was stopped goes on.
#
#   examples/train/run.sh [OPTION of train.py...]     all of it
#   examples/train/run.sh pack                        build/train/device.tar: for a machine
#                                                     with a GPU and without a network
#
# Environment: DIR (build/train), DEVICE (cuda where there is one), PYTHON (python3).
set -eu
cd "$(dirname "$0")/../.."
here=examples/train dir=${DIR:-build/train} python=${PYTHON:-python3}
mkdir -p "$dir"
[ -s "$dir/reads.npz" ] || "$python" $here/data.py --cache "$dir/cache" -o "$dir/reads.npz"
(cd "$dir" && sha256sum --quiet -c reads.npz.sha256)
if [ "${1:-}" = pack ]; then
    tar -cf "$dir/device.tar" --exclude='*.pyc' --exclude=__pycache__ $here \
        "$dir/reads.npz" "$dir/reads.npz.sha256"
    ls -l "$dir/device.tar"
    exit
fi
"$python" $here/train.py --data "$dir/reads.npz" -o "$dir/run" \
    ${DEVICE:+--device "$DEVICE"} "$@"
if [ -x bin/vn-classify ]; then
    "$python" $here/evaluate.py --data "$dir/reads.npz" --run "$dir/run"
else
    echo "not evaluated: build the programs (make), then run this again" >&2
fi
