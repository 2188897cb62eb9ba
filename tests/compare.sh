# compare.sh - sourced by compare.tst: made-up calls, and a look into a report.

# A table of $1 calls by two classes, as vn-classify writes it: q0, q1 ... A tenth has none.
calls() {
    awk -v n="$1" -v OFMT=%.9g 'BEGIN {
        srand(3); OFS = "\t"
        print "id", "record", "label", "score_others", "score_virus", "status"
        for (i = 0; i < n; i++) {
            x = int(rand() * 65537) / 65536
            if (i % 10 == 9) print "q" i, i, ".", ".", ".", "empty"
            else print "q" i, i, (x > 0.5 || i == 1 ? "virus" : "others"), 1 - x, x, "ok"
        }
    }'
}

virnucpro() { # a table of calls as prediction_results.txt, in another order
    printf 'Sequence_ID\tPrediction\tscore1\tscore2\n'
    awk -F '\t' -v OFS='\t' 'NR > 1 && $3 != "." { print $1, $3, $4, $5 }' "$1" | sort -r
}

labels() { # number of records, of which so many are "others": no scores
    awk -v n="$1" -v m="$2" 'BEGIN {
        print "id\tlabel"
        for (i = 0; i < n; i++) print "q" i "\t" (i < m ? "others" : "virus")
    }'
}

one() { # the table of one record, and its score
    printf 'id\tlabel\tscore_virus\nq\tvirus\t%s\n' "$1"
}

change() { # table, line, column, new value
    awk -F '\t' -v OFS='\t' -v line="$2" -v column="$3" -v to="$4" \
        'NR == line { $column = to } { print }' "$1"
}

fact() { # name, value: what the report r says; fails with 9, as 1 says that sets differ
    grep -qxF "$1	$2" r || {
        echo "$1 should be $2: $(grep -F "$1	" r)"
        return 9
    }
}

shown() { # a line of r
    grep -qxF "$1" r || {
        echo "not in the report: $1"
        grep ^difference r
        return 9
    }
}
