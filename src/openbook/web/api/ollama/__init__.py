"""Ollama's shape: chat, generate, and what its clients ask about models."""
