"""Keys and values of the tokens so far: their buffers, their positions, and the tree of beams over them."""
