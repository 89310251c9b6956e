"""Answers of the native engine come without PyTorch, which takes longer to import than a small model to answer."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import openbook
from openbook.cli.usage_errors import option_name
from openbook.generation.engines.native.library import find_library
from openbook.generation.engines.registry import choose_engine
from openbook.model_file.file import save
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.training import train_tokenizer
from strategies import DEFAULT, build

pytestmark = pytest.mark.skipif(find_library() is None, reason="the native engine is not compiled")

SCRIPT = """
import sys
sys.modules["torch"] = None  # whoever imports it fails
{}
"""
ASK = """
import openbook
from openbook.cli.usage_errors import option_name
model = openbook.load(sys.argv[1], device="cpu")
print(model.engine_choice.name, model.generate(["the"], temperature=0, max_tokens=4)[0].tokens[0].token_id)
"""
COMMAND = """
sys.argv = ["openbook", "ask", sys.argv[1], "the", "--temperature", "0", "--max-tokens", "4", "--device", "cpu"]
from openbook.cli.main import main
main()
"""
BATCH = """
import openbook
from openbook.generation.batching.batcher import Batcher
from openbook.generation.batching.request import BatchRequest
from openbook.generation.settings import Sampling
model = openbook.load(sys.argv[1], device="cpu")
batcher = Batcher(model.engine)
prompt = model.tokenizer.encode_prompt("the")
_, token, _ = batcher.submit(BatchRequest(prompt=prompt, decoding=Sampling(temperature=0), max_tokens=1))
batcher.close()
print(token.token_id)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    spec = replace(DEFAULT, vocab_size=257)
    metadata = ModelMetadata(architecture=spec, tokenizer=train_tokenizer(["any"], "bytes", 257).to_json())
    save(tmp_path / "it.openbook", metadata, build(spec).state_dict())
    return tmp_path / "it.openbook"


def run(script: str, file: Path) -> str:
    command = [sys.executable, "-c", SCRIPT.format(script), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_answers_without_torch(file: Path) -> None:
    model = openbook.load(file, device="cpu", engine="torch")
    expected = model.generate(["the"], temperature=0, max_tokens=4)[0].tokens[0].token_id
    assert run(ASK, file).split() == ["native", str(expected)]


def test_batches_are_answered_without_torch(file: Path) -> None:
    model = openbook.load(file, device="cpu", engine="torch")
    assert run(BATCH, file).strip() == str(model.generate(["the"], temperature=0)[0].tokens[0].token_id)


def test_the_command_answers_without_torch(file: Path) -> None:
    expected = openbook.load(file, device="cpu", engine="torch").ask("the", temperature=0, max_tokens=4)
    assert run(COMMAND, file) == expected + "\n"


def test_a_changed_weight_changes_the_answer(file: Path) -> None:
    model = openbook.load(file, device="cpu")
    assert model.engine_choice.name == "native"
    before, _ = model.engine.prefill([[1, 2]])[1], model.transformer
    opened = model.engine
    assert model.engine is opened  # the module alone changes nothing
    with torch.no_grad():
        model.transformer.token_embedding.weight.mul_(2.0)
    after = model.engine.prefill([[1, 2]])[1]
    assert not (before == after).all()
    expected = model.transformer(torch.tensor([[1, 2]]))[0, -1].detach().numpy()
    assert abs(after[0] - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "device", "engine"),
    [("auto", "cpu", "native"), ("auto", "cuda", "torch"), ("torch", "cpu", "torch"), ("native", "cpu", "native")],
)
def test_which_engine_is_chosen(name: str, device: str, engine: str) -> None:
    assert choose_engine(name, device).name == engine


def test_where_it_is_not_compiled_torch_answers_and_says_why(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openbook.generation.engines.native.library import load_library

    load_library.cache_clear()
    monkeypatch.setenv("OPENBOOK_NATIVE", str(file.parent / "missing.so"))
    choice = openbook.load(file, device="cpu").engine_choice
    load_library.cache_clear()
    assert choice.name == "torch" and choice.problem is not None
    assert "not compiled" in choice.why and "or give --engine=torch" in choice.problem.spelled(option_name)
