#!/bin/sh
# Includes go from right to left only: a layer is a row of the map in CONTRIBUTING.md, which
# names every file of src/; no line of code is wider than 96 columns, and no file longer than
# 600 lines. Prints "ok"/"not ok" lines for run.sh.
cd "$T/.." || exit 1

bad=0
awk -F '|' '
    function level(file, i) { # by its name, without suffix
        sub(/\.[ch]$/, "", file)
        for (i = 1; i <= n && file !~ pattern[i]; i++);
        return i <= n ? row[i] : 0
    }
    FILENAME == "CONTRIBUTING.md" && /^\| layer/ { inside = 1; next }
    FILENAME == "CONTRIBUTING.md" {
        inside = inside && /^\|/
        layers += inside && $2 ~ /[a-z]/ # else: more of the one above
        while (inside && match($3, /`[a-z0-9_*-]+`/)) {
            pattern[++n] = "^" substr($3, RSTART + 1, RLENGTH - 2) "$"
            gsub(/\*/, ".*", pattern[n])
            row[n] = layers
            $3 = substr($3, RSTART + RLENGTH)
        }
        next
    }
    FNR == 1 {
        name = FILENAME
        sub(/.*\//, "", name)
        if (!(mine = level(name)) && (bad = 1))
            print "# " FILENAME " belongs to no layer: name it in the map of CONTRIBUTING.md"
    }
    /^#include "/ {
        split($0, part, "\"")
        theirs = level(part[2])
        if (mine && (!theirs || theirs > mine) && (bad = 1))
            print "# " FILENAME " (layer " mine ") includes " part[2] " (layer " theirs ")"
    }
    END { exit bad || !n }' CONTRIBUTING.md src/*.[ch] || bad=1
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
code="src/* cuda/* tests/*.[ch] examples/*/*.sh examples/*/*.py"
# shellcheck disable=SC2086
wide=$(LC_ALL=C.UTF-8 grep -nE '^.{97,}' $code)
if [ -z "$wide" ]; then
    echo "ok 96 columns"
else
    echo "$wide" | sed 's/^/# wider than 96 columns: /'
    echo "not ok 96 columns"
    bad=1
fi
# shellcheck disable=SC2086
long=$(wc -l $code | awk '$2 != "total" && $1 > 600 { print "# " $2 " has " $1 " lines" }')
if [ -z "$long" ]; then
    echo "ok 600 lines"
else
    printf '%s\nnot ok 600 lines\n' "$long"
    bad=1
fi
exit $bad
