#!/usr/bin/env bash
# vn-predict - from reads to calls: the whole graph of programs in one command.
#
#                      .-> vn-pack -> vn-embed -.                       .-> calls.tsv
#     vn-orf -> tee ---|                        |-> vn-join -> vn-classify -> frames.tsv
#                      '-> vn-pack -> vn-embed -'                       '-> VirNucPro's files
#
# and behind the first vn-classify what it says of the making, for provenance.jsonl.
#
# There is one branch for each input of the head. The pipes have no names: each is opened by
# way of /dev/fd and lives only in descriptors, so that nothing is left of them whatever is
# killed. All files are made in a directory below the final one and moved when every program
# has ended well. Needs bash 5.1 and the ordinary tools of Linux.
set -u
LC_ALL=C
me=vn-predict version=@VERSION@

usage() {
    cat <<'END'
usage: vn-predict [OPTION...] -o DIR [FILE...]
Calls each read or contig by a classifier head, by way of the language models it takes.

  -o, --output-dir=DIR       leave the results in DIR
  -m, --model=HEAD           classifier head; 300, 500: virnucpro-300, -500 (default:
                             "vn-virus-head", which ships)
      --models=A[,B...]      language models of its inputs, in its order (default: those that
                             it names)
      --chunk=N              length of the chunks (default: the head's)
      --threshold=X          call the second of two classes from this score up (default: the
                             head's, or the higher score)
      --format=WORD          tsv, or virnucpro: VirNucPro's two files as well (default: "tsv")
      --device=DEVICE        auto, cpu, cuda, cuda:N or cuda:N,M... (default: "auto")
      --precision=WORD       auto, fp32, bf16 or fp16 (default: "auto")
      --attention=WORD       auto, flash, or standard: ESM-2 rounds as fair-esm in half
                             (default: "auto")
      --no-progress          no counting of reads on a terminal
  -p, --model-path=HEAD      as --model
      --model-type=HEAD      as --model
  -e, --expected-length=N    as --chunk
      --gpus=N[,M...]        as --device cuda:N,M
      --v1-attention         as --attention standard
  -t, --threads=N            threads (default: the processors this process may use)
  -v, --verbose              say what is done, and a summary of each program
  -q, --quiet                errors only
  -h, --help                 show this
      --version              version

Reads FASTA, FASTQ and what else vn-orf reads from the FILEs, or from standard input.
Leaves DIR/calls.tsv, a row for each read, DIR/frames.tsv, a row for each open frame, and
DIR/provenance.jsonl, what made them; they get their names when all is complete. The options
between --no-progress and --threads are VirNucPro's.
END
}

# ---- the command line ---------------------------------------------------------------------

die() { # status, message
    printf '%s: %s\n' "$me" "${2//[[:cntrl:]]/?}" >&2
    exit "$1"
}
refuse() {
    printf "%s: %s\n%s: try '%s --help'\n" "$me" "${1//[[:cntrl:]]/?}" "$me" "$me" >&2
    exit 2
}
number() { # option, text, lowest, highest: sets n
    n=$2
    while [[ $n = 0?* ]]; do n=${n#0}; done
    { [[ $n =~ ^[0-9]{1,10}$ ]] && [ "$n" -ge "$3" ] && [ "$n" -le "$4" ]; } ||
        refuse "--$1 '$2': expected a number from $3 to $4"
}

dir="" head=vn-virus-head named=0 models="" chunk="" judge=() format=tsv
device=auto precision=auto attention=auto threads="" progress=1 verbose=0 quiet=0
parse() {
    local words long=output-dir:,output:,model:,model-type:,model-path:,models:,chunk:
    long+=,expected-length:,threshold:,format:,device:,gpus:,precision:,attention:
    long+=,v1-attention,no-progress,threads:,verbose,quiet,help,version
    words=$(getopt -n "$me" -o o:m:p:e:d:t:vqh -l "$long" -- "$@") ||
        { echo "$me: try '$me --help'" >&2 && exit 2; }
    eval "set -- $words"
    while [ "$1" != -- ]; do
        case $1 in
        -o | --output | --output-dir) dir=$2 && shift ;;
        -m | -p | --model | --model-type | --model-path) head=$2 named=1 && shift ;;
        --models) models=$2 && shift ;;
        -e | --chunk | --expected-length) number chunk "$2" 0 536870912 && chunk=$n && shift ;;
        --threshold) judge=(--threshold "$2") && shift ;;
        --format) format=$2 && shift ;;
        -d | --device) device=$2 && shift ;;
        --gpus) device=cuda:$2 && shift ;;
        --precision) precision=$2 && shift ;;
        --attention) attention=$2 && shift ;;
        --v1-attention) attention=standard ;;
        --no-progress) progress=0 ;;
        -t | --threads) number threads "$2" 1 1024 && threads=$n && shift ;;
        -v | --verbose) verbose=1 ;;
        -q | --quiet) quiet=1 ;;
        -h | --help) usage && exit || exit 74 ;;
        --version) echo "$me $version" && exit || exit 74 ;;
        esac
        shift
    done
    shift
    files=("$@")
}

