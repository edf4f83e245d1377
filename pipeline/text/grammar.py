"""Joint captions as text: render and parse. Only this file, `markers` and `lint` know markers.

    PREFIX summary, MARKER-1 text, MARKER-2 text, ..., MARKER-n text.

One line, every marker once and in order, people as `<Name>`. Published captions put `,` `;` `:` or nothing before a
marker, and one published prompt leaves its second marker out; `parse` reads all of them and never fails, and `lint`
says what is wrong.

Where a captioner gave a caption as data (`Parts`), its text is a rendering: `tell` for training, `alone` for a scorer,
`inherited` for a model that is given a panel. `reread` takes a rendering, edited or not, back to parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.errors import BadReply
from pipeline.records import Appearance, Caption, Parts, Person, Shown
from pipeline.task import Task
from pipeline.text import lint
from pipeline.text import looks as appearance
from pipeline.text.markers import BRACKETS, EDGES, NAME, inside, spans, whole


def fold(text: str) -> str:
    """One line: every run of white space becomes one space."""
    return " ".join(text.split())


def clean(text: str) -> str:
    """A part as it stands between markers: one line, without the punctuation that joins the parts."""
    return fold(text).strip(EDGES)


def render(summary: str, panels: Iterable[str], names: Iterable[str], task: Task) -> str:
    """The joint caption of a task, on one line.

    Args:
        summary: what the images share; the task's opening is put before it where it lacks it. May be empty, and
            then there is no opening either: it is the beginning of a sentence.
        panels: one text per panel, in panel order.
        names: people that the texts name; each stands there as `<Name>`, bare mentions get their brackets.

    Raises:
        BadReply: the number of texts is not that of the panels, or a text holds a marker or the prefix.
    """
    parts = [clean(text) for text in (summary, *panels)]
    everyone = {*names, *people("\n".join(parts))}
    return _joined([bracket_names(part, everyone) for part in parts], task)


def _joined(parts: list[str], task: Task) -> str:
    """Summary and panels put together, as `render`."""
    summary, *texts = (_part(text, task) for text in parts)
    if len(texts) != len(task.markers):
        raise BadReply(f"{task.name} has {len(task.markers)} panels, got {len(texts)} texts.")
    if summary and not summary.lower().startswith(task.opening.lower()):
        summary = f"{task.opening} {summary}"
    head = f"{task.prefix} {summary}, " if summary else f"{task.prefix} "
    body = ", ".join(f"{marker} {text}".rstrip() for marker, text in zip(task.markers, texts, strict=True))
    return f"{head}{body}.".lstrip()


def _part(text: str, task: Task) -> str:
    """A text that may stand between markers, cleaned."""
    part = clean(text)
    for marker in task.markers:
        if marker in part:
            raise BadReply(f"a text may not hold the marker {marker}, got '{part[:80]}'.")
    if task.prefix and whole(task.prefix).search(part):
        raise BadReply(f"a text may not hold the prefix {task.prefix}, got '{part[:80]}'.")
    return part


def bracket_names(text: str, names: Iterable[str]) -> str:
    """Puts every bare mention of a name in angle brackets; what stands in brackets already stays.

    Of names that hold one another (`Sora`, `Sora-Li`) the longest counts. What can't stand in brackets is no name.
    """
    known = [name for name in names if NAME.fullmatch(f"<{name}>")]
    if not known:
        return text
    either = rf"{NAME.pattern}|{BRACKETS.pattern}|{whole(*known).pattern}"
    return re.sub(either, lambda found: found[0] if found[0][0] in "<[" else f"<{found[0]}>", text)


def rename(text: str, names: Mapping[str, str]) -> str:
    """Gives the people of a text other names; names that the mapping lacks stay."""
    return NAME.sub(lambda found: f"<{names.get(found[1], found[1])}>", text)


def people(text: str) -> tuple[str, ...]:
    """Names in angle brackets in order of first appearance."""
    return tuple(dict.fromkeys(NAME.findall(text)))


def parse(text: str, task: Task) -> Caption:
    """Reads a joint caption. Never fails: a panel whose marker is missing has an empty text and a problem says so.

    The text stays word for word but for white space, which is folded into single spaces. Where a marker stands twice,
    the first that keeps the order counts.
    """
    text = fold(text)
    found = spans(text, task)
    first = next((start for start, _ in found if start >= 0), len(text))
    head = text[:first]
    prefix = task.prefix if task.prefix and head.startswith(task.prefix) else ""
    caption = Caption(
        text=text,
        prefix=prefix,
        summary=clean(head.removeprefix(prefix)),
        panels=tuple(clean(text[slice(*inside(found, panel, len(text)))]) for panel in range(len(found))),
        names=people(text),
    )
    return replace(caption, problems=lint.faults(caption, task))


def is_joint(text: str, task: Task) -> bool:
    """Whether a text has every marker of the task (or its stand-in) in order."""
    return all(start >= 0 for start, _ in spans(text, task))


def replace_panel(caption: Caption, panel: int, text: str, task: Task) -> str:
    """The caption's text with one panel's part exchanged and every other letter as it was.

    Words that stood in for the marker go with the old part, so the marker itself takes their place.

    Raises:
        BadReply: the panel's marker is not in the text, so there is no place for the new part, or the part holds one.
    """
    found, marker = spans(caption.text, task), task.markers[panel]
    if found[panel][0] < 0:
        raise BadReply(f"the caption has no {marker}, so its panel can't be changed alone.")
    start, end = inside(found, panel, len(caption.text))
    old = caption.text[start:end]
    tail = old[len(old.rstrip(EDGES)) :]
    part = f"{marker} {_part(text, task)}".rstrip()  # no space before the comma of an emptied part
    return fold(f"{caption.text[: found[panel][0]]}{part}{tail}{caption.text[end:]}")


def replace_summary(caption: Caption, text: str, task: Task) -> str:
    """The caption's text with what stands between prefix and first marker exchanged and every other letter as it was.

    Raises:
        BadReply: no marker is in the text, so nothing says where the summary ends, or the summary holds one.
    """
    start = next((start for start, _ in spans(caption.text, task) if start >= 0), -1)
    if start < 0:
        raise BadReply(f"the caption has no {task.markers[0]}, so its summary can't be changed alone.")
    old = caption.text[len(caption.prefix) : start]
    bare = old.strip(EDGES)
    before, _, after = old.partition(bare) if bare else (" ", "", ", ")
    return fold(f"{caption.prefix}{before}{_part(text, task)}{after}{caption.text[start:]}")


# ---- captions as data


def told(parts: Parts, task: Task) -> Caption:
    """The caption of these parts, with the problems of its text.

    Raises:
        BadReply: as `render`.
    """
    caption = replace(parse(tell(parts, task), task), parts=parts)
    return replace(caption, problems=lint.faults(caption, task))


def tell(parts: Parts, task: Task) -> str:
    """The joint caption that is trained on, under the task's policy on looks.

    `once`: at the first mention, which is in the summary where that names them. Those who change are told of again in
    every panel in which they look otherwise than last told; those who are seen in a panel that is given (`condition`)
    look as it shows, and that is not told. `each`: in every part. `never`: nowhere.

    Raises:
        BadReply: as `render`.
    """
    policy = task.caption.looks
    given = {panel - 1 for panel in task.condition} if policy == "once" else set()
    known = _shown_by(parts, given)
    texts = []
    for panel in range(-1, len(parts.panels)):  # -1 is the summary
        text = parts.summary if panel < 0 else parts.panels[panel].text
        for person in parts.people if policy != "never" else ():
            looks = looks_in(parts, person, panel)
            if not looks or f"<{person.name}>" not in text:
                continue
            new = person.name not in known or (person.changes and known[person.name] != looks)
            if policy == "each" or (new and panel not in given):
                text = appearance.put(text, person.name, looks)
            known[person.name] = looks
        texts.append(text)
    return _joined(texts, task)


def _shown_by(parts: Parts, given: Iterable[int]) -> dict[str, str]:
    """How the people look whom the given panels show, by name."""
    return {
        person.name: looks_in(parts, person, panel)
        for panel in given
        for person in parts.people
        if person.name in people(parts.panels[panel].text)
    }


def looks_in(parts: Parts, person: Person, panel: int) -> str:
    """How a person looks in a panel, in the summary (-1) as in all of them."""
    return (_seen(parts, person, panel) if person.changes else "") or person.looks


def _seen(parts: Parts, person: Person, panel: int) -> str:
    """How a person was seen to look in this panel; empty where that is not told, and in the summary."""
    shown = parts.panels[panel].people if panel >= 0 else ()
    return next((one.looks for one in shown if one.name == person.name), "")


def alone(caption: Caption) -> tuple[str, ...]:
    """The panels' texts and then the summary, each for a reader who sees nothing else: looks stand in for names.

    A caption without parts keeps its texts as they are.
    """
    parts = caption.parts
    if parts is None:
        return (*caption.panels, caption.summary)
    texts = [*(panel.text for panel in parts.panels), parts.summary]
    return tuple(_by_looks(text, parts, panel if panel < len(parts.panels) else -1) for panel, text in enumerate(texts))


def _by_looks(text: str, parts: Parts, panel: int) -> str:
    for person in parts.people:
        if looks := _seen(parts, person, panel) or person.looks:
            text = appearance.instead(text, person.name, looks)
    return text


def inherited(parts: Parts, panel: int, given: Iterable[int]) -> str:
    """A panel's text for a model that is shown other panels: what it can see there is left out.

    That is what all panels share, and the looks of the people in the given panels; who is new is described.

    Args:
        panel: from 0, as are those `given`.
    """
    text = parts.panels[panel].text
    seen = {name for one in given for name in people(parts.panels[one].text)}
    for person in parts.people:
        looks = looks_in(parts, person, panel)
        if looks and (person.name not in seen or person.changes):
            text = appearance.put(text, person.name, looks)
    return text


def reread(text: str, parts: Parts, task: Task) -> Parts:
    """The parts of a caption whose text was edited: panels and summary are the text's, without what is known of looks.

    Whoever the text names no longer is left out, whoever it names anew has no looks, and looks that were put into other
    words are the new ones.
    """
    caption = parse(text, task)
    anew = [
        replace(person, looks=looks)
        for person in parts.people
        if (looks := appearance.rewritten(caption.text, person.name, person.looks)) and not person.changes
    ]
    parts = redescribed(parts, anew)
    known = {person.name: person for person in parts.people}
    shown = []
    for panel, words in zip(parts.panels, caption.panels, strict=True):
        seen = {one.name: one for one in panel.people}
        bare = unadorned(bracket_names(words, known), parts)
        shown.append(Shown(bare, tuple(seen.get(name, Appearance(name)) for name in people(bare))))
    return replace(
        parts,
        people=tuple(known.get(name, Person(name, "")) for name in caption.names),
        panels=tuple(shown),
        summary=unadorned(bracket_names(caption.summary, known), parts),
    )


def edited(caption: Caption, text: str, task: Task) -> Caption:
    """The caption with a person's text, its parts taken along, and with the problems of what it says now."""
    parsed = parse(text, task)
    now = replace(
        caption,
        text=parsed.text,
        prefix=parsed.prefix,
        summary=parsed.summary,
        panels=parsed.panels,
        names=parsed.names,
        parts=reread(parsed.text, caption.parts, task) if caption.parts else None,
    )
    return replace(now, problems=lint.faults(now, task))


