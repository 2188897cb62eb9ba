#!/usr/bin/env bash
# Input that is still being written, as from a sequencer: what has come is called while the
# writer's end of the pipe is open, by every program and in every form of input, and the
# results are those of a file. Who passes the test has answered before it heard more; how
# long that may take is not asked, as long as it ends ($patience). Prints "ok"/"not ok"
# lines for run.sh.
set -u
. "$T/fixture.sh"
make_fixture 20 || exit 1
patience=120 # seconds
embed='vn-embed -m model --device cpu --precision fp32'

# A conversation with a pipeline between the FIFOs in and out, line by line.
open_line() { # pipeline
    rm -f in out
    mkfifo in out
    bash -o pipefail -c "$1" <in >out 2>err &
    talker=$!
    exec {w}>in {r}<out
}
say_line() { # "": nothing; !COMMAND: what it prints; else a format of printf
    case $1 in
    '') ;;
    !*) eval "${1#!}" >&"$w" ;;
    # shellcheck disable=SC2059
    *) printf "$1" >&"$w" ;;
    esac
}
hang_up() { # sets status, and rest to what came after the writer's end was closed
    exec {w}>&-
    rest=$(timeout $patience cat <&"$r")
    exec {r}<&-
    wait "$talker"
    status=$?
}

# What is said, and the beginning of the line that is heard next, in turns; "-" instead of
# this: nothing is heard within a second. At the end nothing more comes, and all is well.
talk() { # name, pipeline, said, heard...
    local name=$1 heard bad='' row
    open_line "$2"
    shift 2
    while [ $# -ge 2 ] && [ -z "$bad" ]; do
        say_line "$1"
        heard=$(printf '%b' "$2")
        row=
        if [ "$heard" = - ]; then
            IFS= read -r -t 1 row <&"$r" && bad="heard '$row', wanted nothing"
        else
            IFS= read -r -t $patience row <&"$r" || bad='heard nothing'
            case $row in "$heard"*) ;; *) bad="${bad:-heard '$row'}, wanted '$heard'" ;; esac
        fi
        shift 2
    done
    hang_up
    [ -n "$bad" ] || [ $status = 0 ] || bad="status $status: $(head -1 err)"
    [ -n "$bad" ] || [ -z "$rest" ] || [ $# = 1 ] || bad="heard '$rest' at the end"
    [ -z "$bad" ]
    say $? "$name${bad:+ # $bad}"
}

a='@a\nMKTAYIAKQR\n+\nIIIIIIIIII\n' b='@b\nMKV\n+\nIII\n' c='@c\n\n+\n\n'
bases=ATGAGGACTTTATCTAATCAGTTCTTTGCTCTGTCCGCA # whose frame 1 is open, and no other
d="@d\n$bases\n+\n${bases//?/I}\n"
e='@e\nNNNN\n+\nIIII\n'
table='id\trecord\tlabel'
calls="$embed --pool auto | vn-classify -m head"

# ---- forms of input ---------------------------------------------------------------------

pack='vn-pack --max-latency 20 -m model'
talk 'FASTQ' "$pack | $calls" "$a" "$table" '' 'a\t0\t' "$b" 'b\t1\t' "$c" 'c\t2\t.\t' "$a$b" 'a\t3\t' '' 'b\t4\t'
talk 'without --max-latency a record waits for others' "vn-pack -m model | $calls" "$a" - "$b" - rest
talk 'a record waits as long as it may' "vn-pack -m model --max-latency 3600k | $calls" "$a" - rest
talk 'a window that is full does not wait' "vn-pack -m model --max-latency 3600k --window 1 | $calls" "$a" "$table" '' 'a\t0\t'
for packer in gzip bgzip zstd; do
    if type $packer >/dev/null 2>&1; then
        talk "$packer" "$pack | $calls" "!printf '$a' | $packer -c" "$table" '' 'a\t0\t' "!printf '$b' | $packer -c" 'b\t1\t'
    else
        echo "skip $packer # not installed"
    fi
