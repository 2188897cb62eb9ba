# windows.sh - what lines of embed.tst share that put windows together once more, by hand. A
# record is cut as windows.h says; all in awk, in double precision.

# FASTA with a line a sequence: the windows of each record, as records.
pieces() { # residues of a window
    awk -v m="$1" '/^>/ { next }
        { o = int(m / 4)
          for (at = 0; ; at += m - o) { print ">" n++; print substr($0, at + 1, m)
              if (at + m >= length($0)) break } }'
}
vectors() { # in the order of the input
    vn-view --columns record,embedding - | tail -n +2 | sort -n | cut -f 2
}
# The vectors of the records, from those of all windows.
merge() { # residues of a window, rule, FASTA, vectors
    awk -v m="$1" -v rule="$2" -v fasta="$3" -v vectors="$4" '
        function put(i) {
            for (i = 1; i <= d; i++) printf "%.9g%s", rule == "max" ? sum[i] : sum[i] / all, i < d ? "," : "\n" }
        BEGIN { o = int(m / 4)
            while ((getline line <fasta) > 0) if (line !~ /^>/) {
                all = 0; split("", sum)
                for (at = 0; ; at += m - o) {
                    n = length(substr(line, at + 1, m)); getline v <vectors; d = split(v, x, ",")
                    w = rule == "mean" ? n : rule == "mean-all" ? n + 2 : 1
                    for (i = 1; i <= d; i++)
                        if (rule != "max") sum[i] += w * x[i]
                        else if (!all || x[i] + 0 > sum[i]) sum[i] = x[i] + 0
                    all += w
                    if (at + m >= length(line)) break
                }
                put() } exit }'
}
near() { # the same, but for rounding: file
    paste - "$1" | awk -F '\t' '{ d = split($1, a, ","); if (split($2, b, ",") != d || !d) exit 1
        for (i = 1; i <= d; i++) { e = a[i] - b[i]; if (e * e > 1e-12) { print a[i], b[i] >"/dev/stderr"; bad = 1; exit 1 } }
        n++ } END { exit bad || n != 60 }'
}
