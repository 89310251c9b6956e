"""Every choice: in TOML, checked with its range, and in the architecture that comes of it."""

import os
from typing import get_type_hints

import pytest
import torch
import transformers
from training_examples import TINY, recipe

from interop.foreign_models import imported, save_folder
from openbook.errors import OpenbookError
from openbook.model_file.architecture_json import write_architecture
from openbook.text.field_errors import wanted
from openbook.training.recipe import FIELDS, Recipe, build_architecture, make_recipe, read_toml, with_options
from openbook.transformer.transformer import Transformer
from strategies import difference, randomise

NUMBER, COUNT = (float("nan"), float("inf"), -1, "many"), (0, -1, 1.5, 2**80, "many")
SHARE, WORD, TRUTH = (*NUMBER, 1.01), ("", "other", 3), ("perhaps", 7)

# For each field a value that is not its default, as TOML writes it, and values that make no sense.
VALUES = {
    "minutes": ("0.5", (*NUMBER, 0)),
    "steps": ("7", COUNT),
    "tokenizer": ('"words"', WORD),
    "vocab_size": ("300", (*COUNT, 1)),
    "shared_vocabulary": ("false", TRUTH),
    "bpe_dropout": ("0.1", (*SHARE, 1)),
    "encoder_layers": ("3", (*(each for each in COUNT if each != 0), 1025)),
    "layers": ("3", (*COUNT, 1025)),
    "width": ("48", COUNT),
    "heads": ("6", (*COUNT, 4097)),
    "key_value_heads": ("1", (*COUNT, 4097)),
    "head_width": ("8", COUNT),
    "feed_forward_width": ("24", COUNT),
    "context": ("32", COUNT),
    "position": ('"learned"', WORD),
    "sliding_window": ("9", COUNT),
    "attention": ('"none"', WORD),
    "norm": ('"layer"', WORD),
    "norm_placement": ('"post"', WORD),
    "qk_norm": ("false", TRUTH),
    "activation": ('"gelu"', WORD),
    "gated": ("false", TRUTH),
    "experts": ("4", (*COUNT, 4097)),
    "experts_per_token": ("3", (*COUNT, 4097)),
    "bias": ("true", TRUTH),
    "tied_embeddings": ("true", TRUTH),
    "logit_softcap": ("30.0", (*NUMBER, 0)),
    "attention_softcap": ("50.0", (*NUMBER, 0)),
    "label_smoothing": ("0.1", (*SHARE, 1)),
    "optimizer": ('"adamw"', WORD),
    "batch_tokens": ("512", COUNT),
    "micro_batch_size": ("3", COUNT),
    "matrix_lr": ("0.01", (*NUMBER, 11)),
    "adamw_lr": ("0.01", (*NUMBER, 11)),
    "embedding_lr": ("0.01", (*NUMBER, 11)),
    "lm_head_lr": ("0.02", (*NUMBER, 11)),
    "norm_lr": ("0.02", (*NUMBER, 11)),
    "relative_lr": ("true", TRUTH),
    "muon_momentum": ("0.8", (*SHARE, 1)),
    "adamw_betas": ("[0.9, 0.99]", ((0.9, 1.0), (0.9,), 0.9, (0.9, float("nan")))),
    "weight_decay": ("0.1", (*NUMBER, 11)),
    "dropout": ("0.3", (*SHARE, 1)),
    "warmup_steps": ("5", (-1, 1.5, 2**80, "many")),
    "lr_schedule": ('"inverse_sqrt"', WORD),
    "decay_fraction": ("0.2", SHARE),
    "min_lr_ratio": ("0.2", SHARE),
    "load_balancing": ("0.1", (*NUMBER, 11)),
    "max_grad_norm": ("2.0", (*NUMBER, 0)),
    "ema_decay": ("0.9", (*SHARE, 1)),
    "gradient_checkpointing": ("true", TRUTH),
    "document_mask": ("true", TRUTH),
    "validations": ("3", (*COUNT, 10_001)),
    "validation_tokens": ("99", COUNT),
    "validation_translations": ("7", COUNT),
    "patience": ("2", COUNT),
    "stop_when_known": ("true", TRUTH),
    "precision": ('"bfloat16"', WORD),
    "seed": ("9", (-1, 1.5, 2**31, "many")),
}


