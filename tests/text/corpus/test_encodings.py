"""Books in the encodings that people's files are in: guessed, declared, damaged, named."""

from pathlib import Path

import pytest

from openbook.errors import OpenbookError
from openbook.text.corpus.prepare import prepare
from openbook.text.corpus.readers.alphabets import judge
from openbook.text.corpus.readers.document import read_document
from openbook.text.corpus.readers.encodings import detect_encoding
from openbook.text.corpus.readers.html import declared_encoding
from openbook.text.corpus.readers.labels import codec_of
from text.text_examples import prose

TEXTS = {
    "French": "La fièvre cessa à l'été ; « Où êtes-vous allé, mon frère ? » demanda-t-elle, déçue, près du château.",
    "Italian": "La città era già sveglia; più in là il caffè apriva, perché così è la felicità della gente.",
    "Catalan": "La nit que va arribar el vaixell, tothom era allà; això no és cap col·lecció, però què hi farem?",
    "Swedish": "När båten lade till vid bryggan såg fåren på från ängen; modern dukade bordet med bröd och färsk fisk.",
    "Finnish": "Pitkään aikaan ei kukaan ollut tullut saarelle näin myöhään syksyllä, mutta poika näki äitinsä.",
    "Dutch": "Het was één van die dagen; de zeeën waren kalm, de ideeën vlogen. Vóór het huis stond een tafel.",
    "German": "Über den Wäldern lag süßer Nebel; die Mädchen hörten schöne Geschichten.",
    "Greek": "Όταν το πλοίο έφτασε στο λιμάνι, όλη η οικογένεια περίμενε. Άρχισε να βρέχει, κι ο Άγγελος έφυγε.",
    "Polish": "Gdy statek przybił do brzegu, cała rodzina już czekała; śnieg leżał, źle się działo, ósma godzina.",
    "Czech": "Když loď přistála u břehu, celá rodina už čekala; žádný člověk neměl růži.",
    "Hungarian": "A fiú kézen fogta a húgát, és nézte az őszi földet; a tűz és a fű között öt madár ült.",
    "Turkish": "Gemi iskeleye yanaştığında bütün aile bekliyordu; çocuk küçük kız kardeşinin elini tuttu, ağladı.",
    "Lithuanian": "Berniukas laikė jaunesniąją seserį už rankos ir žiūrėjo į avis, kurios ganėsi pievoje šiąnakt.",
    "Russian": "Однажды весною, в час небывало жаркого заката, в Москве появились два гражданина.",
    "Ukrainian": "Хлопець тримав за руку меншу сестру й дивився на овець, що їли траву; ґанок і її дім.",
    "Hebrew": "כאשר הגיעה האונייה אל הנמל חיכתה כל המשפחה",
    "Arabic": "عندما وصلت السفينة إلى الميناء كانت العائلة كلها تنتظر",
    "Thai": "เมื่อเรือมาถึงท่า ทั้งครอบครัวก็รออยู่แล้ว",
    "Japanese": "昨日、東京へ行きました。今日は家にいます。本を読みます。",
    "Korean": "소년은 누이동생의 손을 잡고 풀을 뜯는 양들을 바라보았다.",
    "Chinese": "船靠岸的时候，全家人都在等着。男孩拉着妹妹的手，看着草地上的羊。",
}
ENCODINGS = {
    "French": ["cp1252", "iso8859-15", "mac_roman", "cp850"],
    "German": ["cp1252", "mac_roman", "cp850", "cp437"],
    "Greek": ["cp1253", "iso8859-7"],
    "Polish": ["cp1250", "iso8859-2", "cp852"],
    "Czech": ["cp1250", "iso8859-2"],
    "Hungarian": ["cp1250", "iso8859-2"],
    "Turkish": ["cp1254"],
    "Lithuanian": ["cp1257", "iso8859-13"],
    "Russian": ["cp1251", "koi8-r", "iso8859-5", "cp866"],
    "Ukrainian": ["cp1251", "koi8-u"],
    "Hebrew": ["cp1255"],
    "Arabic": ["cp1256", "iso8859-6"],
    "Thai": ["cp874"],
    "Japanese": ["cp932", "euc_jp", "iso2022_jp"],
    "Korean": ["cp949"],
    "Chinese": ["gb18030"],
}
CASES = [(language, encoding) for language in TEXTS for encoding in ENCODINGS.get(language, ["cp1252", "latin-1"])]


def read(path: Path, encoding: str | None = None) -> str:
    return "".join(read_document(path, encoding).chunks)


@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_a_sentence_is_read_in_the_usual_encodings_of_its_language(
    tmp_path: Path, language: str, encoding: str
) -> None:
    path = tmp_path / "book.txt"
    for text in (TEXTS[language], "A line in English.\n\n" * 50 + f"{TEXTS[language]}\n" * 30):
        text = text.encode(encoding, "ignore").decode(encoding)
        path.write_bytes(text.encode(encoding))
        assert read(path) == text


