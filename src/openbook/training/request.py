"""What a user asks of a training run, and what can be refused before any work: without PyTorch, if there is no base."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.errors import SettingError
from openbook.model_file.file_type import looks_like_safetensors
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.output_path import check_new_file, check_output_file
from openbook.text.input_files import WORKING, find_files
from openbook.text.tokenizer.bpe_dropout import require_bpe
from openbook.training.group import is_member
from openbook.training.lora_targets import SCALE, TARGETS, check_lora
from openbook.training.recipe import make_recipe
from openbook.training.run_folder import UnfinishedRun

WITHOUT_LOOKING = ("auto", "cpu")
"""Devices that every machine has."""

INDEX = "index.json"
"""The file of a folder of tokens that says what it has."""


@dataclass(frozen=True)
class TrainingRequest:
    """What a user asks for. Two runs with equal requests on equal inputs are the same run.

    Args:
        inputs: books, pairs or conversations: files, folders, globs.
        output: the model file to write.
        choices: the recipe fields that are given (see `Recipe`).
        pairs: whether the inputs are sentence pairs, not books.
        conversations: whether the inputs are conversations, not books.
        validation: files to validate on; None holds out the tail of each document, or some of the pairs.
        validation_fraction: how much to hold out; None chooses it by the amount of data.
        keep_duplicates: whether to keep duplicate passages or pairs.
        encoding: of the files of text or pairs; None finds it out for each.
        device: auto, cpu, cuda or mps.
        base_model: a model file to fine-tune.
        lora_rank: train LoRA matrices of this rank only.
        lora_targets: the matrices that LoRA changes.
        adapter: whether to save the LoRA matrices alone, in a file beside the base model.
        config: the file that choices were read from; like the inputs, it is never written over.
        side_tokens: the most tokens of a source and of a target; longer pairs are left out. None: what the context
            holds.
        shard: whether each process of a group keeps a part of the model only.
        tiny: whether to learn a few sentences or pairs by heart with a model small enough to follow by hand.
        tokens: a folder that `openbook prepare` made, instead of inputs.
    """

    inputs: Sequence[str | Path]
    output: Path
    choices: Mapping[str, Any]
    pairs: bool = False
    conversations: bool = False
    validation: Sequence[str | Path] | None = None
    validation_fraction: float | None = None
    keep_duplicates: bool = False
    encoding: str | None = None
    device: str = "auto"
    base_model: Path | None = None
    lora_rank: int | None = None
    lora_targets: Sequence[str] = TARGETS
    adapter: bool = False
    config: Path | None = None
    side_tokens: int | None = None
    tiny: bool = False
    shard: bool = False
    tokens: Path | None = None

    @property
    def fraction_held_out(self) -> float | None:
        """How much to hold out; None: as the amount of data says."""
        return 0.0 if self.tiny and self.validation_fraction is None else self.validation_fraction

    @property
    def folder(self) -> Path:
        """Where the run keeps its prepared data, its checkpoint, its log and its loss curve."""
        return Path(f"{self.output}{WORKING}")  # with_name would raise for "" and "/", which are refused later

    @property
    def lora(self) -> dict[str, Any] | None:
        """What LoRA trains, for the training record."""
        if self.lora_rank is None:
            return None
        return {"rank": self.lora_rank, "targets": list(self.lora_targets), "scale": SCALE}

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            OpenbookError: naming the option.
        """
        make_recipe(self.choices)
        if self.shard and not is_member():
            raise SettingError("`shard`: splits the model among several processes; give `processes`, or use torchrun")
        if self.device not in WITHOUT_LOOKING:
            from openbook.transformer.device import choose_device

            choose_device(self.device)
        if self.pairs and self.conversations:
            raise SettingError("`pairs` and `conversations`: the files are one or the other")
        if self.tokens is not None:
            self._check_tokens()
        if self.tiny and (self.base_model is not None or self.conversations):
            raise SettingError(
                "`tiny`: makes a new model of texts or pairs; leave out `base_model` and `conversations`"
            )
        if self.lora_rank is not None:
            check_lora(self.lora_rank, self.lora_targets)
        if self.adapter:
            self._check_adapter()
        if self.lora_rank is not None and self.base_model is None:
            raise SettingError(f"`lora_rank` {self.lora_rank}: needs a model to fine-tune; give it with `base_model`")
        if self.choices.get("stop_when_known") and not self.conversations:
            raise SettingError("`stop_when_known`: is for conversations, whose answers can be known")
        if self.choices.get("bpe_dropout") and self.conversations:
            raise SettingError("`bpe_dropout`: is for books and pairs, not for conversations")

    def _check_tokens(self) -> None:
        """Refuse what was decided when the tokens were prepared."""
        if self.inputs:
            raise SettingError("`tokens`: takes the place of files; give one or the other")
        if self.pairs or self.conversations or self.tiny:
            raise SettingError("`tokens`: are those of books; leave out `pairs`, `conversations` and `tiny`")
        decided = {
            "validation": self.validation,
            "validation_fraction": self.validation_fraction,
            "keep_duplicates": self.keep_duplicates or None,
            "encoding": self.encoding,
            "tokenizer": self.choices.get("tokenizer"),
            "vocab_size": self.choices.get("vocab_size"),
        }
        for name, value in decided.items():
            if value is not None:
                raise SettingError(f"`{name}`: was decided when the tokens were prepared; leave it out")

    def _check_adapter(self) -> None:
        if self.lora_rank is None or self.base_model is None:
            raise SettingError("`adapter`: saves LoRA matrices; give `base_model` and `lora_rank` too")
        from openbook.model_file.adapter import read_adapter

        if read_adapter(self.base_model) is not None:
            raise SettingError(f"`adapter`: {self.base_model} is an adapter itself, and cannot be the base of another")
        if self.output.absolute().parent != self.base_model.absolute().parent:
            raise SettingError(
                "`adapter`: an adapter lies beside its base model; give `output` a name in "
                f"{self.base_model.absolute().parent}"
            )

    def check_output(self, overwrite: bool) -> None:
        """Refuse an output that cannot be written, or that exists and may not be replaced.

        Raises:
            OpenbookError: naming the file.
        """
        check_new_file(self.output, longest_suffix=WORKING)
        named = [Path(each) for each in [*self.inputs, *(self.validation or [])]]
        files = find_files(named)
        # An earlier model in a folder of books is not read as one of them.
        inputs = [path for path in files if path in named or not looks_like_safetensors(path)]
        inputs += [] if self.config is None else [self.config]
        if self.base_model is not None:
            from openbook.model_file.adapter import files_of_model

            inputs += files_of_model(self.base_model)
        if not overwrite and self.output.exists():
            unfinished = UnfinishedRun.read(self.folder)
            overwrite = unfinished is not None and unfinished.may_replace(self.output)
        check_output_file(self.output, inputs, overwrite)

    def base_metadata(self) -> ModelMetadata | None:
        """The metadata of the base model; None for a new model.

        Raises:
            OpenbookError: the file is damaged, or its tokenizer does not fit the choices.
        """
        if self.base_model is None:
            return None
        from openbook.model_file.adapter import load_merged

        metadata = load_merged(self.base_model)[0]
        if self.choices.get("bpe_dropout"):
            require_bpe(metadata.make_source_tokenizer(), metadata.make_tokenizer())
        return metadata
