"""Joint captions as text: rendered and parsed. Only this file, `markers` and `lint` know about markers.

    PREFIX summary, MARKER-1 text, MARKER-2 text, ..., MARKER-n text.

One line, every marker once and in order, people as `<Name>`. Published captions put `,` `;` `:` or nothing before a
marker, and one published prompt omits its second marker; `parse` reads all of them and never fails, and `lint` says
what is wrong. Nothing here asks anything of the machine.

If a captioner gave a caption as data (`Parts`), its text is a rendering: `text_of` for training, `alone` for a scorer,
`inherited` for one panel beside others that a model is shown. `reread` turns a rendering, edited or not, back into
parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.errors import BadReply
from pipeline.records import Appearance, Caption, Parts, Person, Shown
from pipeline.task import Task
from pipeline.text import corrections, lint
from pipeline.text import looks as appearance
from pipeline.text.markers import BRACKETS, EDGES, NAME, inside, spans, whole

WORD = re.compile(r"\w")
TOKEN = re.compile(rf"{NAME.pattern}|{BRACKETS.pattern}|\w+|(?<!\w)\S")
"""A name or a tag in brackets, or what a bare name may begin with: a word, or a sign that follows no word."""


def fold(text: str) -> str:
    """The text on one line: every run of white space becomes one space, and half a letter, which no file holds, `?`."""
    folded = " ".join(text.split())
    return folded if folded.isascii() else folded.encode(errors="replace").decode()


def clean(text: str) -> str:
    """A part as it is between markers: on one line, without the punctuation that joins the parts."""
    return fold(text).strip(EDGES)


def render(summary: str, panels: Iterable[str], names: Iterable[str], task: Task) -> str:
    """The joint caption of a task, on one line.

    Args:
        summary: what the images share; the task's opening is put before it if it lacks that. May be empty, which is a
            fault: the opening is the start of a sentence that a person has to complete.
        panels: one text per panel, in panel order.
        names: people whom the texts name; bare mentions get their angle brackets.

    Raises:
        BadReply: there are not as many texts as panels, or a text contains a marker or the prefix.
    """
    parts = [clean(text) for text in (summary, *panels)]
    everyone = {*names, *people("\n".join(parts))}
    return _joined([bracket_names(part, everyone) for part in parts], task)


def skeleton(task: Task) -> str:
    """What a person starts a caption from: prefix, opening and markers, without texts."""
    return render("", [""] * len(task.markers), (), task)


def _joined(parts: list[str], task: Task) -> str:
    """Summary and panels joined; raises as `render` does."""
    summary, *texts = (_part(text, task) for text in parts)
    if len(texts) != len(task.markers):
        raise BadReply(f"{task.name} has {len(task.markers)} panels, got {len(texts)} texts.")
    if not summary.lower().startswith(task.opening.lower()):
        summary = f"{task.opening} {summary}".strip()
    head = f"{task.prefix} {summary}, " if summary else f"{task.prefix} "
    body = ", ".join(f"{marker} {text}".rstrip() for marker, text in zip(task.markers, texts, strict=True))
    return f"{head}{body}.".lstrip()


def _part(text: str, task: Task) -> str:
    """A text cleaned and checked, to go between markers."""
    part = clean(text)
    for marker in task.markers:
        if marker in part:
            raise BadReply(f"a text must not contain the marker {marker}, got '{part[:80]}'.")
    if task.prefix and whole(task.prefix).search(part):
        raise BadReply(f"a text must not contain the prefix {task.prefix}, got '{part[:80]}'.")
    return part


def bracket_names(text: str, names: Iterable[str]) -> str:
    """Puts every bare mention of a name in angle brackets; what is in brackets already stays as it is.

    If one name contains another (`Sora-Li`, `Sora`), the longer one counts. What can't be in brackets is not a name.
    """
    return _bracketed(text, _names_by_start(names))


def _names_by_start(names: Iterable[str]) -> dict[str, dict[int, set[str]]]:
    """By their first token, then by length, the names that can be in brackets, the longest first. There are forty
    lengths at most, however many names."""
    found: dict[str, dict[int, set[str]]] = {}
    for name in sorted(names, key=len, reverse=True):
        if NAME.fullmatch(f"<{name}>") and (start := TOKEN.match(name)):
            found.setdefault(start[0], {}).setdefault(len(name), set()).add(name)
    return found


def _bracketed(text: str, names: Mapping[str, Mapping[int, set[str]]]) -> str:
    """As `bracket_names`; the time it takes does not depend on how many names there are."""
    parts, done = [], 0
    for token in TOKEN.finditer(text) if names else ():
        start = token.start()
        if start < done or token[0] not in names:
            continue
        ends = (start + length for length, known in names[token[0]].items() if text[start : start + length] in known)
        if end := next((end for end in ends if not WORD.match(text, end)), 0):
            parts += [text[done:start], f"<{text[start:end]}>"]
            done = end
    return "".join([*parts, text[done:]])


def rename(text: str, names: Mapping[str, str]) -> str:
    """Gives the people of a text other names; those that the mapping lacks keep theirs."""
    return NAME.sub(lambda found: f"<{names.get(found[1], found[1])}>", text)


def people(text: str) -> tuple[str, ...]:
    """Names in angle brackets in order of first appearance."""
    return tuple(dict.fromkeys(NAME.findall(text)))


def parse(text: str, task: Task) -> Caption:
    """Reads a joint caption. Never fails: a panel whose marker is missing has an empty text, and a problem says so.

    The text is kept word for word; only white space is folded into single spaces. If a marker appears twice, the first
    one that keeps the order counts.
    """
    caption = _read(text, task)
    return replace(caption, problems=lint.faults(caption, task))


def _read(text: str, task: Task) -> Caption:
    """As `parse`, without the problems."""
    text = fold(text)
    found = spans(text, task)
    first = next((start for start, _ in found if start >= 0), len(text))
    head = text[:first]
    prefix = task.prefix if task.prefix and head.startswith(task.prefix) else ""
    summary = clean(head.removeprefix(prefix))
    return Caption(
        text=text,
        prefix=prefix,
        summary="" if summary == clean(task.opening) else summary,  # an opening is the start of one
        panels=tuple(clean(text[slice(*inside(found, panel, len(text)))]) for panel in range(len(found))),
        names=people(text),
    )


def is_joint(text: str, task: Task) -> bool:
    """Whether a text has every marker of the task, or its stand-in, in order."""
    return all(start >= 0 for start, _ in spans(text, task))


def replace_panel(caption: Caption, panel: int, text: str, task: Task) -> str:
    """The caption's text with one panel's part replaced and everything else exactly as it was.

    Words that stand in for the marker belong to the old part, so the marker itself takes their place.

    Raises:
        BadReply: the panel's marker is not in the text, so there is no place for the new part; or that contains one.
    """
    found, marker = spans(caption.text, task), task.markers[panel]
    if found[panel][0] < 0:
        raise BadReply(f"the caption has no {marker}, so that panel can't be changed on its own.")
    start, end = inside(found, panel, len(caption.text))
    old = caption.text[start:end]
    tail = old[len(old.rstrip(EDGES)) :]
    part = f"{marker} {_part(text, task)}".rstrip()  # no space before the comma of an emptied part
    return fold(f"{caption.text[: found[panel][0]]}{part}{tail}{caption.text[end:]}")


def replace_summary(caption: Caption, text: str, task: Task) -> str:
    """The caption's text with the part between prefix and first marker replaced and everything else exactly as it was.

    If that part was the task's opening alone, the new one completes it.

    Raises:
        BadReply: the text has no marker, so nothing says where the summary ends; or the new summary contains one.
    """
    start = next((start for start, _ in spans(caption.text, task) if start >= 0), -1)
    if start < 0:
        raise BadReply(f"the caption has no {task.markers[0]}, so the summary can't be changed on its own.")
    old = caption.text[len(caption.prefix) : start]
    bare = old.strip(EDGES)
    before, _, after = old.partition(bare) if bare else (" ", "", ", ")
    new = _part(text, task)
    if bare and not caption.summary and not new.lower().startswith(bare.lower()):
        new = f"{bare} {new}"
    return fold(f"{caption.prefix}{before}{new}{after}{caption.text[start:]}")


# ---- captions as data


def caption_of(parts: Parts, task: Task) -> Caption:
    """The caption of these parts, with the problems of its text.

    Raises:
        BadReply: as `render`.
    """
    caption = replace(parse(text_of(parts, task), task), parts=parts)
    return replace(caption, problems=lint.faults(caption, task))


def text_of(parts: Parts, task: Task, references: Iterable[int] = ()) -> str:
    """The joint caption to train on, under the task's policy on looks.

    `once`: at the first mention, which may be in the summary. People who change are described again in every panel in
    which they look different from the last description; people who appear in a panel that is given (`condition`, or as
    a reference image) look as it shows, and are not described. `each`: in every part. `never`: nowhere.

    Args:
        references: panels, from 0, that the model is shown beside the grid.

    Raises:
        BadReply: as `render`.
    """
    policy = task.caption.looks
    given = {*(panel - 1 for panel in task.condition), *references} if policy == "once" else set()
    known = _shown_by(parts, given)
    texts = []
    for panel in range(-1, len(parts.panels)):  # -1 is the summary
        text = parts.summary if panel < 0 else parts.panels[panel].text
        seen, named = _seen(parts, panel), set(people(text)) if policy != "never" else set()
        for person in parts.people:
            looks = _looks(person, seen) if person.name in named else ""
            if not looks:
                continue
            new = person.name not in known or (person.changes and known[person.name] != looks)
            if policy == "each" or (new and panel not in given):
                text = appearance.put(text, person.name, looks)
            known[person.name] = looks
        texts.append(text)
    return _joined(texts, task)


def _shown_by(parts: Parts, given: Iterable[int]) -> dict[str, str]:
    """By name, what the people in the given panels look like."""
    known: dict[str, str] = {}
    for panel in given:
        seen, named = _seen(parts, panel), corrections.shown_in(parts, panel)
        known |= {person.name: _looks(person, seen) for person in parts.people if person.name in named}
    return known


def _looks(person: Person, seen: Mapping[str, str]) -> str:
    """What a person looks like where they were seen like this; in the summary, in all panels."""
    return (seen.get(person.name, "") if person.changes else "") or person.looks


def _seen(parts: Parts, panel: int) -> dict[str, str]:
    """By name, what people were seen to look like in this panel; nothing for the summary (-1)."""
    shown = parts.panels[panel].people if panel >= 0 else ()
    return {one.name: one.looks for one in reversed(shown)}  # of two entries for one person, the first counts


def alone(caption: Caption) -> tuple[str, ...]:
    """The panels' texts and then the summary, each for a reader who sees nothing else, with looks in place of names.

    The texts of a caption without parts are returned as they are.
    """
    parts = caption.parts
    if parts is None:
        return (*caption.panels, caption.summary)
    texts = [*(panel.text for panel in parts.panels), parts.summary]
    return tuple(_by_looks(text, parts, panel if panel < len(parts.panels) else -1) for panel, text in enumerate(texts))


def _by_looks(text: str, parts: Parts, panel: int) -> str:
    seen = _seen(parts, panel)
    for person in parts.people:
        if looks := seen.get(person.name) or person.looks:
            text = appearance.instead(text, person.name, looks)
    return text


def inherited(parts: Parts, panel: int, given: Sequence[int], task: Task) -> str:
    """A panel's text for a model that is shown other panels, without what can be seen there.

    That is what all panels share, and under the policy `once` the looks of people whom a given panel explains. A name
    says nothing by itself: a picture explains it if nobody else is named there. Looks take the place of any other name,
    or introduce it where it comes again. `each` and `never` tell looks of everybody and of nobody.

    Args:
        panel: from 0, as are the panels in `given`.
    """
    text, policy = parts.panels[panel].text, task.caption.looks
    named = [corrections.shown_in(parts, one) for one in given]
    there = _shown_by(parts, [one for one, names in zip(given, named, strict=True) if len(names) == 1])
    seen = _seen(parts, panel)
    for person in parts.people:
        looks = _looks(person, seen) if policy != "never" else ""
        mentions = text.count(f"<{person.name}>")
        if not looks or not mentions:
            continue
        is_explained = person.name in there
        if policy == "each" or (is_explained and person.changes and there[person.name] != looks):
            text = appearance.put(text, person.name, looks)
        elif not is_explained:
            introduce = appearance.put if mentions > 1 else appearance.instead
            text = introduce(text, person.name, looks)
    return text


def sentence(text: str) -> str:
    """A panel's text as a sentence of its own."""
    text = clean(text)
    ended = text if text.endswith(("!", "?", "…")) or not text else f"{text}."
    return ended[:1].upper() + ended[1:]


