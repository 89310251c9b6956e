"""The oracles of beam search: by hand without cache, batch or tensors of beams; and every sequence there is."""

from itertools import product

from naive import naive_logits


def log_probabilities(model, tokens):
    return naive_logits(model, tokens).log_softmax(-1).tolist()


def naive_beam(model, prompt, beams, end_ids, rules, log_probabilities=log_probabilities):
    """The n-best as (tokens, score) of one prompt, from whole passes, one beginning at a time."""
    limit = min(beams.max_tokens, model.architecture.context + 1 - len(prompt))
    opened, finished = [((), 0.0)], []
    for length in range(1, limit + 1):
        candidates = []
        for tokens, total in opened:
            scores = allowed(log_probabilities(model, [*prompt, *tokens]), rules, length, limit, end_ids)
            candidates += [((*tokens, token), total + score) for token, score in scores.items()]
        candidates.sort(key=lambda each: -each[1])
        ends = [each[0][-1] in end_ids or length == limit for each in candidates]
        for (tokens, total), end in list(zip(candidates, ends, strict=True))[: beams.beam_size]:
            if end:
                finished.append((tokens, total / length**beams.length_penalty))
        finished = sorted(finished, key=lambda each: -each[1])[: beams.beam_size]
        opened = [each for each, end in zip(candidates, ends, strict=True) if not end][: beams.beam_size]
        if not opened or naive_is_over(finished, opened[0][1], length, limit, beams):
            break
    return finished[: beams.n_best]


def allowed(scores, rules, length, limit, end_ids):
    """Token: log-probability of what the rules let through."""
    if rules.forced_end is not None and length == limit:
        return {rules.forced_end: 0.0}
    if length <= len(rules.forced_prefix):
        return {rules.forced_prefix[length - 1]: 0.0}
    out = {*rules.suppressed, *(end_ids if length <= rules.min_tokens else ())}
    return {token: score for token, score in enumerate(scores) if token not in out}


def naive_is_over(finished, best, length, limit, beams):
    if beams.early_stopping == "never":
        hopes = [best / then**beams.length_penalty for then in range(length + 1, limit + 1)]
        return len(finished) >= beams.n_best and max(hopes, default=-1e9) <= finished[beams.n_best - 1][1]
    if len(finished) < beams.beam_size:
        return False
    return beams.early_stopping == "always" or best / length**beams.length_penalty <= finished[-1][1]


def best_of_all(model, prompt, length, end_id, penalty):
    """The best sequence of all that end with the end token or have this length, with its score."""
    vocabulary = model.architecture.vocab_size
    known = {}

    def total(tokens):
        if not tokens:
            return 0.0
        before = tokens[:-1]
        if before not in known:
            known[before] = log_probabilities(model, [*prompt, *before])
        return total(before) + known[before][tokens[-1]]

    others = [token for token in range(vocabulary) if token != end_id]
    ended = [(*begin, end_id) for n in range(length) for begin in product(others, repeat=n)]
    longest = list(product(others, repeat=length))
    return max(((tokens, total(tokens) / len(tokens) ** penalty) for tokens in ended + longest), key=lambda e: e[1])
