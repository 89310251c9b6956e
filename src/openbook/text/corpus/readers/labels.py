"""Names of encodings, read as browsers read them (https://encoding.spec.whatwg.org): old names mean supersets."""

import codecs

SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "koi8-r": "koi8_u",
}
"""Codec → the one that reads its text and more."""

OTHER_NAMES = {
    "dos-874": "cp874",
    "iso-8859-8-e": "iso8859-8",
    "iso-8859-8-i": "iso8859-8",
    "logical": "iso8859-8",
    "visual": "iso8859-8",
    "macintosh": "mac_roman",
    "mac": "mac_roman",
    "unicode-1-1-utf-8": "utf-8",
    "unicode11utf8": "utf-8",
    "unicode20utf8": "utf-8",
    "windows-31j": "cp932",
    "windows-874": "cp874",
    "windows-949": "cp949",
    "ks_c_5601-1989": "cp949",
    "iso-ir-149": "cp949",
    "iso-ir-58": "gb18030",
    "csiso58gb231280": "gb18030",
    "chinese": "gb18030",
    "big5-hkscs": "big5hkscs",
    "cn-big5": "big5hkscs",
    "koi": "koi8_u",
    "koi8": "koi8_u",
    "koi8-ru": "koi8_u",
}
"""Names that Python does not know."""


def codec_of(label: str) -> str | None:
    """Python's codec for the name of an encoding; None if it has none for text.

    The name of a codec that is its own superset is given as Python writes it.
    """
    name = label.strip().lower().removeprefix("x-")
    name = OTHER_NAMES.get(name, name)
    try:
        " ".encode(name)  # refuses codecs that are not for text
        codec = codecs.lookup(name).name
    except (LookupError, UnicodeError, ValueError):
        return None
    return SUPERSETS.get(codec, codec.replace("-", "_") if codec.startswith("mac") else codec)
