#!/usr/bin/env bash
# Runs the benchmarks (make bench): tests/bench_* in C, shell and Python, which print their own
# table, below a head that says on what. Figures without that head mean nothing.
#
#   tests/bench.sh [NAME...]     only files whose name contains a NAME
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
export T=$top/tests B=${B:-build/last}
case $B in /*) ;; *) B=$top/$B ;; esac
export B VN_BIN=$top/bin PATH="$top/bin:$PATH" LC_ALL=C
export VN_TEST_DATA=${VN_TEST_DATA:-$top/../shared/data}

wanted() { # file, names...
    local file=$1 name
    shift
    [ $# = 0 ] && return 0
    for name; do case ${file##*/} in *"$name"*) return 0 ;; esac; done
    return 1
}

version_of() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo unknown; }

echo "command:   make bench"
echo "version:   $(git describe --always --dirty 2>/dev/null || echo 'no git')"
echo "processor: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) in use"
echo "features:  $(grep -o -w -e avx2 -e avx512f -e avx512_bf16 -e amx_bf16 /proc/cpuinfo | sort -u | xargs)"
echo "system:    $(uname -sr), ${CC:-gcc} $(${CC:-gcc} -dumpfullversion 2>/dev/null)"
echo "libraries: oneDNN $(version_of libdnnl-dev), zstd $(version_of libzstd-dev)"
echo "load:      $(cut -d ' ' -f 1-3 /proc/loadavg) before the first"

rc=0 python=
for bench in tests/bench_*; do
    wanted "$bench" "$@" || continue
    case $bench in
    *.c) run=("$B/tests/$(basename "$bench" .c)") ;;
    *.sh) run=(bash "$top/$bench") ;;
    *.py)
        [ -n "$python" ] || python=$(tests/oracle.sh --python) || exit 3
        run=("$python" "$top/$bench")
        ;;
    *) continue ;;
    esac
    echo
    echo "== ${bench##*/}"
    dir=$(mktemp -d) || exit 1
    (cd "$dir" && "${run[@]}") </dev/null || { echo "failed: ${bench##*/}" >&2; rc=1; }
    rm -rf "$dir"
done
exit $rc