def reread(text: str, parts: Parts, task: Task) -> Parts:
    """The parts of a caption whose text was edited: panels and summary are the text's, without the known looks.

    People whom the text no longer names are left out, and looks that it rewords are updated. People whom it newly names
    have no looks, unless those of somebody who is left out follow their name. What a person says of the parts stays.
    """
    return _reread(_read(text, task), parts)


def _reread(caption: Caption, parts: Parts) -> Parts:
    """As `reread`, of a text that was read."""
    if names := _called_otherwise(caption, parts):
        parts = renamed(parts, names)
    if anew := [
        replace(person, looks=looks)
        for person in parts.people
        if (looks := appearance.rewritten(caption.text, person.name, person.looks)) and not person.changes
    ]:
        parts = redescribed(parts, anew)
    known = {person.name: person for person in parts.people}
    everyone, told = _names_by_start(known), appearance.told(parts)

    def bare(words: str) -> str:
        return appearance.take_out(_bracketed(words, everyone), told)

    shown = []
    for number, (panel, words) in enumerate(zip(parts.panels, caption.panels, strict=True)):
        seen, text = {one.name: one for one in panel.people}, bare(words)
        named = tuple(seen.get(name, Appearance(name)) for name in people(text))
        shown.append(Shown(text, panel.people if corrections.is_said(parts, number) else named))
    return replace(
        parts,
        people=tuple(known.get(name, Person(name, "")) for name in caption.names),
        panels=tuple(shown),
        summary=bare(caption.summary),
    )


