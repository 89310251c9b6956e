"""Books in, tokens out: read, clean, split, tokenise. Nothing here knows of models or of torch.

`prepare` (books → a corpus on disk) → `train_tokenizer` → `tokenize` (a corpus → memory-mapped token ids).
Modules are imported where they are needed: this package imports nothing by itself.
"""
