"""Runs of small models as pages, with a tokenizer of made-up words."""

import json

from safetensors.numpy import load

from openbook.explanation.model_source import ModelSource
from openbook.explanation.page.manifest import Asked
from openbook.explanation.page.page_run import PageRun
from openbook.explanation.page.views import VIEWS
from openbook.explanation.traced_generation import trace_generation
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import NO_RULES
from openbook.model_file.metadata import ModelMetadata
from strategies import build

HOSTILE = ("</script>", "<img src=x onerror=alert(1)>", "\u202eback", "\x1b[31m", "NaN")


class Words:
    """Token 3 is " w3"; the first ones are hostile. Only what a page asks of a tokenizer."""

    @property
    def special_ids(self):
        return {}

    def token_bytes(self, token):
        return (HOSTILE[token] if token < len(HOSTILE) else f" w{token}").encode()

    def token_text(self, token):
        return self.token_bytes(token).decode()

    def decode(self, ids, skip_special=False):
        return "".join(map(self.token_text, ids))

    def to_json(self):
        return json.dumps({"model": {"type": "WordLevel"}})

    def normalize(self, text):
        return text

    def split(self, text):
        return text.split()

    def word_tokens(self, word):
        return [len(word)]


def paged(spec, prompt=(7, 1, 8, 5), source=(6, 2, 9), rules=NO_RULES, model=None, **settings):
    """The page of a run; greedy and of three tokens unless the settings say otherwise."""
    model = build(spec) if model is None else model
    decoding = Sampling(**{"temperature": 0.0, "max_tokens": 3} | settings)
    given = None if spec.encoder is None else list(source)
    run = trace_generation(model, list(prompt), decoding, rules, source=given)
    words = Words()
    metadata = ModelMetadata(architecture=spec, tokenizer=words.to_json())
    return PageRun(run, ModelSource(metadata, words, words), Asked("w7 w1", start=1), VIEWS)


def slices_of(page, *wanted):
    """Slices as arrays, read by the safetensors library."""
    return load(page.slices(list(wanted)))


def check_page(page):
    """Every recorded quantity of every step: its slice is Python's number, and one number of it recomputes."""
    count = 0
    for step in range(len(page.run.steps)):
        recorded, listed = page.run.trace(step), page.step(step)
        assert [each["path"] for each in listed["quantities"]] == list(recorded)
        found = slices_of(page, *({"step": step, "path": path} for path in recorded))
        for number, (path, record) in enumerate(recorded.items()):
            array, quantity = found[str(number)], listed["quantities"][number]
            assert (array == record.value.float().numpy()).all() and list(array.shape) == quantity["shape"]
            assert len(quantity["axes"]) == array.ndim
            assert listed["formulas"][quantity["formula"]]["mathml"].startswith("<math ")
            last = [length - 1 for length in array.shape]
            derivation = page.derivation(step, path, last)
            assert derivation["relative_error"] <= 1e-4, path
            assert derivation["recorded"] == float(record.value[tuple(last)])
            count += 1
    return count
