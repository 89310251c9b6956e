"""Folders of Hugging Face: read without trusting them, and written so that transformers takes them."""
