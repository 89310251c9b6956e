"""GGUF files: read into model files, and written from them."""
