"""Learning from conversations: the answers alone are learned, and no conversation knows of another in its row."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from training_examples import TINY, recipe

import openbook
from openbook.errors import OpenbookError
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import TokenRules
from openbook.text.chat.chat_tokenizer import ChatTokenizer
from openbook.training.data.conversation_dataset import hold_out
from openbook.training.data.conversation_task import ConversationTask, PackedConversations
from openbook.training.data.tokenization import TokenizedConversations
from openbook.training.initialize import initialize
from openbook.training.loss import IGNORE_INDEX, hidden_states
from openbook.training.recipe import build_architecture
from openbook.training.report.display import Display
from openbook.transformer.transformer import Transformer

CPU = torch.device("cpu")
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)


def conversations(count, seed=0, longest=9, beginning=()):
    """Conversations of `beginning`, then 2 to `longest` tokens of which the second half is the answer."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, longest + 1, count)
    ids, answers = [], []
    for length in lengths:
        ids.append(np.concatenate([beginning, generator.integers(0, 40, length)]).astype(np.int64))
        answers.append(np.arange(len(ids[-1])) >= len(beginning) + (length + 1) // 2)
    starts = np.concatenate(([0], np.cumsum([len(each) for each in ids])))
    return TokenizedConversations(np.concatenate(ids), starts, np.concatenate(answers), lengths)


def model_of(**changes):
    model = Transformer(build_architecture(recipe(**changes)))
    initialize(model, 0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model


def task_of(found, **changes):
    made = recipe(**changes)
    rows = PackedConversations(found, made.context)
    return ConversationTask(made, rows, rows, CPU, torch.float32, None)


def one_by_one(model, found):
    """The summed surprise of all answers and how many tokens they have, a conversation at a time."""
    nats, counted = 0.0, 0
    for start, end in zip(found.starts[:-1], found.starts[1:], strict=True):
        ids = torch.from_numpy(found.ids[start:end])[None]
        belongs = torch.from_numpy(found.answer_mask[start + 1 : end])
        losses = F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="none")
        nats, counted = nats + float(losses[belongs].double().sum()), counted + int(belongs.sum())
    return nats, counted


BEGINNING = (7, 3, 9, 3, 1)


@pytest.mark.parametrize("beginning", [(), BEGINNING])
@pytest.mark.parametrize("position", ["rotary", "learned"])
@torch.no_grad()
def test_a_conversation_in_a_row_of_many_is_scored_as_it_is_alone(position, beginning):
    found, model = conversations(12, beginning=beginning), model_of(position=position)
    task = task_of(found)
    assert max(map(len, task.train.rows)) > 2
    assert task.train.prefix_length == len(beginning)
    score = task.evaluate(model)
    nats, counted = one_by_one(model, found)
    assert score.tokens == counted
    assert score.nats == pytest.approx(nats, rel=1e-5)
    assert score.bytes == found.answer_bytes.sum()


@pytest.mark.parametrize("beginning", [(), BEGINNING])
def test_learning_is_learning_the_answers_alone(beginning):
    found, model = conversations(12, beginning=beginning), model_of()
    task = task_of(found, batch_tokens=16 * 20)
    batch = task.train.batch(task.train.rows, CPU)
    count = int((batch.labels != IGNORE_INDEX).sum())
    total = task.forward_backward(model, batch, 1 / count)
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    loss = torch.zeros(())
    for start, end in zip(found.starts[:-1], found.starts[1:], strict=True):
        ids = torch.from_numpy(found.ids[start:end])[None]
        belongs = torch.from_numpy(found.answer_mask[start + 1 : end])
        loss = loss + F.cross_entropy(model(ids[:, :-1])[0][belongs], ids[0, 1:][belongs], reduction="sum")
    (loss / count).backward()
    torch.testing.assert_close(total, (loss / count).detach(), rtol=1e-5, atol=1e-6)
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-4, atol=1e-6)


def test_other_conversations_and_questions_change_nothing():
    found, model = conversations(12), model_of()
    rows = PackedConversations(found, 16)
    pack = next(row for row in rows.rows if len(row) > 1)
    before = hidden_states(model, rows.batch([pack], CPU))
    changed = replace(found, ids=found.ids.copy())
    start, end = found.starts[pack[0]], found.starts[pack[0] + 1]
    changed.ids[start:end] = (changed.ids[start:end] + 1) % 40
    after = hidden_states(model, PackedConversations(changed, 16).batch([pack], CPU))
    length = end - start - 1
    assert not torch.equal(before[:, :length], after[:, :length])
    assert torch.equal(before[:, length:], after[:, length:])


def test_what_all_begin_with_stands_in_a_row_once():
    found = conversations(12, beginning=BEGINNING)
    rows = PackedConversations(found, 16)
    batch = rows.batch(rows.rows, CPU)
    assert (batch.target[:, :5] == torch.tensor(BEGINNING)).all() and (batch.labels[:, :5] == IGNORE_INDEX).all()
    assert rows.tokens == int((batch.positions >= 0).sum()) == found.lengths.sum() - 12 - 5 * (12 - len(rows.rows))
    assert int((batch.labels != IGNORE_INDEX).sum()) == found.answer_mask.sum()


