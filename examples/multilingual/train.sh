#!/usr/bin/env bash
# Make the demo's data of six languages, and train one dense model from and to English on it.
#
#   examples/multilingual/train.sh OUT
#
# OUT/data gets the data, OUT/dense the checkpoints, and OUT/scores.tsv the BLEU of each direction.
# The second call skips what is finished.
set -euo pipefail
out=$1
languages="na nb nc sa sb sc"
pairs=$(for code in $languages; do echo "en-$code,$code-en"; done | paste -sd,)
mkdir -p "$out"
fairseq-lottery demo --kind languages --data-only --out "$out/data"
user_dir=$(fairseq-lottery user-dir)
task="--user-dir $user_dir --task translation_multi_simple_epoch --encoder-langtok tgt"
task="$task --langs en,${languages// /,} --lang-pairs $pairs"

# shellcheck disable=SC2086
[ -e "$out/dense/done" ] || fairseq-train "$out/data/translation" $task \
    --sampling-method temperature --sampling-temperature 1.5 \
    --arch transformer --share-all-embeddings --dropout 0 \
    --encoder-layers 2 --encoder-embed-dim 96 --encoder-ffn-embed-dim 192 \
    --encoder-attention-heads 4 --encoder-normalize-before \
    --decoder-layers 2 --decoder-embed-dim 96 --decoder-ffn-embed-dim 192 \
    --decoder-attention-heads 4 --decoder-normalize-before \
    --optimizer adam --adam-betas '(0.9, 0.98)' \
    --lr 0.005 --lr-scheduler inverse_sqrt --warmup-updates 200 \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --max-tokens 1500 --max-update 3000 --required-batch-size-multiple 1 \
    --no-epoch-checkpoints --num-workers 0 --log-format simple --log-interval 100 --seed 1 \
    --save-dir "$out/dense"
touch "$out/dense/done"

printf 'source\ttarget\tBLEU\n' >"$out/scores.tsv"
for pair in ${pairs//,/ }; do
    source=${pair%-*} target=${pair#*-} log="$out/generate-$pair.log"
    parallel=$([ "$source" = en ] && echo "en-$target" || echo "en-$source")
    # shellcheck disable=SC2086
    [ -s "$log" ] || fairseq-generate "$out/data/translation" $task \
        --source-lang "$source" --target-lang "$target" --path "$out/dense/checkpoint_last.pt" \
        --beam 4 --max-tokens 4000 --required-batch-size-multiple 1 \
        --remove-bpe sentencepiece >"$log"
    bleu=$(grep '^H-' "$log" | sed 's/^H-//' | sort -n | cut -f3 |
        sacrebleu -b "$out/data/text/parallel/test.$parallel.$target")
    printf '%s\t%s\t%s\n' "$source" "$target" "$bleu" | tee -a "$out/scores.tsv"
done
