"""Folders from strangers: refused by name with the cure, or imported; never a crash, a hang, or a program run."""

import json
import os
import pickle
import shutil

import pytest
import torch
import transformers
from foreign_models import CASES, PAIR_CASES, pair
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from openbook.errors import OpenbookError
from openbook.interop.exporting import export_model
from openbook.interop.huggingface.families.registry import family_of, read_architecture
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.importing import import_model
from soon import soon

CASE = ("Llama", "grouped, head width")


@pytest.fixture
def folder(tmp_path):
    """A folder that can be imported, to be spoilt."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pair(CASE)[1] / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def sharded(tmp_path):
    export_model(pair(CASE)[1] / "model.openbook", tmp_path / "shards", "hf", max_shard_bytes=8_000)
    return tmp_path / "shards"


def refused(folder, match):
    with pytest.raises(OpenbookError, match=match) as caught:
        import_model(folder, folder / "m.openbook", overwrite=True)
    assert not (folder / "m.openbook").exists()
    assert str(caught.value).startswith(str(folder))


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_not_opened(folder, name):
    class Bomb:
        def __reduce__(self):
            return (open, (str(folder / "ran"), "w"))

    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    refused(folder, rf"{name} is pickled: refused, .*save the model as safetensors")
    assert not (folder / "ran").exists()


def test_code_in_the_folder_is_not_run(folder):
    (folder / "modeling_mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_mine.Mine"})
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling_mine.Mine", None]})
    import_model(folder, folder / "m.openbook", overwrite=True)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..\\x.safetensors",
        ".hidden.safetensors",
        "model.bin",
        "C:x.safetensors",
        "x\0.safetensors",
        "é.safetensors",
        "",
    ],
)
def test_names_of_shards_are_plain(folder, name):
    (folder.parent / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    index = {"weight_map": dict.fromkeys(load_file(folder / "model.safetensors"), name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "whole.safetensors")
    refused(folder, "no plain name")


def test_what_is_wrong_with_shards_is_said(sharded):
    index_path = sharded / "model.safetensors.index.json"
    original = index_path.read_text()
    table = json.loads(original)["weight_map"]
    several = [name for name, shard in table.items() if list(table.values()).count(shard) > 1]
    name = several[0]
    import_model(sharded, sharded / "m.openbook", overwrite=True)
    (sharded / "m.openbook").unlink()

    index_path.write_text(json.dumps({"weight_map": {k: v for k, v in table.items() if k != name}}))
    refused(sharded, f"holds tensor {name}, but")
    index_path.write_text(json.dumps({"weight_map": table | {"ghost.weight": table[name]}}))
    refused(sharded, r"ghost\.weight should be in")
    index_path.write_text(json.dumps({"weight_map": [1, 2]}))
    refused(sharded, "field weight_map")
    index_path.write_text('{"weight_map": {"a": "b.safetensors", "a": "c.safetensors"}}')
    refused(sharded, "twice")
    index_path.write_text(original)
    shard = sharded / table[name]
    shard.write_bytes(shard.read_bytes()[:-4])
    refused(sharded, "the end is cut off")
    shard.unlink()
    refused(sharded, f"{shard.name} is missing")


def test_tensors_that_do_not_fit_are_refused(folder):
    path = folder / "model.safetensors"
    good = load_file(path)

    save_file(good | {"model.layers.0.extra.weight": torch.zeros(3)}, path)
    refused(folder, r"model\.layers\.0\.extra\.weight is not part of a Llama model")
    save_file({name: tensor for name, tensor in good.items() if "k_proj" not in name}, path)
    refused(folder, r"model\.layers\.0\.self_attn\.k_proj\.weight is missing")
    save_file(good | {"model.norm.weight": torch.zeros(25)}, path)
    refused(folder, r"model\.norm\.weight, shape: \[25\] should be \[24\]")
    save_file(good | {"model.norm.weight": torch.zeros(24, dtype=torch.int64)}, path)
    refused(folder, "some tensors are I64")
    save_file({name: tensor.to(torch.float8_e4m3fn) for name, tensor in good.items()}, path)
    refused(folder, "some tensors are F8_E4M3")


def test_a_copy_of_the_embedding_must_be_one(tmp_path):
    source = pair(("Gemma", "plain"))[1]
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, tmp_path / name)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    copy = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors | {"lm_head.weight": copy}, path)
    import_model(tmp_path, tmp_path / "m.openbook", overwrite=True)
    assert (tmp_path / "m.openbook").read_bytes() == (source / "model.openbook").read_bytes()
    (tmp_path / "m.openbook").unlink()
    copy[5, 3] += 1
    save_file(tensors | {"lm_head.weight": copy}, path)
    refused(tmp_path, r"lm_head\.weight should repeat model\.embed_tokens\.weight")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"model_type": "llama", "model_type": "gpt2"}', "twice"),
        ("[" * 100_000, "nested"),
        ('{"model_type": NaN}', "not finite"),
        ('{"vocab_size": 1' + "0" * 100 + "}", "too long to be one"),
        ("[]", "should be a JSON object"),
        ("not json", "not JSON"),
        (" " * 5_000_000, "more than 4,000,000 bytes"),
    ],
)
def test_json_from_strangers(folder, text, match):
    (folder / "config.json").write_text(text)
    refused(folder, match)


READ = [
    *("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json"),
    *("openbook.json", "chat_template.jinja", "chat_template.json", "added_tokens.json", "source_tokenizer.json"),
    *("model.safetensors", "model.safetensors.index.json"),
]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with names")
@pytest.mark.parametrize("name", READ)
def test_pipes_and_links_out_of_the_folder_are_refused(folder, tmp_path_factory, name):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("{}")
    for each in (name, "model.safetensors" if "index" in name else name):
        (folder / each).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused(folder, f"{name}: is not a plain file")
    (folder / name).unlink()
    (folder / name).symlink_to(secret)
    refused(folder, f"{name}: is a link out of its folder, to {secret}")


def test_endless_added_tokens_are_refused(folder):
    content = json.loads((folder / "tokenizer.json").read_text())
    added = {"id": 61, "content": "a" * 2_100_000, "special": True}
    added |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    change(folder / "tokenizer.json", added_tokens=[*content["added_tokens"], added])
    refused(folder, r"tokenizer\.json: tokenizer: its added tokens have more than 2,000,000 characters")


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Prepend", "prepend": "a" * 20_000},
        {
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 200}] * 3,
        },
    ],
)
def test_texts_do_not_grow_without_end(folder, normalizer):
    change(folder / "tokenizer.json", normalizer=normalizer)
    refused(folder, r"tokenizer\.json: tokenizer: its replacements may make a text more than 10,000 times as long")


def test_endless_padding_is_left_out(folder):
    padding = {"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None}
    change(folder / "tokenizer.json", padding=padding | {"pad_id": 0, "pad_type_id": 0, "pad_token": "x"})
    made = import_model(folder, folder / "m.openbook")
    assert len(made.metadata.make_tokenizer().encode("a b")) < 10


def test_a_folder_of_links_within_itself_is_read(folder):
    (folder / "files").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).rename(folder / "files" / name)
        (folder / name).symlink_to(f"files/{name}")
    import_model(folder, folder / "m.openbook", overwrite=True)


def test_what_is_no_tokenizer_or_template_is_not_kept(folder):
    (folder / "chat_template.jinja").write_text("{% for %}")
    made = import_model(folder, folder / "m.openbook")
    assert made.metadata.chat_template is None
    assert "chat_template.jinja: its chat template cannot be compiled: TemplateSyntaxError" in "".join(made.notes)
    (folder / "m.openbook").unlink()
    (folder / "source_tokenizer.json").write_text("root:x:0:0")
    refused(folder, r"source_tokenizer\.json: is not JSON")
    (folder / "source_tokenizer.json").write_text('{"password": 1}')
    refused(folder, r"source_tokenizer\.json: .*cannot|source_tokenizer\.json: .*tokenizer")
    (folder / "source_tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    import_model(folder, folder / "m.openbook", overwrite=True)


def test_other_paths_are_explained(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    for path, match in (
        (folder / "model.safetensors", "give the folder"),
        (folder / "nothing", "no such file"),
        (empty, r"no config\.json"),
    ):
        with pytest.raises(OpenbookError, match=match):
            import_model(path, folder / "m.openbook", overwrite=True)
    with pytest.raises(OpenbookError, match="must be one of float32"):
        import_model(folder, folder / "m.openbook", overwrite=True, dtype="int2")


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(folder):
    change(folder / "config.json", vocab_size=60)
    tensors = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors[name][:60].clone()
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "its tokenizer has 61 tokens")


@pytest.mark.parametrize(
    ("left_out", "match"),
    [
        (["num_hidden_layers"], r"leaves out num_hidden_layers \(32\), .*add the model's own: tensor .* is missing"),
        (["vocab_size", "hidden_size"], r"leaves out .*hidden_size \(4,096\).*: tensor .*shape"),
        (["num_attention_heads"], r"leaves out num_attention_heads \(32\)"),
        (["num_key_value_heads"], r"leaves out num_key_value_heads \(4\).*: tensor .*k_proj"),
        (["head_dim"], r"leaves out head_dim \(6\).*: tensor .*q_proj"),
    ],
)
def test_sizes_that_are_left_out_are_named(folder, left_out, match):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in content.items() if k not in left_out}))
    refused(folder, match)
    with pytest.raises(OpenbookError) as caught:
        import_model(folder, folder / "m.openbook")
    assert "damaged" not in str(caught.value)


def test_a_missing_head_may_mean_tied_embeddings(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "tensor lm_head.weight is missing.*let config.json say tie_word_embeddings true")
    change(folder / "config.json", tie_word_embeddings=True)
    import_model(folder, folder / "m.openbook")


def test_an_unknown_family_is_refused_with_the_cure(folder):
    change(folder / "config.json", model_type="phi3")
    refused(folder, r"model_type: phi3 is not known; import a model of one of these families: GPT-2, Llama.*to add a")


# Fuzzing: anything may come, in little time.

SOME = list({**CASES, **PAIR_CASES}.values())[::3]
CONFIGS = [json.loads(getattr(transformers, f"{kind}Config")(**options).to_json_string()) for kind, options in SOME]
NAMES = sorted({name for config in CONFIGS for name in config})
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 2, 3, 7, 64, 4095, 4096, 2**20, 2**24, 2**31, -1]),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(-5, 100) | st.text(max_size=3), max_size=4),
    st.dictionaries(st.sampled_from([*NAMES, "factor", "rope_type", "type"]), st.integers() | st.floats(), max_size=3),
)


@given(
    config=st.sampled_from(CONFIGS),
    changes=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), odd, min_size=1, max_size=3),
)
def test_any_config_is_read_or_refused(config, changes):
    try:
        with soon():
            fields = ConfigFields(config | changes)
            read_architecture(family_of(fields), fields)
    except OpenbookError as error:
        assert str(error)


@given(data=st.data())
def test_any_damage_is_refused_or_harmless(data, tmp_path_factory):
    """Bytes of one file changed, taken out or put in."""
    source, spoilt = pair(CASE)[1], tmp_path_factory.mktemp("spoilt")
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    for name in names:
        shutil.copy(source / name, spoilt / name)
    path = spoilt / data.draw(st.sampled_from(names))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content), 4000) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                content[place] = data.draw(st.integers(0, 255))
            case "cut":
                del content[place : place + data.draw(st.integers(1, 40))]
            case _:
                content[place:place] = data.draw(st.binary(max_size=40))
    path.write_bytes(content)
    try:
        with soon():
            import_model(spoilt, spoilt / "m.openbook", overwrite=True)
    except OpenbookError as error:
        assert str(error)
    shutil.rmtree(spoilt)
