"""How every number of a forward pass follows: a traced run, derivations by rules, views of them."""