check_options() {
    local f
    [ -n "$dir" ] || refuse "name the directory for the results with -o"
    [[ $format = @(tsv|virnucpro) ]] ||
        refuse "--format '$format': expected tsv or virnucpro"
    [[ $attention = @(auto|flash|standard) ]] ||
        refuse "--attention '$attention': expected auto, flash or standard"
    case $device in
    '' | *[!0-9,]*) ;;
    *) device=cuda:$device ;; # VirNucPro's -d 0
    esac
    case $head in 300 | 500) head=virnucpro-$head ;; esac
    [ ${#files[@]} -gt 0 ] || files=(-)
    for f in "${files[@]}"; do
        [ "$f" = - ] && [ -t 0 ] && refuse "standard input is a terminal: name a FILE"
        [ "$f" = - ] && ! [ -e /proc/self/fd/0 ] && die 66 "standard input is closed"
    done
    return 0
}

processors() { # sets threads, as the programs count
    local quota period
    threads=$(OMP_NUM_THREADS='' nproc) || threads=1
    if read -r quota period 2>/dev/null </sys/fs/cgroup/cpu.max && [ "$quota" != max ]; then
        quota=$(((quota + period - 1) / period))
        [ $quota -ge "$threads" ] || threads=$quota
    fi
}

# ---- the head -------------------------------------------------------------------------------

# Of each input of the head what vn-embed must do; sets model[], column[],
# make[] (options), width[].
read_head() {
    local line key value text k=-1 facts=''
    local object='^    \{$' member='^      "(.*)": (.*[^,]),?$'
    local fact='^  "(chunk|shortest)": ([0-9]+),?$'
    text=$(vn-model info --json "$head") || exit
    while IFS= read -r line; do
        if [[ $line =~ $object ]]; then
            k=$((k + 1)) model[k]='' make[k]='--pool auto' width[k]=1
        elif [[ $line =~ $member ]]; then
            key=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
            if [ "${value:0:1}" = '"' ]; then
                value=${value:1:-1} value=${value//\\\"/\"} value=${value//\\\\/\\}
            fi
            case $key in
            model) model[k]=$value ;;
            width) width[k]=$value ;;
            sha256) facts+=", of '${model[k]}', sha256 ${value:0:12}" ;;
            pool) make[k]=${make[k]/--pool auto/--pool $value} ;;
            layer) make[k]+=" --layer $value" ;;
            esac
        elif [[ $line =~ $fact ]]; then
            case ${BASH_REMATCH[1]} in
            chunk) trained=${BASH_REMATCH[2]} ;;
            shortest) shortest=${BASH_REMATCH[2]} ;;
            esac
        elif [[ $line =~ ^\ \ \"sha256\":\ \"(.{12}) ]]; then
            facts=", sha256 ${BASH_REMATCH[1]}$facts"
        fi
    done <<<"$text"
    [ $k -ge 0 ] || die 76 "'$head' is no classifier head: see vn-model info"
    [ $named$quiet != 00 ] || echo "$me: no head was named: using '$head'$facts" >&2
    name_models
    case $head:$trained in
    virnucpro-300:) trained=300 ;;
    virnucpro-500:) trained=500 ;;
    esac
    [ -z "$chunk" ] || [ -z "$trained" ] || [ "$chunk" = "$trained" ] ||
        die 76 "head '$head' was trained on chunks of $trained, not of $chunk"
    chunk=${chunk:-${trained:-500}}
}

