#!/bin/sh
# Every header compiles alone: as C11, and as C++17 those that cuda/ includes.
cd "$T/.." || exit 1
bad=0
for h in src/*.h; do
    if ! printf '#include "%s"\n' "${h##*/}" |
        ${CC:-gcc} -std=c11 -D_GNU_SOURCE -Isrc -Wall -Wextra -Werror -Wno-unused -fsyntax-only -x c -; then
        echo "not ok $h alone as C11"; bad=1
    else echo "ok $h alone as C11"; fi
done
for h in vn.h err.h num.h dtype.h pool.h backend.h cache.h plans.h; do
    if ! printf '#include "%s"\n' "$h" |
        ${CXX:-g++} -std=c++17 -D_GNU_SOURCE -Isrc -Wall -Wextra -Werror -Wno-unused -fsyntax-only -x c++ -; then
        echo "not ok $h as C++17"; bad=1
    else echo "ok $h as C++17"; fi
done
exit $bad
