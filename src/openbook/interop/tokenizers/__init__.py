"""Tokenizers of other programs, read into a `tokenizer.json` and `SpecialTokens`, and written back.

`read_tokenizer(folder)` finds what a folder holds; `write_tokenizer(folder, …)` makes a folder that others load,
`write_pair` the files of two vocabularies of pieces.
"""

from openbook.interop.tokenizers.exporting import write_tokenizer
from openbook.interop.tokenizers.exporting_pair import write_pair
from openbook.interop.tokenizers.importing import ForeignTokenizer, read_tokenizer
from openbook.interop.tokenizers.tokenizer_file import Layout

__all__ = ["ForeignTokenizer", "Layout", "read_tokenizer", "write_pair", "write_tokenizer"]
