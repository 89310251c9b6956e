"""Whatever shape is exported, transformers loads it, runs it, and its logits are ours."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from test_family_options import ABSENT, OPTIONS, configurations, logits

from openbook.errors import OpenbookError
from openbook.generation.beam_search import beam_search
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.settings import BeamSearch
from openbook.generation.token_rules import TokenRules
from openbook.interop.exporting import export_model
from openbook.interop.huggingface.families.registry import FAMILIES, read_architecture
from openbook.interop.huggingface.fields import ConfigFields
from openbook.model_file.file import save
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.training import train_tokenizer
from strategies import build, difference

TOKENIZER = train_tokenizer(["any text"], "bytes", 260)
"""It has no padding token, as little as many models have."""
SIZES = {
    "hidden_size": [24, 28, 30, 32],
    "d_model": [24, 32],
    "n_embd": [24, 32],
    "num_hidden_layers": [1, 3],
    "num_attention_heads": [2, 4],
    "intermediate_size": [40, 42],
    "head_dim": [6, 8],
}
SAID = ("is not a multiple of num_attention_heads", "layers with a window", "head_width must be even")
"""Why a drawn shape may be refused: by what reads it, or by the export."""
WITH_HEAD_WIDTHS = ("Gemma", "Gemma 2", "Gemma 3", "Qwen 3", "Qwen 3 MoE", "gpt-oss")


@st.composite
def shapes(draw, name):
    """The fields of `configurations`, some with other sizes."""
    fields = draw(configurations(name)) | {"vocab_size": TOKENIZER.vocab_size}
    for field, sizes in SIZES.items():
        if field in fields and draw(st.booleans()):
            fields[field] = draw(st.sampled_from(sizes))
    if name in WITH_HEAD_WIDTHS:
        fields.setdefault("head_dim", 8)
    if name == "Qwen 3 MoE":
        fields.setdefault("moe_intermediate_size", draw(st.sampled_from([12, 16])))
    if isinstance(fields.get("layer_types"), list):
        kinds = st.sampled_from(["sliding_attention", "full_attention"])
        fields["layer_types"] = draw(st.lists(kinds, min_size=3, max_size=3))[: fields["num_hidden_layers"]]
    return fields


@torch.no_grad()
def export_and_run(name, fields, folder):
    """The family that an export chose for these fields; its logits in transformers are ours."""
    family = next(each for each in FAMILIES if each.name == name)
    architecture = read_architecture(family, ConfigFields({"model_type": family.model_types[0], **fields}))
    torch.manual_seed(0)
    model = build(architecture)
    metadata = ModelMetadata(architecture=architecture, tokenizer=TOKENIZER.to_json())
    save(folder / "it.openbook", metadata, model.state_dict())
    made = export_model(folder / "it.openbook", folder / "out", "hf")
    paired = architecture.encoder is not None
    auto = transformers.AutoModelForSeq2SeqLM if paired else transformers.AutoModelForCausalLM
    theirs, report = auto.from_pretrained(folder / "out", attn_implementation="eager", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    tokens = torch.randint(3, 200, (2, 12))
    found = model(tokens.flip(1), source=tokens) if paired else model(tokens)
    assert difference(found, logits(theirs.eval(), tokens, paired)) <= 1e-5, fields
    return made.family, model, theirs


def check_drawn(name, examples):
    exported = []

    @settings(max_examples=examples)
    @given(shapes(name))
    def check(fields):
        with TemporaryDirectory() as folder:
            try:
                exported.append(export_and_run(name, fields, Path(folder))[0])
            except OpenbookError as error:  # said beforehand, not by transformers afterwards
                assert any(reason in str(error) for reason in SAID), error

    check()
    return exported


@pytest.mark.parametrize("name", OPTIONS)
def test_drawn_shapes_are_loaded_and_run(name):
    check_drawn(name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_many_drawn_shapes_are_loaded_and_run(name):
    assert len(check_drawn(name, 60)) >= 30


UNEVEN = {"vocab_size": 260, "hidden_size": 30, "num_attention_heads": 4, "head_dim": 8}


@pytest.mark.parametrize(
    ("name", "changes", "family"),
    [
        ("Llama", UNEVEN, "Mistral"),
        ("Mistral", UNEVEN | {"sliding_window": None}, "Mistral"),
        ("Mixtral", UNEVEN, "Mixtral"),
        ("gpt-oss", UNEVEN | {"layer_types": ["full_attention"] * 2}, "gpt-oss"),
        ("Marian", {"vocab_size": 260}, "Marian"),
    ],
)
def test_shapes_that_transformers_refused(name, changes, family, tmp_path):
    """Widths that are no multiple of the heads, experts of odd widths, no windows, no padding token."""
    assert export_and_run(name, OPTIONS[name][1] | changes, tmp_path)[0] == family


@pytest.mark.parametrize("name", ["Gemma 2", "Gemma 3"])
def test_what_transformers_does_not_load_is_said(name, tmp_path):
    fields = {field: value for field, value in (OPTIONS[name][1] | UNEVEN).items() if value != ABSENT}
    match = rf"{name} has this shape, but transformers does not load it: hidden_size 30 is not a multiple"
    with pytest.raises(OpenbookError, match=match):
        export_and_run(name, fields, tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("name", ["T5", "BART", "Marian"])
def test_translations_begin_and_end_alike_without_padding(name, tmp_path):
    """Ids that no role names are ordinary tokens: none of them may start a translation or be masked in a source."""
    fields = OPTIONS[name][1] | {"vocab_size": TOKENIZER.vocab_size}
    _, model, theirs = export_and_run(name, fields, tmp_path)
    sources = [[0, 9, 1, 30, 2], [1, 0, 0, 77, 5]]
    limits = {"max_new_tokens": 8, "num_beams": 1, "do_sample": False}
    expected = theirs.generate(torch.tensor(sources), **limits)[:, 1:].tolist()
    end = TOKENIZER.end_id
    how = BeamSearch(beam_size=1, max_tokens=8)
    rules = TokenRules.of(TOKENIZER.special, how)
    for row, found in beam_search(TorchEngine(model), [[end]] * 2, how, rules, sources=sources):
        tokens = list(found[0].tokens)
        assert tokens == expected[row][: len(tokens)]
