"""The promise: every recorded number recomputes from its operands. All of them are walked."""

import ast
import json
import math
import struct
from dataclasses import replace
from importlib import import_module
from itertools import product
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from traced_examples import ARCHITECTURES, RUNS, TRANSLATED, documents, padded, plain, traced

import openbook.transformer
from openbook.errors import OpenbookError
from openbook.explanation.derivations import derive, recompute, relative_errors
from openbook.explanation.reader import TensorOffset
from openbook.explanation.rules.table import find_rule, rule_of
from openbook.trace import trace
from strategies import DEFAULT, ENCODER_DECODERS, architectures, build, some_tokens, with_windows

LIMIT = 1e-5
IN_OTHER_RUNS = ["default", "essential", "window", "sinusoidal positions", "learned positions", "one key for all heads"]

EVERYTHING = ARCHITECTURES | ENCODER_DECODERS


def every_index(shape):
    return list(product(*map(range, shape)))


def check_all(model, recorded):
    errors = relative_errors(model, recorded)
    assert set(errors) == set(recorded)
    wrong = {path: error for path, error in errors.items() if not error <= LIMIT}
    assert not wrong


@pytest.mark.parametrize("spec", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_number_recomputes(spec):
    check_all(*plain(spec))


@pytest.mark.parametrize("name", IN_OTHER_RUNS)
@pytest.mark.parametrize("run", [run for run in RUNS if run != "plain"])
def test_every_number_recomputes_padded_packed_and_cached(run, name):
    check_all(*RUNS[run](ARCHITECTURES[name]))


@given(architectures(), st.sampled_from(list(RUNS)))
def test_every_number_of_any_architecture_recomputes(spec, run):
    check_all(*RUNS[run](spec))


@pytest.mark.parametrize("spec", ENCODER_DECODERS.values(), ids=ENCODER_DECODERS)
@pytest.mark.parametrize("run", TRANSLATED)
def test_every_number_of_an_encoder_decoder_recomputes(run, spec):
    check_all(*TRANSLATED[run](spec))


@given(architectures(max_layers=2, encoder=True), st.sampled_from(list(TRANSLATED)))
def test_every_number_of_any_encoder_decoder_recomputes(spec, run):
    check_all(*TRANSLATED[run](spec))


@pytest.mark.parametrize("spec", EVERYTHING.values(), ids=EVERYTHING)
def test_one_number_and_all_numbers_follow_by_the_same_rule(spec):
    """Random indices of each quantity, one at a time: the same value, every operand where it is said to be."""
    model, recorded = plain(spec)
    random = Random(0)
    for path, record in recorded.items():
        whole = recompute(model, recorded, path)
        indices = every_index(record.value.shape)
        for index in random.sample(indices, min(4, len(indices))):
            derivation = derive(model, recorded, path, index)
            assert derivation.recomputed == pytest.approx(whole[index].item(), rel=1e-12, abs=1e-12)
            assert derivation.relative_error <= LIMIT
            assert derivation.recorded == float(record.value[index])
            assert derivation.meaning and derivation.formula.startswith(record.name)
            for operand in derivation.operands:
                tensor = {"recorded": recorded, "weight": model.state_dict()}.get(operand.kind, {})
                for number in operand.numbers if tensor else ():
                    found = tensor[operand.source]
                    found = found if operand.kind == "weight" else found.value
                    assert number.value == float(found[number.index])


# Nothing is left without a rule.


def noting_classes():
    """Every (class, name of a note) in the source of the transformer."""
    for file in sorted(Path(openbook.transformer.__path__[0]).glob("*.py")):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(statement, ast.ClassDef):
                continue
            kind = getattr(import_module(f"openbook.transformer.{file.stem}"), statement.name)
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "note":
                    assert isinstance(node.args[0], ast.Constant), "a note's name is written out, so that it is found"
                    yield kind, node.args[0].value


def test_every_note_of_every_part_has_a_rule():
    found = list(noting_classes())
    assert len(found) > 30
    assert not [(kind.__name__, name) for kind, name in found if rule_of(kind, name) is None]


def test_the_architectures_here_make_every_note():
    made = set()
    for name, spec in EVERYTHING.items():
        runs = {"default": RUNS.values(), "relative": TRANSLATED.values()}.get(name, [RUNS["plain"]])
        for model, recorded in (run(spec) for run in runs):
            for record in recorded.values():
                found = find_rule(model, record.module, record.name)
                made |= {(kind, record.name) for kind in type(found.part).__mro__}
    assert not [(kind.__name__, name) for kind, name in noting_classes() if (kind, name) not in made]


def test_a_note_without_a_rule_is_a_defect_that_names_it():
    model, recorded = plain(DEFAULT)
    record = recorded["decoder.embedded"]
    recorded.records["decoder.new"] = replace(record, path="decoder.new", name="new")
    with pytest.raises(LookupError, match='"new" of Stack'):
        derive(model, recorded, "decoder.new", (0, 0, 0))


# A wrong number is found.

CHECKED = [
    "sinks",
    "experts",
    "plain experts with biases",
    "default",
    "essential",
    "biases",
    "layer norms",
    "learned positions",
    "sinusoidal positions",
    "logits",
]


@pytest.mark.parametrize("name", [*CHECKED, *ENCODER_DECODERS])
def test_one_changed_number_shows_in_its_own_derivation(name):
    model, recorded = plain(EVERYTHING[name])
    random = Random(1)
    for path, record in list(recorded.items()):
        if path in ("tokens", "positions", "source", "source_positions"):
            continue  # given, and so right by definition
        value = record.value
        index = random.choice([at for at in every_index(value.shape) if value[at].isfinite()])
        wrong = value.clone()
        wrong[index] = ~value[index] if value.dtype == torch.bool else value[index] + max(1, value[index].abs() * 0.1)
        recorded.records[path] = replace(record, value=wrong)
        assert derive(model, recorded, path, index).relative_error > 100 * LIMIT, path
        recorded.records[path] = record


@pytest.mark.parametrize("spec", [ARCHITECTURES[name] for name in CHECKED], ids=CHECKED)
def test_each_changed_weight_shows(spec):
    model, recorded = plain(spec)
    for name, parameter in model.named_parameters():
        kept = parameter.detach().clone()
        parameter.data += 0.1
        errors = relative_errors(model, recorded)
        parameter.data.copy_(kept)
        assert max(errors.values()) > 100 * LIMIT, name


# The way down.


@pytest.mark.parametrize("spec", EVERYTHING.values(), ids=EVERYTHING)
def test_every_way_down_ends_at_the_prompt_or_a_weight(spec):
    model, recorded = plain(spec)
    random, ends = Random(2), set()
    for _ in range(12):
        path, index = "choice", (1,)
        for _ in range(200):
            derivation = derive(model, recorded, path, index)
            steps = list(derivation.steps())
            if not steps:
                ends |= {operand.kind for operand in derivation.operands}
                break
            path, index = random.choice(steps)
        else:
            pytest.fail(f"still going at {path}")
    assert ends <= {"given", "weight", "constant"}


def test_the_prompt_is_given_by_the_prompt():
    model, recorded = plain(DEFAULT)
    derivation = derive(model, recorded, "tokens", (1, 2))
    assert derivation.formula == "tokens[t] = given by the prompt"
    assert [operand.kind for operand in derivation.operands] == ["given"]


def test_operands_follow_the_trace_past_absent_parts():
    """The residual adds the block's input to what the sublayer gave after its norm; the letters say which number."""
    model, recorded = plain(ARCHITECTURES["sandwich norms"])
    path = "decoder.blocks.1.self_attention_residual"
    derivation = derive(model, recorded, f"{path}.residual", (1, 4, 2))
    assert [(operand.symbols, operand.source) for operand in derivation.operands] == [
        ("x[t,d]", "decoder.blocks.0.feed_forward_residual.outer.output"),
        ("added[t,d]", f"{path}.after.output"),
    ]
    assert derivation.letters == {"b": 1, "t": 4, "d": 2}
    assert list(derivation.steps()) == [(operand.source, (1, 4, 2)) for operand in derivation.operands]


def test_weights_name_their_bytes_in_the_file(tmp_path):
    model, recorded = plain(ARCHITECTURES["logits"])
    file = tmp_path / "model.safetensors"
    save_file(model.state_dict(), file)
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    places = {
        name: TensorOffset(start + entry["data_offsets"][0], 4, tuple(entry["shape"]))
        for name, entry in json.loads(content[8:start]).items()
    }
    seen = set()
    for path, record in recorded.items():
        last = tuple(length - 1 for length in record.value.shape)
        for operand in derive(model, recorded, path, last, places).operands:
            for number in operand.numbers if operand.kind == "weight" else ():
                assert struct.unpack_from("<f", content, number.byte)[0] == number.value
                seen.add(operand.source)
    assert seen == set(model.state_dict())


# What a person reads.

FORMULAS = {
    "token_embedding.output": "output[t,d] = weight[token[t],d]",
    "decoder.position.angle": "angle[t,i] = position[t] · base^(−2 · i / 8)",
    "decoder.final_norm.mean_square": "mean_square[t] = (Σ_d x[t,d]²) / 16",
    "decoder.final_norm.output": "output[t,d] = x[t,d] / √(mean_square[t] + ε) · weight[d]",
    "decoder.blocks.0.self_attention.query": "query[t,h,k] = Σ_d x[t,d] · query.weight[h · 8 + k,d]",
    "decoder.blocks.0.self_attention.keys": "keys[h,s,k] = rotated_key[s,⌊h / 2⌋,k]",
    "decoder.blocks.0.self_attention.scores": "scores[h,t,s] = scale · Σ_k query[t,h,k] · key[h,s,k]",
    "decoder.blocks.0.self_attention.masked_scores": "masked_scores[h,t,s] = scores[h,t,s] if mask[t,s], else −∞",
    "decoder.blocks.0.self_attention.weights": (
        "weights[h,t,s] = exp(masked_scores[h,t,s] − top) / (Σ_j exp(masked_scores[h,t,j] − top))"
    ),
    "decoder.blocks.0.self_attention.head_context": "head_context[h,t,k] = Σ_s weights[h,t,s] · values[h,s,k]",
    "decoder.blocks.0.feed_forward.activation": "activation[t,f] = gate[t,f] / (1 + exp(−gate[t,f]))",
    "decoder.blocks.0.feed_forward.output": "output[t,d] = Σ_f hidden[t,f] · down.weight[d,f]",
    "decoder.blocks.0.feed_forward_residual.residual": "residual[t,d] = x[t,d] + added[t,d]",
    "to_logits.logits": "logits[t,v] = Σ_d x[t,d] · token_embedding.weight[v,d]",
    "choice": "choice = argmax_v probabilities[v]",
}


def test_formulas_read_like_the_textbook():
    model, recorded = plain(DEFAULT)
    for path, formula in FORMULAS.items():
        assert derive(model, recorded, path, (0,) * recorded[path].value.dim()).formula == formula


TRANSLATOR_FORMULAS = {
    "source_embedding.output": "output[s,d] = token_embedding.weight[token[s],d]",
    "encoder.bias": "bias[h,t,s] = weight[bucket[t,s],h]",
    "encoder.blocks.0.self_attention.biased_scores": "biased_scores[h,t,s] = scores[h,t,s] + bias[h,t,s]",
    "encoder.blocks.0.self_attention.weights": (
        "weights[h,t,s] = exp(biased_scores[h,t,s] − top) / (Σ_j exp(biased_scores[h,t,j] − top))"
    ),
    "decoder.blocks.1.cross_attention.query": "query[t,h,k] = Σ_d x[t,d] · query.weight[h · 6 + k,d]",
    "decoder.blocks.1.cross_attention.key": "key[s,h,k] = Σ_d x[s,d] · key.weight[h · 6 + k,d]",
    "decoder.blocks.1.cross_attention.scores": "scores[h,t,s] = scale · Σ_k query[t,h,k] · key[h,s,k]",
    "decoder.blocks.1.cross_attention.head_context": "head_context[h,t,k] = Σ_s weights[h,t,s] · values[h,s,k]",
}


def test_formulas_of_an_encoder_decoder_read_like_the_textbook():
    model, recorded = plain(ENCODER_DECODERS["relative"])
    for path, formula in TRANSLATOR_FORMULAS.items():
        assert derive(model, recorded, path, (0,) * recorded[path].value.dim()).formula == formula
    (memory,) = {operand.source for operand in derive(model, recorded, CROSS_KEY, (0, 2, 1, 3)).operands} - {WEIGHT}
    assert memory == "encoder.final_norm.output"


CROSS_KEY = "decoder.blocks.1.cross_attention.key"
WEIGHT = f"{CROSS_KEY}.weight"


@pytest.mark.parametrize(
    ("index", "formula", "numbers"),
    [
        ((0, 5, 4), "bucket[t,s] = |query_position[t] − key_position[s]|", "|5 − 4|"),
        ((0, 4, 5), "bucket[t,s] = 4 + |query_position[t] − key_position[s]|", "4 + |4 − 5|"),
        (
            (0, 5, 0),
            "bucket[t,s] = min(3, 2 + ⌊ln(|query_position[t] − key_position[s]| / 2) / ln(distance / 2) · 2⌋)",
            "min(3, 2 + ⌊ln(|5 − 0| / 2) / ln(10 / 2) · 2⌋)",
        ),
    ],
    ids=["near", "after", "far"],
)
def test_a_bucket_says_how_distances_share(index, formula, numbers):
    model, recorded = plain(ENCODER_DECODERS["relative"])
    derivation = derive(model, recorded, "encoder.bucket", index)
    assert (derivation.formula, derivation.with_numbers) == (formula, numbers)


def test_negative_numbers_stand_in_parentheses_where_they_must():
    model, recorded = plain(ARCHITECTURES["gelu_tanh"])
    up = recorded["decoder.blocks.0.feed_forward.up"].value[0, 3]
    f = int((up < 0).nonzero()[0])
    derivation = derive(model, recorded, "decoder.blocks.0.feed_forward.hidden", (0, 3, f))
    assert derivation.formula.endswith("up[t,f] / 2 · (1 + tanh(√(2/π) · (up[t,f] + 0.044715 · up[t,f]^3)))")
    written = (
        derivation.with_numbers.replace("−", "-").replace("·", "*").replace("^", "**").replace("tanh", "math.tanh")
    )
    assert eval(written, {"math": math}) == pytest.approx(derivation.recomputed, abs=1e-5)


def test_each_half_of_a_rotated_pair_has_its_own_formula():
    model, recorded = plain(DEFAULT)
    path = "decoder.blocks.0.self_attention.rotated_query"
    first, second = (derive(model, recorded, path, (0, 3, 1, k)).formula for k in (1, 5))
    assert first.endswith("= query[t,h,k] · cosine[t,k] − query[t,h,k + 4] · sine[t,k]")
    assert second.endswith("= query[t,h,k] · cosine[t,k − 4] + query[t,h,k − 4] · sine[t,k − 4]")


def test_a_score_is_worked_out_in_numbers():
    model, recorded = plain(DEFAULT)
    path = "decoder.blocks.0.self_attention.scores"
    derivation = derive(model, recorded, path, (0, 2, 4, 1))
    query = recorded["decoder.blocks.0.self_attention.rotated_query"].value[0, 4, 2].double()
    key = recorded["decoder.blocks.0.self_attention.keys"].value[0, 2, 1].double()
    (total,) = derivation.sums
    assert (total.letter, total.symbols) == ("k", "Σ_k query[t,h,k] · key[h,s,k]")
    assert total.terms == pytest.approx((query * key).tolist())
    assert derivation.recomputed == pytest.approx((query @ key).item() * 8**-0.5)
    assert derivation.with_numbers.startswith("0.353553 · ")
    scale = next(operand for operand in derivation.operands if operand.kind == "constant")
    assert "1/√K with head width K = 8" in scale.source


@pytest.mark.parametrize(
    ("run", "spec", "index", "numbers"),
    [
        (plain, DEFAULT, (0, 0, 2, 4), "4 ≤ 2 and (4 ≥ 0 or 4 = 2)"),
        (padded, DEFAULT, (0, 0, 3, 0), "−1 ≤ 1 and (−1 ≥ 0 or −1 = 1)"),
        (plain, with_windows(DEFAULT, 3), (0, 0, 5, 1), "1 ≤ 5 and (1 ≥ 0 or 1 = 5) and 5 − 1 < 3"),
        (documents, DEFAULT, (0, 0, 5, 1), "1 ≤ 5 and (1 ≥ 0 or 1 = 5) and (1 = 0 or 0 = −2)"),
        (TRANSLATED["padded pairs"], ENCODER_DECODERS["original"], (1, 0, 2, 3), "(−1 ≥ 0 or −1 = 2)"),
    ],
    ids=["later", "padding", "window", "document", "padding of the source"],
)
def test_the_mask_says_why(run, spec, index, numbers):
    model, recorded = run(spec)
    part = "self" if spec.encoder is None else "cross"
    derivation = derive(model, recorded, f"decoder.blocks.0.{part}_attention.mask", index)
    assert derivation.recorded == 0
    assert derivation.with_numbers == numbers


def test_what_a_cache_kept_is_given_and_what_is_new_follows():
    model, recorded = RUNS["one cached step"](DEFAULT)
    path = "decoder.blocks.0.self_attention.keys"
    assert [each.kind for each in derive(model, recorded, path, (0, 3, 4, 1)).operands] == ["given"]
    (new,) = derive(model, recorded, path, (0, 3, 5, 1)).operands
    assert (new.kind, new.numbers[0].index) == ("recorded", (0, 0, 1, 1))


# What is refused.


@pytest.mark.parametrize("index", [(0, 0), (0, 0, 0, 0), (0, 7, 0), (0, 0, -1), (2, 0, 0)])
def test_an_index_out_of_range_is_refused_with_the_ranges(index):
    model, recorded = plain(DEFAULT)
    with pytest.raises(OpenbookError, match="3 numbers in the ranges 0–1, 0–6, 0–15"):
        derive(model, recorded, "decoder.embedded", index)


def test_an_unknown_path_is_refused_with_the_nearest():
    model, recorded = plain(DEFAULT)
    with pytest.raises(OpenbookError, match=r"nearest are: decoder\.blocks\.0\.self_attention\.scores"):
        derive(model, recorded, "decoder.blocks.0.attention.scores", (0, 0, 0, 0))


def test_what_was_not_traced_is_said():
    """Only the last part was traced, so its input has no record."""
    model = build(DEFAULT)
    hidden = model.hidden(some_tokens(1, 3))
    with trace(model) as recorded, torch.no_grad():
        model.logits(hidden)
    with pytest.raises(OpenbookError, match="the input of to_logits is not recorded"):
        derive(model, recorded, "to_logits.logits", (0, 0, 0))


def test_numbers_that_are_not_finite_recompute_too():
    model = build(DEFAULT)
    with torch.no_grad():
        model.decoder.blocks[0].feed_forward.up.weight[1, 2] = torch.nan
        model.decoder.blocks[1].feed_forward.down.weight[0, 0] = torch.inf
    recorded = traced(model, some_tokens(1, 4))
    up = derive(model, recorded, "decoder.blocks.0.feed_forward.up", (0, 2, 1))
    assert math.isnan(up.recorded) and math.isnan(up.recomputed) and up.error == 0
    assert max(relative_errors(model, recorded).values()) < 1e-5
