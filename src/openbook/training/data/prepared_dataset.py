"""Prepared tokens as a dataset: like books, but read, cleaned and encoded before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openbook.errors import SettingError
from openbook.text.formatting import format_bytes, format_count
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.training.data.book_dataset import BookDataset
from openbook.training.data.book_tokens import TokenizedBooks
from openbook.training.data.prepared_tokens import PreparedTokens, open_prepared
from openbook.training.recipe import Recipe


@dataclass
class PreparedDataset(BookDataset):
    """The tokens in a folder that `openbook prepare` made.

    Raises:
        OpenbookError: the folder is damaged, or its tokenizer is not that of the model to continue from.
    """

    prepared: PreparedTokens = field(init=False)

    def _open(self) -> None:
        assert self.request.tokens is not None
        self.prepared = open_prepared(self.request.tokens, self.request.folder, self.track)

    @property
    def fingerprint(self) -> str:
        return self.prepared.index.identity

    @property
    def train_bytes(self) -> int:
        return self.prepared.books.train.text_bytes

    @property
    def learns_all(self) -> bool:
        return not len(self.prepared.books.validation.ids)

    @property
    def choices(self) -> Mapping[str, Any]:
        """Those of the request, and the vocabulary that the tokens have."""
        index = self.prepared.index
        return {**self.request.choices, "tokenizer": index.kind or "bpe", "vocab_size": index.vocab_size}

    def summary(self) -> dict[str, Any]:
        books, index = self.prepared.books, self.prepared.index
        amounts = f"{format_count(len(books.train.ids), 'token')} of {format_bytes(books.train.text_bytes)}"
        return {
            "lines": [f"Found {amounts} to learn from, in {format_count(len(index.train), 'shard')}."],
            "expectations": None,
            "train_bytes": books.train.text_bytes,
            "validation_bytes": books.validation.text_bytes,
            "scored": "learned" if self.learns_all else "held-out",
        }

    def file_records(self) -> list[dict[str, Any]]:
        return self.prepared.record()

    def _encode(self, recipe: Recipe) -> tuple[Tokenizer, TokenizedBooks]:
        tokenizer = self.prepared.tokenizer
        if self.base is not None and self.base.make_tokenizer().fingerprint != tokenizer.fingerprint:
            raise SettingError(
                f"{self.prepared.folder}: its tokens are not those of {self.request.base_model}; prepare the text with "
                "`base_model` too"
            )
        return tokenizer, self.prepared.books
