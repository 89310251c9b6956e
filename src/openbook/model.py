"""`Model`, the face of the library: load or train one, then ask it, look inside, score it and save it."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import OpenbookError
from openbook.generation.engines.engine import Engine
from openbook.generation.engines.lazy import LazyEngine
from openbook.generation.engines.registry import EngineChoice, choose_device_and_engine, choose_engine
from openbook.generation.settings import BeamSearch, Sampling, decoding_settings
from openbook.generation.text import Answer, Candidate, Prompt, TextChunk, answer, search, stream
from openbook.generation.translation import Sentence, Translation, Translator
from openbook.model_file.architecture_summary import check_kind
from openbook.model_file.file_type import looks_like_adapter, path_problem
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import ModelFile, error_context, open_model_file
from openbook.model_file.output_path import check_output_file, output_path
from openbook.progress import Track, silent
from openbook.text.arguments import path_argument, paths_argument, text_argument, texts_argument
from openbook.text.characters import clean_text
from openbook.text.chat.chat_tokenizer import ChatTokenizer, clean_messages
from openbook.text.chat.template import Message, start_process

# Opening a model comes before every answer, so only what every answer needs is imported here: no PyTorch.
if TYPE_CHECKING:
    from openbook.explanation.run import Explanation
    from openbook.training.evaluation.perplexity import Score
    from openbook.training.evaluation.translation import TranslationScore
    from openbook.training.loop import Callback
    from openbook.transformer.transformer import Transformer


class Model:
    """A transformer with its tokenizer and everything else in its model file.

        model = openbook.load("austen.openbook")
        model.ask("It is a truth", max_tokens=40, seed=1)  # the answer
        for chunk in model.stream(["It is a truth"]):  # the same, token by token
            print(chunk.text, end="")
        explanation = model.trace("It is a truth")  # every number on the way to the next token
        explanation.trace["decoder.blocks.0.self_attention.weights"].value  # (1, H, T, T)
        model.evaluate("heldout.txt").bits_per_byte
        model.save("copy.openbook")

    Attributes:
        metadata: architecture, tokenizer, chat template, generation defaults, training record, licence.
        tokenizer: turns text into token ids and back.
    """

    def __init__(
        self,
        metadata: ModelMetadata,
        transformer: "Transformer | None" = None,
        engine: EngineChoice | None = None,
        *,
        build: "Callable[[], Transformer] | None" = None,
        file: ModelFile | None = None,
        path: Path | None = None,
        ahead: bool = False,
    ) -> None:
        """Args:
        metadata: all but the tensors.
        transformer: the PyTorch module; None if `build` makes it.
        engine: what decodes; None chooses.
        build: makes the PyTorch module when it is first needed.
        file: where the tensors are, if they are all in one file.
        path: of the file that it was loaded from.
        ahead: begin to open the engine now.
        """
        self.metadata = metadata
        self.path = path
        self._build = build
        self._built: object = None
        if transformer is not None:
            self.transformer = transformer
            engine = engine or choose_engine("auto", next(transformer.parameters()).device.type)
        self._engine = LazyEngine(engine or choose_engine("auto", "cpu"), file)
        self._template_process = None
        if ahead:
            self._engine.open_ahead()
            self._template_process = None if metadata.chat_template is None else start_process()
        self.tokenizer = metadata.make_tokenizer()

    @cached_property
    def transformer(self) -> "Transformer":
        """The PyTorch module; built when it is first needed."""
        assert self._build is not None, "a model has a module, or something that makes it"
        transformer = self._build()
        self._built = _version(transformer)
        return transformer

    @property
    def engine_choice(self) -> EngineChoice:
        """The engine that decodes, and why it is this one."""
        return self._engine.choice

    @property
    def engine(self) -> Engine:
        """The engine that decodes; opened when it is first needed, and again after a weight was changed."""
        return self._engine.get(self._changes(), lambda: self.transformer)

    @engine.setter
    def engine(self, engine: Engine) -> None:
        """Put another one in its place, until a weight changes."""
        self._engine.put(engine, self._changes())

    def _changes(self) -> object:
        """None as long as the weights are those of the file; else something that differs after every change."""
        if "transformer" not in self.__dict__:
            return None
        version = _version(self.transformer)
        return None if version == self._built else version

    def open_engine(self, track: Track = silent) -> None:
        """Open the engine now, and show progress, instead of with the first question."""
        with track("Opening the engine", None):
            _ = self.engine

    def sampling(self, **settings: Any) -> Sampling:
        """The model file's generation defaults, overridden by `settings` (see `Sampling`).

        Raises:
            OpenbookError: a setting is unknown or out of range.
        """
        chosen = decoding_settings(self.metadata.generation, settings, prefer_search=False)
        if not isinstance(chosen, Sampling):
            raise OpenbookError("a beam search has no answer before its end; use search() or translate()")
        return chosen

    @cached_property
    def chat(self) -> ChatTokenizer | None:
        """Writes conversations as the model was trained to read them; None if it was not trained on any."""
        template = self.metadata.chat_template
        return None if template is None else ChatTokenizer(self.tokenizer, template, process=self._template_process)

    def ask(self, prompt: str, *, raw: bool = False, **settings: Any) -> str:
        """The answer to a prompt.

            model.ask("It is a truth", temperature=0.7, max_tokens=40, seed=1)

        Args:
            prompt: what to continue, cleaned as training texts are; with a chat template it is a user's message.
            raw: the prompt as it is: not cleaned, without the chat template.
            settings: as for `Sampling`: temperature, top_k, seed, max_tokens, stop …; else the model file's defaults.

        Raises:
            OpenbookError: a setting is unknown or out of range, or the prompt does not fit the context.
        """
        return self.generate([text_argument(prompt, "prompt")], raw=raw, **settings)[0].text

    def generate(self, prompts: str | Sequence[str], *, raw: bool = False, **settings: Any) -> list[Answer]:
        """The answers to one prompt or several, generated together, with their tokens and probabilities; see `ask`."""
        return answer(self.engine, self.tokenizer, self._templated(prompts, raw), self.sampling(**settings))

    def stream(self, prompts: str | Sequence[str], *, raw: bool = False, **settings: Any) -> Iterator[TextChunk]:
        """The same answers as a stream, a chunk of text for each token; close the iterator to stop."""
        return stream(self.engine, self.tokenizer, self._templated(prompts, raw), self.sampling(**settings))

    def reply(self, messages: Sequence[Message], **settings: Any) -> Generator[TextChunk, None, None]:
        """The model's next message in a conversation, as a stream.

            model.reply([{"role": "user", "content": "What can you do?"}])

        If the conversation does not fit the context, its oldest messages are left out, except those of the system.

        Args:
            messages: of the system, the user and the assistant, in order.
            settings: as for `ask`.

        Raises:
            OpenbookError: the model has no chat template, or the template refuses the conversation.
        """
        if self.chat is None:
            raise OpenbookError("the model has no chat template, so it holds no conversation; ask it instead")
        sampling = self.sampling(**settings)
        context = self.metadata.architecture.context
        ids = self.chat.encode_latest(clean_messages(messages), context - min(sampling.max_tokens, context // 4))
        return stream(self.engine, self.tokenizer, [ids], sampling)

    def prompt_tokens(self, prompt: str, *, raw: bool = False) -> list[int]:
        """The tokens that the model reads for a prompt: cleaned, in the chat template, unless `raw`."""
        reader = self.tokenizer if raw or self.chat is None else self.chat
        return reader.encode_prompt(prompt if raw else clean_text(text_argument(prompt, "prompt")))

    def template_token_indices(self, prompt: str, *, raw: bool = False) -> set[int]:
        """The indices of the `prompt_tokens` that the chat template wrote; empty without one."""
        return set() if raw or self.chat is None else self.chat.template_token_indices(clean_text(prompt))

    def search(
        self, prompts: str | Sequence[str], *, raw: bool = False, **settings: Any
    ) -> list[tuple[Candidate, ...]]:
        """The most probable continuations of each prompt by beam search, best first; settings as for `BeamSearch`.

        Raises:
            OpenbookError: the model is an encoder-decoder, or a setting is unknown or out of range.
        """
        check_kind(self.metadata.architecture, encoder_decoder=False, purpose="continuing a prompt")
        chosen = decoding_settings(self.metadata.generation, settings, prefer_search=True)
        if not isinstance(chosen, BeamSearch):
            raise OpenbookError("a beam search does not sample; leave out the settings of sampling")
        return search(self.engine, self.tokenizer, self._templated(prompts, raw), chosen)

    @property
    def translates(self) -> bool:
        """Whether it translates: it has an encoder for the source, or was trained on source and target as one text."""
        return self.metadata.architecture.encoder is not None or self.tokenizer.special.separator is not None

    def translator(
        self, *, target_language: str | None = None, source_language: str | None = None, **settings: Any
    ) -> Translator:
        """A translator with these settings, see `translate`."""
        return Translator(
            engine=self.engine,
            source_tokenizer=self.metadata.make_source_tokenizer(),
            target_tokenizer=self.tokenizer,
            decoding=decoding_settings(self.metadata.generation, settings, prefer_search=True),
            source_language=source_language,
            target_language=target_language,
            bounded="max_tokens" not in settings,
        )

    def translate(
        self,
        sentences: str | Sequence[str],
        *,
        target_language: str | None = None,
        source_language: str | None = None,
        **settings: Any,
    ) -> list[Translation]:
        """Translate sentences, many at once; return a translation for each, in order.

            model.translate(["A man sleeps."], beam_size=4)[0].text

        A sentence that is empty or too long for the model has a `problem` and no candidates.

        Args:
            sentences: one or many.
            target_language: code of the language to translate into, for a model that has several.
            source_language: code of the language to translate from.
            settings: as for `BeamSearch` (beam_size 1 is greedy) or `Sampling`; else the model file's, else 5 beams.

        Raises:
            OpenbookError: the model does not translate, or a setting is unknown or out of range.
        """
        translator = self.translator(target_language=target_language, source_language=source_language, **settings)
        return list(translator([[Sentence(text) for text in texts_argument(sentences, "sentences")]]))

    def trace(self, prompt: str, target: str = "", *, raw: bool = False, **languages: str | None) -> "Explanation":
        """Every number on the way from a prompt to the next token, or from a source and its target so far.

        A notebook shows it as a page.

            explanation = model.trace("It is a truth")
            explanation.trace["decoder.blocks.0.self_attention.weights"].value  # (1, H, T, T)

        Args:
            prompt: what a language model continues, or the source that a translator reads.
            target: for a translator, the translation so far.
            raw: leave out the chat template of a language model.
            languages: target_language and source_language, as for `translate`.

        Raises:
            OpenbookError: a target is given to a model that does not translate; the text is too long to explain.
        """
        from openbook.explanation.page.manifest import Asked
        from openbook.explanation.page.notebook import with_page
        from openbook.explanation.run import explain

        tokens, source = self.traced_tokens(prompt, target, raw=raw, **languages)
        explanation = explain(self.transformer, tokens, source=source)

        def asked() -> Asked:
            template = set() if self.translates else self.template_token_indices(prompt, raw=raw)
            return Asked(prompt, target, raw, frozenset(template), start=0 if source is None else len(tokens))

        return with_page(explanation, self.metadata, self.tokenizer, self.path, asked)

    def traced_tokens(
        self, prompt: str, target: str = "", *, raw: bool = False, **languages: str | None
    ) -> tuple[list[int], list[int] | None]:
        """The tokens that `trace` runs: of the prompt or the target, and of the source for an encoder-decoder."""
        if not self.translates:
            if target or any(languages.values()):
                raise OpenbookError(
                    "targets and languages are for models that translate; this one takes the prompt alone"
                )
            return self.prompt_tokens(prompt, raw=raw), None
        if not prompt.strip():
            raise OpenbookError("the source is empty; give a sentence to translate")
        translator = self.translator(**languages)
        source, written = translator.encode_source(prompt), translator.encode_target(target)[:-1]
        if self.metadata.architecture.encoder is None:
            return source + written[1:], None  # one sequence: the source, the separator, the target
        return written, source

    def evaluate(
        self,
        inputs: str | Path | Sequence[str | Path],
        *,
        context: int | None = None,
        stride: int | None = None,
        encoding: str | None = None,
        track: Track = silent,
    ) -> "Score":
        """Perplexity and bits per byte of whole files, unfiltered, each after an end-of-text token.

        Memory does not grow with the text.

        Args:
            inputs: files, folders, globs.
            context: tokens of each window; the model's context if None.
            stride: tokens between windows; half the context if None. A smaller one gives tokens more context, and takes
                longer.
            encoding: of the files; if None, it is found out for each.
            track: shows progress.

        Raises:
            OpenbookError: a file cannot be read, there is none, or a number is out of range.
        """
        from openbook.training.evaluation.text_files import score_files

        check_kind(self.metadata.architecture, encoder_decoder=False, purpose="scoring texts")
        files = paths_argument(inputs, "inputs")
        return score_files(
            self.transformer, self.tokenizer, files, context=context, stride=stride, encoding=encoding, track=track
        )

    def evaluate_pairs(
        self,
        files: str | Path | Sequence[str | Path],
        *,
        encoding: str | None = None,
        bleu_tokenizer: str | None = None,
        track: Track = silent,
        **settings: Any,
    ) -> "TranslationScore":
        """BLEU and chrF of the translations of held-out sources, and the perplexity of their references.

        Lines without a pair are skipped.

        Args:
            files: sentence pairs: tab-separated, JSON lines, or two parallel files.
            encoding: of the files; if None, it is found out for each.
            bleu_tokenizer: of BLEU; None: the one for the script of the references.
            track: shows progress.
            settings: as for `translate`.

        Raises:
            OpenbookError: the model does not translate, a file cannot be read, or there is no pair.
        """
        from openbook.training.pair_scores import evaluate_pair_files

        paths, translator = paths_argument(files, "files"), self.translator(**settings)
        return evaluate_pair_files(self.transformer, translator, paths, encoding, track, bleu_tokenizer)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the model file, completely or not at all; returns its path.

        Args:
            path: where; `.openbook` is added if it does not end so, with a warning.
            overwrite: replace an existing file.

        Raises:
            OpenbookError: it exists (and not `overwrite`), or cannot be written.
        """
        from openbook.model_file.file import save

        output = output_path(path)
        check_output_file(output, [], overwrite)
        save(output, self.metadata, self.transformer.state_dict())
        return output

    def _templated(self, prompts: str | Sequence[str], raw: bool) -> Sequence[Prompt]:
        clean, texts = clean_text if self.chat is None else self.prompt_tokens, texts_argument(prompts, "prompts")
        return texts if raw else [clean(each) for each in texts]


