"""PEFT's adapters: what PEFT computes with one, openbook computes with the adapter made of it, and the other way."""

import json
import shutil
from copy import deepcopy

import peft
import pytest
import torch
import transformers
from foreign_models import CASES, PAIR_CASES, pair
from safetensors.torch import load_file, save_file
from sample_adapters import write_adapter
from typer.testing import CliRunner

from openbook.cli.main import app
from openbook.errors import OpenbookError
from openbook.interop.exporting import export_model
from openbook.interop.peft.importing import import_adapter
from openbook.model_file.adapter import load_merged
from openbook.model_file.file import build

LIMIT = 1e-4
EVERY = {**CASES, **PAIR_CASES}
SOME = list({family: (family, option) for family, option in reversed(EVERY)}.values())
"""One case of each family."""
EXPERTS = ("Mixtral", "Qwen 3 MoE", "gpt-oss")


def logits(model, paired):
    tokens = torch.arange(3, 40).view(1, -1) % 50 + 3
    arguments = {"input_ids": tokens} | ({"decoder_input_ids": tokens[:, :9]} if paired else {})
    return model(**arguments).logits


def our_logits(path, paired):
    metadata, tensors = load_merged(path)
    model = build(metadata.architecture, {name: tensor.float() for name, tensor in tensors.items()})
    tokens = torch.arange(3, 40).view(1, -1) % 50 + 3
    return model(tokens[:, :9], source=tokens) if paired else model(tokens)


def linear_layers(model):
    """The names of all layers that LoRA of PEFT changes, but for the head."""
    kinds = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    return [name for name, module in model.named_modules() if isinstance(module, kinds) and "lm_head" not in name
            and "router" not in name and not name.endswith("mlp.gate")]  # fmt: skip


def their_adapter(case, folder, **options):
    """An adapter of PEFT with random matrices, saved in `folder`; the model with it."""
    theirs, _, _ = pair(case)
    theirs = deepcopy(theirs)
    settings = {"target_modules": linear_layers(theirs), "r": 4, "lora_alpha": 10} | options
    torch.manual_seed(0)
    model = peft.get_peft_model(theirs, peft.LoraConfig(**settings))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.eval().save_pretrained(folder)
    return model


def base_of(case, folder):
    shutil.copy(pair(case)[1] / "model.openbook", folder / "base.openbook")
    return folder / "base.openbook"


@torch.no_grad()
@pytest.mark.parametrize("case", SOME, ids=[", ".join(case) for case in SOME])
def test_there_and_back(case, tmp_path):
    base, paired = base_of(case, tmp_path), case in PAIR_CASES
    plain = our_logits(base, paired)
    model = their_adapter(case, tmp_path / "theirs")
    expected = logits(model, paired)
    assert (expected - plain).abs().max() > 1e-2  # it changes something
    import_adapter(tmp_path / "theirs", base, tmp_path / "small.openbook")
    assert (our_logits(tmp_path / "small.openbook", paired) - expected).abs().max() <= LIMIT
    export_model(tmp_path / "small.openbook", tmp_path / "back", "peft")
    again = peft.PeftModel.from_pretrained(deepcopy(pair(case)[0]), tmp_path / "back").eval()
    assert (logits(again, paired) - expected).abs().max() <= LIMIT


@torch.no_grad()
@pytest.mark.parametrize("case", [each for each in SOME if each[0] not in EXPERTS], ids=lambda case: case[0])
def test_ours_goes_out(case, tmp_path):
    """Each of our matrices has an A of its own, also where theirs holds several."""
    base, paired = base_of(case, tmp_path), case in PAIR_CASES
    write_adapter(tmp_path / "small.openbook", base, size=0.2)
    export_model(tmp_path / "small.openbook", tmp_path / "out", "peft")
    model = peft.PeftModel.from_pretrained(deepcopy(pair(case)[0]), tmp_path / "out").eval()
    difference = (logits(model, paired) - our_logits(tmp_path / "small.openbook", paired)).abs().max()
    assert difference <= LIMIT


