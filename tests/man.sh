#!/bin/bash
# The manual and the programs agree. Prints "ok"/"not ok" lines for run.sh; runs in an empty
# directory. Three things are checked:
#   - every page is clean for groff; every program has a page; its OPTIONS are those of
#     --help, with the same argument words, in the same order
#   - the manners that all programs share: --help, --version, refusals
#   - the examples run: what stands between .EX and .EE below a line  .\" test [STATUS]
#   - the README's tour prints what it says, numbers apart
set -u
top=$(cd "$T/.." && pwd)
bad=0
verdict() { # status, name
    if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; bad=1; fi
}

# ---- pages -----------------------------------------------------------------------------

# An OPTIONS entry, or a line of --help, is what stands before two blanks.
page_options() { # page; .TP 2: no option is short enough to share its line with the text
    sed 's/^\.TP$/.TP 2/' "$1" | groff -man -Tascii -rHY=0 -rLL=200n -P -cbou |
        sed -n '/^OPTIONS/,/^EXIT STATUS/s/^       \(-.*\)/\1/p' | sed 's/   *.*//'
}
help_options() { # file with the output of --help
    sed -n 's/^  *\(-[a-zA-Z-].*\)/\1/p' "$1" | sed 's/   *.*//'
}

for page in "$top"/man/*.[157]; do
    groff -man -ww -z "$page" >groff.out 2>&1 && [ ! -s groff.out ]
    verdict $? "${page##*/} is clean for groff"
    sed 's/^/# /' groff.out
done

# ---- manners ---------------------------------------------------------------------------

# refused NAME WHAT COMMAND...: status 2, nothing on stdout, one or two lines on stderr
refused() {
    local name=$1 what=$2 rc n
    shift 2
    "$@" >out 2>err </dev/null
    rc=$?
    n=$(wc -l <err)
    [ $rc = 2 ] && [ ! -s out ] && [ "$n" -ge 1 ] && [ "$n" -le 2 ]
    verdict $? "$name refuses $what"
    [ $rc = 2 ] || echo "# status $rc"
}

programs=0
for source in "$top"/src/vn-*.c "$top"/src/vn-*.sh; do
    name=${source##*/} && name=${name%.*}
    programs=$((programs + 1))
    "$name" --help >help 2>err </dev/null && [ ! -s err ] && [ -s help ]
    verdict $? "$name --help"
    page=$top/man/$name.1
    [ -e "$page" ]
    verdict $? "$name has a page"
    [ -e "$page" ] || continue
    page_options "$page" >page.options
    help_options help >help.options
    [ -s help.options ] && diff help.options page.options >diff.out
    verdict $? "$name.1 has the options of --help, in its order"
    sed 's/^/# /' diff.out

    # no GPU, no model, no time: workflow engines collect versions by the dozen
    "$name" --version >out 2>err </dev/null && [ ! -s err ] && head -n 1 out >line &&
        grep -qx "$name [0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*" line
    verdict $? "$name --version"
    best=1000
    for _ in 1 2 3 4 5; do
        from=$(date +%s%N)
        "$name" --version >out
        ms=$((($(date +%s%N) - from) / 1000000))
        [ $ms -lt $best ] && best=$ms
    done
    case $B in *san-*) limit=1000 ;; *) limit=50 ;; esac
    [ $best -lt $limit ]
    verdict $? "$name --version within $limit ms"

    refused "$name" "an unknown option" "$name" --no-such-option
    # 02000 is two thousand: too many; in octal it would be 1024, which is not
    for value in -5 8q nan '' 0x10 1e3 ' 4' 0 02000 99999999999999999999; do
        refused "$name" "-t '$value'" "$name" -t "$value"
        grep -q threads err || verdict 1 "$name names the option"
    done
    "$name" -t 018 no-such-file >out 2>err </dev/null
    ! grep -q threads err
    verdict $? "$name takes -t 018 for eighteen"
done
[ $programs -gt 0 ]
verdict $? "there are programs"

for page in "$top"/man/*.1; do
    name=${page##*/}
    [ -e "$top/src/${name%.1}.c" ] || [ -e "$top/src/${name%.1}.sh" ]
    verdict $? "$name is the page of a program"
done

# ---- installing ------------------------------------------------------------------------

