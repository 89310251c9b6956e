"""Adapters in the format of PEFT: adapter_config.json and adapter_model.safetensors, to read and to write."""