def test_the_tables_of_this_test_are_whole():
    assert list(VALUES) == list(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_can_stand_in_toml(tmp_path, name):
    path = tmp_path / "choices.toml"
    path.write_text(f"{name} = {VALUES[name][0]}\n")
    choices = read_toml(path)
    value = getattr(make_recipe(choices), name)
    assert list(choices) == [name]
    assert (list(value) if isinstance(value, tuple) else value) == choices[name]
    assert value != getattr(Recipe(), name)


@pytest.mark.parametrize(("name", "value"), [(name, bad) for name, (_, some) in VALUES.items() for bad in some])
def test_nonsense_is_refused_with_what_may_be(name, value):
    with pytest.raises(OpenbookError) as caught:
        make_recipe({name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} ") and "\n" not in message, message
    assert message.endswith(f": give {wanted(get_type_hints(Recipe, include_extras=True)[name])}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("layer = 3", ("layer: is not known; did you mean layers?",)),
        ("layers = 3\nlayers = 4", ("TOML", "overwrite")),
        ("layers: 3", ("TOML", "layers = 6")),
        ("layers = 0", ("layers 0: give a whole number from 1 to 1,024",)),
        ("[model]\nlayers = 3", ("model: is not known; there are minutes, steps, ",)),
        ('activation = "silo"', ("activation silo: give one of relu, gelu, gelu_tanh, silu, relu_squared",)),
        ("adamw_betas = [0.9]", ("adamw_betas 0.9: give 2 values, each a number at least 0, below 1",)),
        ("minutes = 1\nsteps = 5", ("not both",)),
        ("heads = 3\nkey_value_heads = 2", ("heads (3)", "key_value_heads (2)")),
        ("context = 64\nbatch_tokens = 32", ("batch_tokens (32)", "context (64)")),
        (b"layers = \xff", ("TOML",)),
        ("layers = " + "9" * 5_000, ("TOML",)),
        ("layers = 0x" + "f" * 9_000, ("layers …: give a whole number",)),
        ("layers = " + "[" * 15_000, ("TOML",)),
        ("layers." + "a." * 9_000 + "a = 1", ("layers …: give a whole number",)),
        ("# " + "a" * 20_000, ("20,000 bytes", "layers = 6")),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path, content, words):
    path = tmp_path / "choices.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(OpenbookError) as caught:
        read_toml(path)
    assert all(word in str(caught.value) for word in (str(path), *words)), str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "choices.toml")
    with pytest.raises(OpenbookError, match=r"choices\.toml: is not a plain file"):
        read_toml(tmp_path / "choices.toml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OpenbookError, match=r"none\.toml: cannot be read \(No such file"):
        read_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "choices",
    [{"context": 8192}, {"batch_tokens": 32}, {"heads": 3}, {"key_value_heads": 5}, {"batch_tokens": 1}],
)
def test_a_choice_alone_is_not_refused_for_what_is_not_given(choices):
    assert make_recipe(choices).as_dict() | choices == make_recipe(choices).as_dict()


def test_an_option_overrides_the_file():
    assert with_options({"layers": 3, "width": 8}, {"layers": 4}) == {"layers": 4, "width": 8}
    assert with_options({"minutes": 3, "width": 8}, {"steps": 4}) == {"steps": 4, "width": 8}
    assert with_options({"minutes": 3}, {}) == {"minutes": 3}


SHAPES = {
    "layers": (3, lambda spec: len(spec.decoder.blocks)),
    "width": (24, lambda spec: spec.width),
    "heads": (4, lambda spec: spec.decoder.blocks[0].attention.heads),
    "key_value_heads": (2, lambda spec: spec.decoder.blocks[0].attention.key_value_heads),
    "head_width": (4, lambda spec: spec.decoder.blocks[0].attention.head_width),
    "feed_forward_width": (20, lambda spec: spec.decoder.blocks[0].feed_forward.width),
    "context": (8, lambda spec: spec.context),
    "vocab_size": (50, lambda spec: spec.vocab_size),
    "sliding_window": (5, lambda spec: spec.decoder.blocks[0].attention.window),
    "qk_norm": (False, lambda spec: spec.decoder.blocks[0].attention.query_key_norm.kind == "rms"),
    "gated": (False, lambda spec: spec.decoder.blocks[0].feed_forward.gated),
    "bias": (True, lambda spec: spec.decoder.blocks[0].attention.bias and spec.decoder.blocks[0].feed_forward.bias),
    "tied_embeddings": (True, lambda spec: spec.tied_embeddings),
    "logit_softcap": (30.0, lambda spec: spec.logit_softcap),
    "attention_softcap": (50.0, lambda spec: spec.decoder.blocks[0].attention.attention_softcap),
}
WORDS = [
    *(("position", kind, lambda spec: spec.decoder.position.kind) for kind in ("learned", "sinusoidal", "none")),
    *(("norm", kind, lambda spec: spec.decoder.blocks[0].before.kind) for kind in ("layer", "none")),
    ("attention", "none", lambda spec: spec.decoder.blocks[0].attention.attention_function),
    *(
        ("activation", kind, lambda spec: spec.decoder.blocks[0].feed_forward.activation)
        for kind in ("relu", "gelu", "gelu_tanh", "relu_squared")
    ),
]


@pytest.mark.parametrize(
    ("name", "value", "find"), [*WORDS, *((name, value, find) for name, (value, find) in SHAPES.items())]
)
def test_every_choice_is_in_the_architecture(name, value, find):
    assert find(build_architecture(recipe())) != value
    spec = build_architecture(recipe(**{name: value}))
    assert find(spec) == value
    model = Transformer(spec)
    randomise(model)
    assert model(torch.zeros(2, 8, dtype=torch.long)).isfinite().all()


@pytest.mark.parametrize(
    ("place", "kinds"),
    [("pre", "rms none none rms"), ("post", "none none rms none"), ("sandwich", "rms rms none rms")],
)
def test_norms_stand_where_they_are_wanted(place, kinds):
    spec = build_architecture(recipe(norm_placement=place))
    block = spec.decoder.blocks[0]
    assert " ".join(n.kind for n in (block.before, block.after, block.outer, spec.decoder.final_norm)) == kinds


@pytest.mark.parametrize("bias", [True, False])
def test_only_layer_norms_have_biases_and_only_if_wanted(bias):
    norms = [build_architecture(recipe(norm=kind, bias=bias)).decoder.blocks[0].before for kind in ("layer", "rms")]
    assert [norm.bias for norm in norms] == [bias, False]


def test_no_norm_means_none_at_all():
    spec = build_architecture(make_recipe({"norm": "none"}))
    assert "rms" not in write_architecture(spec) and '"layer"' not in write_architecture(spec)
    assert "rms" in write_architecture(build_architecture(make_recipe({"norm": "none", "qk_norm": True})))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"head_width": 7}, ("head_width", "even")),
        ({"width": 15, "position": "sinusoidal"}, ("width", "even")),
    ],
)
def test_choices_that_do_not_go_together_are_one_line(choices, words):
    with pytest.raises(OpenbookError) as caught:
        build_architecture(recipe(**choices))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_default_shape_is_one_that_transformers_knows(tmp_path):
    some = make_recipe({name: value for name, value in TINY.items() if name != "steps"} | {"vocab_size": 61})
    config = transformers.Qwen3Config(
        vocab_size=some.vocab_size,
        hidden_size=some.width,
        intermediate_size=some.feed_forward_width,
        num_hidden_layers=some.layers,
        num_attention_heads=some.heads,
        num_key_value_heads=some.key_value_heads,
        head_dim=some.head_width,
        max_position_embeddings=some.context,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=False,
    )
    theirs = transformers.Qwen3ForCausalLM(config).eval()
    randomise(theirs)
    ours = imported(save_folder(theirs, tmp_path))  # every weight has its place in ours, and none is left over
    assert ours.architecture == build_architecture(some)
    ids = torch.randint(61, (3, 16))
    with torch.no_grad():
        assert difference(ours(ids), theirs(ids).logits) < 1e-5
