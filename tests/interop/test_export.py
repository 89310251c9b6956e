"""Export: transformers loads the folder and computes the same; what comes back is what went out, byte for byte."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from foreign_models import CASES, PAIR_CASES, imported, pair, save_folder
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sample_adapters import write_adapter

from openbook.errors import OpenbookError
from openbook.interop.exporting import export_model
from openbook.interop.huggingface.conversion import choose_family
from openbook.interop.importing import import_model
from openbook.interop.tokenizers.post_processor import set_added_tokens
from openbook.interop.tokenizers.sentencepiece_backend import to_backend
from openbook.interop.tokenizers.sentencepiece_model import Piece, PieceType, SentencePieceModel
from openbook.model_file.file import load, save
from openbook.model_file.merging import merge_model
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.recipe import PAIR_DEFAULTS, Recipe, build_architecture, make_recipe
from strategies import DEFAULT, build

EVERY = {**CASES, **PAIR_CASES}
ADAPTED = [("GPT-2", "plain"), ("Mixtral", "experts"), ("T5", "v1.1: gated GELU, untied")]


@torch.no_grad()
@pytest.mark.parametrize("case", EVERY, ids=[", ".join(case) for case in EVERY])
def test_there_and_back(case, tmp_path):
    """The export is loaded by transformers with equal logits; import, export, import gives the same file."""
    theirs, folder, _ = pair(case)
    first, back, second = folder / "model.openbook", tmp_path / "back", tmp_path / "again.openbook"
    export_model(first, back, "hf")
    import_model(back, second)
    assert first.read_bytes() == second.read_bytes()

    paired = theirs.config.is_encoder_decoder
    auto = transformers.AutoModelForSeq2SeqLM if paired else transformers.AutoModelForCausalLM
    loaded, report = auto.from_pretrained(back, attn_implementation="eager", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    tokens = torch.randint(3, 50, (2, 30))
    arguments = {"input_ids": tokens} | ({"decoder_input_ids": tokens[:, :9]} if paired else {})
    assert (loaded.eval()(**arguments).logits - theirs(**arguments).logits).abs().max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("case", ADAPTED, ids=[", ".join(case) for case in ADAPTED])
def test_an_adapter_goes_out_with_its_base_as_one_model(case, tmp_path):
    _, folder, _ = pair(case)
    base, small, merged = (tmp_path / f"{name}.openbook" for name in ("base", "small", "merged"))
    base.write_bytes((folder / "model.openbook").read_bytes())
    write_adapter(small, base)
    merge_model(small, merged)
    for source in (small, merged):
        export_model(source, tmp_path / source.stem, "hf")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("small", "merged"))
    plain = load_file(folder / "model.safetensors")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], plain[name]) for name in one if name in plain)
    assert json.loads((tmp_path / "small" / "openbook.json").read_text())["training"] == {"steps": 5}


def own_model(path, spec, **metadata):
    """A model of ours, as a training saves it."""
    tokenizer = train_tokenizer(["any text"], "bytes", spec.vocab_size)
    model = build(spec)
    save(path, ModelMetadata(architecture=spec, tokenizer=tokenizer.to_json(), **metadata), model.state_dict())
    return model, tokenizer


@torch.no_grad()
def test_what_is_trained_by_default_can_go_out(tmp_path):
    """The weights, the tokenizer, generation defaults, chat template; and nothing of ours is lost on the way."""
    spec = replace(build_architecture(Recipe(layers=2, width=32, heads=2, head_width=16, context=64)), vocab_size=260)
    ours, tokenizer = own_model(
        tmp_path / "mine.openbook",
        spec,
        chat_template="{{ messages[0]['content'] }}",
        generation={"temperature": 0.5, "top_p": 0.9, "stop": ["THE END"]},
        training={"steps": 7},
        license="CC0-1.0",
    )
    assert export_model(tmp_path / "mine.openbook", tmp_path / "out", "hf").family == "Qwen 3"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = their_tokenizer("Any text, Ωmega.")["input_ids"]
    assert ids == tokenizer.encode("Any text, Ωmega.")
    assert (theirs(torch.tensor([ids])).logits - ours(torch.tensor([ids]))).abs().max() <= 1e-4
    assert their_tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == "Hi"
    assert theirs.generation_config.temperature == 0.5 and theirs.generation_config.do_sample
    assert theirs.generation_config.eos_token_id == tokenizer.end_id
    import_model(tmp_path / "out", tmp_path / "again.openbook")
    metadata, again = load(tmp_path / "mine.openbook")[0], load(tmp_path / "again.openbook")[0]
    assert replace(again, special_tokens=None) == replace(metadata, special_tokens=None)


@torch.no_grad()
def test_a_translator_trained_by_default_can_go_out(tmp_path):
    """Its scores have a scale, which goes into the queries."""
    sizes = {"layers": 2, "encoder_layers": 3, "width": 32, "heads": 4, "head_width": 8, "context": 64}
    spec = replace(build_architecture(make_recipe(PAIR_DEFAULTS | sizes)), vocab_size=260)
    ours, _ = own_model(tmp_path / "mine.openbook", spec)
    assert export_model(tmp_path / "mine.openbook", tmp_path / "out", "hf").family == "T5"
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    source, target = torch.randint(260, (2, 11)), torch.randint(260, (2, 7))
    expected = theirs(input_ids=source, decoder_input_ids=target).logits
    assert expected.std() > 0.2
    assert (ours(target, source=source) - expected).abs().max() <= 1e-4
    again = imported(tmp_path / "out")
    assert (again(target, source=source) - expected).abs().max() <= 1e-4


def test_a_shape_that_no_family_has_is_refused_with_the_nearest():
    with pytest.raises(OpenbookError, match=r"the nearest, Qwen 3, differs in logit_softcap$"):
        choose_family(replace(DEFAULT, logit_softcap=3.0))


def test_shards(tmp_path):
    _, folder, _ = pair(("Mixtral", "experts"))
    whole, some = tmp_path / "whole", tmp_path / "some"
    export_model(folder / "model.openbook", whole, "hf")
    files = export_model(folder / "model.openbook", some, "hf", max_shard_bytes=10_000).files
    assert len(files) > 3 and sorted(files) == sorted(path.name for path in some.glob("*.safetensors"))
    index = json.loads((some / "model.safetensors.index.json").read_text())
    for name in files:
        with safe_open(some / name, "pt") as file:
            assert set(file.keys()) == {key for key, place in index["weight_map"].items() if place == name}
    with safe_open(whole / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(index["weight_map"])
        assert index["metadata"]["total_size"] == sum(file.get_tensor(key).nbytes for key in file.keys())  # noqa: SIM118
    import_model(some, tmp_path / "again.openbook")
    assert (tmp_path / "again.openbook").read_bytes() == (folder / "model.openbook").read_bytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_types_can_be_changed_on_both_ways(dtype, tmp_path):
    _, folder, ours = pair(("Llama", "grouped, head width"))
    export_model(folder / "model.openbook", tmp_path / "out", "hf", dtype=dtype)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype
    assert import_model(tmp_path / "out", tmp_path / "kept.openbook").dtype == dtype
    assert import_model(folder, tmp_path / "made.openbook", dtype=dtype).dtype == dtype
    assert (tmp_path / "kept.openbook").read_bytes() == (tmp_path / "made.openbook").read_bytes()
    weight = load(tmp_path / "made.openbook")[1]["token_embedding.weight"]
    assert torch.equal(weight, ours.token_embedding.weight.to(getattr(torch, dtype)))


def test_an_existing_folder_is_kept_unless_it_may_go(tmp_path):
    _, folder, _ = pair(("Llama", "grouped, head width"))
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("data")
    with pytest.raises(OpenbookError, match="overwrite"):
        export_model(folder / "model.openbook", out, "hf")
    assert (out / "precious").read_text() == "data"
    with pytest.raises(OpenbookError, match=r"has no config.json, so it is not replaced"):
        export_model(folder / "model.openbook", out, "hf", overwrite=True)
    (out / "config.json").write_text("{}")
    export_model(folder / "model.openbook", out, "hf", overwrite=True)
    assert not (out / "precious").exists() and (out / "config.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    _, folder, _ = pair(("Llama", "grouped, head width"))

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openbook.interop.huggingface.exporting.TensorWriter.write", full)
    with pytest.raises(OpenbookError, match="disk is full"):
        export_model(folder / "model.openbook", tmp_path / "out", "hf")
    assert list(tmp_path.iterdir()) == []


# Other ways in which the same model is saved.


@torch.no_grad()
@pytest.mark.parametrize("case", [("GPT-2", "plain"), ("Gemma", "plain"), ("Mistral", "no window")], ids=str)
def test_names_may_lack_their_prefix(case, tmp_path):
    theirs, _, ours = pair(case)
    save_folder(theirs.base_model, tmp_path)
    again = imported(tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(again.parameters(), ours.parameters(), strict=True))


def test_a_single_file_counts_before_an_older_index(tmp_path):
    """As in transformers, and it is said."""
    _, folder, _ = pair(("Llama", "grouped, head width"))
    shutil.copytree(folder, tmp_path / "both")
    export_model(pair(("Llama", "YaRN"))[1] / "model.openbook", tmp_path / "old", "hf", max_shard_bytes=10_000)
    for file in (tmp_path / "old").glob("model*"):
        shutil.copy(file, tmp_path / "both")
    made = import_model(tmp_path / "both", tmp_path / "again.openbook")
    assert (tmp_path / "again.openbook").read_bytes() == (folder / "model.openbook").read_bytes()
    assert any("the weights are those of model.safetensors" in note for note in made.notes)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "both").state_dict()
    expected = load_file(tmp_path / "both" / "model.safetensors")
    assert all(torch.equal(theirs[name], tensor) for name, tensor in expected.items())


@torch.no_grad()
@pytest.mark.parametrize("case", [("Mixtral", "experts"), ("Qwen 3 MoE", "experts in all layers")], ids=str)
def test_both_layouts_of_experts(case, tmp_path):
    theirs, _, ours = pair(case)
    save_folder(theirs, tmp_path, save_original_format=False)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert any(name.endswith("experts.gate_up_proj") for name in file.keys())  # noqa: SIM118
    again = imported(tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(again.parameters(), ours.parameters(), strict=True))


@torch.no_grad()
def test_the_text_part_of_a_model_with_eyes(tmp_path):
    """Its fields and tensors stand further in, beside those of the eyes."""
    theirs, folder, _ = pair(("Gemma 3", "two bases, one stretched"))
    tensors = {f"language_model.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    eyes = {f"{part}.weight": torch.ones(2) for part in ("vision_tower.a", "multi_modal_projector.b")}
    save_file(tensors | eyes, tmp_path / "model.safetensors")
    config = {"model_type": "gemma3", "text_config": theirs.config.to_dict(), "vision_config": {"hidden_size": 2}}
    (tmp_path / "config.json").write_text(json.dumps(config, default=str))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    again, first = imported(tmp_path), load(folder / "model.openbook")[1]
    assert all(torch.equal(tensor, first[name]) for name, tensor in again.state_dict().items())


def test_a_second_tokenizer_and_the_rules_of_answers_come_back(tmp_path):
    metadata, tensors = load(pair(("Marian", "two vocabularies"))[1] / "model.openbook")
    special = replace(
        Tokenizer.from_json(metadata.tokenizer, metadata.special_tokens).special,
        forced_beginning=(5,),
        forced_end=2,
        suppressed=(0,),
    )
    metadata = replace(metadata, source_tokenizer=metadata.tokenizer, special_tokens=special)
    save(tmp_path / "m.openbook", metadata, tensors)
    export_model(tmp_path / "m.openbook", tmp_path / "out", "hf")
    rules = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (rules["forced_bos_token_id"], rules["forced_eos_token_id"], rules["bad_words_ids"]) == (5, 2, [[0]])
    import_model(tmp_path / "out", tmp_path / "again.openbook")
    assert (tmp_path / "m.openbook").read_bytes() == (tmp_path / "again.openbook").read_bytes()


def test_a_pair_of_vocabularies_goes_out_as_their_class_reads_it(tmp_path):
    folder = pair(("Marian", "two vocabularies"))[1]
    metadata, tensors = load(folder / "model.openbook")
    sizes = (metadata.architecture.source_vocab_size, metadata.architecture.vocab_size)
    letters = "abcdefghijklmnopqrstuvwxyzäöüABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    source, target = (small_pieces("".join(letters[: size - 4])) for size in sizes)
    metadata = replace(
        metadata,
        source_tokenizer=source,
        tokenizer=target,
        special_tokens=SpecialTokens(end=(0,), suffix=(0,), padding=1, unknown=2),
    )
    save(tmp_path / "m.openbook", metadata, tensors)
    export_model(tmp_path / "m.openbook", tmp_path / "out", "hf")
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert type(loaded).__name__.startswith("MarianTokenizer") and loaded.pad_token_id == 1
    ours = [Tokenizer.from_json(text, metadata.special_tokens) for text in (source, target)]
    for text in ("a bad cab", " q", "ZZz"):
        assert loaded(text)["input_ids"] == [*ours[0].encode(text), 0]
        assert loaded(text_target=text)["input_ids"] == [*ours[1].encode(text), 0]
    import_model(tmp_path / "out", tmp_path / "again.openbook")
    assert (tmp_path / "m.openbook").read_bytes() == (tmp_path / "again.openbook").read_bytes()


def small_pieces(letters):
    """A vocabulary of pieces: special tokens, the mark of a space, letters."""
    names = ("</s>", "<pad>", "<unk>")
    ordinary = [Piece(letter, -1.0 - place / 8, PieceType.NORMAL) for place, letter in enumerate("▁" + letters)]
    special = [Piece(name, 0.0, PieceType.CONTROL) for name in names]
    backend = to_backend(SentencePieceModel(pieces=[*special, *ordinary], unk_id=2))
    set_added_tokens(backend, (), (0,))
    return backend.to_str()


@pytest.mark.slow
def test_memory_holds_one_tensor_at_a_time():
    """A fifth of a gigabyte out and back, in processes of their own: peaks below 1.5 of a shard of 100 MB."""
    script = Path(__file__).parents[2] / "benchmarks" / "importing.py"
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("measured as Linux counts memory")
    found = subprocess.run(
        [sys.executable, script, "--gigabytes", "0.2"], capture_output=True, text=True, check=True
    ).stdout
    shares = [float(line.split("|")[4]) for line in found.splitlines() if line.startswith(("| import", "| export"))]
    assert len(shares) == 2 and max(shares) < 1.5
    assert "the same bytes" in found