def _version(transformer: "Transformer") -> object:
    """Differs after every change in place of a weight, and after one was replaced."""
    return [(id(each), 0 if each.is_inference() else each._version) for each in transformer.parameters()]


def load(path: str | os.PathLike[str], device: str = "auto", engine: str = "auto", *, ahead: bool = False) -> Model:
    """Open a model file, or an adapter beside its base model; weights stay in the file until they are used.

        model = openbook.load("austen.openbook")

    Args:
        path: the model file or the adapter.
        device: auto, cpu, cuda or mps.
        engine: what decodes: native, our own C++ on CPUs; torch; onnx on CPUs; or auto, which is native where it is
            compiled and the model runs on the CPU, torch otherwise.
        ahead: begin at once, side by side, what the first answer needs: the native engine, the chat template's process.

    Raises:
        OpenbookError: the file is missing or damaged; the message names the field and says what to do.
    """
    place, choice = choose_device_and_engine(device, engine)
    path = path_argument(path, "path")
    with error_context(path):
        is_adapter = path_problem(path) is None and looks_like_adapter(path)
    if is_adapter:
        from openbook.model_file.adapter import load_merged
        from openbook.model_file.file import build

        metadata, tensors = load_merged(path)
        return Model(metadata, build(metadata.architecture, tensors).to(place), choice, path=path)
    opened = open_model_file(path)

    def from_file() -> "Transformer":
        from openbook.model_file.file import build, tensors_of

        return build(opened.metadata.architecture, tensors_of(opened)).to(place)

    with error_context(path):
        return Model(opened.metadata, engine=choice, build=from_file, file=opened, path=path, ahead=ahead)