LLAMA = ("Llama", "grouped, head width")


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2, "model.layers.0.mlp.up_proj": 7}, "alpha_pattern": {"v_proj": 3, "o_proj": 40}},
        {"rank_pattern": {"k_proj": 6}, "use_rslora": True},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    ],
    ids=["rsLoRA", "patterns", "patterns, rsLoRA", "one layer"],
)  # fmt: skip
def test_options_of_scale_and_rank(options, tmp_path):
    base = base_of(LLAMA, tmp_path)
    expected = logits(their_adapter(LLAMA, tmp_path / "theirs", **options), False)
    import_adapter(tmp_path / "theirs", base, tmp_path / "small.openbook")
    assert (our_logits(tmp_path / "small.openbook", False) - expected).abs().max() <= LIMIT
    export_model(tmp_path / "small.openbook", tmp_path / "back", "peft")
    again = peft.PeftModel.from_pretrained(deepcopy(pair(LLAMA)[0]), tmp_path / "back").eval()
    assert (logits(again, False) - expected).abs().max() <= LIMIT


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peft")
    base_of(LLAMA, folder)
    their_adapter(LLAMA, folder / "theirs")
    return folder


QUERY = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("config", "tensors", "said"),
    [
        ({"peft_type": "IA3"}, {}, "field peft_type: IA3: only LORA is read"),
        ({"bias": "all"}, {}, "field bias: all"),
        ({"use_dora": True}, {}, "field use_dora: True: is not understood"),
        ({"modules_to_save": ["lm_head"]}, {}, "field modules_to_save"),
        ({"init_lora_weights": "pissa"}, {}, "field init_lora_weights: pissa: changes the base too"),
        ({"lora_alpha": "16"}, {}, "field lora_alpha: 16: should be a number"),
        ({"lora_alpha": 1e7}, {}, "should be a number up to a million"),
        ({"alpha_pattern": {"(a+)+$": 3}}, {}, "is no plain name"),
        ({"alpha_pattern": [3]}, {}, "should be an object"),
        ({"from_the_future": 3}, {}, "field from_the_future: 3: is not understood"),
        ({}, {QUERY: torch.zeros(4, 23)}, "do not fit a matrix of 32 × 24; give the right --base"),
        ({}, {QUERY: None}, "its other half is missing"),
        ({}, {QUERY: torch.zeros(4, 24, dtype=torch.int32)}, "I32 is none of F32, F16, BF16"),
        ({}, {"base_model.model.nothing.lora_A.weight": torch.zeros(2)}, "is no LoRA matrix of a linear layer"),
        ({}, {QUERY: torch.full((4, 24), float("nan"))}, "not finite"),
    ],
)
def test_what_is_not_understood_is_refused(written, tmp_path, config, tensors, said):
    base = tmp_path / "base.openbook"
    shutil.copy(written / "base.openbook", base)
    folder = shutil.copytree(written / "theirs", tmp_path / "theirs")
    fields = json.loads((folder / "adapter_config.json").read_text()) | config
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    changed = load_file(folder / "adapter_model.safetensors") | tensors
    save_file({name: each for name, each in changed.items() if each is not None}, folder / "adapter_model.safetensors")
    with pytest.raises(OpenbookError) as caught:
        import_adapter(folder, base, tmp_path / "small.openbook")
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "small.openbook").exists()


def test_the_command(written, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, [str(each) for each in arguments])

    base = tmp_path / "base.openbook"
    shutil.copy(written / "base.openbook", base)
    made = run("import", written / "theirs", "--base", base, "-o", tmp_path / "small.openbook")
    assert made.exit_code == 0 and "an adapter of base.openbook, which changes 14 matrices" in made.output
    made = run("export", tmp_path / "small.openbook", "--to", "peft", "-o", tmp_path / "out")
    assert made.exit_code == 0, made.output
    said = {
        "is for adapters, and": ("export", base, "--to", "peft", "-o", tmp_path / "no"),
        "the model file that it changes with --base": ("import", written / "theirs", "-o", tmp_path / "no.openbook"),
        "an adapter lies beside its base": ("import", written / "theirs", "--base", base, "-o", "no.openbook"),
    }  # fmt: skip
    for words, command in said.items():
        failed = run(*command)
        assert failed.exit_code != 0 and words in str(failed.exception), (words, failed.output, failed.exception)
    folder = shutil.copytree(written / "theirs", tmp_path / "pickled")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(OpenbookError, match=r"adapter_model.bin is pickled: refused"):
        import_adapter(folder, base, tmp_path / "no.openbook")
