"""What is picked for pairs, with the speed of the machine given instead of measured."""

import pytest
import torch

from openbook.training.plan import plan as planning
from openbook.training.plan.measure import Speed, token_flops
from openbook.training.plan.pair_rules import PairRules
from openbook.training.plan.plan import make_plan

CPU = torch.device("cpu")
SOME = PairRules(30_000, 2_000_000, 2_000_000, 200.0)


@pytest.fixture
def machine(monkeypatch):
    """Gives a machine the rate of so many floating-point operations a second, and so many cores."""

    def of(rate: float, cores: int = 2) -> None:
        def measure_speed(architecture, length, rows, device, seconds, precision):
            return Speed(32, 1, device, torch.float32, {token_flops(architecture, 32): rate})

        monkeypatch.setattr(planning, "measure_speed", measure_speed)
        monkeypatch.setattr(Speed, "measure", lambda *_: None)
        monkeypatch.setattr(torch, "get_num_threads", lambda: cores)

    return of


def test_more_time_buys_a_larger_model_and_a_part_for_each_core(machine):
    machine(5e10)
    plans = [make_plan(SOME, {"minutes": minutes}, CPU, used=2).recipe for minutes in (1, 20, 600)]
    places = [
        [size[:3] for size in PairRules.SIZES].index((made.encoder_layers, made.layers, made.width)) for made in plans
    ]
    assert places == sorted(places) and places[0] == 0 < places[-1]
    for made in plans:
        assert made.batch_tokens // (made.micro_batch_size * made.context) >= 2


@pytest.mark.parametrize(
    ("given", "heads"),
    [
        ({"width": 128}, (4, 32)),
        ({"width": 64}, (4, 16)),
        ({"width": 192}, (3, 64)),
        ({"width": 512}, (8, 64)),
        ({"width": 128, "heads": 2}, (2, 64)),
        ({"width": 128, "head_width": 16}, (8, 16)),
        ({"width": 128, "encoder_layers": 0}, (2, 64)),
    ],
)
def test_heads_follow_the_width(machine, given, heads):
    machine(5e10)
    made = make_plan(SOME, {"minutes": 2.0, **given}, CPU, used=2).recipe
    assert (made.heads, made.head_width) == heads


def test_a_step_is_not_cut_into_parts_too_small_for_a_thread(machine):
    machine(5e10, cores=64)
    made = make_plan(SOME, {"minutes": 2.0, "batch_tokens": 2048}, CPU, used=2).recipe
    assert made.micro_batch_size * made.context == 512
