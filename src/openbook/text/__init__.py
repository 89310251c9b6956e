"""Text in, tokens out, without torch: `corpus` reads and cleans, `tokenizer` encodes, `chat` writes conversations.

The steps for books: `prepare` (files → a corpus on disk), `train_tokenizer`, `Tokenizer.encode`.
Import the modules you need; this package imports nothing by itself.
"""
