"""Small translators with random weights, and what their tests share."""

from dataclasses import replace

from openbook.generation.engines.torch_engine import TorchEngine
from openbook.text.tokenizer.special_tokens import END, PADDING, SEPARATOR
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer
from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Norm, Position, Stack
from openbook.transformer.transformer import Transformer
from strategies import randomise

TEXT = "the cat sat on the mat and the dog sat on the log while rain fell "


def tokenizer() -> Tokenizer:
    """A vocabulary whose end token begins and ends what a decoder writes, as training picks it."""
    learned = train_tokenizer([TEXT * 20], "bpe", 290, (END, PADDING, SEPARATOR))
    end = learned.special.end[0]
    special = replace(learned.special, suffix=(end,), decoder_start=end, suppressed=(learned.special.separator,))
    return Tokenizer.from_json(learned.to_json(), special)


def architecture(vocab_size: int, context: int = 40, **changes: object) -> Architecture:
    norm = Norm(kind="layer", bias=True)
    attention = Attention(heads=2, key_value_heads=2, head_width=8, bias=True, output_bias=True)
    block = Block(attention=attention, feed_forward=FeedForward(width=24), before=norm)
    stack = Stack(blocks=(block, block), position=Position(kind="sinusoidal"), final_norm=norm)
    decoder = replace(stack, blocks=2 * (replace(block, cross_attention=attention),))
    return Architecture(vocab_size=vocab_size, width=16, context=context, encoder=stack, decoder=decoder, **changes)


def translator_model(vocab_size: int, context: int = 40) -> Transformer:
    model = Transformer(architecture(vocab_size, context))
    randomise(model)
    return model.eval()


def engine(vocab_size: int, context: int = 40) -> TorchEngine:
    return TorchEngine(translator_model(vocab_size, context))
