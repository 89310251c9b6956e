"""Anthropic's shape: messages, counting tokens, models."""
