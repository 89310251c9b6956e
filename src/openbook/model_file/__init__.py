"""The model file: everything a model needs, in one safetensors file."""