def _called_otherwise(caption: Caption, parts: Parts) -> dict[str, str]:
    """By their old names, the new names of people whom an edited text calls otherwise: their looks follow the name."""
    named = set(caption.names)
    if not (new := named - {person.name for person in parts.people}):
        return {}
    found, told = {}, appearance.told(parts)
    for person in parts.people:
        looks = next((looks for looks in told[person.name] if f">, {looks}" in caption.text), "")
        if not looks or person.name in named:
            continue
        said = re.findall(rf"<([^<>]+)>, {re.escape(looks)}(?!\w)", caption.text)
        if name := next((name for name in said if name in new), ""):
            found[person.name] = name
            new.remove(name)
    return found


def edited(caption: Caption, text: str, task: Task) -> Caption:
    """The caption with a person's text, its parts brought into line, and the problems of the new text."""
    now = with_text(caption, text, task)
    return replace(now, problems=lint.faults(now, task))


def with_text(caption: Caption, text: str, task: Task) -> Caption:
    """As `edited`, with the problems of the caption as it was."""
    parsed = _read(text, task)
    return replace(
        caption,
        text=parsed.text,
        prefix=parsed.prefix,
        summary=parsed.summary,
        panels=parsed.panels,
        names=parsed.names,
        parts=_reread(parsed, caption.parts) if caption.parts else None,
    )