def test_one_odd_byte_in_english_is_western(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("The café was closed.".encode("cp1252"))
    assert read(tmp_path / "a.txt") == "The café was closed."
    assert detect_encoding(tmp_path / "a.txt").guess == "unsure"


def test_long_texts_are_judged_surely() -> None:
    text = TEXTS["French"] * 20
    assert judge(text.encode("cp1252")).encoding == "cp1252"
    assert judge(text.encode("cp1252")).margin > 100


@pytest.mark.parametrize("damage", [b"caf\xe9 ", b"\x80", b"\xc3"])
def test_damaged_utf8_stays_utf8(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes("drank café at the café near the naïve quay. ".encode() + damage)
    assert detect_encoding(path).name == "utf-8"
    assert read(path).startswith("drank café at the café near the naïve quay. ")
    assert read(path).count("\ufffd") == 1


def test_the_report_names_guesses_and_counts_what_is_lost(tmp_path: Path) -> None:
    books = tmp_path / "books"
    books.mkdir()
    (books / "guess.txt").write_bytes((TEXTS["French"] * 10 + "\n\n" + prose(9)).encode("cp1252"))
    (books / "damaged.txt").write_bytes(TEXTS["Swedish"].encode() + b" \xff \xfe.\n\n" + prose(9, 1).encode())
    corpus = prepare([books], tmp_path / "corpus", validation_fraction=0)
    report = "\n".join(corpus.report.lines())
    assert "guess.txt is cp1252 (sure); if one is wrong, name it with --encoding." in report
    assert "Replaced 2 damaged characters with U+FFFD:" in report
    assert "damaged.txt (2)." in report
    assert {Path(file.source).name: file.guess for file in corpus.report.files} == {
        "damaged.txt": None,
        "guess.txt": "sure",
    }


def test_an_encoding_that_is_given_settles_it(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes("é\n".encode("cp1252") * 20)
    assert read(path, "iso-8859-5") == "щ\n" * 20
    assert read(path, "latin1") == "é\n" * 20
    with pytest.raises(OpenbookError, match="encoding 'klingon': unknown; use a name such as"):
        read(path, "klingon")
    with pytest.raises(OpenbookError, match="encoding 'rot13': unknown"):
        prepare([path], tmp_path / "corpus", encoding="rot13")
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16")):
        path.write_bytes(mark + TEXTS["French"].encode("utf-16-le" if encoding == "utf-16" else "utf-8"))
        assert read(path, encoding) == TEXTS["French"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("language", ["French", "Russian", "Chinese"])
def test_wide_characters_without_a_mark(tmp_path: Path, encoding: str, language: str) -> None:
    text = f"{TEXTS[language]}\n" * 9
    (tmp_path / "book.txt").write_bytes(text.encode(encoding))
    assert read(tmp_path / "book.txt") == text


def test_a_stray_nul_is_a_damaged_character(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(b"The keeper counted the boats.\n" * 20 + b"\0The keeper slept.\n")
    assert read(tmp_path / "book.txt").endswith("boats.\n\ufffdThe keeper slept.\n")


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("ISO-8859-1", "cp1252"),
        ("us-ascii", "cp1252"),
        ("latin1", "cp1252"),
        ("iso-8859-9", "cp1254"),
        ("gb2312", "gb18030"),
        ("GBK", "gb18030"),
        ("shift_jis", "cp932"),
        ("x-sjis", "cp932"),
        ("windows-31j", "cp932"),
        ("euc-kr", "cp949"),
        ("ks_c_5601-1987", "cp949"),
        ("big5", "big5hkscs"),
        ("tis-620", "cp874"),
        ("macintosh", "mac_roman"),
        ("iso-8859-8-i", "iso8859-8"),
        ("iso-8859-2", "iso8859-2"),
        ("koi8-r", "koi8_u"),
        ("nonsense", None),
        ("rot13", None),
    ],
)
def test_labels_mean_what_browsers_take_them_for(label: str, codec: str | None) -> None:
    assert codec_of(label) == codec
    assert declared_encoding(f"<meta charset='{label}'>".encode()) == codec


def test_a_label_is_overruled_by_valid_utf8(tmp_path: Path) -> None:
    page = "<meta charset=gb2312><p>“It’s late,” said the café owner — naïve.</p>"
    (tmp_path / "a.html").write_bytes(page.encode())
    assert read(tmp_path / "a.html") == "“It’s late,” said the café owner — naïve.\n\n"
    (tmp_path / "a.html").write_bytes(page.replace("gb2312", "latin1").encode("cp1252"))
    assert read(tmp_path / "a.html") == "“It’s late,” said the café owner — naïve.\n\n"
