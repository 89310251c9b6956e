"""Decoder-only or encoder-decoder? Trains both on the same pairs for the same time, and measures both."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openbook.errors import SettingError
from openbook.model_file.atomic import atomic_write
from openbook.model_file.file import load
from openbook.progress import Track, silent
from openbook.text.corpus.working_directory import size_and_mtime
from openbook.text.input_files import find_files
from openbook.training.comparison.result import KINDS, ComparisonResult, measure
from openbook.training.evaluation.quality import translation_quality
from openbook.training.loop import Callback
from openbook.training.plan.measure import count_parameters
from openbook.training.recipe import build_architecture, make_recipe
from openbook.training.request import TrainingRequest
from openbook.training.run import TrainingRun, stopwatch

PICTURE = "comparison.png"
"""The name of the picture that the command adds to the folder."""


# Over 60 lines by the list of its arguments; the body is one sequence over both kinds.
def compare(
    pairs: Sequence[str | Path],
    folder: Path,
    choices: Mapping[str, Any],
    *,
    validation: Sequence[str | Path] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    callbacks: Callable[[str], Sequence[Callback]] = lambda kind: (),
    track: Track = silent,
    bleu_tokenizer: str | None = None,
) -> list[ComparisonResult]:
    """Train and measure both kinds, each in the full time; writes both models and comparison.json to `folder`.

    The encoder-decoder's size is planned. The decoder-only model, which reads source and target as one sequence and
    learns the target alone, has the same width and as many layers as give about as many parameters. Both learn the same
    pairs, and are validated and scored on the same others.

    Args:
        pairs: files of sentence pairs.
        folder: where everything goes.
        choices: of both recipes: minutes or steps, vocab_size, seed …
        validation: files to validate on; some of the pairs are held out if None.
        device: auto, cpu, cuda or mps.
        overwrite: replace an earlier comparison, or one that was begun without it; else an interrupted one resumes.
        callbacks: gives, for a kind, the callbacks of its training.
        track: shows progress.
        bleu_tokenizer: of BLEU; None: the one for the script of the references.

    Raises:
        OpenbookError: as for training; or `folder` holds a comparison that may not be replaced.
    """
    path = folder / "comparison.json"
    _check_folder(folder, [path, folder / PICTURE], overwrite)
    make_recipe(choices)
    translation_quality([""], [""], bleu_tokenizer)
    identity = _identity(find_files([*pairs, *(validation or [])]), choices, bleu_tokenizer)
    is_new = _make_folder(folder)
    results: list[ComparisonResult] = []
    given, side_tokens = dict(choices), None
    for kind in KINDS:
        if kind == "decoder-only":
            recipe = load(Path(results[0].model))[0].training["recipe"]
            given, side_tokens = given | matching_decoder(recipe), recipe["context"]
        output, finished = folder / f"{kind}.openbook", folder / f"{kind}.json"
        result = _finished(finished, identity, overwrite)
        if result is None:
            request = TrainingRequest(
                pairs, output, given, pairs=True, validation=validation, device=device, side_tokens=side_tokens
            )
            run = TrainingRun(request, callbacks(kind), track, stopwatch())
            try:
                result = measure(kind, run, overwrite, track, bleu_tokenizer)
            finally:
                if is_new and not any(folder.iterdir()):  # it was refused
                    folder.rmdir()
            _write(finished, {"identity": identity, "overwrite": overwrite, "result": asdict(result)})
        results.append(result)
    _finish(path, results)
    return results


def _finish(path: Path, results: Sequence[ComparisonResult]) -> None:
    """Write the whole comparison; what it would have gone on from is no longer needed."""
    _write(path, [asdict(result) for result in results])
    for kind in KINDS:
        path.with_name(f"{kind}.json").unlink()


def _identity(files: Sequence[Path], choices: Mapping[str, Any], bleu_tokenizer: str | None) -> str:
    """The same for the same comparison, which goes on after an interruption."""
    inputs = [[(str(file), *size_and_mtime(file)) for file in files], dict(choices), bleu_tokenizer]
    return json.dumps(inputs, sort_keys=True)


def _make_folder(folder: Path) -> bool:
    """Whether the folder is new."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"{folder}: cannot be created ({error.strerror}); give another `output`") from None
    return is_new


def matching_decoder(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The choices for a decoder-only model with about as many parameters as the encoder-decoder of this recipe.

    Its context holds a source and a target of the greatest length, and it is validated on as many tokens. Where steps
    are given, one has as many pairs: the source counts among its tokens.
    """
    wanted = count_parameters(build_architecture(make_recipe(recipe)))
    shared = ("vocab_size", "width", "heads", "key_value_heads", "head_width", "feed_forward_width")
    sizes = {name: recipe[name] for name in shared} | {"encoder_layers": 0}
    same = {"context": 2 * recipe["context"], "validation_tokens": recipe["validation_tokens"]}

    def difference(layers: int) -> int:
        return abs(count_parameters(build_architecture(make_recipe(sizes | {"layers": layers}))) - wanted)

    max_layers = 2 * (recipe["encoder_layers"] + recipe["layers"]) + 1
    if recipe["steps"]:
        same["batch_tokens"] = 2 * recipe["batch_tokens"]
    return sizes | same | {"layers": min(range(1, max_layers + 1), key=difference)}


def _write(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def _check_folder(folder: Path, results: Sequence[Path], overwrite: bool) -> None:
    """Refuse the current folder, which an empty name means too, those around it, and one that holds results."""
    if Path.cwd().is_relative_to(os.path.realpath(folder)):
        raise SettingError(f"{folder}: is, or holds, the current folder; give `output` the name of a new folder")
    if any(result.exists() for result in results) and not overwrite:
        raise SettingError(f"{folder}: holds a comparison; give another `output`, or `overwrite` to replace it")


def _finished(path: Path, identity: str, overwrite: bool) -> ComparisonResult | None:
    """The result of a kind that was finished before the same comparison was interrupted."""
    if not path.exists():
        return None
    content = json.loads(path.read_text("utf-8"))
    if content["identity"] != identity or content["overwrite"] < overwrite:
        return None
    result = content["result"]
    return ComparisonResult(**result | {"curve": tuple(tuple(point) for point in result["curve"])})
