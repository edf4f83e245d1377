"""What is wrong with a joint caption: one sentence per fault, for a model that is to try again and for a person.

Pure: a caption's faults depend on its text, its parts and the task, never on the machine. Its length in tokens, which
takes a tokenizer, is checked by `budget`.
"""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence

from pipeline.records import Caption, Parts, Person
from pipeline.task import Task
from pipeline.text import corrections, looks, phrases
from pipeline.text.markers import BRACKETS, CONTROL, MARKDOWN, NAME, ODD, QUOTED, spans, whole
from pipeline.wording import counted

# Answers that talk to the user or about the picture instead of describing what it shows.
BOILERPLATE = re.compile(
    r"\b(i['’]?m (?:sorry|(?:unable|not able) to)|i am (?:sorry|unable to|not able to)|i apologi[sz]e"  # noqa: RUF001
    r"|i (?:can(?:not|['’]t| not)|am unable|won['’]t)|as an ai|as a language model"  # noqa: RUF001
    r"|here(?:['’]s| is| are) (?:the|a|your)\b.{0,30}\bcaptions?|let me know if|i hope (?:this|that) helps"  # noqa: RUF001
    r"|no images? (?:is|are|was|were) (?:provided|given|attached)"
    r"|(?:the|this) (?:image|picture|photo|photograph) (?:shows|depicts)|in this image, i)\b",
    re.IGNORECASE,
)
# Phrases that refer to another panel: a panel's text must be true when it is read alone.
RELATIVE = re.compile(
    r"\b(as (?:before|previously)|(?:same|like) (?:as )?(?:above|before)|another (?:side|angle|view)"
    r"|(?:previous|preceding|earlier) (?:panel|image|picture|photo|photograph|scene|shot|frame)"
    r"|the other (?:panels?|images?|scenes?|shots?))\b",
    re.IGNORECASE,
)
NEAR_IDENTICAL = 0.95  # difflib ratio over words: texts that differ in at most one word of twenty
NEAR_SPELLING = 0.85  # difflib ratio over letters: <Marta> and <Martha> 0.91, <Maria> and <Mario> 0.80
FOREIGN_LETTERS = 0.2  # share of letters outside the Latin script; a word or two of unquoted lettering is less
FEW_LETTERS = 20  # fewer say nothing about the script
FEW_WORDS = 30  # fewer say nothing about the language
# Words that hold English sentences together and are not common in any other language, as "a" and "in" are in several.
# They make up at least 7 % of the captions of that length (our own, the released ones and the miniature's), and at most
# 3 % of a paragraph in each of eleven other languages and of a list of tags.
# fmt: off
ENGLISH = frozenset((
    "the", "of", "and", "with", "to", "at", "by", "from", "into", "his", "her", "its", "their", "he", "she",
    "they", "it", "that", "while", "who", "which", "where", "whose", "behind", "before", "beside", "through",
    "across", "around", "against", "near",
))
# fmt: on
LEAST_ENGLISH = 0.04
MOST_NAMES = 24
"""Names that are compared with each other and looked for in the text; more than these are a fault of their own."""
MOST_TAGS = 5
"""Unknown tags in brackets that are named; the rest are counted."""
LONGEST = 200_000
"""Characters of a text that is checked; captions have a few thousand."""


def faults(caption: Caption, task: Task) -> tuple[str, ...]:
    """Every fault of a caption but its length in tokens, one sentence each; without any it is fit for training.

    A text that went astray has only the fault of its length.
    """
    if len(caption.text) > LONGEST:
        return (f"the caption has {len(caption.text):,} characters; more than {LONGEST:,} are not checked",)
    return (
        *_marker_faults(caption.text, task),
        *_summary_faults(caption, task),
        *_panel_faults(caption, task),
        *_name_faults(caption, task),
        *_looks_faults(caption, task),
        *_wording_faults(caption, task),
        *_language_faults(caption.text),
    )


def breaks(raw: str) -> tuple[str, ...]:
    """The fault of an answer on several lines; what is read from it is on one line."""
    lines = sum(bool(line.strip()) for line in raw.splitlines())
    return (f"the text is spread over {lines} lines instead of one",) if lines > 1 else ()