def redescribed(parts: Parts, described: Iterable[Person]) -> Parts:
    """The parts with other looks for some people, in all panels; people whom the parts lack are added.

    What somebody looks like in one panel stays if their looks in all of them do, and some of it still changes.
    """
    anew = {person.name: person for person in described}
    known = {person.name: person for person in parts.people}
    reset = {
        name
        for name, person in anew.items()
        if not person.changes or name not in known or person.looks != known[name].looks
    }
    panels = [
        replace(panel, people=tuple(replace(one, looks="") if one.name in reset else one for one in panel.people))
        for panel in parts.panels
    ]
    everyone = known | anew
    return replace(parts, people=tuple(everyone.values()), panels=tuple(panels))


def bared(parts: Parts) -> Parts:
    """The parts, with the known looks taken out of their texts."""
    return replace(
        parts,
        panels=tuple(replace(panel, text=unadorned(panel.text, parts)) for panel in parts.panels),
        summary=unadorned(parts.summary, parts),
    )


def rearranged(parts: Parts, places: Sequence[int | None]) -> Parts:
    """The parts of a grid whose panels were exchanged; a picture that was not there before shows nobody yet.

    Args:
        places: for each panel, the place from 0 where its picture was before; None if it was not in the grid.
    """
    return replace(
        parts,
        panels=tuple(Shown("") if place is None else parts.panels[place] for place in places),
        ties=corrections.ties_followed(parts.ties, places),
        strangers=corrections.followed(parts.strangers, places),
        unrelated="" if None in places else parts.unrelated,  # it was said about other pictures
    )


def unadorned(text: str, parts: Parts) -> str:
    """The text without the looks that are in the parts."""
    return appearance.take_out(text, appearance.told(parts))


def renamed(parts: Parts, names: Mapping[str, str]) -> Parts:
    """The parts with other names; two people who are given the same name become one."""
    everyone = _names_by_start(person.name for person in parts.people)

    def anew(text: str) -> str:
        return rename(_bracketed(text, everyone), names)

    given: dict[str, Person] = {}
    for person in parts.people:
        name = names.get(person.name, person.name)
        given.setdefault(name, replace(person, name=name, looks=anew(person.looks)))
    return replace(
        parts,
        people=tuple(given.values()),
        panels=tuple(
            Shown(
                anew(panel.text),
                tuple(Appearance(names.get(one.name, one.name), anew(one.looks)) for one in panel.people),
            )
            for panel in parts.panels
        ),
        summary=anew(parts.summary),
        ties=tuple(replace(tie, what=anew(tie.what)) for tie in parts.ties),
        unrelated=anew(parts.unrelated),
    )