name_models() {
    local given k text
    if [ -n "$models" ]; then
        IFS=, read -r -a given <<<"$models,"
        [ ${#given[@]} = ${#model[@]} ] ||
            refuse "--models: head '$head' has ${#model[@]} inputs, found ${#given[@]} models"
        model=("${given[@]}")
    fi
    for k in "${!model[@]}"; do
        [ -n "${model[k]}" ] ||
            refuse "head '$head' does not say what model input $((k + 1)) is of: use --models"
        # the stream is without rows, and says of what vocabulary it is
        text=$(vn-pack -m "${model[k]}" </dev/null | { vn-view --header 2>&1; cat >/dev/null; }
            exit "${PIPESTATUS[0]}") || exit
        case $text in
        *'"vocabulary":"esm2"'*) column[k]=protein make[k]+=" --attention $attention" ;;
        *'"vocabulary":"codon"'*) column[k]=nucleotide make[k]+=" --attention $attention" ;;
        *) column[k]=nucleotide ;;
        esac
    done
}

# Each model gets of the threads what its work is of all, which is as its width squared. The
# other programs get all of them: they work for a model that is faster than they are, and wait
# for any other.
share_threads() {
    local k all=0 left=$((threads - ${#model[@]}))
    for k in "${!width[@]}"; do all=$((all + width[k] * width[k])); done
    for k in "${!width[@]}"; do
        share[k]=1
        [ $left -lt 1 ] || share[k]=$((1 + (left * width[k] * width[k] + all / 2) / all))
    done
}

# ---- pipes and processes --------------------------------------------------------------------

declare -A fds=() running=()
pids=() names=() status=() ours=()

pipe() { # sets r and w, the ends of a new one
    local both
    { exec {both}<> <(:) && exec {w}>"/dev/fd/$both" {r}<"/dev/fd/$both" {both}>&-; } ||
        die 1 "cannot make a pipe"
    fds[$w]=1 fds[$r]=1
}
drop() { # ends that this shell needs no longer
    local fd
    for fd; do
        exec {fd}>&-
        unset "fds[$fd]"
    done
}

# Starts a program of the graph: its name for messages, its standard input and output, other
# ends that it is given ("7 8"), the command. Ends go over to it.
stage() {
    local name=$1 in=$2 out=$3 more=$4 fd
    shift 4
    (
        exec <&"$in" >&"$out"
        for fd in "${!fds[@]}"; do
            case " $more " in *" $fd "*) ;; *) exec {fd}>&- ;; esac
        done
        [ $verbose = 1 ] || exec 2>"$tmp/${#pids[@]}.err"
        exec "$@"
    ) &
    running[$!]=${#pids[@]}
    pids+=($!) names+=("$name")
    # shellcheck disable=SC2086
    drop $in $out $more
}

# Is that process one of ours, and not another one that has got its number?
is_ours() { grep -qsxzF "VN_PREDICT=$tmp" "/proc/$1/environ"; }

counted() { # shows how many reads have their rows
    local lines bytes
    read -r lines bytes < <(tail -c +$((at + 1)) "$tmp/calls.tsv" 2>/dev/null | wc -lc)
    at=$((at + ${bytes:-0})) rows=$((rows + ${lines:-0}))
    [ $rows -lt 1 ] || printf '\r%s: %d reads, %d s ' "$me" $((rows - 1)) $SECONDS >&2
}

# Counts on a terminal; and when this shell is gone, which ends the pipe, ends the others.
watch() { # the pipe's end
    local at=0 rows=0 rc pid signal
    trap '' INT TERM HUP
    while :; do
        # shellcheck disable=SC2086
        read -r ${ticks:+-t $ticks} -u "$1" rc
        rc=$?
        [ $rc -gt 128 ] || break
        counted
    done
    for signal in TERM KILL; do
        for pid in "${pids[@]}"; do is_ours "$pid" && kill -$signal "$pid"; done
        sleep 0.5
    done 2>/dev/null
    clean_up
}

clean_up() {
    [ -z "$tmp" ] || rm -rf "$tmp"
    [ "$made" = 0 ] || rmdir "$dir" 2>/dev/null
    tmp='' made=0
}

# ---- the end --------------------------------------------------------------------------------

# Takes in what has ended, and whether anything went wrong; have all but the watcher ended?
collect() {
    local pid left=0
    for pid in "${!running[@]}"; do
        if kill -0 "$pid" 2>/dev/null; then
            [ "$pid" = "$watcher" ] || left=1
            continue
        fi
        wait "$pid" 2>/dev/null
        status[${running[$pid]}]=$?
        [ "${status[${running[$pid]}]}" = 0 ] || failed=1
        unset "running[$pid]"
    done
    return $left
}
gone() { # milliseconds: have they ended in this time?
    local until=$((${EPOCHREALTIME/[.,]/} + 1000 * $1))
    while ! collect; do
        [ "${EPOCHREALTIME/[.,]/}" -lt $until ] || return
        sleep 0.05
    done
}
end_all() { # what still runs is ended, and does not count
    local pid
    for pid in "${!running[@]}"; do ours[${running[$pid]}]=1; done
    for pid in "${!running[@]}"; do [ "$pid" = $watcher ] || kill -TERM "$pid"; done 2>/dev/null
    gone 800 || for pid in "${!running[@]}"; do kill -KILL "$pid"; done 2>/dev/null
    gone 200
}
end_watcher() { # process, or the last one
    local pid=${1-$watcher}
    [ -n "${running[$pid]-}" ] || return 0
    unset "running[$pid]"
    kill -KILL "$pid"
    wait "$pid"
} 2>/dev/null

# The one that failed first: a cut stream and a closed pipe are what the neighbours of the
# culprit see. Sets cause to its number.
find_cause() {
    local i rank best=0
    for i in "${!pids[@]}"; do
        rank=3
        case ${status[i]:-0}:${names[i]} in
        0:*) continue ;;
        141:* | 1:tee) rank=1 ;;
        65:*) rank=2 ;;
        esac
        [ -z "${ours[i]-}" ] || rank=0
        [ $rank -le $best ] || best=$rank cause=$i
    done
}

