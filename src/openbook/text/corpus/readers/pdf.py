"""PDF → text, page by page, with the optional pypdf."""

import logging
from collections.abc import Iterator
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.text.printable import printable_path


def read_pdf(path: Path) -> Iterator[str]:
    """The text of each page, followed by a blank line.

    Raises:
        OpenbookError: the file is locked or has no text, or pypdf is missing.
    """
    name = printable_path(path)
    try:
        from pypdf import PasswordType, PdfReader
    except ImportError:
        raise OpenbookError(f"{name}: reading PDF needs pypdf; run: pip install 'openbook[pdf]'") from None
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # its warnings about sloppy but readable files help nobody

    with path.open("rb") as file:
        reader = PdfReader(file)
        if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
            raise OpenbookError(f"{name}: locked with a password; save a copy without one")
        empty = True
        for page in reader.pages:
            # A lone surrogate comes from a broken font table and is not text.
            text = page.extract_text().replace("\0", "").encode("utf-8", "ignore").decode()
            if text.strip():
                empty = False
                yield text.rstrip() + "\n\n"
        if empty:
            raise OpenbookError(f"{name}: no text, probably scanned pages; run OCR on it (ocrmypdf) first")
