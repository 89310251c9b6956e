"""The oracle of these tests: generation without cache, batch, padding or streams, and what several tests share."""

import numpy as np
import torch
from torch import Tensor

from openbook.generation.arrays import FloatArray
from openbook.generation.engines.engine import Session
from openbook.generation.generate import length_after_shift
from openbook.generation.settings import Sampling
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer
from openbook.transformer.transformer import Transformer
from strategies import CONTEXT, DEFAULT, build

GREEDY = Sampling(temperature=0, max_tokens=12)
PROMPTS = [[5, 3, 8, 1], [7], [2, 2, 9, 4, 11, 6, 1], [20, 21]]


@torch.no_grad()
def naive_logits(model: Transformer, tokens: list[int]) -> Tensor:
    """Logits (V,) of the token after these."""
    return model(torch.tensor([tokens]))[0, -1]


def naive_greedy(model: Transformer, prompt: list[int], count: int, end_id: int | None = None) -> list[int]:
    """The most probable tokens, each from a pass over everything in the window."""
    tokens, start = list(prompt), 0
    while len(tokens) < len(prompt) + count and tokens[len(prompt) :][-1:] != [end_id]:
        if len(tokens) - start > CONTEXT:
            start = len(tokens) - length_after_shift(CONTEXT)
        tokens.append(int(naive_logits(model, tokens[start:]).argmax()))
    return tokens[len(prompt) :]


def default_model(seed: int = 0) -> Transformer:
    return build(DEFAULT, seed)


def step(session: Session, tokens: list[int] | list[list[int]]) -> FloatArray:
    """The logits after one more token a row, (B, V), or after a token for each beam, (B, W, V)."""
    ids = np.array(tokens)
    return session.step(ids) if ids.ndim == 2 else session.step(ids[:, None])[:, 0]


class ScriptedEngine:
    """An engine that gives each row the tokens of a script, whatever it is asked; for what stands above engines."""

    def __init__(self, scripts: list[list[int]], vocab_size: int) -> None:
        self.scripts, self.vocab_size, self.context, self.steps = scripts, vocab_size, 1 << 30, 0
        self.threads, self.source_vocab_size = 1, None

    def prefill(self, prompts: list[list[int]], sources: object = None) -> tuple["ScriptedSession", FloatArray]:
        session = ScriptedSession(self, len(prompts))
        return session, session.logits()


class ScriptedSession:
    def __init__(self, engine: ScriptedEngine, rows: int) -> None:
        self.engine, self.rows, self.length = engine, list(range(rows)), 0

    def logits(self) -> FloatArray:
        logits = np.zeros((len(self.rows), self.engine.vocab_size), dtype=np.float32)
        for place, row in enumerate(self.rows):
            script = self.engine.scripts[row]
            logits[place, script[self.length] if self.length < len(script) else 0] = 50.0
        return logits

    def step(self, tokens: np.ndarray) -> FloatArray:
        self.length += 1
        self.engine.steps += 1
        return self.logits()[:, None]

    def reorder(self, rows: list[int]) -> None:
        self.rows = [self.rows[row] for row in rows]

    def truncate(self, length: int) -> None:
        self.length = length


def byte_tokenizer() -> Tokenizer:
    """One token for each byte, so that every character above ASCII takes several."""
    return train_tokenizer(["text"], "bytes", 257)
