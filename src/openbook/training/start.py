"""The beginning of a run, without PyTorch: importing that takes as long as preparing a megabyte of text."""

import importlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from openbook.progress import Track
from openbook.text.corpus.prepare import prepare
from openbook.text.tokenizer.training import choose_vocab_size
from openbook.training.begin import begin
from openbook.training.data.book_tokens import tokenize_books
from openbook.training.data.prepared import prepare_book_tokenizer, prepare_corpus
from openbook.training.group import is_member
from openbook.training.plan.budget import TOKENIZING_BYTES_PER_SECOND, check_budget
from openbook.training.request import WITHOUT_LOOKING, TrainingRequest
from openbook.training.run_folder import RunFolder

if TYPE_CHECKING:
    from openbook.training.loop import Callback
    from openbook.training.run import TrainingResult

RUN = "openbook.training.run"


def train(
    request: TrainingRequest,
    callbacks: "Sequence[Callback]",
    track: Track,
    clock: Callable[[], float],
    overwrite: bool = False,
) -> "TrainingResult":
    """Run a request (see `TrainingRun`); PyTorch is imported while the text is prepared, unless there is a group.

    Raises:
        OpenbookError: as for `TrainingRun.run`.
    """
    with begin(request, overwrite) as begun:
        if RUN not in sys.modules and not is_member():
            # A daemon: a run that is refused does not wait for it.
            importing = threading.Thread(target=importlib.import_module, args=[RUN], daemon=True)
            importing.start()
            prepare_books(request, begun.folder, track, clock)
            importing.join()
        from openbook.training.run import TrainingRun

        return TrainingRun(request, callbacks, track, clock).run_in(begun, overwrite)


def train_in_group(
    request: TrainingRequest, callbacks: "Sequence[Callback]", track: Track, overwrite: bool
) -> "TrainingResult":
    """The same as one process of the group that torchrun has started, or alone; the clock begins now.

    Raises:
        OpenbookError: as for `TrainingRun.run`.
    """
    from openbook.training.distributed.join import joined

    started = time.perf_counter()
    with joined(request):
        return train(request, callbacks, track, lambda: time.perf_counter() - started, overwrite)


def prepare_books(request: TrainingRequest, folder: RunFolder, track: Track, clock: Callable[[], float]) -> None:
    """Make the corpus, the tokenizer and the tokens of a new model of books, which the run finds in its folder.

    Does nothing for other requests.

    Raises:
        OpenbookError: there is no text, the minutes are too short for so much, or the vocabulary is too small.
    """
    special = request.pairs or request.conversations or request.tiny or request.base_model is not None
    if special or request.tokens is not None or request.device not in WITHOUT_LOOKING:
        return
    corpus = prepare_corpus(prepare, request, track)
    kind = request.choices.get("tokenizer", "bpe")
    vocab_size = request.choices.get("vocab_size") or choose_vocab_size(corpus.train.bytes, kind)
    if "minutes" in request.choices and not (folder.path / "tokens").exists():
        before = clock() + corpus.bytes / TOKENIZING_BYTES_PER_SECOND
        check_budget(request.choices["minutes"], before, step_seconds=0.0, after=0.0)
    tokenizer = prepare_book_tokenizer(corpus, kind, vocab_size, folder.path, track)
    tokenize_books(corpus, tokenizer, folder.path / "tokens", kind=kind, track=track)
