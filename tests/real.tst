# make check-real on stand-ins: small seeded models, and their own results in VirNucPro's files.
# It finds them right, and what is changed in them wrong; real.lib makes them.

right | 0 | . $T/real.lib; standins; passes 6 && [ "$(grep -c 'least cosine 1.0000' said)" = 4 ] && grep -q 'rows, scores within 0$' said
# what other programs round otherwise passes: 0.4 % of a vector is a cosine of 0.999992
rounded | 0 | . $T/real.lib; standins; for k in nucleotide proteins; do bend $k 2 0.004; done; bend ids 3 0.004 1 48; passes 6
# 0.5 % is 0.9999875
dnabert-bent | 0 | . $T/real.lib; standins; bend nucleotide 2 0.005; fails_in 'vectors of DNABERT-S'
esm-bent | 0 | . $T/real.lib; standins; bend proteins 5 -0.005; fails_in 'vectors of ESM-2 3B'
joined-bent | 0 | . $T/real.lib; standins; bend ids 1 0.005 1 48; fails_in 'the part of DNABERT-S'; bend ids 4 0.005 49; fails_in 'the part of DNABERT-S' 'the part of ESM-2'
longer | 0 | . $T/real.lib; standins; awk -F '\t' -v OFS='\t' 'NR == 2 { n = split($2, a, ","); $2 = 1.02 * a[1]; for (i = 2; i <= n; i++) $2 = $2 "," 1.02 * a[i] } { print }' proteins.txt >x; mv x proteins.txt; pt proteins; fails_in 'vectors of ESM-2 3B'
ids-exchanged | 0 | . $T/real.lib; standins; sed -i '2{h;d};3{G}' ids.txt; pt ids; passes 6; paste <(cut -f 1 ids.txt) <(cut -f 2 ids.txt | tail -n +2; cut -f 2 ids.txt | head -n 1) >x; mv x ids.txt; pt ids; fails_in 'the part of DNABERT-S' 'the part of ESM-2'
vector-missing | 0 | . $T/real.lib; standins; sed -i 1d nucleotide.txt; pt nucleotide; fails_in 'vectors of DNABERT-S'
vector-more | 0 | . $T/real.lib; standins; sed 's/^/x/' proteins.txt | head -n 1 >>proteins.txt; pt proteins; fails_in 'vectors of ESM-2 3B'
scores | 0 | . $T/real.lib; standins; f=data/virnucpro/reference_vanilla_output/prediction_results.txt; cp $f x; for d in 0.00009:0 0.00011:1; do awk -F '\t' -v OFS='\t' -v d=${d%:*} 'NR == 3 {$4 = sprintf("%.9g", $4 + d)} {print}' x >$f; if [ ${d#*:} = 0 ]; then passes 6; else fails_in prediction_results.txt; fi; done
labels | 0 | . $T/real.lib; standins; f=data/virnucpro/reference_vanilla_output/prediction_results.txt; sed -i '2{s/virus/v/;s/others/virus/;s/\tv\t/\tothers\t/}' $f; fails_in prediction_results.txt
consensus | 0 | . $T/real.lib; standins; f=data/virnucpro/reference_vanilla_output/prediction_results_highestscore.csv; sed -i '2{s/True/x/;s/False/True/;s/x/False/}' $f; fails_in highestscore.csv
reference-damaged | 0 | . $T/real.lib; standins; . $T/fixture.sh; python3 -c 'f = "data/virnucpro/reference_vanilla_output/output_1_merged.pt"; b = bytearray(open(f, "rb").read()); b[b.find(b"archive/data/0") + 100] ^= 1; open(f, "wb").write(b)'; fails_in 'vn-predict, whole'
weights-changed | 0 | . $T/real.lib; standins; $B/tests/mkmodel --seed 5 models/esm2_t36_3B_UR50D; fails_in 'vectors of ESM-2 3B' 'the part of ESM-2' 'prediction_results.txt'
weights-damaged | 0 | . $T/real.lib; standins; echo '{' >models/DNABERT-S/config.json; fails_in 'vectors of DNABERT-S' 'vn-predict, whole'
skipped-by-name | 0 | . $T/real.lib; standins; rm -r models/esm2*; bash $T/real.sh >said; [ $? = 0 ] && [ "$(grep -c "^skip .*no model 'esm2_t36_3B_UR50D'" said)" = 2 ] && [ "$(grep -c '^ok' said)" = 1 ] && rm data/virnucpro/*/output_1_DNA* && bash $T/real.sh | grep '^skip vectors of DNABERT-S # no .*/output_1_DNABERT_S.pt' >x && unset VN_MODELS && [ "$(bash $T/real.sh | grep -c '^skip .*VN_MODELS is not set')" = 3 ]
