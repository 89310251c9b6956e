"""The traced run: what the model does untraced, and nothing else."""

from dataclasses import replace

import pytest
import torch
from traced_examples import ARCHITECTURES

from openbook.errors import OpenbookError
from openbook.explanation.derivations import relative_errors
from openbook.explanation.run import explain
from openbook.transformer.mask import positions_of
from openbook.transformer.transformer import Transformer
from strategies import DEFAULT, ENCODER_DECODERS, ORIGINAL, build, some_source, some_tokens


@pytest.mark.parametrize("spec", ARCHITECTURES.values(), ids=ARCHITECTURES)
@torch.no_grad()
def test_traced_and_untraced_logits_agree(spec):
    model, tokens = build(spec), some_tokens(2, 9)
    positions = positions_of(torch.arange(9) >= torch.tensor([[0], [3]]))
    for given in (None, positions):
        explained, plain = explain(model, tokens, given), model(tokens, given)
        torch.testing.assert_close(explained.trace["to_logits.logits"].value, plain, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(explained.logits, plain[:, -1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", ENCODER_DECODERS.values(), ids=ENCODER_DECODERS)
@torch.no_grad()
def test_traced_and_untraced_translations_agree(spec):
    model, source, target = build(spec), some_source(2, 7), some_tokens(2, 5)
    positions = positions_of(torch.arange(7) < torch.tensor([[7], [3]]))
    for given in (None, positions):
        explained = explain(model, target, source=source, source_positions=given)
        plain = model(target, source=source, source_positions=given)
        torch.testing.assert_close(explained.trace["to_logits.logits"].value, plain, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(explained.logits, plain[:, -1], rtol=1e-5, atol=1e-5)
        assert max(relative_errors(model, explained.trace).values()) < 1e-5


def test_a_translation_that_is_too_long_is_refused():
    with pytest.raises(OpenbookError, match="the source has 25 tokens; at most 24 can be explained"):
        explain(build(ORIGINAL), [1], source=[1] * 25)
    with pytest.raises(OpenbookError, match="the target has 25 tokens; at most 24 can be explained"):
        explain(build(ORIGINAL), [1] * 25, source=[1])
    roomy = replace(ORIGINAL, context=10**6)
    with pytest.raises(OpenbookError, match="the source has 6,000 tokens; at most 4,096 can be explained"):
        explain(build(roomy), [1], source=[1] * 6000)
    with pytest.raises(OpenbookError, match=r"the target has 4,000 tokens; at most 3,\d\d\d can be explained"):
        explain(build(roomy), [1] * 4000, source=[1] * 1000)


def test_it_goes_on_to_the_chosen_token():
    explained = explain(build(DEFAULT), [3, 1, 4, 1, 5])
    assert explained.tokens.tolist() == [[3, 1, 4, 1, 5]]
    assert explained.probabilities.sum().item() == pytest.approx(1)
    assert explained.choice.tolist() == [explained.logits[0].argmax().item()]
    assert list(explained.trace)[-2:] == ["probabilities", "choice"]
    assert max(relative_errors(explained.model, explained.trace).values()) < 1e-5


def test_dropout_is_off_and_the_mode_is_kept():
    torch.manual_seed(0)
    model = Transformer(DEFAULT, dropout=0.5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    explained = explain(model.train(), [1, 2, 3])
    assert model.training
    assert not explained.logits.requires_grad
    assert max(relative_errors(model, explained.trace).values()) < 1e-5


def test_an_empty_prompt_is_refused():
    with pytest.raises(OpenbookError, match="no tokens"):
        explain(build(DEFAULT), [])


def test_a_prompt_that_is_too_long_is_refused():
    with pytest.raises(OpenbookError, match="25 tokens; at most 24 can be explained"):
        explain(build(DEFAULT), [1] * 25)
    roomy = replace(DEFAULT, context=10**6)
    with pytest.raises(OpenbookError, match="at most 4,096 can be explained"):
        explain(build(roomy), [1] * 5000)
