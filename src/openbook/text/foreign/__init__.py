"""Tokenizers of other programs, read into a `tokenizer.json` and `SpecialTokens`, and written back.

`read_tokenizer(folder)` finds what a folder holds; `write_tokenizer(folder, …)` makes a folder that others load,
`write_pair` the files of two vocabularies of pieces.
"""

from openbook.text.foreign.layout import Layout
from openbook.text.foreign.pair_writing import write_pair
from openbook.text.foreign.reading import ForeignTokenizer, read_tokenizer
from openbook.text.foreign.writing import write_tokenizer

__all__ = ["ForeignTokenizer", "Layout", "read_tokenizer", "write_pair", "write_tokenizer"]
