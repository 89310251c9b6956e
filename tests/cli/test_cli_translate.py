"""`openbook ask` and `evaluate` with a translator, as a person types them."""

import io
import json
import sys

import pytest

import openbook
from generation.translators import architecture, tokenizer
from openbook.cli import main as cli
from openbook.errors import OpenbookError
from openbook.explanation.derivations import relative_errors
from openbook.model import Model
from openbook.model_file.file import save
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.training.recipe import build_architecture, make_recipe
from openbook.transformer.transformer import Transformer
from strategies import build, randomise
from training.training_examples import TINY


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    words, path = tokenizer(), tmp_path_factory.mktemp("model") / "translator.openbook"
    spec = architecture(words.vocab_size)
    transformer = Transformer(spec)
    randomise(transformer)
    contents = ModelMetadata(architecture=spec, tokenizer=words.to_json(), special_tokens=words.special)
    save(path, contents, transformer.state_dict())
    return path


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command as its entry point does; gives its exit code, output lines and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["openbook", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out.split("\n")[:-1], captured.err

    return run


def test_a_sentence(command, model):
    code, [line], _ = command("ask", model, "the cat sat")
    assert code == 0 and line == openbook.load(model).translate("the cat sat")[0].text


def test_lines_of_a_file_keep_their_order_and_their_number(command, model, tmp_path):
    content = b"the cat\n\nrain\xff\n" + b"the cat " * 60 + b"\nrain fell\n"
    (tmp_path / "in.txt").write_bytes(content)
    code, lines, errors = command("ask", model, "--file", "in.txt", "--encoding", "utf-8", "--beam-size", 2)
    expected = [each.text for each in openbook.load(model).translate(["the cat", "rain fell"], beam_size=2)]
    assert code == 0 and lines == [expected[0], "", "", "", expected[1]]
    assert "line 2 is skipped: it is empty" in errors
    assert "line 3 is skipped: it is not readable; see --encoding" in errors
    assert "line 4 is skipped: it has" in errors and "skipped 3 of 5 lines, left empty" in errors
    assert command("ask", model, stdin=content)[1] != []
    code, piped, _ = command("ask", model, "--beam-size", 2, stdin=content)
    assert piped == lines


def test_blanks_marks_and_encodings_do_not_change_a_translation(command, model, tmp_path):
    plain = ["the cat sat on the mat", "rain fell"]
    expected = command("ask", model, *plain)[1]
    for name, content in (
        ("blanks", "".join(f"  {line} \t\r\n" for line in plain).encode()),
        ("tabs", "\n".join(plain).replace(" ", "\t").encode()),
        ("mark", "\n".join(plain).encode("utf-8-sig")),
        ("wide", "\n".join(plain).encode("utf-16")),
        ("separators", "\n".join(plain).replace(" ", "\u2028").encode()),
        ("old", "\r".join(plain).encode()),
    ):
        (tmp_path / name).write_bytes(content)
        assert command("ask", model, "--file", name)[1] == expected, name
        assert command("ask", model, stdin=content)[1] == expected, name
    assert command("ask", model, *(f" {line}\n" for line in plain))[1] == expected


def test_a_guessed_encoding_is_said(command, model, tmp_path):
    text = "Füße, Köpfe, Bäume\n"
    (tmp_path / "in.txt").write_bytes(text.encode("cp1252"))
    code, lines, errors = command("ask", model, "--file", "in.txt")
    assert code == 0 and "in.txt: guessed the encoding: cp1252 (" in errors
    assert lines == command("ask", model, text)[1]


def test_n_best_and_json(command, model):
    _, lines, _ = command("ask", model, "the cat", "rain", "--n-best", 3, "--length-penalty", 0.5)
    numbers, scores, texts = zip(*(line.split("\t") for line in lines), strict=True)
    first = numbers.count("1")
    assert numbers == ("1",) * first + ("2",) * (len(numbers) - first) and 1 <= first <= 3
    assert len(set(texts[:first])) == first  # sequences that read alike are one
    assert list(map(float, scores[:first])) == sorted(map(float, scores[:first]), reverse=True)
    _, lines, _ = command("ask", model, "the cat", "", "--n-best", 2, "--json")
    first, second = map(json.loads, lines)
    assert first["translation"] == first["candidates"][0]["text"] and 1 <= len(first["candidates"]) <= 2
    assert {"score", "log_probability", "tokens", "finish_reason"} <= first["candidates"][0].keys()
    best, words = first["candidates"][0]["tokens"], tokenizer()
    assert best and all(token["text"] == words.token_text(token["id"]) for token in best)
    assert second == {"source": "", "translation": "", "problem": "it is empty"}


def test_nothing_to_translate(command, model, tmp_path):
    assert command("ask", model, "")[0] == 1
    code, _, errors = command("ask", model, stdin=b"")
    assert code == 1 and "standard input: has no sentences" in errors
    code, _, errors = command("ask", model, "--file", "absent.txt")
    assert code == 1 and "absent.txt: cannot be read" in errors
    code, _, errors = command("ask", model, "a", "--file", "in.txt")
    assert code == 1 and "not both" in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam-size", 2, "--seed", 1], "--beam-size is for a beam search and --seed for sampling"),
        (["--n-best", 9], "--n-best is 9, more than the --beam-size 5"),
        (["--show-probabilities"], "--show-probabilities is for models that continue a prompt"),
        (["--target-language", "de"], "language 'de'"),
        (["--stop", "x"], "a translation ends by itself"),
    ],
)
def test_options_that_do_not_fit(command, model, options, message):
    code, _, errors = command("ask", model, "the cat", *options)
    assert code == 1 and message in errors


