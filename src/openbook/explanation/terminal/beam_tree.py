"""The tree of a beam search: every beam with its Σ log p, which ended, which were dropped."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from openbook.explanation.token_display import Tokenizer
from openbook.explanation.views.beam_tree import BeamTree
from openbook.text.formatting import format_count
from openbook.text.printable import quoted


def print_beam_tree(found: BeamTree, tokenizer: Tokenizer, console: Console) -> None:
    """Print the tree. Tokens without a fork between them share a line, which ends with Σ log p of its last token."""
    settings, nodes, children = found.settings, found.trace.nodes[0], found.trace.children(0)
    ranks = {hypothesis.tokens: rank for rank, hypothesis in enumerate(found.hypotheses, start=1)}
    tree = Tree(
        Text(f"{format_count(settings.beam_size, 'beam')}, score = Σ log p / length^{settings.length_penalty:g}")
    )

    def grow(branch: Tree, indices: Sequence[int]) -> None:
        for index in indices:
            line = [index]
            while len(children[line[-1]]) == 1:
                line += children[line[-1]]
            last = line[-1]
            node, is_leaf = nodes[last], not children[last]
            words = " ".join(_quoted(nodes[each].token, tokenizer) for each in line)
            label = Text(words, style="dim" if is_leaf and node.state != "ended" else "")
            label.append(f"  {node.log_probability:.3f}", style="cyan")
            if node.state == "ended":
                score = settings.score(node.log_probability, node.depth)
                rank = ranks.get(tuple(found.trace.path(0, last)))
                label.append(f"  score {score:.3f}" + (f"  ← {rank}" if rank else ""), style="bold green")
            elif is_leaf:
                label.append("  dropped", style="dim")
            grow(branch.add(label), children[last])

    grow(tree, children[None])
    console.print(tree)


def _quoted(token_id: int, tokenizer: Tokenizer) -> str:
    """A token in quotes, so that its spaces are seen."""
    return quoted(tokenizer.token_bytes(token_id).decode("utf-8", "backslashreplace"))
