"""Which 8-bit encoding a text is in, judged by the letters of the languages that use it.

Bytes mean other letters in each encoding. The right encoding gives letters that one language has, at about the rates
at which it has them; a wrong one gives letters that occur together in no language, capitals inside words, and signs
between letters.
"""

import math
from collections import Counter
from functools import cache
from typing import NamedTuple

SAMPLE = 1 << 14
"""Bytes to judge by; more would change nothing."""

LANGUAGES = {
    "western": (
        "éèàêçâôîùûïëœüæÿ éèêïñöçüàáæœôâ èàòùìéîó óíáéñúüª ãçáéíóêõâúàôüº àéóèíòçúïü éëïèüöóáêà äåöéüàá øåæéöäòüô äöåé "
        "áðíþöéæóúý üäößéèàá áéíóú ëç ôâŵêŷîï"
    ),
    "central": "łęóążśćńź íáéěýžřščůúťďňó áíéýčžšúľôťňäďóĺŕ áéöóőüíúű čšžćđ ăîâşţ ăîâșț",
    "turkish": "ıüşğçöâî",
    "baltic": "ėųšįūžąčę āīēšūņļģžčķ äõüöšž",
    "southern": "ĝĉŝĵŭĥ ħżġċà",
    "vietnamese": "đưôơâêăàáéèíóòúùìýãõũ\u0301\u0300\u0323\u0309\u0303",
    "cyrillic": (
        "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё оанивіертслкдмупязйьбгчхїцжєюшщфґ аиоетнрсвлдкпмзугяъбчщжхцюшйфь "
        "аоиенрјтсумдклпвгзбњчжшћхцљђџф анаіеросцлкутмдпвязыўьэчгшбйжёюхф аоиетнрсвмлдкпугзјбчцшжќхѓфџљњѕ"
    ),
    "greek": "αοιετνσρπκμυλςηόίάωέδγήχθύφβώξζψϊϋΐΰ",
    "hebrew": "יוהלאמרשתבנדעכפחקסגטזצםןךףץ\u05b8\u05b0\u05b7\u05b6\u05b4\u05bc\u05b5\u05b9\u05c1\u05b2\u05bb\u05c2",
    "arabic": (
        "ايلمنورتبهةعدسفكحقجأشصىطخضذثزغءإئظآؤ\u064e\u064f\u0650\u0651\u0652\u064b ايرندمهوتبسکشلزگقخفعچپجحطصآغضثژ"
    ),
    "thai": "านรอกเงมยลวดทสตะปบคหแจพชขใไผถโธณซญฟภศษฐ่้ัีิ์ืุู็ำๆฯ๊",
}
"""Letters beyond ASCII of languages, the most frequent first; a line for the languages that share encodings."""

ENCODINGS = {  # each list in order of preference: the Windows code page, its ISO sibling, then Macintosh and DOS
    "western": ("cp1252", "iso8859-15", "mac_roman", "cp850", "cp437"),
    "central": ("cp1250", "iso8859-2", "iso8859-16", "mac_latin2", "cp852"),
    "turkish": ("cp1254", "iso8859-9", "mac_turkish", "cp857"),
    "baltic": ("cp1257", "iso8859-13", "iso8859-4", "cp775"),
    "southern": ("iso8859-3",),
    "vietnamese": ("cp1258",),
    "cyrillic": ("cp1251", "iso8859-5", "koi8_u", "mac_cyrillic", "cp866"),
    "greek": ("cp1253", "iso8859-7", "mac_greek", "cp737"),
    "hebrew": ("cp1255", "iso8859-8", "cp862"),
    "arabic": ("cp1256", "iso8859-6"),
    "thai": ("cp874",),
}
RARITY = {"cp125": 0.0, "koi8": 0.0, "cp874": 0.0, "iso": 1.0, "mac": 4.0}
"""What an encoding costs for being rare, by the start of its name; the others, of DOS, cost `RAREST`."""
RAREST = 5.0

MARKS = "’“”«»–—…‘„‚‹›\xa0°§·€£©½¼¾²³¿¡"
"""Marks in prose; those in `INSIDE` also stand within words."""
INSIDE = "’·\xad"
MARK, STRANGE, IMPOSSIBLE = -4.5, -12.0, -16.0
"""Log-probabilities of a mark, of a letter or sign that the language does not have, of what no text has."""
CAPITAL, APOSTROPHE, MISPLACED = 2.5, 5.0, 8.0
"""Costs of a capital, of an apostrophe before a word, of a capital after a small letter or a mark within a word."""


class Judgement(NamedTuple):
    """An encoding, and by how much (in nats) its text is likelier than any other text these bytes could be."""

    encoding: str
    margin: float


class Occurrence(NamedTuple):
    """A character and what stands around it."""

    character: str
    after_letter: bool
    after_small: bool
    before_letter: bool


def judge(sample: bytes) -> Judgement:
    """The most probable 8-bit encoding of some text."""
    sample = sample[:SAMPLE]
    judged: list[tuple[float, str, str]] = []
    for group, encodings in ENCODINGS.items():
        for encoding in encodings:
            text = sample.decode(encoding, "replace")
            seen = _occurrences(text)
            score = max(_score(seen, alphabet) for alphabet in LANGUAGES[group].split())
            cost = next((cost for start, cost in RARITY.items() if encoding.startswith(start)), RAREST)
            judged.append((score - cost, encoding, text))
    best, encoding, text = max(judged, key=lambda each: each[0])
    others = [score for score, _, other in judged if other != text]
    return Judgement(encoding, best - max(others, default=-math.inf))


def _occurrences(text: str) -> Counter[Occurrence]:
    """How often each character beyond ASCII occurs in each surrounding."""
    padded = f" {text} "
    return Counter(
        Occurrence(character, before.isalpha(), before.islower(), after.isalpha())
        for before, character, after in zip(padded, text, padded[2:], strict=False)
        if character > "\x7f"
    )


@cache
def _log_probabilities(alphabet: str) -> dict[str, float]:
    """Of the letters of an alphabet, by Zipf's law."""
    total = sum(1 / (rank + 2) for rank in range(len(alphabet)))
    return {letter: -math.log((rank + 2) * total) for rank, letter in enumerate(alphabet)}


def _score(seen: Counter[Occurrence], alphabet: str) -> float:
    """The log-probability of the characters beyond ASCII in a language."""
    return math.fsum(count * _character_score(each, alphabet) for each, count in seen.items())


def _character_score(seen: Occurrence, alphabet: str) -> float:
    character = seen.character
    letters = _log_probabilities(alphabet)
    if character in letters:
        return letters[character]
    if (small := character.lower()) in letters:
        return letters[small] - CAPITAL - MISPLACED * seen.after_small
    if character in INSIDE:
        return MARK - APOSTROPHE * (seen.before_letter and not seen.after_letter)
    if character in MARKS:
        return MARK - MISPLACED * (seen.after_letter and seen.before_letter)
    return IMPOSSIBLE if character == "\ufffd" or character < "\xa0" or not character.isprintable() else STRANGE
