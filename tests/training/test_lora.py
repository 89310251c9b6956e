"""LoRA: nothing changes at first, only the targets change, and merging keeps what the model says."""

import pytest
import torch
from training_examples import same, weights

from openbook.errors import OpenbookError
from openbook.training.lora import add_lora, merge_lora
from strategies import DEFAULT, build, difference, some_tokens


def test_at_first_nothing_changes():
    model, ids = build(DEFAULT), some_tokens(2, 8)
    before = model(ids)
    add_lora(model, 3, ["query", "down"], seed=1)
    assert torch.equal(model(ids), before)


def test_merged_says_the_same_and_only_targets_changed():
    model, ids = build(DEFAULT), some_tokens(2, 8)
    before, trained = weights(model), []
    add_lora(model, 3, ["query", "down"], seed=1)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            trained.append(name)
            torch.nn.init.normal_(weight, std=0.1)
    assert len(trained) == 2 * 2 * 2  # blocks, targets, a and b
    unmerged = model(ids)
    merge_lora(model)
    after = weights(model)
    assert difference(model(ids), unmerged) < 1e-5
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    expected = ("self_attention.query", "feed_forward.down")
    assert changed == {f"decoder.blocks.{block}.{part}.weight" for block in (0, 1) for part in expected}
    rank = torch.linalg.matrix_rank(after["decoder.blocks.0.self_attention.query.weight"]
                                    - before["decoder.blocks.0.self_attention.query.weight"], rtol=1e-3)  # fmt: skip
    assert rank == 3
    assert all(weight.requires_grad for weight in model.parameters())


def test_to_merge_a_plain_model_changes_nothing():
    model = build(DEFAULT)
    before = weights(model)
    merge_lora(model)
    assert same(weights(model), before)


@pytest.mark.parametrize(
    ("rank", "targets", "words"),
    [
        (0, ["query"], "lora_rank 0: the rank must be 1"),
        (4, ["head"], "must be some of query"),
        (4, [], "none of them"),
    ],
)
def test_nonsense_is_refused(rank, targets, words):
    with pytest.raises(OpenbookError, match=words):
        add_lora(build(DEFAULT), rank, targets, seed=1)
