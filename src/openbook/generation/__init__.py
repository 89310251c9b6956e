"""Asking a model: an engine gives logits, sampling chooses tokens, `generate` streams them, `stream` makes text.

cache (keys and values) → engine (token ids in, logits out) → sampling → generate (token ids) → text.
"""
