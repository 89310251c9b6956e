"""Watching a forward pass: what is recorded, when, and that nothing is left behind."""

import threading

import pytest
import torch
from torch import nn

import openbook.trace
from openbook.trace import note, trace, tracing
from strategies import DEFAULT, build, some_tokens


class Adder(nn.Module):
    """Notes its sum."""

    def forward(self, x, others=()):
        return note("sum", x + sum(others))


class Pair(nn.Module):
    """Calls the same kind of part twice, the second with what the first gave."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.nothing = Adder(), Adder(), nn.Identity()

    def forward(self, x):
        x = note("x", x)
        y = self.first(self.nothing(x))
        return self.second(torch.ones(1), (y, x))


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_a_note_outside_is_an_identity():
    x = torch.ones(2)
    assert note("x", x) is x
    assert not tracing()


def test_records_are_in_order_and_under_their_module():
    with trace(Pair()) as recorded:
        pass
    assert len(recorded) == 0
    model = Pair()
    with trace(model) as recorded:
        assert tracing()
        result = model(torch.ones(1))
    assert list(recorded) == ["x", "first.sum", "second.sum"]
    assert recorded["second.sum"].value is result
    assert (recorded["first.sum"].module, recorded["first.sum"].name) == ("first", "sum")


def test_inputs_name_recorded_values_also_through_identities_and_in_tuples():
    model = Pair()
    with trace(model) as recorded:
        model(torch.ones(1))
    assert recorded.inputs == {"": (None,), "nothing": ("x",), "first": ("x",), "second": (None, "first.sum", "x")}


def test_a_name_noted_twice_is_refused():
    model = Adder()
    with trace(model), pytest.raises(ValueError, match="sum is noted twice"):
        model(torch.ones(1))
        model(torch.ones(1))


def test_an_inner_trace_records_alone_and_the_outer_goes_on_after_it():
    model = Pair()
    with trace(model) as outer:
        with trace(model) as inner:
            model(torch.ones(1))
        assert tracing()
        assert not outer and not outer.inputs
        assert list(inner) == ["x", "first.sum", "second.sum"]
        model(torch.zeros(1))
    assert list(outer) == list(inner)
    assert outer["x"].value.item() == 0
    assert hooks(model) == 0


def test_an_exception_leaves_nothing_behind():
    model = build(DEFAULT)
    with pytest.raises(IndexError), trace(model) as recorded:
        model(torch.tensor([[10**6]]))
    assert not tracing()
    assert hooks(model) == 0
    assert not recorded._modules
    model(some_tokens(1, 3))


def test_an_exception_inside_the_pass_keeps_the_paths_right():
    model = build(DEFAULT)
    tokens = some_tokens(1, 3)
    with trace(model) as recorded:
        with pytest.raises(IndexError):
            model.token_embedding(torch.tensor([[10**6]]))
        model(tokens)
    assert "decoder.blocks.0.self_attention.scores" in recorded


def test_hooks_are_removed():
    model = build(DEFAULT)
    with trace(model):
        assert hooks(model) > 0
        model(some_tokens(1, 3))
    assert hooks(model) == 0


class Meeting(nn.Module):
    """Is in the middle of its pass while another thread is inside its child."""

    def __init__(self):
        super().__init__()
        self.child = Waiting()

    def forward(self, x):
        other = threading.Thread(target=self.child, args=(x,))
        other.start()
        self.child.inside.wait(5)
        note("here", x)
        self.child.go_on.set()
        other.join()
        return x


class Waiting(nn.Module):
    """Notes once it may go on."""

    def __init__(self):
        super().__init__()
        self.inside, self.go_on = threading.Event(), threading.Event()

    def forward(self, x):
        self.inside.set()
        self.go_on.wait(5)
        return note("there", x)


def test_threads_do_not_see_each_others_trace():
    model = Meeting()
    with trace(model) as recorded:
        model(torch.ones(1))
    assert list(recorded) == ["here"]
    assert recorded.inputs == {"": (None,)}


def test_two_threads_trace_the_same_model_at_once():
    model = build(DEFAULT)
    start, found = threading.Barrier(2), {}

    def run(name, tokens):
        start.wait(5)
        with trace(model) as recorded, torch.no_grad():
            model(tokens)
        found[name] = recorded

    batches = {"short": some_tokens(1, 3), "long": some_tokens(1, 20)}
    threads = [threading.Thread(target=run, args=item) for item in batches.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found["short"]) == list(found["long"])
    assert found["short"].inputs == found["long"].inputs
    for name, tokens in batches.items():
        assert found[name]["token_embedding.output"].value.shape[1] == tokens.shape[1]


def test_idle_notes_are_one_look_up_each(monkeypatch):
    """Their number does not grow with the tokens, and none records."""

    class Counting:
        looked_up = 0

        def get(self):
            self.looked_up += 1

    def refuse(*arguments):
        raise AssertionError("recorded outside a trace")

    model = build(DEFAULT)
    with trace(model) as recorded:
        model(some_tokens(1, 3))
    monkeypatch.setattr(openbook.trace.Trace, "_record", refuse)
    counts = []
    for length in (3, 20):
        counting = Counting()
        monkeypatch.setattr(openbook.trace, "_active", counting)
        model(some_tokens(1, length))
        counts.append(counting.looked_up)
    assert counts[0] == counts[1] <= len(recorded)


@torch.no_grad()
def test_traced_and_untraced_logits_agree():
    model, tokens = build(DEFAULT), some_tokens(2, 20)
    with trace(model):
        traced = model(tokens)
    torch.testing.assert_close(traced, model(tokens), rtol=1e-5, atol=1e-5)
