"""A beam search shown as the tree of all beams: what each was worth, which ended, which were given up."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from openbook.explanation.token_display import Tokenizer
from openbook.generation.beam_search import beam_search
from openbook.generation.beam_trace import BeamTrace, Node
from openbook.generation.engines.engine import Engine
from openbook.generation.hypotheses import Hypothesis
from openbook.generation.settings import BeamSearch
from openbook.generation.token_rules import TokenRules


def search_with_trace(
    engine: Engine,
    prompt: Sequence[int],
    source: Sequence[int] | None,
    settings: BeamSearch,
    rules: TokenRules,
) -> tuple[tuple[Hypothesis, ...], BeamTrace]:
    """The n-best of one prompt, or of one source from what is written already, and the trace of their search."""
    trace = BeamTrace()
    sources = None if source is None else [source]
    [found] = beam_search(engine, [prompt], settings, rules, sources=sources, trace=trace)
    return found.hypotheses, trace


def print_tree(
    hypotheses: Sequence[Hypothesis], trace: BeamTrace, settings: BeamSearch, tokenizer: Tokenizer, console: Console
) -> None:
    """Print the tree; tokens that no other beam leaves stand in one line, with Σ log p after the last of them."""
    nodes, children = trace.nodes[0], trace.children(0)
    best = {hypothesis.tokens: number for number, hypothesis in enumerate(hypotheses, start=1)}
    tree = Tree(Text(f"{settings.beam_size} beams, score = Σ log p / length^{settings.length_penalty:g}"))

    def grow(branch: Tree, places: Sequence[int]) -> None:
        for place in places:
            line = [place]
            while len(children[line[-1]]) == 1:
                line += children[line[-1]]
            last = line[-1]
            words = " ".join(_shown(nodes[each], tokenizer) for each in line)
            label = Text(words, style="" if children[last] or nodes[last].state == "ended" else "dim")
            label.append(f"  {nodes[last].log_probability:.3f}", style="cyan")
            if nodes[last].state == "ended":
                score = settings.score(nodes[last].log_probability, nodes[last].depth)
                number = best.get(tuple(trace.path(0, last)))
                label.append(f"  score {score:.3f}" + (f"  ← {number}" if number else ""), style="bold green")
            elif not children[last]:
                label.append("  given up", style="dim")
            grow(branch.add(label), children[last])

    grow(tree, children[None])
    console.print(tree)


def tree_as_json(hypotheses: Sequence[Hypothesis], trace: BeamTrace, settings: BeamSearch) -> str:
    """The settings, all nodes (parents before children; `parent` is a place in the list) and the n-best."""
    facts = {
        "settings": asdict(settings),
        "nodes": [asdict(node) for node in trace.nodes[0]],
        "best": [asdict(each) for each in hypotheses],
    }
    return json.dumps(facts)


def _shown(node: Node, tokenizer: Tokenizer) -> str:
    """A token as it is spelled, with its spaces to be seen."""
    return json.dumps(tokenizer.token_bytes(node.token).decode("utf-8", "backslashreplace"), ensure_ascii=False)
