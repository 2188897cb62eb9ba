#!/bin/bash
# Makes the files of this folder, each wrong in one way (the messages that they must give
# are in tests/golden/pack.bad-files). Needs gzip, bgzip, zstd, xz, bzip2.
set -eu
cd "$(dirname "$0")"
rm -f ./*.fa ./*.fq ./*.gz ./*.bgz ./*.zst ./*.xz ./*.bz2
good=$'>one first\nMKTAYIAKQRQISFVK\n>two\nACDEFGHIKLMNPQRSTVWY\n'

printf 'MKT\n>a\nMKT\n' >text-first.fa
printf '>a\nMKT\n>b\nMK5T\n' >digit.fa
printf '>a\nMK\0T\n' >nul.fa
printf '>a\0b\nMKT\n' >nul-in-header.fa
printf '>a\nMK\001T\n' >control.fa
printf '>a\nMK\303\251T\n' >utf8-in-sequence.fa
printf '>a\nMKT>b\nMKT\n' >header-in-line.fa
printf '>a\nMK<mask\n' >half-mask.fa
printf '>a\nMK<MASK>T\n' >upper-mask.fa
printf '>a\rMKT\r>b\rACD\r' >mac.fa
printf '>a\nMKT\rACD\n' >bare-cr.fa
printf '\377\376>\0a\0\n\0M\0\n\0' >utf16-mark.fa
printf '>\0a\0\n\0M\0\n\0' >utf16.fa
printf '>a\nMKT\n@r\nACGT\n+\nIIII\n' >fastq-in-fasta.fa
printf '@r\nACGT\n+\nIIII\n>a\nMKT\n' >fasta-in-fastq.fq
printf '@r\nACGT\nIIII\n' >no-plus.fq
printf '@r\nACGT\nACGT\n+\nIIIIIIII\n' >multi-line.fq
printf '@r x\nACGT\n+s x\nIIII\n' >other-id.fq
printf '@r\nACGT\n+\nIII\n@s\nA\n+\nI\n' >short-quality.fq
printf '@r\nACGT\n+\nIIIII\n' >long-quality.fq
printf '@r\nACGT\n+\nII\177I\n' >quality-range.fq
printf '@r\nACGT\n+\nIIII\n@s\nAC' >cut-sequence.fq
printf '@r\nACGT\n+\nIIII\n@s\nAC\n+\nI' >cut-quality.fq
printf '\177ELF\002\001\001' >binary.fa

printf %s "$good" | gzip -n | head -c 40 >cut.fa.gz
{ printf %s "$good" | gzip -n; printf junk; } >junk.fa.gz
printf %s "$good" | gzip -n | gzip -n >twice.fa.gz
printf %s "$good" | gzip -n | python3 -c 'import sys
b = bytearray(sys.stdin.buffer.read()); b[-6] ^= 1; sys.stdout.buffer.write(b)' >crc.fa.gz
printf %s "$good" | bgzip | head -c -28 >no-end.fa.bgz
printf %s "$good" | bgzip | python3 -c 'import sys
b = bytearray(sys.stdin.buffer.read()); b[16] += 1; sys.stdout.buffer.write(b)' >size.fa.bgz
printf %s "$good" | zstd -q --check | head -c 60 >cut.fa.zst
printf %s "$good" | zstd -q --check | python3 -c 'import sys
b = bytearray(sys.stdin.buffer.read()); b[-1] ^= 1; sys.stdout.buffer.write(b)' >checksum.fa.zst
{ printf %s "$good" | zstd -q; printf junk; } >junk.fa.zst
printf %s "$good" | xz >xz.fa.xz
printf %s "$good" | bzip2 >bzip2.fa.bz2
