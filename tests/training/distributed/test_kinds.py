"""Books, pairs, conversations, going on and LoRA train in two processes to the model that one process makes."""

import json
from dataclasses import replace

import pytest
import torch
from groups import command_in_group
from safetensors.torch import load_file
from training_examples import TINY, in_process, write_book, write_pairs

from openbook.model import load, train

CHOICES = TINY | {"vocab_size": 300, "steps": 6, "dropout": 0.2, "batch_tokens": 128}
OPEN = ("steps", "context", "batch_tokens", "micro_batch_size", "dropout", "precision", "validations")
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def options(choices):
    return [f"--{name.replace('_', '-')}={value}" for name, value in choices.items()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A book, pairs, conversations, and a model to go on from."""
    folder = tmp_path_factory.mktemp("kinds")
    write_book(folder / "book.txt", 8000), write_pairs(folder / "pairs.tsv")
    chats = [{"prompt": f"Who is number {n}?", "answer": f"It is {n * 7}."} for n in range(40)]
    (folder / "chats.jsonl").write_text("".join(json.dumps(each) + "\n" for each in chats))
    assert in_process(make_base, folder) == 0
    return folder


def make_base(folder):
    choices = CHOICES | {"context": 64, "steps": 2}
    model = train(folder / "book.txt", folder / "first.openbook", validation_fraction=0.2, device="cpu", **choices)
    model.metadata = replace(model.metadata, chat_template=TEMPLATE)
    model.save(folder / "base.openbook")


FINE_TUNED = ["--from", "base.openbook", *options({name: CHOICES[name] for name in OPEN})]
KINDS = {
    "books": ["book.txt", "--validation-fraction=0.2", *options(CHOICES | {"bpe_dropout": 0.1})],
    "pairs": [
        "--pairs", "pairs.tsv", *options(CHOICES | {"encoder_layers": 1, "context": 32, "validation_translations": 4}),
    ],
    "going on": ["book.txt", "--validation-fraction=0.2", *FINE_TUNED],
    "LoRA": ["book.txt", "--validation-fraction=0.2", *FINE_TUNED, "--lora-rank=2"],
    "adapter": ["book.txt", "--validation-fraction=0.2", *FINE_TUNED, "--lora-rank=2", "--adapter"],
    "conversations": ["--conversations", "chats.jsonl", *FINE_TUNED, "--context=64"],
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", [kind if kind in ("pairs", "LoRA") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_two_processes_make_the_model_of_one(folder, kind):
    made = {}
    for size, more in ((1, []), (2, []), (2, ["--shard"])):
        output = folder / f"{kind.replace(' ', '-')}-{size}{''.join(more)}.openbook"
        arguments = [str(folder / each) if (folder / each).exists() else each for each in KINDS[kind]]
        arguments += ["-o", str(output), "--overwrite", *more]
        codes, errors, _ = command_in_group(size, folder, [arguments] * size)
        assert codes == [0] * size, errors
        made[output] = load_file(output)
        assert load(output, "cpu").metadata.training["steps"] == 6 or kind == "adapter"
    alone, *others = made.values()
    for other in others:
        assert other.keys() == alone.keys()
        for name, weight in alone.items():
            torch.testing.assert_close(other[name], weight, atol=1e-4, rtol=1e-4)
