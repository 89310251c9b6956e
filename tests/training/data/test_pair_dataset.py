"""A whole run on pairs: from the files to a translator, going on from one, both kinds, and all that is refused."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from test_run import interrupt_at
from training_examples import TINY, same, weights, write_book, write_pairs

import openbook
from openbook.errors import OpenbookError
from openbook.training.data.pair_dataset import PairDataset
from openbook.training.loss import IGNORE_INDEX
from openbook.training.recipe import make_recipe
from openbook.training.request import TrainingRequest
from openbook.training.run import TrainingRun

CHOICES = TINY | {"encoder_layers": 1, "vocab_size": 400, "context": 32, "steps": 4, "validation_translations": 5}
CONTINUED = {name: CHOICES[name] for name in ("context", "batch_tokens", "precision", "steps", "validation_tokens")}


@pytest.fixture(scope="module", autouse=True)
def _measured():
    """The speed of this machine is not measured again and again."""
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small translator, and the folder with all that its training left."""
    folder, events = tmp_path_factory.mktemp("trained"), []
    write_pairs(folder / "pairs.tsv")
    model = openbook.train(
        pairs=folder / "pairs.tsv", output=folder / "it.openbook", device="cpu", callbacks=[events.append], **CHOICES
    )
    return model, folder, events


def test_what_is_trained_is_a_translator(trained):
    model, folder, _ = trained
    opened = openbook.load(folder / "it.openbook", "cpu")
    assert opened.transformer.encoder is not None
    assert same(weights(opened.transformer), weights(model.transformer))
    special = opened.tokenizer.special
    assert special.suffix == special.end == (special.decoder_start,)
    assert set(special.suppressed) == {special.padding, special.separator}
    assert opened.tokenizer.encode_source("def")[-1] == opened.tokenizer.end_id


def test_the_record_and_the_events_say_how_it_came_about(trained):
    model, _, events = trained
    record = model.metadata.training
    assert record["data"][0]["name"] == "pairs.tsv" and record["ended"] == "finished"
    assert record["bleu"] >= 0 and record["chrf"] >= 0
    kinds = [event["event"] for event in events]
    assert list(dict.fromkeys(kinds)) == ["prepared", "plan", "tokens", "step", "validation", "ended", "saved"]
    assert all(0 <= event["bleu"] <= 100 for event in events if event["event"] == "validation")
    assert events[-1]["chrf"] == record["chrf"]


def test_it_learns_to_translate(tmp_path):
    """Words of a copied language: copying is soon learned."""
    lines = (tmp_path / "pairs.tsv").open("w")
    with lines:
        for number in range(1200):
            word = "".join("abcdefgh"[number * factor % 8] for factor in (1, 3, 7, 11)[: 1 + number % 4])
            print(f"{word}{number % 97}\t{number % 97}{word}", file=lines)
    choices = {"tokenizer": "characters", "context": 16, "encoder_layers": 2, "layers": 1, "width": 64, "steps": 150}
    choices |= {"batch_tokens": 512, "warmup_steps": 10, "validations": 1, "dropout": 0.0}
    result = openbook.train(pairs=tmp_path / "pairs.tsv", output=tmp_path / "a.openbook", device="cpu", **choices)
    assert result.metadata.training["chrf"] > 90


def test_words_are_spelled_in_other_pieces_each_time(tmp_path):
    write_pairs(tmp_path / "pairs.tsv")
    request = TrainingRequest([tmp_path / "pairs.tsv"], tmp_path / "a.openbook", {}, pairs=True)
    (tmp_path / "a.openbook.training").mkdir()
    dataset = PairDataset(request, None, lambda *each: Quiet())
    recipe, _ = dataset.tokenize(make_recipe(CHOICES | {"bpe_dropout": 0.3}))
    task = dataset.task(recipe, torch.device("cpu"), torch.float32)
    tokenizer, rows = dataset.tokenizers[0], dataset.train
    texts, end = {pair.source: pair.target for pair in dataset.corpus.train.pairs()}, dataset.tokenizers[0].end_id
    spellings = set()
    for step in range(3 * task.sampler.batches_per_epoch):
        for batch, count in task.batches(step):
            for source, target in zip(batch.source.tolist(), batch.labels.tolist(), strict=True):
                read, told = (tuple(ids[: ids.index(end)]) for ids in (source, target))
                assert texts[tokenizer.decode(read)] == tokenizer.decode(told)
                spellings.add(read)
            assert count == int((batch.labels != IGNORE_INDEX).sum())
    assert len(spellings) > 2 * len(texts)
    once, again = (next(task.batches(5))[0] for _ in range(2))
    assert torch.equal(once.source, again.source) and torch.equal(once.labels, again.labels)
    assert rows.batch(np.array([0]), torch.device("cpu")).source.tolist() == [rows.source(0).tolist()]


