"""Moved to `text/printable.py`; this name goes as soon as nothing imports it."""

from openbook.text.printable import excerpt as excerpt
from openbook.text.printable import printable as printable