explain() { # status
    case $1 in
    2) echo 'the command line is wrong' ;;
    65) echo 'input damaged or truncated' ;;
    66) echo 'input missing or unreadable' ;;
    69) echo 'no usable device' ;;
    70) echo 'internal error: please report' ;;
    74) echo 'output could not be written' ;;
    75) echo 'out of device memory, or device busy: try again' ;;
    76) echo 'stream, model or head do not fit together' ;;
    137) echo 'killed: out of memory?' ;;
    *) [ "$1" -gt 128 ] && echo "ended by signal $(($1 - 128))" || echo 'failure' ;;
    esac
}

# Waits until all have ended; then everything has gone well, or this is the end.
await_all() {
    local cause=-1 i rc why erase='' counting=$watcher
    while ! collect && [ $failed = 0 ]; do wait -n "${!running[@]}" 2>/dev/null; done
    gone 1000 || end_all
    [ -z "$ticks" ] || erase='\r\033[K'
    ticks=''
    start_watcher # there must be one until the end, which is to show nothing now
    end_watcher "$counting"
    # shellcheck disable=SC2059
    printf "$erase" >&2
    find_cause
    if [ $cause -ge 0 ]; then
        cat "$tmp/$cause.err" >&2 2>/dev/null
        rc=${status[cause]} why=$(explain "$rc")
        die "$rc" "'${names[cause]}' ended with status $rc ($why): there are no results"
    fi
    for i in "${!pids[@]}"; do cat "$tmp/$i.err" 2>/dev/null; done >&2
}