files() { find root -type f | sed 's,root/usr/,,' | sort; }
again() { env -u MAKEFLAGS -u MAKELEVEL make -s -C "$top" DESTDIR="$PWD/root" PREFIX=/usr "$@"; }
case $B in
*/release)
    again install >install.log 2>&1 &&
        files >installed &&
        (cd "$top" && ls bin/vn-*; for p in man/*.[157]; do echo "share/man/man${p##*.}/${p#man/}"; done
            find examples/models -mindepth 2 -type f 2>/dev/null | sed 's,^examples,share/vn,') |
        sort | diff - installed &&
        root/usr/bin/vn-view --version >out &&
        again uninstall >>install.log 2>&1 && [ -z "$(files)" ]
    verdict $? "make install and uninstall"
    sed 's/^/# /' install.log
    ;;
*) echo "skip make install and uninstall # not of this configuration" ;;
esac

# ---- examples --------------------------------------------------------------------------

# Prints the N-th tested example of a page: its status, then the lines. Fails behind the last.
example() { # page, N
    awk -v want="$2" '
        /^\.\\" test/ { status = $3 == "" ? 0 : $3; armed = 1; next }
        /^\.EX/ && armed { n++; inside = 1; armed = 0; if (n == want) print status; next }
        /^\.EE/ { inside = 0; next }
        inside && n == want { print }
        END { exit n < want }' "$1" |
        sed 's/\\-/-/g; s/\\e/\\/g; s/\\(aq/'\''/g; s/\\(ti/~/g; s/\\(ha/^/g; s/\\&//g'
    return "${PIPESTATUS[0]}"
}

prepare() { # the scratch directory of an example
    rm -rf scratch && mkdir scratch && cp -r "$fixture"/. scratch
}

fixture=$PWD/fixture
mkdir "$fixture"
{
    printf '>kinase one of three\nMKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ\n'
    printf '>capsid\nMADSNGTITVEELKKLLEQWNLVIGFLFLTWICLLQFAYANRNRFLYIIKLIFLWLL\nWPVTLACFVLAAVYRI\n'
    printf '>short\nMKV\n>nothing\n'
} >"$fixture/proteins.fa"
gzip -kn "$fixture/proteins.fa"
printf '>read1 a\nATGGCTAGCAAAGGTAAACGTATTGCAGAACTGAAAGAAGCGATTGAAAAACGTGCAGAACTGGCAGAAGCGATTAAAAAAGCG\nGCGGAAGCG\n>read2\nNNN\n' >"$fixture/reads.fa"
export VN_MODELS=$PWD/models
mkdir "$VN_MODELS"
{
    "$B/tests/mkmodel" "$VN_MODELS/esm2_t6_8M_UR50D" &&
        "$B/tests/mkmodel" --head "$VN_MODELS/demo-head"
} >fixture.log 2>&1
verdict $? "a model and a head for the examples"
sed 's/^/# /' fixture.log

examples=0
for page in "$top"/man/*.[157]; do
    n=1
    while example "$page" $n >lines; do
        want=$(head -n 1 lines)
        sed 1d lines >script
        prepare
        (cd scratch && bash -o pipefail ../script) >out 2>err </dev/null
        rc=$?
        [ $rc = "$want" ]
        verdict $? "${page##*/} example $n"
        [ $rc = "$want" ] || { echo "# status $rc, wanted $want:"; sed 's/^/#   /' script err; }
        n=$((n + 1)) examples=$((examples + 1))
    done
done
[ $examples -gt 0 ]
verdict $? "there are examples"

# ---- the README ------------------------------------------------------------------------

# Numbers depend on the processor; names, columns, messages and order do not.
blur() { sed 's/[0-9][0-9.]*/N/g'; }
sed -n '/^## A tour/,/^## The programs/s/^    //p' "$top/README.md" >tour
awk '/^\$ / { print "echo @@@"; print substr($0, 3) } /^> / { print substr($0, 3) }' tour >tour.script
sed -e '/^> /d' -e 's/^\$ .*/@@@/' tour | blur >tour.expected
mkdir -p clone/build && ln -s "$top/bin" "$top/examples" clone && ln -s "$B" clone/build/last
(cd clone && bash ../tour.script) 2>&1 </dev/null | blur >tour.out
[ -s tour.script ] && diff tour.expected tour.out >diff.out
verdict $? "the README's tour"
sed 's/^/# /' diff.out
sed -n '/^By hand/,/^The results/s/^    //p' "$top/README.md" >live.script
echo 'exec 3>&-; wait' >>live.script
(cd clone/build && timeout 100 bash ../../live.script) >live.out 2>&1 </dev/null
grep -q '^one_chunk_1F1	0	' live.out
verdict $? "the README's live data"
grep -v '^one_' live.out | sed '/^id	record/d; s/^/# /'
exit $bad