def test_the_beginning_that_all_share_ends_before_what_is_told():
    """Each tells the first token of its answer itself, from a token of its own."""
    ids = np.array([5, 6, 7, 1, 5, 6, 7, 2, 5, 6, 7, 1, 5])
    answers = np.array([0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1], bool)
    found = TokenizedConversations(ids, np.array([0, 4, 8, 13]), answers, np.array([1, 2, 2]))
    assert PackedConversations(found, 16).prefix_length == 1
    assert PackedConversations(found.select(np.array([0, 2])), 16).prefix_length == 2
    assert PackedConversations(found, 2).prefix_length == 0  # nothing fits


def test_an_epoch_visits_every_row_once():
    task = task_of(conversations(60), micro_batch_size=1, batch_tokens=16)
    count = len(task.train.rows)
    for epoch in range(2):
        seen = [next(iter(task.batches(epoch * count + step)))[0].target for step in range(count)]
        wanted = [task.train.batch([row], CPU).target for row in task.train.rows]
        assert sorted(each.flatten().tolist() for each in seen) == sorted(each.flatten().tolist() for each in wanted)


def test_what_is_too_long_is_left_out():
    found = conversations(40)
    rows = PackedConversations(found, 6)
    assert set(rows.fitting) == set(np.flatnonzero(found.lengths <= 7))
    assert len(rows.fitting) < 40


def test_a_part_is_held_out_and_always_the_same():
    found = conversations(400)
    train, validation = hold_out(found, 0.2)
    assert len(train) + len(validation) == 400
    assert 50 < len(validation) < 110
    again = hold_out(found.select(np.arange(400)[::-1].copy()), 0.2)[1]
    assert sorted(np.split(again.ids, again.starts[1:-1]), key=lambda ids: ids.tobytes())[0].tolist() in [
        ids.tolist() for ids in np.split(validation.ids, validation.starts[1:-1])
    ]
    with pytest.raises(OpenbookError, match="too few conversations"):
        hold_out(conversations(1), 0.5)


COLOURS = {"grass": "green", "snow": "white", "coal": "black", "blood": "red", "the sky": "blue", "gold": "yellow"}


def lines(question):
    asked = [(question.format(thing), f"{thing} is {colour}.") for thing, colour in COLOURS.items()]
    return "\n".join(json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in asked)


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """A folder with a tiny model that has a chat template, and two files of conversations."""
    folder = tmp_path_factory.mktemp("talker")
    (folder / "book.txt").write_text(" ".join(f"What colour is {thing}? {c}." for thing, c in COLOURS.items()) * 40)
    model = openbook.train(folder / "book.txt", folder / "plain.openbook",
                           **TINY | {"context": 48, "width": 32, "vocab_size": 300, "batch_tokens": 96})  # fmt: skip
    model.metadata = replace(model.metadata, chat_template=TEMPLATE)
    model.save(folder / "base.openbook")
    (folder / "asked.jsonl").write_text(lines("What colour is {}?"))
    (folder / "other.jsonl").write_text(lines("Tell me the colour of {}."))
    return folder


LEARN_FACTS = {
    "steps": 200,
    "optimizer": "muon",
    "matrix_lr": 0.02,
    "adamw_lr": 0.0006,
    "embedding_lr": 0.02,
    "lm_head_lr": 0.01,
    "norm_lr": 0.006,
}
LEARN = {"steps": 150, "batch_tokens": 480, "micro_batch_size": 4, "dropout": 0.0, "precision": "float32"}


def test_facts_are_learned_and_answered(talker):
    before = openbook.load(talker / "base.openbook")
    model = openbook.train(
        conversations=talker / "asked.jsonl", validation=talker / "other.jsonl", base_model=talker / "base.openbook",
        output=talker / "facts.openbook",
        **LEARN | LEARN_FACTS)  # fmt: skip
    assert model.metadata.chat_template == before.metadata.chat_template
    right = sum(ask(model, thing) == f"{thing} is {colour}." for thing, colour in COLOURS.items())
    assert right >= 5
    record = model.metadata.training
    assert record["bits_per_byte"] > 0
    assert [file["name"] for file in record["data"]] == ["asked.jsonl", "other.jsonl"]


def test_of_a_few_none_is_hold_out(talker):
    told = {}
    openbook.train(
        conversations=talker / "asked.jsonl", base_model=talker / "base.openbook", output=talker / "few.openbook",
        callbacks=[lambda event: told.setdefault(event["event"], event)], **LEARN | {"steps": 2})  # fmt: skip
    assert told["prepared"]["scored"] == "learned" and "none of them held out" in told["prepared"]["lines"][0]
    assert told["prepared"]["train_bytes"] == told["prepared"]["validation_bytes"]
    assert told["tokens"]["train"] == told["tokens"]["validation"]