def redescribed(parts: Parts, described: Iterable[Person]) -> Parts:
    """The parts with other looks of some people, in all panels; whom the parts lack a person has named in the text."""
    anew = {person.name: person for person in described}
    panels = [
        replace(panel, people=tuple(replace(one, looks="") if one.name in anew else one for one in panel.people))
        for panel in parts.panels
    ]
    everyone = {person.name: person for person in parts.people} | anew
    return replace(parts, people=tuple(everyone.values()), panels=tuple(panels))


def bared(parts: Parts) -> Parts:
    """The parts without, in their texts, the looks that they know."""
    return replace(
        parts,
        panels=tuple(replace(panel, text=unadorned(panel.text, parts)) for panel in parts.panels),
        summary=unadorned(parts.summary, parts),
    )


def rearranged(parts: Parts, places: Sequence[int | None]) -> Parts:
    """The parts of a grid whose panels were exchanged; a picture that was not there before shows nobody yet.

    Args:
        places: by panel where its picture stood before, from 0; None where it was not there.
    """
    new = {place: panel for panel, place in enumerate(places) if place is not None}

    def moved(panels: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted(new[panel] for panel in panels if panel in new))

    ties = [replace(tie, panels=moved(tie.panels)) for tie in parts.ties]
    return replace(
        parts,
        panels=tuple(Shown("") if place is None else parts.panels[place] for place in places),
        ties=tuple(tie for tie in ties if len(tie.panels) > 1),
        strangers=moved(parts.strangers),
        unrelated=parts.unrelated if len(new) == len(places) else "",  # said of other pictures
    )


def unadorned(text: str, parts: Parts) -> str:
    """The text without the looks that the parts know."""
    for person in parts.people:
        seen = [one.looks for panel in parts.panels for one in panel.people if one.name == person.name]
        for looks in sorted({person.looks, *seen} - {""}, key=len, reverse=True):
            text = appearance.take_out(text, person.name, looks)
    return text


def renamed(parts: Parts, names: Mapping[str, str]) -> Parts:
    """The parts with other names; whoever gets the name of one before is that one."""
    everyone = [person.name for person in parts.people]

    def anew(text: str) -> str:
        return rename(bracket_names(text, everyone), names)

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