def test_separate_vocabularies_are_kept_apart(tmp_path):
    write_pairs(tmp_path / "pairs.tsv")
    choices = CHOICES | {"shared_vocabulary": False, "tokenizer": "words", "vocab_size": 30}
    told, files = [], {"pairs": tmp_path / "pairs.tsv", "output": tmp_path / "a.openbook"}
    model = openbook.train(**files, device="cpu", callbacks=[told.append], **choices)
    assert next(event["unknown"] for event in told if event["event"] == "tokens") > 0  # so few words are kept
    contents, source = model.metadata, model.metadata.make_source_tokenizer()
    assert contents.source_tokenizer is not None
    assert contents.architecture.source_vocab_size == source.vocab_size == contents.architecture.vocab_size
    assert source.end_id == model.tokenizer.end_id
    assert model.transformer.source_embedding.weight.shape[0] == source.vocab_size


def test_a_decoder_only_model_learns_pairs_too(tmp_path):
    write_pairs(tmp_path / "pairs.tsv")
    choices = CHOICES | {"encoder_layers": 0}
    model = openbook.train(pairs=tmp_path / "pairs.tsv", output=tmp_path / "a.openbook", device="cpu", **choices)
    assert model.metadata.architecture.encoder is None
    assert model.metadata.training["chrf"] >= 0 and model.tokenizer.special.separator is not None


def test_going_on_changes_the_weights_and_keeps_the_rest(trained, tmp_path):
    model, folder, _ = trained
    write_pairs(tmp_path / "more.tsv", 200)
    more = openbook.train(
        pairs=tmp_path / "more.tsv", output=tmp_path / "b.openbook", base_model=folder / "it.openbook", device="cpu",
        **CONTINUED,
    )  # fmt: skip
    assert more.metadata.architecture == model.metadata.architecture
    assert more.metadata.tokenizer == model.metadata.tokenizer
    assert more.metadata.special_tokens == model.metadata.special_tokens
    assert more.metadata.training["base_model"] == "it.openbook"
    before, after = weights(model.transformer), weights(more.transformer)
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_an_interrupted_run_goes_on_to_the_same_weights(trained, tmp_path):
    model, folder, _ = trained
    pairs, output = folder / "pairs.tsv", tmp_path / "it.openbook"
    first = openbook.train(pairs=pairs, output=output, device="cpu", callbacks=[interrupt_at(2)], **CHOICES)
    assert first.metadata.training["ended"] == "interrupted"
    last = openbook.train(pairs=pairs, output=output, device="cpu", **CHOICES)
    assert same(weights(last.transformer), weights(model.transformer))
    assert last.metadata.training["losses"] == model.metadata.training["losses"]


