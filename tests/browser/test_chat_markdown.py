"""The page's Markdown against markdown-it, the CommonMark parser that Python has; and what no text may do."""

import re
from html.parser import HTMLParser

import pytest
from fake_server import fake_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

TEXTS = [
    "plain *em* **strong** ***both*** ~~gone~~ `code` ``a ` b``",
    "snake_case_name and *a*b* **a *b* c** _x_y_ 2*3*4 __init__",
    "# One\n\n## Two ##\n\nThree\n===\n\nFour\n---\n\n####### seven",
    "- a\n- b\n  - c\n    d\n- e\n\n  f\n\n1. x\n2. y\n   1. z\n\n3) other",
    "10. ten\n11. eleven\n\n* star\n+ plus\n- \n- after empty",
    "> quote\n> more\nlazy\n\n> > deep\n> - list\n>   in it",
    "```py\ndef f(x):\n    return `x`\n```\n\n~~~\nopen to the end\n**no**",
    "    indented\n      code\n\ntext\n    not code",
    "a\nb  \nc\\\nd",
    "| a | b |\n|:--|--:|\n| `x` | **y** |\n| 1 \\| 2 |\n\nafter",
    '[link](https://example.com/a_(b)) [titled](<https://example.com> "t") <https://example.com/x>',
    "see https://example.com/path?q=1. And (https://example.com/a), ok",
    "&amp; &lt;b&gt; &#65; &#x42; &unknown; \\*not\\* \\# \\[x](y)",
    "***\n\n- - -\n\n___",
    "<div>**x**</div>\n\n<script>alert(1)</script>",
    "*a **b* c** `*d*` [*e* f](https://x.y) **",
    "1. a\n\n   b\n\n2. c\n\n- a\n1. b",
]


@pytest.fixture(scope="module")
def drawing(browser):
    """A function that draws texts as the page does: for each the tags and the text, in order."""
    with fake_server() as (address, _):
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-state=ready]")
        yield lambda texts: page.evaluate(DRAW, texts)
        context.close()


DRAW = """async (texts) => {
  const { renderMarkdown } = await import("/chat/markdown/render.js");
  const out = (node) => {
    if (node.nodeType === 3) return node.data;
    if (node.matches(".code")) return `<pre>${node.querySelector("code").textContent}</pre>`;
    if (node.matches(".scroll")) return out(node.firstChild);
    const level = node.className.match(/md-h(\\d)/);
    const tag = level ? `h${level[1]}` : node.tagName.toLowerCase();
    const start = tag === "ol" && node.start !== 1 ? ` ${node.start}` : "";
    const href = tag === "a" ? ` ${node.getAttribute("href")}` : start;
    const inside = [...node.childNodes].map(out).join("");
    return tag === "br" || tag === "hr" ? `<${tag}>` : `<${tag}${href}>${inside}</${tag}>`;
  };
  const leaf = (part) => [document.createTextNode(part.text)];
  return texts.map((text) => renderMarkdown(text).map(({ draw }) => out(draw(leaf))).join(""));
}"""


class Flat(HTMLParser):
    """HTML as the page's drawing is written above."""

    def __init__(self):
        super().__init__()
        self.out = ""
        self.pre = False

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        extra = f" {given['href']}" if tag == "a" else f" {given['start']}" if tag == "ol" and "start" in given else ""
        self.pre |= tag == "pre"
        if not (tag == "code" and self.pre):
            self.out += f"<{'del' if tag == 's' else tag}{extra}>"

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        if not (tag == "code" and self.pre):
            self.out += f"</{'del' if tag == 's' else tag}>"
        self.pre &= tag != "pre"

    def handle_data(self, data):
        self.out += data if self.pre else data.replace("\n", "")


def reference(text):
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    flat = Flat()
    flat.feed(parser.render(text))
    return flat.out


@pytest.mark.parametrize("text", TEXTS)
def test_as_markdown_it(drawing, text):
    (drawn,) = drawing([text])
    expected = reference(text)
    if "see https" in text:
        expected = re.sub(r"(https://[^\s<>]*?[\w/])(?=[.),]*(\s|$))", r"<a \1>\1</a>", expected)
    assert drawn.replace("\n", "") == expected.replace("\n", "")


MARKS = st.text(st.sampled_from(list("ab *_`~#-+>|[]()!<&\\\n1.:\t")), max_size=60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MARKS | st.text(max_size=40), min_size=20, max_size=20))
def test_any_text_is_drawn_and_makes_only_harmless_elements(drawing, texts):
    for drawn in drawing(texts):
        tags = set(re.findall(r"<(\w+)[ >]", drawn))
        assert tags <= {"p", "em", "strong", "del", "code", "a", "br", "hr", "pre", "ul", "ol", "li", "blockquote"} | {
            *("table", "thead", "tbody", "tr", "th", "td", "h1", "h2", "h3", "h4", "h5", "h6", "a", "b")
        }


@pytest.mark.parametrize(
    "text",
    [
        *("*a **b " * 3000, "[" * 20_000, "[a](" * 5000, "`" * 3000 + "a" + "`" * 2999, "> " * 5000 + "a"),
        *("- " * 5000 + "a", "|-|\n" * 4000, ">" * 12 + " a\n" + "b\n" * 3000, "*_" * 8000, "<" * 20_000),
        "1. a\n" * 3000,
    ],
)
def test_hostile_texts_do_not_hang_the_page(drawing, text):
    assert drawing([text])[0]
