#!/usr/bin/env bash
# What the heads of a trained model are worth: estimates against exact ablation, every strategy
# from 10 to 90 % of the heads without training, and the search for good, random and bad subnetworks.
#
#   examples/heads/study.sh CHECKPOINT DATA OUT
#
# CHECKPOINT is any of fairseq's, DATA what fairseq-preprocess made, OUT a folder. What is there
# already is not measured again. On Multi30k and two cores it takes ten minutes.
set -euo pipefail
model=$1 data=$2 out=$3
mkdir -p "$out"

heads() { # STEP OUTPUT FLAGS...
    local step=$1 file=$2
    shift 2
    [ -e "$out/$file" ] || fairseq-lottery heads "$step" "$model" --data "$data" \
        --out "$out/$file" "$@" >"$out/${file%.json}.txt"
}

for per in token sentence batch; do
    heads importance "gradient-$per.json" --per "$per"
done
heads importance normalised.json --normalise
for measure in confidence l1 l2 adaprune; do
    heads importance "$measure.json" --measure "$measure"
done
heads ablate ablation.json --blocks
heads ablate one-left.json --one-left
for scores in gradient-token gradient-sentence gradient-batch normalised confidence \
    l1 l2 adaprune; do
    echo "$scores"
    fairseq-lottery heads compare "$out/ablation.json" "$out/$scores.json"
done >"$out/agreement.txt"

heads curve curve.json --scores "$out/gradient-sentence.json" --seeds 1,2 --strategies \
    lowest,highest,random,random-per-type,top,bottom,middle,spare-middle,alternate,apart,types
heads curve exact.json --scores "$out/ablation.json" --seeds 1 --strategies lowest,highest
[ -e "$out/found-good.json" ] || fairseq-lottery heads search "$model" --data "$data" \
    --enough 0.9 --out "$out/found.json" >"$out/found.txt"