def test_scores_on_pairs(command, model, tmp_path):
    words = ["the cat\tthe dog", "rain\train fell", "\tnothing", "log " * 60 + "\tlog"]
    (tmp_path / "pairs.tsv").write_text("\n".join(words) + "\n")
    code, lines, _ = command("evaluate", model, "pairs.tsv", "--beam-size", 2)
    assert code == 0
    assert lines[0].startswith("BLEU ") and "|tok:13a|" in lines[0] and lines[1].startswith("chrF ")
    assert "1 line without a pair" in lines[4] and "1 source too long for the model" in lines[5]
    _, [line], _ = command("evaluate", model, "pairs.tsv", "--beam-size", 2, "--json")
    facts = json.loads(line)
    assert facts["pairs"] == 3 and facts["too_long_sources"] == 1 and facts["perplexity"] > 1
    (tmp_path / "one.txt").write_text("a\nb\n")
    (tmp_path / "two.txt").write_text("a\n")
    code, _, errors = command("evaluate", model, "one.txt", "two.txt")
    assert code == 1 and "has 2 lines" in errors and "has 1" in errors
    code, _, errors = command("evaluate", model, "pairs.tsv", "--stride", 2)
    assert code == 1 and "for texts" in errors


# Looking inside.


def test_explain_shows_the_step_after_a_target(command, model):
    code, lines, _ = command("explain", model, "the cat sat", "--target", "the dog", "--layer", 1, "--head", 1)
    page = "\n".join(lines)
    assert code == 0
    assert "The source ─" in page and "The target so far ─" in page
    assert "Layer 1 of the decoder, step by step" in page
    assert "Head 1: how token" in page and "attends to each token s of the source" in page
    assert "key.weight: decoder.blocks.1.cross_attention.key.weight, 16 × 16, from byte" in page


def test_explain_shows_the_encoder(command, model):
    code, lines, _ = command("explain", model, "the cat sat", "--encoder", "--token", 0)
    page = "\n".join(lines)
    assert code == 0 and "All layers of the encoder" in page and "cross" not in page


