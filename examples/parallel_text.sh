#!/usr/bin/env bash
# Dense, stabilized tickets, sign-only tickets, magnitude pruning and random masks at 50, 80
# and 90 % on any parallel text:
#
#   examples/parallel_text.sh DATA SRC TGT OUT
#
# DATA holds train.SRC, train.TGT, valid.SRC, valid.TGT, test.SRC and test.TGT, one sentence
# per line. Every step is skipped where its output stands, so a killed run goes on; two chains
# of trainings run side by side. Sizes and budget are environment variables with defaults for
# a small corpus on two cores.
set -euo pipefail

if [ $# -ne 4 ]; then
    sed -n '5,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$1 src=$2 tgt=$3 out=$4

: "${VOCABULARY:=4000}" "${WIDTH:=128}" "${FFN:=512}" "${LAYERS:=2}" "${HEADS:=4}"
: "${UPDATES:=1000}" "${TOKENS:=4096}" "${LR:=2e-3}" "${WARMUP:=200}" "${DROPOUT:=0.1}"
: "${REWIND:=50}" "${SEED:=1}" "${SPARSITIES:=0.5 0.8 0.9}" "${JOBS:=2}"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

mkdir -p "$out"
user_dir=$(fairseq-lottery user-dir)

# --- text to subwords to fairseq's binary form ----------------------------------------------
if [ ! -e "$out/bpe.model" ]; then
    cat "$data/train.$src" "$data/train.$tgt" >"$out/train.both"
    python -c 'import sys, sentencepiece
sentencepiece.SentencePieceTrainer.train(input=sys.argv[1], model_prefix=sys.argv[2],
    vocab_size=int(sys.argv[3]), model_type="bpe", character_coverage=1.0, num_threads=1)' \
        "$out/train.both" "$out/bpe" "$VOCABULARY" >"$out/spm.log" 2>&1
fi
if [ ! -e "$out/bin/prepared" ]; then
    for split in train valid test; do
        for lang in "$src" "$tgt"; do
            python -c 'import sys, sentencepiece
model = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
for line in sys.stdin: print(" ".join(model.encode(line.strip(), out_type=str)))' \
                "$out/bpe.model" <"$data/$split.$lang" >"$out/$split.$lang"
        done
    done
    fairseq-preprocess -s "$src" -t "$tgt" --joined-dictionary --destdir "$out/bin" \
        --trainpref "$out/train" --validpref "$out/valid" --testpref "$out/test" \
        >"$out/preprocess.log" 2>&1
    touch "$out/bin/prepared"
fi

# --- one training and its score --------------------------------------------------------------
run() { # NAME FLAGS...: train into OUT/NAME and score its last checkpoint on the test set
    local name=$1 dir="$out/$1"
    shift
    mkdir -p "$dir"
    if [ ! -e "$dir/trained" ]; then
        fairseq-train "$out/bin" --user-dir "$user_dir" -s "$src" -t "$tgt" \
            --task translation_lottery --save-dir "$dir" \
            --arch transformer --share-all-embeddings --dropout "$DROPOUT" \
            --encoder-layers "$LAYERS" --decoder-layers "$LAYERS" \
            --encoder-embed-dim "$WIDTH" --decoder-embed-dim "$WIDTH" \
            --encoder-ffn-embed-dim "$FFN" --decoder-ffn-embed-dim "$FFN" \
            --encoder-attention-heads "$HEADS" --decoder-attention-heads "$HEADS" \
            --optimizer masked_adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 \
            --lr "$LR" --lr-scheduler inverse_sqrt --warmup-updates "$WARMUP" \
            --criterion label_smoothed_cross_entropy_lottery --label-smoothing 0.1 \
            --max-tokens "$TOKENS" --max-update "$UPDATES" --seed "$SEED" \
            --validate-interval-updates 250 --save-interval-updates 250 \
            --keep-interval-updates 1 --no-epoch-checkpoints --num-workers 0 \
            --required-batch-size-multiple 1 --log-format simple --log-interval 50 \
            --snapshot-updates "$REWIND" "$@" >>"$dir/train.log" 2>&1
        touch "$dir/trained"
    fi
    if [ ! -e "$dir/bleu.json" ]; then
        fairseq-generate "$out/bin" --user-dir "$user_dir" --task translation_lottery \
            -s "$src" -t "$tgt" --path "$dir/checkpoint_last.pt" --gen-subset test \
            --beam 5 --max-tokens 4000 --required-batch-size-multiple 1 \
            --remove-bpe sentencepiece >"$dir/generate.log" 2>&1
        grep '^H-' "$dir/generate.log" | sed 's/^H-//' | sort -n | cut -f3 >"$dir/hypotheses"
        if [ "$(wc -l <"$dir/hypotheses")" -ne "$(wc -l <"$data/test.$tgt")" ]; then
            echo "$name: not every test sentence was translated; see $dir/generate.log" >&2
            return 1
        fi
        sacrebleu "$data/test.$tgt" -i "$dir/hypotheses" -m bleu >"$dir/bleu.tmp"
        mv "$dir/bleu.tmp" "$dir/bleu.json"
    fi
    echo "$name $(python -c 'import json, sys
record = json.load(open(sys.argv[1]))
print(record["score"], record["signature"])' "$dir/bleu.json")"
}

# --- the techniques ---------------------------------------------------------------------------
rounds() { # NAME FLAGS...: mask of the latest run, survivors back to its update REWIND
    local name=$1 latest=dense
    shift
    for sparsity in $SPARSITIES; do
        run "$name-$sparsity" --mask-from "$out/$latest/checkpoint_last.pt" \
            --start-from "$out/$latest/snapshot_$REWIND.safetensors" --sparsity "$sparsity" "$@"
        latest=$name-$sparsity
    done
}
gradual() { # cubic over the first four fifths of the run, a step every fiftieth
    for sparsity in $SPARSITIES; do
        run "mp-$sparsity" --prune-to "$sparsity" --prune-start 0 \
            --prune-end $((UPDATES * 4 / 5)) --prune-every $((UPDATES / 50))
    done
}

run dense
chains() {
    printf '%s\n' "rounds slt --reset rewind" "rounds sign --reset sign" \
        "rounds random --reset rewind --score random" gradual
}
pids=()
while read -r chain; do
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do sleep 1; done
    $chain &
    pids+=($!)
done < <(chains)
for pid in "${pids[@]}"; do wait "$pid"; done