def _marker_faults(text: str, task: Task) -> Iterable[str]:
    if not text:
        yield "the caption is empty"
        return
    if task.prefix and not text.startswith(task.prefix):
        yield f"the caption does not start with the prefix {task.prefix}"
    elif task.prefix and whole(task.prefix).search(text, len(task.prefix)):
        yield f"the prefix {task.prefix} appears more than once"
    for marker, (start, _) in zip(task.markers, spans(text, task), strict=True):
        count = text.count(marker)
        if count > 1:
            yield f"the marker {marker} appears {count} times"
        if start < 0:
            yield f"the marker {marker} is {'out of order' if count else 'missing'}"
    known = {task.prefix, *task.markers, *BRACKETS.findall(task.opening)}
    foreign = [tag for tag in dict.fromkeys(BRACKETS.findall(text)) if tag not in known]
    yield from (f"{tag} is not a marker of this task" for tag in foreign[:MOST_TAGS])
    if len(foreign) > MOST_TAGS:
        yield f"{len(foreign) - MOST_TAGS} more tags in brackets are not markers of this task"
    without = BRACKETS.sub("", text)
    if "[" in without or "]" in without:
        yield "a square bracket is unpaired or empty"


def no_summary(task: Task) -> str:
    """The fault of a caption without a summary."""
    place = f"after '{task.opening}'" if task.opening else f"before {task.markers[0]}"
    return f"the caption has no summary: say {place} what the images have in common"


def _summary_faults(caption: Caption, task: Task) -> Iterable[str]:
    if not caption.summary and spans(caption.text, task)[0][0] >= 0:  # without the first marker, nothing ends a summary
        yield no_summary(task)


def _panel_faults(caption: Caption, task: Task) -> Iterable[str]:
    for marker, text, (start, _) in zip(task.markers, caption.panels, spans(caption.text, task), strict=True):
        if start >= 0 and len(text.split()) < task.caption.min_panel_words:
            yield f"the text of {marker} has fewer than {counted(task.caption.min_panel_words, 'word')}"
    # Comparing takes len(a) * len(b) steps, so no more words than a caption may have; a longer one is a fault anyway.
    words = [text.split()[: task.caption.max_words] for text in caption.panels]
    for (marker, a), (other, b) in itertools.combinations(zip(task.markers, words, strict=True), 2):
        if a and _ratio_over(a, b, NEAR_IDENTICAL):
            yield f"the texts of {marker} and {other} are nearly the same"


def _ratio_over(a: Sequence[str], b: Sequence[str], limit: float) -> bool:
    """Whether two sequences are more alike than a limit; how much of each is in the other at all decides nearly all."""
    most = min(sum(map(set(b).__contains__, a)), sum(map(set(a).__contains__, b)))
    if 2 * most <= limit * (len(a) + len(b)):
        return False
    return difflib.SequenceMatcher(a=a, b=b, autojunk=False).ratio() > limit


def _name_faults(caption: Caption, task: Task) -> Iterable[str]:
    without = BRACKETS.sub(" ", NAME.sub(" ", caption.text))
    if "<" in without or ">" in without:
        yield "an angle bracket is unpaired, empty, or not around a name"
    if caption.names and not task.caption.people:
        yield f"<{caption.names[0]}> is a name, but this task names nobody"
    if len(caption.names) > MOST_NAMES:
        yield f"the caption has {len(caption.names)} names, more than {MOST_NAMES}"
    spelt: dict[str, str] = {}
    for name in caption.names[:MOST_NAMES]:
        first = spelt.setdefault(name.casefold(), name)
        if first != name:
            yield f"one person is spelled both <{first}> and <{name}>"
        if whole(name).search(without):
            yield f"the name {name} also appears without angle brackets"
    parts = [set(NAME.findall(part)) for part in (caption.summary, *caption.panels)]
    for a, b in itertools.combinations(spelt.values(), 2):
        if _near(a, b) and not any({a, b} <= part for part in parts):
            yield f"<{a}> and <{b}> never appear together: two spellings of one name?"


def _near(a: str, b: str) -> bool:
    """Whether two names may be one, misspelled; numbered ones (<P1>, <P11>) differ by their numbers."""
    if any(letter.isdigit() for letter in a + b):
        return False
    return difflib.SequenceMatcher(a=_bare(a), b=_bare(b), autojunk=False).ratio() >= NEAR_SPELLING


def _bare(name: str) -> str:
    """A name in lowercase, without accents."""
    return "".join(c for c in unicodedata.normalize("NFD", name.casefold()) if not unicodedata.combining(c))


