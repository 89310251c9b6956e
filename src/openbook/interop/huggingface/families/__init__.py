"""One small file for each family of models: how to read and write its config.json, and what its tensors are called."""
