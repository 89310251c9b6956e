"""OpenAI's responses: text in, text and tool calls out, nothing kept."""
