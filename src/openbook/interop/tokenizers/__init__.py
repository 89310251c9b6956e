"""Tokenizers of other programs, read into a `tokenizer.json` and `SpecialTokens`, and written back.

`read_tokenizer(folder)` reads whatever tokenizer files a folder holds. `write_tokenizer(folder, …)` writes files that
other programs load; `write_tokenizer_pair` writes those of two SentencePiece vocabularies.
"""

from openbook.interop.tokenizers.legacy_layout import LegacyLayout
from openbook.interop.tokenizers.tokenizer_folder_export import write_tokenizer
from openbook.interop.tokenizers.tokenizer_folder_import import ImportedTokenizer, read_tokenizer
from openbook.interop.tokenizers.tokenizer_pair_export import write_tokenizer_pair

__all__ = ["ImportedTokenizer", "LegacyLayout", "read_tokenizer", "write_tokenizer", "write_tokenizer_pair"]
