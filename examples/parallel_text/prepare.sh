#!/usr/bin/env bash
# Any parallel text as fairseq's data, for the configuration beside this script:
#
#   examples/parallel_text/prepare.sh DATA SRC TGT OUT
#
# DATA holds train.SRC, train.TGT, valid.SRC, valid.TGT, test.SRC and test.TGT, one sentence per
# line. OUT gets a joint subword model, the text cut by it, and data-bin. A finished step is not
# repeated. VOCABULARY sets the number of subwords (2000 suits some ten thousand sentences). Another
# VOCABULARY, other languages or another DATA need another OUT.
set -euo pipefail

if [ $# -ne 4 ]; then
    sed -n '4,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$1 src=$2 tgt=$3 out=$4
: "${VOCABULARY:=2000}"
for part in train valid test; do
    for language in "$src" "$tgt"; do
        if [ ! -f "$data/$part.$language" ]; then
            echo "there is no $data/$part.$language; DATA holds train, valid and test" >&2
            exit 2
        fi
    done
done
mkdir -p "$out"
trap 'echo "$0 failed; see $out/bpe.log and $out/preprocess.log" >&2' ERR

settings() { # what OUT depends on, one line each
    echo "VOCABULARY=$VOCABULARY"
    echo "languages $src $tgt"
    for part in train valid test; do
        for language in "$src" "$tgt"; do
            echo "$part.$language with checksum $(cksum <"$data/$part.$language")"
        done
    done
}

if [ -e "$out/bpe.model" ] && ! settings | cmp -s - "$out/settings.txt"; then
    before=$(settings | diff "$out/settings.txt" - 2>&1 | sed -n 's/^< //p' | paste -sd, -) || true
    echo "$out was prepared with other settings (${before:-not recorded}); give another OUT, or" \
        "remove it" >&2
    exit 2
fi
if [ ! -e "$out/bpe.model" ]; then
    python -c 'import sys, sentencepiece
sentencepiece.SentencePieceTrainer.train(input=sys.argv[3:], model_prefix=sys.argv[1],
    vocab_size=int(sys.argv[2]), model_type="bpe", character_coverage=1.0, num_threads=1)' \
        "$out/half" "$VOCABULARY" "$data/train.$src" "$data/train.$tgt" >"$out/bpe.log" 2>&1
    settings >"$out/settings.txt"
    mv "$out/half.vocab" "$out/bpe.vocab"
    mv "$out/half.model" "$out/bpe.model"
fi
if [ ! -e "$out/data-bin" ]; then
    for part in train valid test; do
        for language in "$src" "$tgt"; do
            python -c 'import sys, sentencepiece
model = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
for line in sys.stdin:
    print(" ".join(model.encode(line.strip(), out_type=str)))' \
                "$out/bpe.model" <"$data/$part.$language" >"$out/$part.bpe.$language"
        done
    done
    cp "$data/test.$tgt" "$out/test.$tgt"
    rm -rf "$out/half-bin"
    fairseq-preprocess -s "$src" -t "$tgt" --joined-dictionary --destdir "$out/half-bin" \
        --trainpref "$out/train.bpe" --validpref "$out/valid.bpe" --testpref "$out/test.bpe" \
        >"$out/preprocess.log" 2>&1
    mv "$out/half-bin" "$out/data-bin"
fi
echo "$out/data-bin and $out/test.$tgt are ready"
