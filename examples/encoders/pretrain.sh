#!/usr/bin/env bash
# Make the demo's data, and pre-train an encoder of four layers on it.
#
#   examples/encoders/pretrain.sh OUT [KIND [UPDATES]]
#
# KIND is encoders (default) or languages.
# OUT/data gets the data, OUT/pretrained the checkpoints. The second call skips what is finished.
set -euo pipefail
case ${1:-} in "" | -*) echo "usage: $0 OUT [KIND [UPDATES]]" >&2; exit 2 ;; esac
case ${2:-encoders} in
    encoders | languages) ;;
    *) echo "KIND is $2; choose encoders or languages" >&2; exit 2 ;;
esac
out=$1 kind=${2:-encoders} updates=${3:-4000}
[ -e "$out/pretrained/checkpoint_last.pt" ] && { echo "$out/pretrained is finished"; exit; }
mkdir -p "$out"
fairseq-lottery demo --kind "$kind" --data-only --out "$out/data"
fairseq-train "$out/data/pretrain" --user-dir "$(fairseq-lottery user-dir)" \
    --task masked_lm_lottery --criterion masked_lm_lottery \
    --sample-break-mode complete_doc --tokens-per-sample 254 --max-positions 256 \
    --mask-prob 0.25 --random-token-prob 0.3 \
    --arch roberta --encoder-layers 4 --encoder-embed-dim 64 --encoder-ffn-embed-dim 256 \
    --encoder-attention-heads 4 --dropout 0 --attention-dropout 0 \
    --optimizer masked_adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0 \
    --lr 0.003 --lr-scheduler polynomial_decay --warmup-updates 300 --total-num-update "$updates" \
    --max-update "$updates" --batch-size 48 --validate-interval-updates 500 \
    --no-epoch-checkpoints --num-workers 0 --log-format simple --log-interval 100 --seed 1 \
    --save-dir "$out/pretrained"