@torch.no_grad()
def test_the_least_probable_token_of_each_answer_is_found():
    found, model = conversations(12, beginning=BEGINNING), model_of()
    task = task_of(found, micro_batch_size=3)
    expected = []
    for index in np.concatenate(task.train.rows):
        ids = torch.from_numpy(found[index])[None]
        belongs = torch.from_numpy(found.answer_mask[found.span(index)][1:].copy())
        chances = model(ids[:, :-1])[0].softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        expected.append(chances[belongs].min())
    model.train()
    torch.testing.assert_close(task.least_probabilities(model), torch.stack(expected), rtol=1e-4, atol=1e-6)
    assert model.training
    assert task.metrics(model) == {"known": sum(float(each) > 0.5 for each in expected), "conversations": 12}


def ask(model, thing):
    """What a greedy answer to the question for its colour is."""
    chat = ChatTokenizer(model.tokenizer, TEMPLATE)
    prompt = chat.encode([{"role": "user", "content": f"What colour is {thing}?"}])
    rules = TokenRules(end_ids=chat.tokenizer.end_ids)
    chosen = generate(model.engine, [prompt], Sampling(temperature=0, max_tokens=40), rules)
    return model.tokenizer.decode([each.token_id for each in chosen], skip_special=True)


@pytest.mark.parametrize("count", [1, 3])
def test_the_default_teaches_however_few_there_are(talker, count):
    """Neither minutes nor steps are given: the run ends when all is known, and every answer comes back."""
    (talker / "some.jsonl").write_text("\n".join(lines("What colour is {}?").splitlines()[:count]))
    told = {}
    model = openbook.train(
        conversations=talker / "some.jsonl", base_model=talker / "base.openbook",
        output=talker / f"taught-{count}.openbook",
        callbacks=[lambda event: told.setdefault(event["event"], event)], precision="float32", seed=2)  # fmt: skip
    assert told["plan"]["recipe"]["stop_when_known"] and told["plan"]["recipe"]["steps"] >= 100
    assert told["saved"]["stop_reason"] == "learned"
    assert told["saved"]["step"] < told["plan"]["recipe"]["steps"]
    assert told["saved"]["known"] == told["saved"]["conversations"] == count
    for thing, colour in list(COLOURS.items())[:count]:
        assert ask(model, thing) == f"{thing} is {colour}."


def test_what_contradicts_itself_is_counted(talker, capsys):
    (talker / "both.jsonl").write_text(
        '{"prompt": "What colour is grass?", "answer": "grass is green."}\n'
        '{"prompt": "What colour is grass?", "answer": "grass is red."}\n'
    )
    display, told = Display(Console(width=200)), {}
    openbook.train(
        conversations=talker / "both.jsonl", base_model=talker / "base.openbook", output=talker / "both.openbook",
        callbacks=[display, lambda event: told.setdefault(event["event"], event)], steps=30, stop_when_known=True,
        precision="float32")  # fmt: skip
    assert told["saved"]["stop_reason"] == "finished" and told["saved"]["step"] == 30
    assert told["saved"]["known"] < 2
    assert "of the answers are not known yet. More --steps (now 30) would teach them" in capsys.readouterr().out


def test_steps_that_are_given_are_all_taken(talker):
    told = {}
    openbook.train(
        conversations=talker / "asked.jsonl", base_model=talker / "base.openbook", output=talker / "few.openbook",
        callbacks=[lambda event: told.setdefault(event["event"], event)], overwrite=True,
        **LEARN | {"steps": 8})  # fmt: skip
    recipe = told["plan"]["recipe"]
    assert not recipe["stop_when_known"] and recipe["warmup_steps"] == 1  # not ten, of eight
    assert told["saved"]["step"] == 8 and told["saved"]["stop_reason"] == "finished"
    with pytest.raises(OpenbookError, match=r"stop_when_known.*: is for conversations"):
        openbook.train(talker / "book.txt", talker / "no.openbook", stop_when_known=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base_model": None}, "base_model"),
        ({"base_model": "plain.openbook"}, "plain.openbook: has no chat template"),
        ({"conversations": "bad.jsonl"}, "bad.jsonl: line 2"),
        ({"conversations": "none.jsonl"}, "none.jsonl"),
        ({"context": 4}, "context 4"),
        ({"validation": None, "validation_fraction": 2.0}, "validation_fraction 2"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(talker, given, said):
    (talker / "bad.jsonl").write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "a"}\n')
    asked = {"conversations": "asked.jsonl", "validation": "other.jsonl", "base_model": "base.openbook"} | given
    named = {
        key: talker / value if isinstance(value, str) else value for key, value in asked.items() if key != "context"
    }
    with pytest.raises(OpenbookError, match=said):
        openbook.train(output=talker / "bad.openbook", **named, **LEARN | {"context": given.get("context", 48)})