def test_explain_is_what_trace_says(command, model):
    explained = openbook.load(model, "cpu").trace("the cat sat", "the dog")
    words = tokenizer()
    start, end = words.special.decoder_start, words.special.end[0]
    assert explained.tokens.tolist() == [[start, *words.encode("the dog")]]
    assert explained.source.tolist() == [[*words.encode("the cat sat"), end]]
    assert max(relative_errors(explained.model, explained.trace).values()) < 1e-5
    _, lines, _ = command("explain", model, "the cat sat", "--target", "the dog", "--json")
    summary = json.loads("\n".join(lines))
    assert summary["candidates"][0]["id"] == explained.choice.item()
    assert [token["id"] for token in summary["source"]] == explained.source[0].tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["  "], "the source is empty; give a sentence to translate"),
        (["the cat " * 60], "the source has 121 tokens; at most 40 can be explained"),
        (["the cat", "--target", "the dog " * 60], "the target has 121 tokens; at most 40"),
        (["the cat", "--encoder", "--token", "99"], "--token 99: there are"),
        (["the cat", "--target-language", "de"], "language 'de': this model does not have it"),
    ],
)
def test_what_cannot_be_explained_is_one_line(command, model, arguments, said):
    code, _, errors = command("explain", model, *arguments)
    assert code == 1 and said in errors and errors.count("\n") == 1


def test_verbs_for_books_refuse_a_translator(command, model, tmp_path):
    (tmp_path / "book.txt").write_text("the cat sat on the mat\n" * 50)
    code, _, errors = command("train", "book.txt", "--from", model, "-o", "out.openbook", "--steps", 1)
    assert code == 1 and "is an encoder-decoder; it learns from pairs" in errors
    with pytest.raises(OpenbookError, match="scoring texts takes a decoder-only model"):
        openbook.load(model, "cpu").evaluate(tmp_path / "book.txt")


def test_a_model_of_books_refuses_what_is_for_translators(command, tmp_path):
    words = tokenizer()
    spec = build_architecture(make_recipe(TINY | {"vocab_size": words.vocab_size}))
    plain = Tokenizer.from_json(words.to_json(), SpecialTokens(end=words.special.end))
    contents = ModelMetadata(architecture=spec, tokenizer=words.to_json(), special_tokens=plain.special)
    save(tmp_path / "book.openbook", contents, build(spec).state_dict())
    for arguments, said in (
        (["--target", "a"], "targets and languages are for models that translate"),
        (["--target-language", "de"], "targets and languages are for models that translate"),
        (["--encoder"], "--encoder: this model is decoder-only"),
    ):
        code, _, errors = command("explain", "book.openbook", "the cat", *arguments)
        assert code == 1 and said in errors
    with pytest.raises(OpenbookError, match="decoder-only"):
        openbook.load(tmp_path / "book.openbook").translate("the cat")


def test_a_decoder_only_translator_is_traced_as_one_sequence():
    words = tokenizer()
    spec = build_architecture(make_recipe(TINY | {"vocab_size": words.vocab_size}))
    contents = ModelMetadata(architecture=spec, tokenizer=words.to_json(), special_tokens=words.special)
    explained = Model(contents, build(spec)).trace("the cat", "rain")
    ids = [*words.encode_source("the cat"), words.special.separator, *words.encode("rain")]
    assert explained.tokens.tolist() == [ids]
    assert explained.source is None


def test_the_beams_are_shown_as_a_tree(command, model):
    code, lines, _ = command("explain", model, "the cat", "--beam-size", 2, "--max-tokens", 6)
    assert code == 0 and lines[0].startswith("2 beams, score = Σ log p / length^1")
    assert any("← 1" in line and "score -" in line for line in lines)
    _, [line], _ = command("explain", model, "the cat", "--beam-size", 2, "--max-tokens", 6, "--json")
    facts = json.loads(line)
    best = openbook.load(model).translate("the cat", beam_size=2, max_tokens=6)[0].candidates[0].hypothesis
    assert facts["best"][0]["tokens"] == list(best.tokens)
    assert {node["parent"] is None for node in facts["nodes"] if node["depth"] == 1} == {True}