def _looks_faults(caption: Caption, task: Task) -> Iterable[str]:
    """Where a caption with parts says more or less about people's looks than the task's policy allows.

    A caption that came as plain text was written by a person or another tool, and its looks are left to them.
    """
    policy, parts = task.caption.looks, caption.parts
    if parts is None:
        return
    given = {name for panel in task.condition for name in corrections.shown_in(parts, panel - 1)}
    where = ["the summary", *task.markers]
    people = parts.people[:MOST_NAMES]
    told = {name: said for name, said in looks.told(parts).items() if name in {person.name for person in people}}
    for person in people:
        if not person.looks and policy != "never":
            yield f"<{person.name}> is named, but nothing says what they look like"
        others = {name: said for name, said in told.items() if name != person.name}  # who may look much like them
        without = [looks.take_out(text, others) for text in (caption.summary, *caption.panels)]
        telling = [place for place, text in zip(where, without, strict=True) if _describes(text, person, parts)]
        if policy == "never" and telling:
            yield f"{telling[0]} says what <{person.name}> looks like, which caption.looks forbids"
        elif policy == "once" and len(telling) > 1 and not person.changes:
            yield f"{telling[1]} says what <{person.name}> looks like again, after {telling[0]}"
        elif policy != "never" and not telling and _must_be_described(person) and person.name not in given:
            yield f"<{person.name}> is named, but the text does not say what they look like"


def _must_be_described(person: Person) -> bool:
    return len(looks.words(person.looks)) >= looks.FEWEST and not person.changes


def _describes(text: str, person: Person, parts: Parts) -> bool:
    """Whether a text says what the person looks like, next to their name or elsewhere."""
    seen = (one.looks for panel in parts.panels for one in panel.people if person.changes and one.name == person.name)
    bare = NAME.sub(" ", text)
    return any(looks.tells(bare, said) for said in {person.looks, *seen})


def _wording_faults(caption: Caption, task: Task) -> Iterable[str]:
    unquoted = QUOTED.sub('""', caption.text)
    if found := CONTROL.search(caption.text):
        yield f"the caption has the control character {found[0]!a}"
    if found := ODD.search(caption.text):
        yield f"the caption has the character U+{ord(found[0]):04X}, so letters were lost or turned round"
    if found := MARKDOWN.search(unquoted):
        yield f"the caption has the Markdown sign '{found[0]}'"
    if found := BOILERPLATE.search(unquoted):
        yield f"'{found[0]}' talks about the picture instead of what it shows"
    for marker, text in zip(task.markers, caption.panels, strict=True):
        if found := RELATIVE.search(QUOTED.sub('""', text)):
            yield f"'{found[0]}' in {marker} refers to another panel"
    yield from _trait_faults(caption, task)
    words = len(caption.text.split())
    if words > task.caption.max_words:
        yield f"the caption has {words} words, more than {task.caption.max_words}"


def _trait_faults(caption: Caption, task: Task) -> Iterable[str]:
    """Where a caption tells what the task leaves to its prefix or to a name.

    Prefix, opening, markers, names and quotations may tell it.
    """
    if not task.caption.exclude:
        return
    text = caption.text.removeprefix(caption.prefix).lstrip()
    if text.lower().startswith(task.opening.lower()):
        text = text[len(task.opening) :]
    for aside in (QUOTED, NAME, BRACKETS):
        text = aside.sub(" | ", text)  # no phrase goes on behind them
    said = phrases.folded(" ".join(text.split()))
    for trait, words in task.caption.exclude.items():
        for word in words:
            if phrases.contains(said, phrases.folded(word)):
                of = f" ({trait})" if trait != word else ""
                yield f"'{word}' must not appear in this task's captions{of}"


def _language_faults(text: str) -> Iterable[str]:
    """The fault of a text that is not in English; names, markers and quotations may be in any language."""
    plain = QUOTED.sub(" ", BRACKETS.sub(" ", NAME.sub(" ", text)))
    if not plain.isascii():
        letters = [letter for letter in plain if letter.isalpha()]
        foreign = sum(not _latin(letter) for letter in letters)
        if len(letters) >= FEW_LETTERS and foreign > FOREIGN_LETTERS * len(letters):
            yield f"{foreign} of {len(letters)} letters are not in the Latin script"
            return
    words = re.findall(r"[^\W\d_]+", plain.casefold())
    if len(words) >= FEW_WORDS and sum(map(ENGLISH.__contains__, words)) < LEAST_ENGLISH * len(words):
        yield "the caption does not read like English sentences"


def _latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")
