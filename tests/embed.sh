# What the lines of embed.tst share.
PATH=$B/tests:$PATH
if [ -n "${VN_TEST_DEVICE:-}" ]; then # gpu.sh: there, unless the line says where
    vn-embed() { command vn-embed --device "$VN_TEST_DEVICE" "$@"; }
fi
mkmodel --layers 2 --seed 5 m # width 32, 2 heads

# 7 records in 2 batches, one of them empty
some() { mktokens "$@" 3 30 - 17 / 64 5 120; } # 239 tokens

# Rows by id, without the record numbers: what a permutation must not change.
by_id() { rows "$1" | cut -f 1,3- | sort; }

# Rows in the order of the input.
by_record() { rows "$1" | sort -n -k 2,2; }

# The embedding of token 22 (W) becomes NaN: word_embeddings come first in the file.
poison() {
    local header
    header=$(od -An -tu8 -N8 m/model.safetensors)
    printf '\0\0\300\177' |
        dd of=m/model.safetensors bs=1 seek=$((8 + header + 22 * 32 * 4)) conv=notrunc status=none
}

# 60 proteins of 1 to 150 residues, the same every time.
fasta() {
    awk 'BEGIN { s = 7; for (i = 0; i < 60; i++) { printf ">p%d\n", i; n = 1 + (i * 37) % 150
        for (j = 0; j < n; j++) { s = (s * 16807) % 2147483647
            printf "%s", substr("LAGVSERTIDPKQNFYMHWC", 1 + s % 20, 1) } print "" } }'
}
