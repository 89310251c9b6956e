"""Decoding, in layers.

text · translation      text in, text out
generate · beam_search  token ids in, token ids out: sampling, or search; scheduling of batches
engines                 token ids in, logits out
cache                   keys and values
"""
