"""A beam search as the tree of all its beams."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from openbook.generation.beam_search import beam_search
from openbook.generation.beam_trace import BeamTrace
from openbook.generation.engines.engine import Engine
from openbook.generation.hypotheses import Hypothesis, TextOf
from openbook.generation.settings import BeamSearch
from openbook.generation.token_rules import TokenRules


@dataclass(frozen=True)
class BeamTree:
    """What a beam search found, the best first, and the trace of how it did."""

    hypotheses: tuple[Hypothesis, ...]
    trace: BeamTrace
    settings: BeamSearch

    def to_json(self) -> dict[str, object]:
        """The settings, all nodes (parents before children; `parent` is an index into the list), the n-best."""
        return {
            "settings": asdict(self.settings),
            "nodes": [asdict(node) for node in self.trace.nodes[0]],
            "best": [asdict(each) for each in self.hypotheses],
        }


def search_tree(
    engine: Engine,
    tokens: Sequence[int],
    source: Sequence[int] | None,
    settings: BeamSearch,
    rules: TokenRules,
    text_of: TextOf | None = None,
) -> BeamTree:
    """Search from one prompt, or from one source and its target so far, and keep every beam; see `beam_search`."""
    trace = BeamTrace()
    sources = None if source is None else [source]
    [found] = beam_search(engine, [tokens], settings, rules, sources=sources, trace=trace, text_of=text_of)
    return BeamTree(found.hypotheses, trace, settings)
