#!/usr/bin/env bash
# Fine-tune an encoder of seven languages on English, and prune its heads: what does each language
# lose, and which languages use the same heads and weights?
#
#   examples/multilingual/prunability.sh OUT [TASK]
#
# TASK is tense (default), agreement or entailment of the demo's languages. OUT/data gets the data,
# OUT/pretrained the pre-trained encoder, and OUT/TASK the trainings and all results.
# tables.py prints them. The second call skips what is finished.
set -euo pipefail
case ${1:-} in "" | -*) echo "usage: $0 OUT [TASK]" >&2; exit 2 ;; esac
case ${2:-tense} in
    tense | agreement | entailment) ;;
    *) echo "TASK is $2; choose tense, agreement or entailment" >&2; exit 2 ;;
esac
out=$1 task=${2:-tense} languages="en na nb nc sa sb sc" seeds="1 2 3" updates=${UPDATES:-640}
here=$(cd "$(dirname "$0")" && pwd)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

"$here/../encoders/pretrain.sh" "$out" languages "${PRETRAINING:-6000}"
pretrained=$out/pretrained/checkpoint_last.pt
labels=$(awk -F'\t' -v row="$task/en" '$1 == row { print split($3, _, ",") }' \
    "$out/data/text/tasks.tsv")
results=$out/$task
mkdir -p "$results"
# English is the language of the fine-tuning: its facts are unknown to the tests
cut -f 1-3,6 "$out/data/text/languages.tsv" | sed $'s/^en\t.*/en\t-\t-\t-/' >"$results/facts.tsv"

fine_tune() { # LANGUAGE SEED
    local model=$results/$1-$2
    [ -e "$model/checkpoint_last.pt" ] || fairseq-train "$out/data/tasks/$task/$1" \
        --finetune-from-model "$pretrained" --user-dir "$(fairseq-lottery user-dir)" \
        --task sentence_prediction_lottery --criterion sentence_prediction_lottery \
        --num-classes "$labels" --init-token 0 --separator-token 2 --max-positions 256 \
        --arch roberta --encoder-layers 4 --encoder-embed-dim 64 --encoder-ffn-embed-dim 256 \
        --encoder-attention-heads 4 --dropout 0.1 --attention-dropout 0.1 \
        --optimizer masked_adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 \
        --lr 0.001 --lr-scheduler polynomial_decay --warmup-updates 60 \
        --total-num-update "$updates" --max-update "$updates" --batch-size 32 --seed "$2" \
        --required-batch-size-multiple 1 --disable-validation --save-interval 1000 \
        --no-epoch-checkpoints --num-workers 0 --log-format simple --log-interval 100 \
        --save-dir "$model" >"$model.log" 2>&1
}

lottery() { # OUTPUT COMMAND...: run the command unless its output exists
    local file=$1
    shift
    [ -e "$file" ] || fairseq-lottery "$@" --out "$file" >"$file.txt"
}

each() { # FORMAT: LANGUAGE=FILE of all languages
    for language in $languages; do
        # shellcheck disable=SC2059
        printf "$language=$1 " "$language"
    done
}

for seed in $seeds; do fine_tune en "$seed"; done
for language in ${languages#en }; do fine_tune "$language" 1; done
models="en-1 en-2 en-3 $(for language in ${languages#en }; do printf '%s-1 ' "$language"; done)"

of_task="--data $out/data/evaluation/$task --cpu"
# shellcheck disable=SC2046,SC2086
for model in $models; do
    for layers in thirds each; do
        lottery "$results/$model/drops-$layers" languages drops \
            "$results/$model/checkpoint_last.pt" $(each test_%s) $of_task \
            --metric accuracy --layers "$layers" --metadata "$results/facts.tsv"
    done
done

# shellcheck disable=SC2046,SC2086
for seed in $seeds; do
    model=$results/en-$seed
    for language in $languages; do
        lottery "$model/importance-$language.json" heads importance \
            "$model/checkpoint_last.pt" --subset "valid_$language" $of_task
    done
    lottery "$model/similarity" languages similarity \
        $(each "$model/importance-%s.json") --metadata "$results/facts.tsv"

    lottery "$model/before" record "$pretrained" --examples-of "$model/checkpoint_last.pt" \
        --subset valid_en --words 2000 $of_task
    lottery "$model/after" record "$model/checkpoint_last.pt" \
        --subset valid_en --words 2000 $of_task
    lottery "$model/changes" languages changes "$pretrained" "$model/checkpoint_last.pt" \
        --layers each --recordings "$model/before" "$model/after" --drops "$model/drops-each"
done

# masks of half of the weights: the largest ones, and those that the fine-tuning moved most
printf 'language\ttuned\n' >"$results/models.tsv"
for model in $models; do printf '%s\t%s\n' "$model" "${model%-*}"; done >>"$results/models.tsv"
# shellcheck disable=SC2046
for score in magnitude distance; do
    for model in $models; do
        lottery "$results/$model/$score.safetensors" ticket \
            --mask-from "$results/$model/checkpoint_last.pt" --start-from "$pretrained" \
            --score "$score" --sparsity 0.5 --scope global --prunable layers
    done
    lottery "$results/masks-$score" languages similarity \
        $(each "$results/%s-1/$score.safetensors") --metadata "$results/facts.tsv"
    # all models: are two seeds of English more similar than two languages?
    lottery "$results/models-$score" languages similarity \
        $(for model in $models; do echo "$model=$results/$model/$score.safetensors"; done) \
        --metadata "$results/models.tsv"
done
