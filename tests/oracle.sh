#!/usr/bin/env bash
# Runs tests/oracle/ with pytest against what has been built (make check-oracle): the same
# results computed by fair-esm, PyArrow, polars, transformers. Ends with the tally of
# tests/run.sh. Exit status 1 if a test failed, 3 if there is no Python to run them with.
#
#   tests/oracle.sh [--python] [PYTEST ARGUMENT...]
#
# The Python is $ORACLE_PYTHON, or build/oracle-venv, which is made when it is not there.
# With --python its path is printed and nothing is run.
set -u
cd "$(dirname "$0")/.." || exit 1
venv=$PWD/build/oracle-venv
wants=tests/oracle/requirements.txt

make_venv() {
    cmp -s "$wants" "$venv/requirements.txt" && return 0
    echo "tests/oracle.sh: making $venv, about 6 GB, once" >&2
    rm -rf "$venv"
    mkdir -p "${venv%/*}"
    python3 -m venv "$venv" &&
        "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$wants" >&2 &&
        cp "$wants" "$venv/requirements.txt" # last: it says that the rest is complete
}

if [ -n "${ORACLE_PYTHON:-}" ]; then
    python=$ORACLE_PYTHON
else
    make_venv || {
        echo "tests/oracle.sh: cannot make a Python environment of $wants" >&2
        exit 3
    }
    python=$venv/bin/python
fi
"$python" -c 'import pytest' || exit 3
if [ "${1:-}" = --python ]; then
    echo "$python"
    exit 0
fi

B=${B:-build/last}
case $B in /*) ;; *) B=$PWD/$B ;; esac
export B VN_BIN=$PWD/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
export VN_TEST_DATA=${VN_TEST_DATA:-$PWD/../shared/data}
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
"$python" -m pytest -q -ra -p no:cacheprovider tests/oracle "$@" | tee "$out"
rc=${PIPESTATUS[0]}

# "3 failed, 40 passed, 1 skipped, 1 error in 12.3s": an error counts as a failure
count() {
    local n
    n=$(tail -n 1 "$out" | grep -o "[0-9]* $1" | cut -d ' ' -f 1)
    echo "${n:-0}"
}
passed=$(count passed) failed=$(($(count failed) + $(count error))) skipped=$(count skipped)
[ "$rc" = 0 ] || [ $failed -gt 0 ] || failed=1
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ "$passed" -gt 0 ]
