# What `make demo` runs: a small model, from text to answer, in about two minutes on two cores.
set -e
mkdir -p demo
echo "== The text: Python's language reference, which comes with Python"
python - <<'PY'
from pathlib import Path
from pydoc_data.topics import topics

Path("demo/python.txt").write_text("\n\n\n".join(topics[name] for name in sorted(topics)), encoding="utf-8")
PY
run() {
    echo
    echo "== $*"
    "$@"
}
run openbook train demo/python.txt -o demo/python.openbook --minutes 1.5 --overwrite
run openbook ask demo/python.openbook "The with statement" --max-tokens 100 --seed 1
run openbook ask demo/python.openbook "An expression" --max-tokens 6 --temperature 0 --show-probabilities
run openbook inspect demo/python.openbook
echo
echo "The loss curve is in demo/python.openbook.training/loss.png. Look inside an answer with"
echo '    .venv/bin/openbook explain demo/python.openbook "The with statement"'
