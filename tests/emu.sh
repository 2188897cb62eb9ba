# The CUDA backend on a processor (tests/emu/emu.h): the emulation itself, every operation
# against the reference, rows and sequences that depend on nobody, a model as a whole.
# Prints "ok", "not ok", "skip" lines for run.sh. EMU_ALL=1 takes every shape and order.
bin=$B/emu
PATH=$bin:$B/tests:$PATH # vn-embed is the emulated one
bad=0
verdict() { # status, name
    if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; bad=1; fi
}

# A program that prints its own lines: they get a name in front.
unit() { # name, command...
    local name=$1 rc
    shift
    "$@" >out 2>err
    rc=$?
    sed -n -E "s/^(ok|not ok|skip) /&$name: /p" out
    grep -q '^not ok ' out && bad=1
    if [ $rc != 0 ] && ! grep -q '^not ok ' out; then
        verdict 1 "$name # status $rc"
    fi
    [ $rc = 0 ] || grep -h -v -e '^ok ' -e '^not ok ' -e '^skip ' out err | head -n 40 | sed 's/^/# /'
}

unit faults t_emu
if [ "${EMU_ALL:-0}" = 1 ]; then
    unit operations t_ops cuda
    unit rows t_rows cuda
    unit attention t_attn cuda
    for seed in 1 2 3; do
        VN_EMU_SEED=$seed unit "operations, order $seed" t_ops small
        VN_EMU_SEED=$seed unit "rows, order $seed" t_rows small
        VN_EMU_SEED=$seed unit "attention, order $seed" t_attn small
    done
    VN_EMU_SM=80 unit "operations, sm_80" t_ops small
    VN_EMU_SM=80 unit "attention, sm_80" t_attn small
else
    unit operations t_ops small
    unit rows t_rows small
    unit attention t_attn small
    VN_EMU_SEED=1 unit "attention, order 1" t_attn small "attn f16"
    VN_EMU_SEED=1 unit "rows, order 1" t_rows small f16
    VN_EMU_SEED=2 unit "operations, order 2" t_ops small "linear f16"
    VN_EMU_SM=80 unit "operations, sm_80" t_ops small "linear bf16"
fi
unit backend t_cuda small

# ---- a model as a whole ----------------------------------------------------------------

by_record() { rows "$1" | sort -n -k 2,2; }
by_id() { rows "$1" | cut -f 1,3- | sort; }
same() { # name, file, file
    if [ -s "$2" ] && cmp -s "$2" "$3"; then verdict 0 "$1"; else verdict 1 "$1"; fi
}
embed() { # options and input of vn-embed; what it says is shown
    vn-embed -q -m m --pool mean-all "$@" 2>err
    sed 's/^/# /' err >&2
}

mkmodel --layers 1 --width 320 --heads 5 --seed 5 m
awk 'BEGIN { s = 7; for (i = 0; i < 12; i++) { printf ">p%d\n", i; n = 1 + (i * 37) % 90
    for (j = 0; j < n; j++) { s = (s * 16807) % 2147483647
        printf "%s", substr("LAGVSERTIDPKQNFYMHWC", 1 + s % 20, 1) } print "" } }' >a.fa
paste - - <a.fa | sort -k 2 | tr '\t' '\n' >b.fa
vn-pack --vocab esm2 --max-tokens 300 a.fa >a.tok
vn-pack --vocab esm2 b.fa >b.tok
embed --device cpu a.tok >cpu
for p in fp32 bf16 fp16 standard; do
    how=(--device cuda --precision "$p")
    [ $p = standard ] && how=(--device cuda --attention standard)
    embed "${how[@]}" a.tok >gpu
    case $p in fp32) far=1e-5 ;; bf16) far=3e-2 ;; *) far=3e-3 ;; esac
    vn-compare --tolerance $far cpu gpu >report
    verdict $? "vn-embed, $p: vectors are those of the CPU"
    by_id gpu >want
    embed "${how[@]}" b.tok | by_id - >got
    same "vn-embed, $p: permuted, in other batches" want got
done
by_record gpu >want
VN_EMU_SEED=3 embed "${how[@]}" --device cuda:0,1 a.tok | by_record - >got
same "vn-embed, $p: two devices, another order of threads" want got

# gates, ALiBi, the norm's second copy
mkmodel --dnabert --layers 2 --width 320 --heads 5 d
printf '>a\nACGTNNACGTTGCATTGACCATGACA\n>b\nACGTACGGGTTTACCCATTAGACAGGATTTACAGACCA\n>c\nA\n' |
    vn-pack -q -m d >d.tok
embed -m d --device cpu d.tok >cpu
for p in fp32 bf16 fp16; do
    embed -m d --device cuda --precision $p d.tok >gpu
    case $p in fp32) far=1e-5 ;; bf16) far=3e-2 ;; *) far=3e-3 ;; esac
    vn-compare --tolerance $far cpu gpu >report
    verdict $? "vn-embed, dnabert, $p: vectors are those of the CPU"
done
exit $bad
