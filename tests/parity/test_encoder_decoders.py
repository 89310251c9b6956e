"""The same weights, the same source, the same target and answer as transformers: tiny random encoder-decoders."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
import transformers

from interop.foreign_models import imported, save_folder
from openbook.generation.cache.kv_cache import KVCache
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import TokenRules
from openbook.trace import trace
from openbook.transformer.mask import positions_of
from strategies import difference, randomise

LIMIT = 1e-4
GREEDY = 60
VOCABULARY = 61
SIZES = {"vocab_size": VOCABULARY, "d_model": 24, "max_position_embeddings": 80} | {
    f"{side}_{what}": value
    for side, layers, heads, width in (("encoder", 3, 4, 40), ("decoder", 2, 6, 36))
    for what, value in (("layers", layers), ("attention_heads", heads), ("ffn_dim", width))
}
NUMBERS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
T5 = {"vocab_size": VOCABULARY, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 3, "num_decoder_layers": 2} | {
    "num_heads": 4, "decoder_start_token_id": 0
}  # fmt: skip

# name: (class of transformers, its configuration)
MODELS = {
    "t5": ("T5", T5),
    "t5 few buckets": (
        "T5", T5 | {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 9}
    ),
    "t5 v1.1": ("T5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "bart": ("Bart", SIZES | NUMBERS),
    "bart scaled": ("Bart", SIZES | NUMBERS | {"scale_embedding": True, "activation_function": "relu"}),
    "mbart": ("MBart", SIZES | NUMBERS | {"scale_embedding": True}),
    "marian": (
        "Marian",
        SIZES | {"pad_token_id": 60, "decoder_start_token_id": 60, "activation_function": "swish"}
        | {"scale_embedding": True},
    ),
    "marian two vocabularies": (
        "Marian",
        SIZES | {"pad_token_id": 52, "decoder_start_token_id": 52, "activation_function": "relu"}
        | {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 53},
    ),
    "m2m_100": ("M2M100", SIZES | NUMBERS),
}  # fmt: skip

SOURCE_LENGTHS = [11, 4, 7]
TARGET_LENGTHS = [9, 9, 5]


def pair(name):
    """Their model with random weights of a size that matters, and ours with the same."""
    family, options = MODELS[name]
    config = getattr(transformers, f"{family}Config")(**options)
    theirs = transformers.AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager").eval()
    positions = {
        side: stack.embed_positions.weight.detach().clone()
        for side, stack in (("encoder", theirs.get_encoder()), ("decoder", theirs.get_decoder()))
        if family == "Marian"
    }
    if name == "t5 v1.1":  # this release of transformers ties every new one
        theirs.lm_head.weight = torch.nn.Parameter(torch.empty(VOCABULARY, 24))
    randomise(theirs)
    with torch.no_grad():
        for side, weight in positions.items():  # fixed waves that are stored as parameters
            getattr(theirs, f"get_{side}")().embed_positions.weight.copy_(weight)
        if "final_logits_bias" in dict(theirs.named_buffers()):
            theirs.final_logits_bias.normal_()
    with TemporaryDirectory() as folder:
        return theirs, imported(save_folder(theirs, Path(folder), size=options.get("decoder_vocab_size", VOCABULARY)))


def padded(lengths, vocabulary, padding):
    """Rows of these lengths, padded on the right → tokens, real."""
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    tokens = torch.randint(3, vocabulary - 1, real.shape)
    return tokens.where(real, padding), real


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_theirs(name, record_property):
    theirs, ours = pair(name)
    padding = theirs.config.pad_token_id
    source, real_source = padded(SOURCE_LENGTHS, VOCABULARY, padding)
    target, real = padded(TARGET_LENGTHS, ours.architecture.vocab_size, padding)
    expected = theirs(
        source, attention_mask=real_source.long(), decoder_input_ids=target, decoder_attention_mask=real.long()
    ).logits[real]
    assert expected.std() > 0.15  # logits near zero would agree with anything

    places = {"source_positions": positions_of(real_source), "positions": positions_of(real)}
    fused = ours(target, source=source, **places)[real]
    with trace(ours):
        readable = ours(target, source=source, **places)[real]
    cache = KVCache(len(ours.decoder.blocks))
    parts = [
        ours(target[:, :4], places["positions"][:, :4], None, cache, source, places["source_positions"]),
        ours(target[:, 4:], places["positions"][:, 4:], cache=cache),
    ]
    cached = torch.cat(parts, dim=1)[real]

    greatest = max(float((each - expected).abs().max()) for each in (fused, readable, cached))
    record_property("greatest difference", greatest)
    print(f"{name}: {greatest:.1e} of logits up to {float(expected.abs().max()):.1f}")
    assert greatest <= LIMIT
    assert difference(readable, fused) <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_the_greedy_answer_is_theirs(name):
    """60 tokens for a batch of sources of unequal lengths, over the engine's cache.

    No pair of tokens may come twice, for random models say one token for ever, which would agree with anything.
    """
    theirs, ours = pair(name)
    padding, start = theirs.config.pad_token_id, theirs.config.decoder_start_token_id
    source, real = padded(SOURCE_LENGTHS, VOCABULARY, padding)
    theirs.generation_config = transformers.GenerationConfig(
        max_new_tokens=GREEDY, min_new_tokens=GREEDY, do_sample=False, num_beams=1, no_repeat_ngram_size=2,
        pad_token_id=padding, eos_token_id=None, decoder_start_token_id=start,
    )  # fmt: skip
    expected = theirs.generate(source, attention_mask=real.long())

    sources = [row[its_real].tolist() for row, its_real in zip(source, real, strict=True)]
    chosen = [[start] for _ in sources]
    how, rules = Sampling(temperature=0, max_tokens=GREEDY), TokenRules(no_repeat_ngram_size=2)
    for each in generate(TorchEngine(ours), [[start]] * len(sources), how, rules, sources=sources):
        chosen[each.row].append(each.token_id)
    assert len(set(expected.flatten().tolist())) > 10
    assert chosen == expected.tolist()


@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (16, 64), (6, 10), (64, 1000)])
@pytest.mark.parametrize("causal", [False, True])
def test_buckets_of_distances_are_theirs(buckets, distance, causal):
    from transformers.models.t5.modeling_t5 import T5Attention

    from openbook.transformer.architecture import Position
    from openbook.transformer.position import Relative

    part = Relative(2, Position(kind="relative", buckets=buckets, max_distance=distance), causal)
    back = torch.arange(-3 * distance, 3 * distance)
    theirs = T5Attention._relative_position_bucket(-back, not causal, buckets, distance)
    assert torch.equal(part.bucket(back), theirs)
