"""Conversations as token ids, with which of them belong to answers."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openbook.errors import OpenbookError
from openbook.progress import Track, silent
from openbook.text.chat.chat import Chat
from openbook.training.data.conversation_files import Conversation, answer_tokens, read_conversations

HELD_OUT = 0.05
"""The part to validate with where nothing else is said."""


@dataclass(frozen=True)
class TokenConversations:
    """Conversations in a row.

    `ids` and `answers` (tokens) are the tokens and whether each belongs to an answer; conversation i is from
    `starts[i]` to `starts[i + 1]`, and its answers have `answer_bytes[i]` bytes.
    """

    ids: NDArray[np.int64]
    answers: NDArray[np.bool_]
    starts: NDArray[np.int64]
    answer_bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(conversations): tokens of each."""
        return np.diff(self.starts)

    def chosen(self, numbers: NDArray[np.int64]) -> "TokenConversations":
        """These conversations alone."""
        spans = [slice(self.starts[number], self.starts[number + 1]) for number in numbers]
        return TokenConversations(
            np.concatenate([self.ids[:0], *(self.ids[span] for span in spans)]),
            np.concatenate([self.answers[:0], *(self.answers[span] for span in spans)]),
            np.concatenate(([0], np.cumsum(self.lengths[numbers]))),
            self.answer_bytes[numbers],
        )


def tokenize_conversations(files: Sequence[Path], chat: Chat, track: Track = silent) -> TokenConversations:
    """Every conversation of the files, as the chat template writes it.

    Raises:
        OpenbookError: naming the file and line of a conversation that cannot be read or that the template refuses.
    """
    ids: list[NDArray[np.int64]] = []
    answers: list[NDArray[np.bool_]] = []
    answer_bytes = []
    sizes = [len(chat.tokenizer.token_bytes(number)) for number in range(chat.tokenizer.vocab_size)]
    for number in chat.tokenizer.special_ids.values():
        sizes[number] = 0  # what a special token stands for is not text
    length = np.array(sizes, np.int64)
    for where, conversation in _all(files, track):
        try:
            tokens, belongs = answer_tokens(chat, conversation)
        except OpenbookError as error:
            raise OpenbookError(f"{where}: {error}") from None
        ids.append(np.array(tokens, np.int64))
        answers.append(np.array(belongs, np.bool_))
        answer_bytes.append(int(length[ids[-1]][answers[-1]].sum()))
    if not ids:
        raise OpenbookError(f"{', '.join(map(str, files))}: no conversations to learn from")
    starts = np.concatenate(([0], np.cumsum([len(each) for each in ids])))
    return TokenConversations(np.concatenate(ids), np.concatenate(answers), starts, np.array(answer_bytes, np.int64))


def _all(files: Sequence[Path], track: Track) -> Iterator[tuple[str, Conversation]]:
    count = sum(1 for path in files for _ in read_conversations(path))
    with track("Reading conversations", count) as advance:
        for path in files:
            for number, conversation in enumerate(read_conversations(path), start=1):
                yield f"{path}: conversation {number:,}", conversation
                advance(1)


def held_out(conversations: TokenConversations, share: float) -> tuple[TokenConversations, TokenConversations]:
    """Those to learn from and those to validate with, chosen by a hash of their tokens, so always the same ones.

    Raises:
        OpenbookError: there are too few.
    """
    chosen = []
    for start, end in zip(conversations.starts[:-1], conversations.starts[1:], strict=True):
        digest = hashlib.sha256(conversations.ids[start:end].tobytes()).digest()
        chosen.append(int.from_bytes(digest[:8], "big") < share * 2**64)
    apart = np.array(chosen)
    if not apart.any():
        apart[0] = True  # there has to be one
    if apart.all():
        raise OpenbookError("too few conversations to hold any out for validation; add some, or give --validation")
    return conversations.chosen(np.flatnonzero(~apart)), conversations.chosen(np.flatnonzero(apart))
