# What runs the tests and benchmarks of a GPU, where there is none: NAME | STATUS | COMMAND

no GPU is a failure | 69 | CUDA_VISIBLE_DEVICES= bash $T/gpu.sh | tee out; rc=${PIPESTATUS[0]}; grep -q '^not ok a usable GPU' out && tail -n 1 out | grep -qx '0 passed, 1 failed, 0 skipped' && exit $rc
no GPU, no figures | 69 | command -v python3 >/dev/null || { echo 'skip: no python3'; exit; }; CUDA_VISIBLE_DEVICES= python3 $T/gpu_bench.py 8M
another part | 2 | command -v python3 >/dev/null || { echo 'skip: no python3'; exit; }; python3 $T/gpu_bench.py 9M
table | 0 | command -v python3 >/dev/null || { echo 'skip: no python3'; exit; }; python3 $T/gpu_bench.py --table $T/gpu_bench.json
loads have the lengths they say | 0 | $B/tests/mktokens --load w52 20000 4096 | vn-view --stats | awk '$1 == "tokens" && NF > 2 { exit !($4 == 50 && $6 == 52) }' && $B/tests/mktokens --load uni 200000 4096 | vn-view --stats | awk '$1 == "tokens" && NF > 2 { exit !($4 >= 32 && $5 > 320 && $5 < 360 && $6 <= 1024) }'
no such load | 2 | $B/tests/mktokens --load w53 100 100 >/dev/null
