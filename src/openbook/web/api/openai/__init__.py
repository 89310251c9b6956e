"""OpenAI's shape: /v1/models, /v1/chat/completions, /v1/completions."""
