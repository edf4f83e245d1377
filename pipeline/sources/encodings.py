"""What a text file says: its encoding is told by its bytes, or else it is in doubt and its text is not used."""

from __future__ import annotations

import codecs
import re
import unicodedata
from itertools import filterfalse
from typing import TYPE_CHECKING

from pipeline.sources.base import Fault
from pipeline.text import lint

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatches

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks."""
FEW_ZEROS = 0.2
"""A text with a larger share of zero bytes is UTF-16; UTF-8 has none."""
LOST = re.compile("[\x00-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffd-\uffff]")
"""Characters that no text has unless letters were lost: NUL and other controls, halves of characters, U+FFFD."""
SAMPLED = 1 << 16
"""Bytes of a long file that the detector looks at."""
CLOSE = 0.05
"""Readings whose measures of disorder and of language differ by less are equally likely."""
MOST_READINGS = 3
"""Readings that a doubt shows; of more, it names the encodings."""
FEW_ACCENTS = 0.1
"""English has a smaller share of letters with accents."""
LEAST_ENGLISH = 0.1
"""Share of words that hold English sentences together."""
SHARED = frozenset(("to", "by", "at", "he", "her"))
"""Those among them that other languages have too."""
SCRIPTS = (
    {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "FULLWIDTH", "HALFWIDTH", "IDEOGRAPHIC"},
    {"CJK", "HANGUL", "FULLWIDTH", "HALFWIDTH"},
)
"""Scripts that stand beside each other in one text, by the first words of their letters' names."""
WESTERN = re.compile("[éèêëàâäáåãçíîïñóôöõúùûüßæøœÉÀÄÖÜÇÑÅØÆ“”‘’–—…•«»°€£½¼×]")  # noqa: RUF001
"""What English texts in Windows-1252 have besides ASCII."""


def decode(content: bytes, where: str) -> str | Fault:
    """The text of a file, or why nobody can tell what it says.

    UTF-8 and UTF-16, with a byte order mark or without, and UTF-32 with one are told by their bytes. In other encodings
    the same bytes are other letters: such a text is read only where one reading is far likelier than all others.

    Args:
        where: the file's address, for the message.
    """
    mark, told = next(((mark, name) for mark, name in MARKS if content.startswith(mark)), (b"", ""))
    encoding = told or _by_zeros(content) or "utf-8"
    try:
        text = _decoded(content[len(mark) :], encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or told or _is_mostly_utf_8(content):
            return _fault(f"{where} is damaged {encoding.upper()} text ({_byte(error)}); mend it or save it anew.")
        return _guessed(content, f"{where} is not UTF-8 text ({_byte(error)})")
    text = text.replace("\ufeff", "")  # a mark inside a text comes from files that were joined
    if found := flaw(text):
        return _fault(f"{where} has {found}: its encoding is unknown or letters were lost; save it anew as UTF-8.")
    if was := _misread(text):
        return _fault(f"{where} was saved in a wrong encoding once ('{text[:20].strip()}' for '{was[:20]}'); mend it.")
    return text


def _decoded(content: bytes, encoding: str) -> str:
    """UTF-8 as Java and some databases write it too: letters beyond U+FFFF as two halves of three bytes each."""
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise
        try:
            halves = content.decode(encoding, "surrogatepass")
            return halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise error from None


def _misread(text: str) -> str:
    """What a text was before some program read its UTF-8 as Windows-1252; empty if none did."""
    if text.isascii():
        return ""
    try:
        return text.encode("cp1252").decode("utf-8").strip()
    except UnicodeError:
        return ""


def flaw(text: str) -> str:
    """What in a text shows that letters were lost, such as "the character U+FFFD"; empty if nothing does."""
    found = LOST.search(text)
    return f"the character U+{ord(found[0]):04X}" if found else ""


def _fault(detail: str) -> Fault:
    return Fault("encoding", detail)


def _byte(error: UnicodeDecodeError) -> str:
    return f"byte {error.start + 1} is {error.object[error.start]:#04x}"


def _by_zeros(content: bytes) -> str:
    """UTF-16 by the zero bytes that it has in every Latin letter; empty where there are too few to tell."""
    even, odd = content[::2].count(0), content[1::2].count(0)
    if even + odd <= FEW_ZEROS * len(content):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _is_mostly_utf_8(content: bytes) -> bool:
    """Whether most letters beyond ASCII are whole in UTF-8, which in another encoding would be a rare accident."""
    high = sum(byte >= 0x80 for byte in content)  # noqa: PLR2004
    whole = sum(len(letter.encode()) for letter in content.decode("utf-8", errors="ignore") if not letter.isascii())
    return 2 * whole >= high


def _guessed(content: bytes, begins: str) -> str | Fault:
    """The one likely reading of bytes that are no Unicode, or a fault that names the likely ones."""
    if (english := content.decode("cp1252", errors="replace")) and _reads_like_english(english):
        return english
    from charset_normalizer import from_bytes  # whose tables take long to read

    sample = content if len(content) <= SAMPLED else content[:SAMPLED].rpartition(b"\n")[0] or content[:SAMPLED]
    likely = _likely(from_bytes(sample))
    # Two bytes of anything are a letter of some script.
    if len(likely) == 1 and any(_is_of_one_script(text) for text in likely):
        try:
            return content.decode(next(iter(likely.values()))[0])
        except UnicodeDecodeError as error:
            begins = f"{begins}, nor {error.encoding} throughout"
    if not likely:
        return _fault(f"{begins} and in no encoding that is known; save it as UTF-8.")
    if (western := content.decode("cp1252", errors="replace")) and _is_western(western):
        likely = {" ".join(western.split()): ["cp1252"], **likely}
    readings = [f"{'/'.join(names[:3])} ('{text[:20].strip()}')" for text, names in likely.items()]
    others = [names[0] for names in likely.values()][MOST_READINGS:]
    return _fault(f"{begins}; it may be {', '.join([*readings[:MOST_READINGS], *others])}: save it as UTF-8.")


def _likely(matches: CharsetMatches) -> dict[str, list[str]]:
    """The likely readings, the likeliest first, each with the encodings that give it."""
    sound = [match for match in matches if match.encoding != "utf_7" and not flaw(str(match))]
    best = sound[:1]
    return {
        " ".join(str(match).split()): list(match.could_be_from_charset)
        for match in sound
        for first in best
        if match.chaos <= first.chaos + CLOSE and match.coherence >= first.coherence - CLOSE
    }


def _reads_like_english(text: str) -> bool:
    """Whether a reading as Windows-1252 is English with a few accents and typographic marks."""
    accents = sum(map(str.isalpha, filterfalse(str.isascii, text)))
    words = re.findall(r"[^\W\d_]+", text.casefold())
    english = sum(word in lint.ENGLISH and word not in SHARED for word in words)
    return _is_western(text) and accents <= FEW_ACCENTS * len(text) and english >= max(1, LEAST_ENGLISH * len(words))


def _is_western(text: str) -> bool:
    return all(map(WESTERN.match, filterfalse(str.isascii, text)))


def _is_of_one_script(text: str) -> bool:
    """Whether all letters may stand in one text: of one script, or of those that Japanese or Korean has, besides Latin
    ones."""
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha()} - {"LATIN"}
    return len(scripts) <= 1 or any(scripts <= together for together in SCRIPTS)