# As long as its options: each has its own type and line, as in the command.
def train(
    inputs: str | Path | Sequence[str | Path] | None = None,
    output: str | os.PathLike[str] = "model.openbook",
    *,
    pairs: str | Path | Sequence[str | Path] | None = None,
    conversations: str | Path | Sequence[str | Path] | None = None,
    validation: str | Path | Sequence[str | Path] | None = None,
    validation_fraction: float | None = None,
    keep_duplicates: bool = False,
    encoding: str | None = None,
    base_model: str | os.PathLike[str] | None = None,
    lora_rank: int | None = None,
    lora_targets: Sequence[str] | None = None,
    adapter: bool = False,
    tiny: bool = False,
    shard: bool = False,
    tokens: str | os.PathLike[str] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    callbacks: "Sequence[Callback]" = (),
    track: Track = silent,
    **choices: Any,
) -> Model:
    """Train on books, sentence pairs or conversations, and save the model file at `output`.

    Args:
        inputs: books: files, folders, globs.
        output: the model file; `.openbook` is added if absent. Checkpoints are beside it, in OUTPUT.training.
        pairs: files of sentence pairs, to train a translator instead.
        conversations: JSON lines of messages, or of prompt and answer, to train `base_model` on instead.
        validation: files to validate with; if None, the ends of the documents or some of the pairs.
        validation_fraction: how much of each document, or of the pairs, is held out; None: their size decides.
        keep_duplicates: keep passages or pairs that occur more than once.
        encoding: of the files; if None, it is found out for each.
        base_model: a model file to continue from.
        lora_rank: train low-rank updates of this rank (LoRA) instead of all weights.
        lora_targets: the matrices that get one; all of the blocks if None.
        adapter: save the updates alone, as a small file beside the base model.
        tiny: learn a few sentences or pairs by heart with a model small enough to follow by hand.
        shard: started by torchrun as one of several processes, keep a part of the model only.
        tokens: a folder that `openbook prepare` made, to train on instead.
        device: auto, cpu, cuda or mps.
        overwrite: replace an existing output.
        callbacks: called with every training event.
        track: shows progress of the preparation.
        choices: fields of `training.recipe.Recipe`: minutes, layers, width …

    Raises:
        OpenbookError: there is nothing to train on, or training fails; the message says what is kept.
    """
    from openbook.training import start as training
    from openbook.training.lora_targets import TARGETS
    from openbook.training.request import TrainingRequest

    given = [each for each in (inputs, pairs, conversations, tokens) if each is not None]
    if len(given) != 1:
        raise OpenbookError("give one of these to train on: books, pairs, conversations or tokens")
    request = TrainingRequest(
        paths_argument(given[0], "inputs") if tokens is None else [],
        output_path(output),
        choices,
        pairs=pairs is not None,
        conversations=conversations is not None,
        validation=None if validation is None else paths_argument(validation, "validation"),
        validation_fraction=validation_fraction,
        keep_duplicates=keep_duplicates,
        encoding=encoding,
        device=device,
        base_model=None if base_model is None else Path(base_model),
        lora_rank=lora_rank,
        lora_targets=TARGETS if lora_targets is None else lora_targets,
        adapter=adapter,
        tiny=tiny,
        shard=shard,
        tokens=None if tokens is None else Path(tokens),
    )
    return load(training.train_in_group(request, callbacks, track, overwrite).path, device)