leave() { # also on the way out after any failure
    trap '' INT TERM HUP
    end_all
    clean_up
    end_watcher
} 2>/dev/null
interrupted() { # signal
    leave
    trap - "$1" EXIT
    kill -"$1" $$
}

# A command that works on files, and what it prints; where it fails, what it says in our name.
try() {
    local said
    said=$(LC_ALL=C "$@" 2>&1) || die 74 "${said#"$1: "}"
    printf '%s' "$said"
}

# Puts files on the disk, where their file system knows how to.
settle() {
    local f said
    for f; do
        said=$(LC_ALL=C sync -- "$f" 2>&1) && continue
        case $said in
        *': Invalid argument' | *': Operation not supported' | *': Function not implemented') ;;
        *) die 74 "${said#"sync: "}" ;;
        esac
    done
}

# ---- the graph ------------------------------------------------------------------------------

open_directory() {
    if [ ! -d "$dir" ]; then
        try mkdir -- "$dir"
        made=1
    fi
    case $dir in /*) ;; *) dir=./$dir ;; esac
    { exec {lock}<"$dir"; } 2>/dev/null || die 74 "cannot read directory '$dir'"
    fds[$lock]=1
    flock -n -E 75 "$lock" 2>/dev/null # what cannot be locked, as on NFS, is taken as it is
    if [ $? = 75 ]; then
        made=0
        die 75 "'$dir' is in use by another run"
    fi
    tmp=$(try mktemp -d "$dir/.$me.XXXXXX") || exit
    export VN_PREDICT=$tmp
}

# A copy of the stream at the end $r for each of n readers; sets copies[].
split() { # n
    local in=$r n=$1 k ends=() paths=()
    copies=()
    for ((k = 0; k < n; k++)); do
        pipe
        copies[k]=$r ends[k]=$w
    done
    for k in "${ends[@]:1}"; do paths+=("/dev/fd/$k"); done
    stage tee "$in" "${ends[0]}" "${ends[*]:1}" tee "${paths[@]}"
}

start_all() {
    local k in n=${#model[@]} say=() flags=() paths=() vectors=()
    [ $verbose = 0 ] || say=(-v)
    [ $quiet = 0 ] || say=(-q)
    flags=("${say[@]}" -t "$threads")
    { exec {in}<&0; } 2>/dev/null || exec {in}</dev/null
    fds[$in]=1
    pipe
    stage vn-orf "$in" "$w" "" vn-orf "${flags[@]}" --chunk "$chunk" -- "${files[@]}"
    copies=("$r")
    [ "$n" = 1 ] || split "$n"
    for ((k = 0; k < n; k++)); do
        pipe
        stage "vn-pack -m ${model[k]}" "${copies[k]}" "$w" "" vn-pack "${flags[@]}" \
            --column "${column[k]}" -m "${model[k]}"
        in=$r
        pipe
        # shellcheck disable=SC2086
        stage "vn-embed -m ${model[k]}" "$in" "$w" "" vn-embed "${say[@]}" -m "${model[k]}" \
            --device "$device" --precision "$precision" ${make[k]} -t "${share[k]}"
        vectors[k]=$r
    done
    if [ "$n" -gt 1 ]; then
        for k in "${vectors[@]:1}"; do paths+=("/dev/fd/$k"); done
        pipe
        stage vn-join "${vectors[0]}" "$w" "${vectors[*]:1}" \
            vn-join "${flags[@]}" - "${paths[@]}"
    fi
    start_classifiers
}

start_classifiers() {
    local in=$r calls frames made_by files_of
    pipe
    stage "vn-classify -m $head" "$in" "$w" "" \
        vn-classify "${flags[@]}" -m "$head" "${judge[@]}" --format stream
    if [ "$format" = virnucpro ]; then split 4; else split 3; fi
    exec {calls}>"$tmp/calls.tsv" {frames}>"$tmp/frames.tsv" {made_by}>"$tmp/header" || exit 74
    fds[$calls]=1 fds[$frames]=1 fds[$made_by]=1
    stage 'vn-classify --by source' "${copies[0]}" "$calls" "" \
        vn-classify "${flags[@]}" "${judge[@]}" --by source
    stage 'vn-classify --by frame' "${copies[1]}" "$frames" "" \
        vn-classify "${flags[@]}" "${judge[@]}"
    stage 'vn-view --header' "${copies[2]}" "$made_by" "" \
        bash -c 'vn-view --header && exec cat >/dev/null'
    [ "$format" = tsv ] && return
    exec {files_of}>/dev/null
    stage 'vn-classify --format virnucpro' "${copies[3]}" "$files_of" "" \
        vn-classify "${flags[@]}" --format virnucpro -o "$tmp/files"
}

start_watcher() {
    pipe
    ( exec {w}>&- {lock}<&- && watch "$r" ) &
    watcher=$!
    running[$watcher]=${#pids[@]}
    pids+=("$watcher") names+=(watcher)
    drop "$r"
}

# Reads of less than two thirds of what the head was trained on, give or take the two letters
# that a frame may lack, or than the shortest of them, where a frame of it may lack four: the
# head has never seen the like.
warn_short() {
    local least words
    if [ -n "$shortest" ]; then
        least=$((shortest - 4)) words="shorter than the $shortest bases of the shortest"
    elif [ -n "$trained" ]; then
        least=$(((2 * trained + 2) / 3)) words="much shorter than the $trained bases"
    fi
    [ -n "${least-}" ] && [ $quiet = 0 ] || return 0
    awk -F '\t' -v me="$me" -v least="$least" -v words="$words" '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        $at["chunks"] == 1 && $at["end"] - $at["start"] < least { n++ }
        END {
            if (!n) exit
            printf "%s: warning: of %d reads %d are %s ", me, NR - 1, n, words
            print "that the head was trained on: their calls mean little"
        }' "$tmp/calls.tsv" >&2
}

# All results get their names, or none does: first comes all that can be seen to fail. The
# table of calls says that what is beside it belongs to it: that of an earlier run goes before
# anything else, this run's comes when all else is there, on the disk too.
finish() {
    local f names=(prediction_results.txt prediction_results_highestscore.csv
        provenance.jsonl frames.tsv calls.tsv)
    trap '' INT TERM HUP
    try mkdir -p -- "$tmp/files" # where VirNucPro's are, if they were asked for
    sed -n 's/^vn\.pg\.[0-9]*\t//p' "$tmp/header" >"$tmp/files/provenance.jsonl" || exit 74
    try mv -fT -- "$tmp/frames.tsv" "$tmp/files/frames.tsv"
    try mv -fT -- "$tmp/calls.tsv" "$tmp/files/calls.tsv"
    for f in "${names[@]}"; do
        [ ! -d "$dir/$f" ] || die 74 "cannot replace '$dir/$f': it is a directory"
    done
    settle "$tmp/files"/*
    try rm -f -- "$dir/calls.tsv"
    for f in "${names[@]}"; do # what an earlier run left and this one has not, goes
        sync -- "$dir" 2>/dev/null # each step before the next, where the file system can
        if [ -e "$tmp/files/$f" ]; then
            try mv -fT -- "$tmp/files/$f" "$dir/$f"
        else
            rm -f -- "$dir/$f"
        fi
    done
    sync -- "$dir" 2>/dev/null
    [ $quiet = 1 ] || [ $verbose = 0 ] || echo "$me: results in '$dir', $SECONDS s" >&2
}

model=() column=() make=() width=() share=() trained='' shortest=''
tmp='' made=0 lock='' watcher=0 ticks='' failed=0
parse "$@"
check_options
here=${BASH_SOURCE[0]%/*}
[ ! -x "$here/vn-orf" ] || PATH=$here:$PATH # those of the same version
[ -n "$threads" ] || processors
read_head
share_threads
[ $quiet$verbose$progress = 001 ] && [ -t 2 ] && ticks=1
trap leave EXIT
for s in INT TERM HUP; do
    # shellcheck disable=SC2064
    trap "interrupted $s" $s
done
open_directory
start_all
start_watcher
await_all
warn_short
finish