def refused(words, **options):
    with pytest.raises(OpenbookError, match=words) as caught:
        openbook.train(**{"device": "cpu"} | options)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_is_refused(trained, tmp_path):
    _, folder, _ = trained
    pairs, output = folder / "pairs.tsv", tmp_path / "a.openbook"
    refused("books, pairs, conversations or tokens", output=output)
    refused("books, pairs, conversations or tokens", inputs=pairs, pairs=pairs, output=output)
    refused("label_smoothing 1.0: give a number at least 0, below 1", pairs=pairs, output=output, label_smoothing=1.0)
    refused("no such file", pairs=tmp_path / "none.tsv", output=output)
    refused(r"it\.openbook: is an encoder-decoder.*pairs", inputs=write_book(tmp_path / "book.txt"), output=output,
            base_model=folder / "it.openbook", **CONTINUED)  # fmt: skip
    refused("layers: is fixed by the base model", pairs=pairs, output=output,
            base_model=folder / "it.openbook", **CONTINUED | {"layers": 2})  # fmt: skip
    refused("context 64: the model's context is 32", pairs=pairs, output=output, base_model=folder / "it.openbook",
            **CONTINUED | {"context": 64})  # fmt: skip
    refused("context 1: no pairs to learn from", pairs=pairs, output=output,
            **CHOICES | {"context": 1})  # fmt: skip
    book = openbook.train(tmp_path / "book.txt", tmp_path / "book.openbook", device="cpu",
                          **TINY | {"vocab_size": 300, "steps": 1})  # fmt: skip
    assert book.tokenizer.special.separator is None
    refused("no token to stand between", pairs=pairs, output=output, base_model=tmp_path / "book.openbook",
            **CONTINUED | {"context": 16})  # fmt: skip


def test_samples_show_a_translation(trained, tmp_path):
    told = []
    dataset = PairDataset(
        TrainingRequest([trained[1] / "pairs.tsv"], tmp_path / "a.openbook", CHOICES, pairs=True),
        None,
        lambda *each: Quiet(),
    )
    (tmp_path / "a.openbook.training").mkdir(exist_ok=True)
    dataset.tokenize(make_recipe(CHOICES))
    sample = dataset.samples(trained[0].transformer, 10.0, lambda *texts: told.append(texts))
    for seconds in (5, 12, 15, 23):
        sample({"event": "validation", "seconds": seconds, "step": 1})
    sample({"event": "step", "seconds": 99, "step": 1})
    assert len(told) == 2 and told[0][0] != told[1][0] and told[0][1].startswith(" → ")


class Quiet:
    def __enter__(self):
        return lambda amount: None

    def __exit__(self, *error):
        pass


@pytest.mark.parametrize("encoder_layers", [None, 0])
def test_a_plan_picks_everything(tmp_path, encoder_layers):
    events = []
    pairs = write_pairs(tmp_path / "pairs.tsv", 2000)
    choices = {"minutes": 1} | ({} if encoder_layers is None else {"encoder_layers": encoder_layers})
    request = TrainingRequest([pairs], tmp_path / "a.openbook", choices, pairs=True, device="cpu")
    plan = TrainingRun(request, [events.append]).plan()
    recipe = plan.recipe
    assert recipe.minutes == 1 and recipe.label_smoothing == 0.1
    assert (recipe.encoder_layers > 0, recipe.position) == (
        (True, "relative") if encoder_layers is None else (False, "rotary")
    )
    assert [event["event"] for event in events] == ["prepared", "plan"]
    assert not (tmp_path / "a.openbook").exists()


@pytest.mark.parametrize(
    ("changed", "choices", "reason"),
    [
        ({}, {"tokenizer": "unigram"}, "not unigram; leave it out, or give `?tokenizer"),
        ({"pairs": False, "conversations": True}, {}, "for books and pairs"),
        ({"base_model": "words"}, {}, "not BPE"),
    ],
)
def test_bpe_dropout_without_byte_pairs_is_refused_before_anything_is_read(tmp_path, changed, choices, reason):
    if "base_model" in changed:
        write_pairs(tmp_path / "pairs.tsv")
        words = CHOICES | {"tokenizer": "words", "steps": 1}
        changed = {"base_model": tmp_path / "words.openbook"}
        openbook.train(pairs=tmp_path / "pairs.tsv", output=changed["base_model"], device="cpu", **words)
    asked = {"pairs": True} | changed
    request = TrainingRequest(
        [tmp_path / "missing.tsv"], tmp_path / "a.openbook", choices | {"bpe_dropout": 0.1}, **asked
    )
    with pytest.raises(OpenbookError, match=reason):
        TrainingRun(request).run()
