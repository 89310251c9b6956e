"""The algorithm of a run in words: its steps in order, made from the architecture and from what was recorded."""
