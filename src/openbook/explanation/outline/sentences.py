"""One plain sentence for each step of the algorithm, fitted to this model and this prompt."""

from openbook.explanation.outline.facts import Facts, counted, decimal, percent
from openbook.transformer import architecture


def tokenize(facts: Facts, stack: str, template: int) -> str:
    """How the text became tokens."""
    count = len(facts.run.source or ()) if stack == "encoder" else facts.run.prompt_length
    size = facts.spec.source_vocab_size if stack == "encoder" else None
    sentence = (
        f"The text becomes {counted(count, 'token')}; each has its number in the vocabulary of "
        f"{size or facts.spec.vocab_size:,}."
    )
    if template:
        sentence += f" {counted(template, 'of them is', 'of them are')} the chat template's."
    return sentence


def start(facts: Facts) -> str:
    """What the decoder of an encoder-decoder begins with."""
    first = facts.quoted(facts.run.tokens[0])
    if facts.run.prompt_length == 1:
        return f"The decoder begins with {first}, which only says: start here."
    return f"The decoder reads {first} and the {facts.run.prompt_length - 1:,} tokens given after it."


def embed(facts: Facts) -> str:
    """The embedding."""
    sentence = f"Each token's number selects a row of a trained table: {facts.spec.width:,} numbers that stand for it."
    scale = facts.spec.embedding_scale
    return sentence if scale == 1 else f"{sentence} They are multiplied by {decimal(scale)}."


def positions(kind: str) -> str:
    """How the model learns where each token stands."""
    return {
        "rotary": "Each position has an angle for every pair of numbers; queries and keys will be rotated by it.",
        "sinusoidal": "A pattern of waves, another one for each position, is added to each vector.",
        "learned": "A trained vector for its position is added to each vector.",
        "relative": "Each distance of two tokens has a trained number for every head; it will be added to their score.",
    }[kind]


def norm(facts: Facts, path: str, stack: str) -> str:
    """A normalization."""
    followed, centred = facts.followed(stack), f"{path}.variance" in facts.trace
    spread = facts.last_row(f"{path}.{'variance' if centred else 'mean_square'}").item() ** 0.5
    how = "centred and divided by its spread" if centred else "divided by its size"
    return f"Each vector is {how} ({decimal(spread)} for {followed}), then each number is multiplied by its weight."


def query_key_value(spec: architecture.Attention, cross: bool, from_cache: bool) -> str:
    """The projections."""
    heads = f"{counted(spec.heads, 'head')} of {counted(spec.head_width, 'number')}"
    if cross and from_cache:
        return f"Each vector gives {heads} a query; keys and values of the source are in the cache since step 0."
    if cross:
        return f"The text being written gives {heads} their queries, the encoder's output their keys and values."
    sentence = (
        f"Each vector gives {heads} a query (what it looks for), a key (what it offers) and a value (what it gives)."
    )
    if spec.key_value_heads == spec.heads:
        return sentence
    return f"{sentence} {counted(spec.heads // spec.key_value_heads, 'head')} share each key and value."


def shared(spec: architecture.Attention, cached: int) -> str:
    """Keys and values as the heads use them."""
    parts = []
    if cached:
        parts.append(f"the keys and values of the {counted(cached, 'token')} before come from the cache")
    if spec.key_value_heads != spec.heads:
        parts.append(f"each key and value serves {counted(spec.heads // spec.key_value_heads, 'head')}")
    text = ", and ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def rotate(facts: Facts, stack: str) -> str:
    """The rotation of queries and keys."""
    at = facts.run.steps[facts.step].end - 1 if stack == "decoder" else len(facts.run.source or ()) - 1
    return (
        f"Queries and keys are rotated by the angles of their position ({facts.followed(stack)} stands at {at:,}), so "
        "that their products depend on the distance."
    )


def scores(facts: Facts, path: str, stack: str, head: int) -> str:
    """Queries against keys."""
    row = facts.value(f"{path}.scores")[head, -1]
    best = int(row.argmax())
    return (
        f"Each query is compared with each key; in head {head}, {facts.followed(stack)} fits "
        f"{facts.attended(path, stack, best)} best (score {decimal(row[best].item())})."
    )


def mask(facts: Facts, path: str, stack: str, spec: architecture.Attention) -> str:
    """What is hidden."""
    hidden = ["tokens that come later"] if stack == "decoder" and ".cross_attention" not in path else []
    if spec.window is not None:
        hidden.append(f"tokens {spec.window:,} or more away")
    value = "−∞" if spec.attention_function == "softmax" else "0"
    return f"{' and '.join(hidden) or 'Padding'} must not be looked at: their scores become {value}.".capitalize()


def softmax(facts: Facts, path: str, stack: str, spec: architecture.Attention, head: int) -> str:
    """From scores to shares."""
    row = facts.value(f"{path}.weights")[head, -1]
    best = int(row.abs().argmax())
    token, followed = facts.attended(path, stack, best), facts.followed(stack)
    if spec.attention_function == "none":
        share = decimal(row[best].item())
        return (
            f"There is no softmax: the scores are the weights; in head {head}, {followed} takes {token} {share} times."
        )
    sums, share = "add up to 1, less what the sink takes" if spec.sinks else "add up to 1", percent(row[best].item())
    return f"The scores become shares that {sums}; in head {head}, {followed} takes {share} from {token}."


