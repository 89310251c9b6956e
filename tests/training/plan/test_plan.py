"""The one knob: more time or a faster machine buys a larger model; what is given stays; reasons are told."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from openbook.errors import OpenbookError
from openbook.training.optimizer import orthogonalize, parameter_group
from openbook.training.plan import fine_tuning
from openbook.training.plan import plan as planning
from openbook.training.plan.book_rules import BookRules
from openbook.training.plan.fine_tuning import BaseModel, UntilKnown, plan_fine_tuning
from openbook.training.plan.measure import Speed, muon_flops, token_flops
from openbook.training.plan.plan import format_epochs, make_plan, size_reason
from openbook.training.plan.rules import batch_size
from openbook.training.recipe import build_architecture, make_recipe
from openbook.transformer.transformer import Transformer

CPU = torch.device("cpu")
MEGABYTE = BookRules(1_000_000)
SIZES = [(size.layers, size.width) for size in BookRules.SIZES]


@pytest.fixture
def machine(monkeypatch):
    """A machine of a stated rate, so that plans do not depend on the one at hand."""

    def of(rate: float) -> None:
        def measure_speed(architecture, length, rows, device, seconds, precision):
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            return Speed(length, 1, device, dtype, {token_flops(architecture, length): rate})

        monkeypatch.setattr(planning, "measure_speed", measure_speed)
        monkeypatch.setattr(fine_tuning, "measure_speed", measure_speed)
        monkeypatch.setattr(Speed, "measure", lambda *_: None)

    return of


def size_of(made) -> tuple[int, int]:
    return made.recipe.layers, made.recipe.width


def test_more_time_never_buys_a_smaller_model(machine):
    machine(2e11)
    plans = [make_plan(MEGABYTE, {"minutes": minutes}, CPU, used=2) for minutes in (0.25, 1, 5, 20, 120)]
    places = [SIZES.index(size_of(made)) for made in plans]
    assert places == sorted(places) and places[0] == 0 and places[-1] > places[1]
    batches = [made.recipe.batch_tokens for made in plans]
    assert batches == sorted(batches)
    assert plans[0].recipe.dropout == 0 and plans[-1].recipe.dropout > 0


def test_a_faster_machine_gets_a_larger_model(machine):
    machine(2e10)
    slow = make_plan(MEGABYTE, {"minutes": 2}, CPU, used=2)
    machine(2e12)
    fast = make_plan(MEGABYTE, {"minutes": 2}, CPU, used=2)
    assert size_of(slow) < size_of(fast)
    assert slow.tokens >= BookRules.SIZES[SIZES.index(size_of(slow))].tokens


def test_little_text_gets_a_small_model_and_much_dropout(machine):
    machine(2e12)
    little = make_plan(BookRules(100_000), {"minutes": 10}, CPU, used=2)
    much = make_plan(BookRules(100_000_000), {"minutes": 10}, CPU, used=2)
    assert size_of(little) < size_of(much)
    assert little.recipe.dropout > much.recipe.dropout == 0
    assert little.recipe.bpe_dropout > much.recipe.bpe_dropout == 0
    assert (
        little.recipe.tied_embeddings
        and little.recipe.embedding_lr < much.recipe.embedding_lr
        and not much.recipe.tied_embeddings
    )


def test_the_rate_of_the_embedding_follows_what_it_is_tied_to(machine):
    machine(2e12)
    for tied in (False, True):
        made = make_plan(BookRules(100_000), {"minutes": 10, "tied_embeddings": tied}, CPU, used=2)
        assert made.recipe.tied_embeddings == tied and made.recipe.embedding_lr == (0.02 if tied else 0.1)


def test_what_has_no_joins_is_never_spelled_otherwise(machine):
    machine(2e12)
    made = make_plan(BookRules(100_000), {"minutes": 10, "tokenizer": "bytes"}, CPU, used=2)
    assert made.epochs > 6 and made.recipe.bpe_dropout == 0


def test_a_model_that_does_not_fit_is_not_picked(machine, monkeypatch):
    machine(1e18)
    text = BookRules(10**12)
    monkeypatch.setattr("openbook.training.plan.memory.machine_memory", lambda: 1e9)
    made = make_plan(text, {"minutes": 60}, CPU, used=2)
    assert size_of(made) < SIZES[-1]


def test_what_is_given_stays(machine):
    machine(2e11)
    given = {"minutes": 3.0, "layers": 1, "width": 96, "vocab_size": 700, "batch_tokens": 512, "dropout": 0.5}
    made = make_plan(MEGABYTE, given, CPU, used=2)
    assert {name: getattr(made.recipe, name) for name in given} == given
    assert build_architecture(made.recipe).width == 96


def test_steps_end_a_run_and_no_minutes(machine):
    machine(2e11)
    made = make_plan(MEGABYTE, {"steps": 40, "batch_tokens": 1024}, CPU, used=2)
    assert (made.recipe.steps, made.recipe.minutes) == (40, None)
    assert made.tokens == 40 * 1024


@pytest.mark.parametrize("size", [100, 5_000, 1_000_000, 10**10])
def test_any_amount_of_text_can_be_planned(machine, size):
    machine(2e11)
    text = BookRules(size)
    made = make_plan(text, {}, CPU, used=2)
    assert made.recipe.minutes == text.default_minutes()
    assert {"layers", "vocab_size", "batch_tokens", "dropout"} <= made.reasons.keys()


def test_precision_is_settled(machine):
    machine(2e11)
    assert make_plan(MEGABYTE, {"precision": "bfloat16"}, CPU, used=0).recipe.precision == "bfloat16"
    assert make_plan(MEGABYTE, {}, CPU, used=0).recipe.precision == "float32"


def test_going_on_keeps_the_architecture_and_learns_gently(machine):
    machine(2e11)
    architecture = build_architecture(make_recipe({}))
    made = plan_fine_tuning(MEGABYTE, {}, BaseModel(architecture), CPU, used=0)
    assert made.recipe.optimizer == "adamw" and made.recipe.relative_lr
    assert made.recipe.adamw_lr < make_recipe({}).adamw_lr
    assert made.recipe.context == architecture.context == 256
    lora = plan_fine_tuning(MEGABYTE, {}, BaseModel(architecture, lora=True), CPU, used=0)
    assert lora.recipe.adamw_lr > made.recipe.adamw_lr
    with pytest.raises(OpenbookError, match="context is 256"):
        plan_fine_tuning(MEGABYTE, {"context": 512}, BaseModel(architecture), CPU, used=0)


def test_what_is_to_be_read_often_is_given_its_time(machine):
    machine(2e10)
    architecture = build_architecture(make_recipe({}))
    some = BookRules(2_000_000)
    made = plan_fine_tuning(some, {}, BaseModel(architecture), CPU, used=60, epochs=12)
    assert made.epochs == pytest.approx(12, rel=0.1)
    assert made.recipe.minutes == pytest.approx(made.seconds / 60, abs=1)
    assert plan_fine_tuning(some, {"minutes": 3}, BaseModel(architecture), CPU, used=60, epochs=12).recipe.minutes == 3


@pytest.mark.parametrize("rate", [1e8, 1e11, 1e13])
@pytest.mark.parametrize("rows", [1, 3, 22, 100])
def test_few_conversations_get_steps_not_time(machine, rows, rate):
    """However slow the machine: enough steps of one row each, or sixteen readings."""
    machine(rate)
    architecture = build_architecture(make_recipe({"layers": 4, "width": 256, "context": 512}))
    rules = BookRules(10_000)
    made = plan_fine_tuning(rules, {"context": 256}, BaseModel(architecture), CPU, 30, 12, UntilKnown(rows, 256)).recipe
    assert made.minutes is None and made.stop_when_known
    assert made.batch_tokens == 256 and made.warmup_steps == 10
    assert max(100, 16 * rows) <= made.steps <= 5000
    timed = plan_fine_tuning(
        rules, {"context": 256, "minutes": 2}, BaseModel(architecture), CPU, 30, 12, UntilKnown(rows, 256)
    ).recipe
    assert timed.minutes == 2 and timed.steps is None and not timed.stop_when_known
    assert timed.batch_tokens <= 256 * rows


def test_narrow_models_and_lora_have_rates_of_their_own_to_learn_by_heart(machine):
    machine(1e11)

    by_heart = UntilKnown(1, 64)

    def rate(width, lora=False, until_known=by_heart):
        architecture = build_architecture(make_recipe({"layers": 1, "width": width, "context": 64}))
        base = BaseModel(architecture, lora)
        return plan_fine_tuning(BookRules(10_000), {"context": 64}, base, CPU, 30, 12, until_known).recipe.adamw_lr

    assert rate(576) == rate(1152) == rate(64, until_known=None) == pytest.approx(8e-4)
    assert rate(288) == pytest.approx(16e-4) and rate(16) == pytest.approx(96e-4)
    assert rate(576, lora=True) == pytest.approx(5e-4)
    assert rate(576, lora=True, until_known=None) == pytest.approx(2e-3)


def test_speed_is_really_measured():
    architecture = build_architecture(make_recipe({"layers": 1, "width": 32, "head_width": 16, "context": 16}))
    speed = planning.measure_speed(architecture, 16, 64, CPU, seconds=1, precision="float32")
    assert 1e6 < speed.flops(architecture) < 1e15
    assert speed.seconds_per_token(architecture) == token_flops(architecture, 16) / speed.flops(architecture)


def test_an_update_s_own_products_are_counted():
    """Against counting them in `orthogonalize` itself, by PyTorch's counter."""
    architecture = build_architecture(make_recipe({"layers": 2, "width": 32, "head_width": 16, "context": 16}))
    model = Transformer(architecture)
    matrices = [
        weight.detach() for name, weight in model.named_parameters() if parameter_group(name, weight) == "matrix"
    ]
    with FlopCounterMode(display=False) as counter:
        for matrix in matrices:
            orthogonalize(matrix[None], torch.float32)
    assert muon_flops(architecture) == counter.get_total_flops()
    speed = Speed(16, 1, CPU, torch.float32, {token_flops(architecture, 16): 1e9})
    tokens = planning.tokens_in(60, architecture, speed)
    steps = tokens / batch_size(tokens)
    spent = tokens * token_flops(architecture, 16) + steps * muon_flops(architecture)
    assert spent == pytest.approx(0.9 * 60e9, rel=0.01)


@pytest.mark.parametrize(
    ("given", "flops", "said"),
    [
        ({}, 1.24e10, "the largest that pays at 12 GFLOP/s, measured"),
        ({"layers": 2}, 3.4e8, "layers given, the largest that pays at 0.34 GFLOP/s, measured"),
        ({"layers": 2, "width": 16}, 2e13, "layers and width given; 20,000 GFLOP/s, measured"),
    ],
)
def test_the_reason_for_a_size_says_what_was_given(given, flops, said):
    assert size_reason(given, flops) == said


def test_epochs_are_readable():
    assert (format_epochs(1.26), format_epochs(526628.6)) == ("1.3 epochs", "526,629 epochs")
