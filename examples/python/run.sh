#!/usr/bin/env bash
# Reads a stream with PyArrow, from a pipe.
#
#   run.sh MODEL HEAD reads.fa
set -euo pipefail
python=${PYTHON:-python3}
vn-pack -m "$1" "$3" | vn-embed -m "$1" --pool mean | vn-classify -m "$2" --format stream |
    "$python" "$(dirname "$0")/read.py"