done
# a record of FASTA ends where the next one begins, not before
talk 'FASTA' "$pack | $calls" '>a\nMKT\n' - 'AYI\n' - '>' "$table" '' 'a\t0\t' 'b\n' - rest
# NAME BASES: a read of uncompressed BAM; nothing: its header
bam() { python3 -c '
import struct, sys
out = sys.stdout.buffer
if len(sys.argv) == 1:
    out.write(b"BAM\1" + struct.pack("<I11sI", 11, b"@HD\tVN:1.6\n", 0))
else:
    name, seq = sys.argv[1].encode() + b"\0", sys.argv[2]
    code = ["=ACMGRSVTWYHKDBN".index(c) for c in seq] + [0]
    packed = bytes(code[i] << 4 | code[i + 1] for i in range(0, len(seq), 2))
    rest = struct.pack("<iiBBHHHiiii", -1, -1, len(name), 0, 4680, 0, 4, len(seq), -1, -1, 0)
    rest += name + packed + b"I" * len(seq)
    out.write(struct.pack("<i", len(rest)) + rest)' "$@"; }
orf='vn-orf --max-latency 20 --chunk 100'
orf_rows="$orf | vn-view --columns id,record,status"
alignments=
if vn-orf 2>&1 >/dev/null <<<$'@HD\tVN:1.6' | grep -q 'without htslib'; then
    echo 'skip alignments # built without htslib'
else
    alignments=1
    talk 'SAM' "$orf_rows" "@HD\tVN:1.6\nd\t4\t*\t0\t0\t*\t*\t0\t0\t$bases\t*\n" 'id\trecord' '' 'd_chunk_1F1\t0\tok' \
        'e\t4\t*\t0\t0\t*\t*\t0\t0\tNNNN\t*\n' 'e_chunk_1\t1\tno codon'
    talk 'BAM' "$orf_rows" "!bam; bam d $bases" 'id\trecord' '' 'd_chunk_1F1\t0\tok' '!bam e NNNN' 'e_chunk_1\t1\tno codon'
    talk 'BAM, compressed' "$orf_rows" "!(bam; bam d $bases) | gzip -c" 'id\trecord' '' 'd_chunk_1F1\t0\tok' \
        '!bam e NNNN | gzip -c' 'e_chunk_1\t1\tno codon'
fi
printf "$a" >one.fq
talk 'a file and then a pipe' "$pack one.fq - | $calls" '' "$table" '' 'a\t0\t' "$b" 'b\t1\t'
mkfifo silent
talk 'a file and then a FIFO that nobody writes to' "$pack one.fq silent | $calls" '' "$table" '' 'a\t0\t' '!: >silent' -

# ---- programs ---------------------------------------------------------------------------

talk 'vn-orf' "$orf_rows" "$d" 'id\trecord' '' 'd_chunk_1F1\t0\tok' "$e" 'e_chunk_1\t1\tno codon'
talk 'vn-orf, without --max-latency' "vn-orf | vn-view" "$d" - rest
talk 'vn-orf to FASTA' "$orf --to protein" "$d" '>d_chunk_1F1' '' 'MRTLSNQFFALSA' "$e" - "$d" '>d_chunk_1F1' '' 'MRTLSNQFFALSA'
talk 'vn-orf to FASTA, without --max-latency' 'vn-orf --to chunk' "$d" - rest
talk 'vn-orf, two files' "$orf --to chunk one.fq -" '' '>a_chunk_1' '' 'MKTAYIAKQR' "$e" '>e_chunk_1' '' NNNN
talk 'from reads to calls' "$orf | $pack | $calls" "$d" "$table" '' 'd_chunk_1F1\t0\t' "$e" 'e_chunk_1\t1\t.\t' "$d" 'd_chunk_1F1\t2\t'
# a source is known to be whole when the next one begins
talk 'vn-classify --by source' "$orf | $pack | $calls --by source" "$d" "$table" '' - "$e" 'd\t0\t' "$d" 'e\t1\t' rest
talk 'token rows, vn-pool, JSON' "$pack | $embed | vn-pool | vn-view --to json" "$a" '{"id":"a","record":0,' "$b" '{"id":"b","record":1,'
talk 'a scores stream' "$pack | $calls --format stream | vn-classify" "$a" "$table" '' 'a\t0\t' "$b" 'b\t1\t'
mkfifo other
talk 'vn-join' "$pack | tee >($embed --pool max >other) | $embed --pool mean | vn-join other - | vn-view --columns id,record" \
    "$a" 'id\trecord' '' 'a\t0' "$b" 'b\t1' "$c" 'c\t2'

# ---- failures ---------------------------------------------------------------------------

# The end comes by itself, while the writer's end is open and silent.
talk_fails() { # name, status wanted, pipeline, said
    open_line "$3"
    say_line "$4"
    IFS= read -r -t $patience _ <&"$r"
    local heard=$?
    hang_up
    [ $heard = 1 ] && [ $status = "$2" ] && { [ $status = 141 ] || [ -s err ]; }
    say $? "$1 (read $heard, status $status)"
}
talk_fails 'the disk is full: vn-pack' 74 "$pack -o /dev/full" "$a"
talk_fails 'the disk is full: vn-orf' 74 "$orf -o /dev/full" "$d"
[ -n "$alignments" ] && talk_fails 'the disk is full: vn-orf of BAM' 74 "$orf -o /dev/full" "!bam; bam d $bases"
# the first read comes when 64 KiB have
[ -n "$alignments" ] && talk_fails 'the disk is full, no latency: vn-orf of BAM' 74 "vn-orf --chunk 1 --to chunk -o /dev/full" \
    "!bam; bam d $(printf 'ACGT%.0s' {1..4000}); bam d $(printf 'ACGT%.0s' {1..8000})"
talk_fails 'the disk is full: vn-orf to FASTA' 74 "$orf --to protein -o /dev/full" "$d"
talk_fails 'the disk is full, and nobody writes to the FIFO: vn-pack' 74 "$pack one.fq silent -o /dev/full" ''
talk_fails 'the disk is full, and nobody writes to the FIFO: vn-orf' 74 "$orf one.fq silent -o /dev/full" ''
# a batch, its totals, and no end
talk_fails 'the disk is full: vn-classify' 74 "vn-classify -m head -o /dev/full" "!head -c -8 vectors.vn"
talk_fails 'the disk is full: vn-classify in one thread' 74 "vn-classify -m head -t 1 -o /dev/full" "!head -c -8 vectors.vn"
records 10 batch=100 >batch.vn
talk_fails 'the disk is full: vn-pack of records' 74 "vn-pack -m model --window 1 -o /dev/full" "!head -c -8 batch.vn"
talk_fails 'the disk is full: vn-pack of records in one thread' 74 "vn-pack -m model -t 1 --window 1 -o /dev/full" "!head -c -8 batch.vn"
talk_fails 'the reader has gone' 141 "$pack | true" "$a"
talk_fails 'the reader has gone, SIGPIPE ignored' 141 "$B/tests/child --ignore-sigpipe -- $pack | true" "$a"
open_line "$pack | $calls"
say_line "$a@b\nMK"
IFS= read -r -t $patience _ <&"$r" && IFS= read -r -t $patience row <&"$r"
hang_up
[ "${row%%	*}" = a ] && [ $status = 65 ] && [ -z "$rest" ] && grep -q 'vn-pack.*truncated' err
say $? "a record that is cut, behind one that was called (status $status)"

# ---- the same results ---------------------------------------------------------------------

fastq() { awk '/^>/ { if (n++) print s "\n+\n" q; print "@" substr($1, 2); s = q = ""; next }
    { s = s $0; gsub(/./, "I"); q = q $0 } END { print s "\n+\n" q }' "$1"; }
drip() { # a record now and then
    local head seq plus quality
    while IFS= read -r head && IFS= read -r seq && IFS= read -r plus && IFS= read -r quality; do
        printf '%s\n%s\n%s\n%s\n' "$head" "$seq" "$plus" "$quality"
        sleep 0.01
    done <"$1"
}
fastq reads.fa >reads.fq
fastq dna.fa >dna.fq
batches() { vn-view --check "$1" | cut -f 4 | cut -d ' ' -f 1; }
vn-pack -m model reads.fq >whole.tokens
drip reads.fq | vn-pack -m model --max-latency 1 >live.tokens
[ "$(batches live.tokens)" -gt "$(batches whole.tokens)" ]
say $? "batches are smaller"
for x in whole live; do $embed --pool auto --no-provenance $x.tokens >$x.vectors; done
vn-view --to npy whole.vectors >want
vn-view --to npy live.vectors | cmp -s - want
say $? "vectors are the same, to the bit"
vn-classify -m head whole.vectors >want
vn-classify -m head live.vectors | cmp -s - want
say $? "tables are the same"
vn-orf --chunk 100 dna.fq | vn-pack -m model | vn-view --columns record,id,status,start,tokens | sort -n >want
drip dna.fq | vn-orf --chunk 100 --max-latency 2 | vn-pack -m model --max-latency 1 |
    vn-view --columns record,id,status,start,tokens | sort -n | cmp -s - want
say $? "so is what goes along with a row"
vn-orf --chunk 100 --to protein dna.fq >want
drip dna.fq | vn-orf --chunk 100 --max-latency 1 --to protein | cmp -s - want
say $? "and FASTA"
[ $failures = 0 ]
