"""The views as text in a terminal."""