def context(facts: Facts, stack: str, spec: architecture.Attention) -> str:
    """The weighted sum of values."""
    weights = "shares" if spec.attention_function == "softmax" else "weights"
    followed = facts.followed(stack)
    return f"Each token takes in the values by these {weights}, added up: what every head brings to {followed}."


def output(facts: Facts, spec: architecture.Attention) -> str:
    """The output matrix."""
    if spec.heads == 1:
        return f"What the head brought is turned into a vector of {facts.spec.width:,} numbers, which will be added."
    return f"What the {spec.heads} heads brought is mixed into one vector of {facts.spec.width:,} numbers."


def attention(facts: Facts, path: str, stack: str, spec: architecture.Attention, head: int) -> str:
    """The whole part in one sentence."""
    row = facts.value(f"{path}.weights")[head, -1]
    best = int(row.abs().argmax())
    followed, token = facts.followed(stack), facts.attended(path, stack, best)
    cross = ".cross_attention" in path
    if len(row) == 1 and not cross:
        return f"There is only {token} to look at so far, so it takes in its own value alone."
    share = decimal(row[best].item()) if spec.attention_function == "none" else percent(row[best].item())
    if facts.step > 0:
        what = "looks into the source" if cross else "looks at the tokens before it"
        return f"{followed} {what} and takes in what fits; in head {head}, {share} comes from {token}."
    what = "looks into the source" if cross else "looks at the others"
    return f"Each token {what} and takes in what fits; in head {head}, {followed} takes {share} from {token}."


def residual(facts: Facts, path: str, stack: str) -> str:
    """The sum."""
    before, added = facts.trace.inputs[path][0], facts.trace.inputs[f"{path}.dropout"][0]
    assert before is not None and added is not None
    size = facts.last_row(before).norm().item()
    share = facts.last_row(added).norm().item() / size if size else float("inf")
    length = f"{decimal(share)} times as long as" if share >= 2 else f"{percent(share)} as long as"
    followed = facts.followed(stack)
    return f"The result is added to each vector, so nothing is lost; what {followed} gets is {length} its vector was."


def feed_forward(facts: Facts, path: str, stack: str, spec: architecture.FeedForward) -> str:
    """The neurons, or the experts."""
    followed = facts.followed(stack)
    if spec.experts is not None:
        chosen = ", ".join(map(str, facts.last_row(f"{path}.chosen").tolist()))
        count, picked = counted(spec.experts.count, "expert"), spec.experts.experts_per_token
        return f"A router sends each token to {picked} of {count}; {followed} goes to {chosen}."
    hidden = facts.last_row(f"{path}.hidden")
    best = int(hidden.abs().argmax())
    return (
        f"{counted(spec.width, 'neuron')} look at each token alone; for {followed}, neuron {best:,} answers most "
        f"strongly ({decimal(hidden[best].item())})."
    )


def logits(facts: Facts) -> str:
    """One number for each token of the vocabulary."""
    row = facts.last_row("to_logits.logits")
    if not facts.run.steps[facts.step].finite:
        wrong = int((~row.isfinite()).sum())
        return f"{counted(wrong, 'logit')} of {len(row):,} are NaN or infinite: something before them went wrong."
    best = int(row.argmax())
    return (
        f"The vector of {facts.followed('decoder')} is compared with all {len(row):,} tokens of the vocabulary; "
        f"{facts.quoted(best)} gets the highest logit, {decimal(row[best].item())}."
    )


def probabilities(facts: Facts) -> str:
    """From logits to probabilities."""
    if not facts.run.steps[facts.step].finite:
        return "Softmax of logits that are not finite gives no probabilities."
    top = facts.value("probabilities").topk(min(2, facts.spec.vocab_size))
    first, *others = [
        f"{facts.quoted(t)} {percent(p)}" for p, t in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    ]
    return f"Softmax turns the logits into probabilities: {first}{''.join(f', then {other}' for other in others)}."


def choose(facts: Facts) -> str:
    """The choice."""
    step = facts.run.steps[facts.step]
    if not step.finite:
        return "No token can be chosen: the logits are not finite."
    token = facts.quoted(step.chosen.token_id)
    if step.drawn is None:
        return f"The most probable token is taken: {token}."
    return (
        f"A random number, {step.drawn:.3f} (seed {facts.run.settings.seed}), picks {token} among the probable tokens."
    )


def append(facts: Facts) -> str:
    """What happens next."""
    step = facts.run.steps[facts.step]
    if not step.finite:
        return "Nothing is appended; the answer ends here."
    token = facts.quoted(step.chosen.token_id)
    if facts.step + 1 < len(facts.run.steps):
        return f"{token} is written after the text, and the next step reads it: the same once more, for one token."
    ended = "it ends the answer" if facts.run.finish_reason == "end" else "as many tokens as asked for are written"
    return f"{token} is written, and {ended}."
