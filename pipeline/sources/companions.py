"""What lies beside the pictures of a container: their texts and listings, and those that belong to no picture."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pipeline.errors import BadInput
from pipeline.sources import encodings, listings, texts
from pipeline.sources.base import Container, Content, Facts, Fault, Item
from pipeline.sources.names import key, listed
from pipeline.sources.tables import fields
from pipeline.text import grammar
from pipeline.wording import command, counted

STRAY, LISTING, SECOND, ENCODING = "stray text", "listing", "second text", "encoding"
"""Reasons of rows about texts; that of a text that can't be read at all is "unreadable"."""
ABOVE = "../"
USUAL = 7
"""Names of a column of pictures that a message lists."""

TABLES = (".csv", ".tsv", ".jsonl", ".json")
"""Endings of tables that may be a listing whatever they are called."""
OTHERS = (".json",)
"""Those among them that programs write for many other ends, so that nothing is said of one that is no listing."""
NOTHING = listings.Entry("", "", Facts())

Address = tuple[str, str]
"""A container's address and a name in it."""


@dataclass
class _Listing:
    """What is to be said of a listing; pictures by name."""

    pictures: set[str] = field(default_factory=set)
    missing: dict[str, None] = field(default_factory=dict)
    other: dict[str, None] = field(default_factory=dict)
    """Those for which an entry before it has another text."""
    lost: dict[str, str] = field(default_factory=dict)
    """Those whose texts have lost letters, with what shows it."""
    nameless: list[str] = field(default_factory=list)
    """Numbers of entries that name no picture."""
    useful: bool = False
    """Whether an entry says anything of its picture."""
    keys: dict[str, None] = field(default_factory=dict)
    """Of entries that say nothing."""

    def detail(self, where: str) -> str:
        """One sentence on what doesn't fit; empty if everything does."""
        count = len(self.pictures) + len(self.missing)
        if not count:
            keys = ", ".join(fields.IMAGE[:USUAL])
            return f"{where} names no pictures; every entry of a listing has one of {keys}." if self.nameless else ""
        said = []
        if self.keys and not self.useful:
            texts, keys = ", ".join(fields.TEXT[:USUAL]), listed([*self.keys])
            said.append(f"its entries say nothing that is read: a text is looked for under {texts}, got {keys}")
        if self.missing:
            missing = "is" if len(self.missing) == 1 else "are"
            said.append(f"{listed([*self.missing])} {missing} missing")
        if self.nameless:
            one = len(self.nameless) == 1
            said.append(f"{'entry' if one else 'entries'} {listed(self.nameless)} name{'s' * one} no picture")
        if self.other:
            said.append(f"an earlier entry with another text counts for {listed([*self.other])}")
        if self.lost:
            flaws = ", ".join(dict.fromkeys(self.lost.values()))
            said.append(f"the texts of {listed([*self.lost])} have lost letters ({flaws}) and are not used")
        were = "was" if len(self.pictures) == 1 else "were"
        begins = f"{where} lists {count} picture{'' if count == 1 else 's'}, {len(self.pictures)} {were} found"
        return f"{'; '.join([begins, *said])}." if said else ""


class Companions:
    """The texts and listings of one container, each of which is read once."""

    def __init__(self, container: Container, items: Sequence[Item], beside: Sequence[Item]) -> None:
        """
        Args:
            items: what may hold pictures.
            beside: files that accompany them, as far as the container lists those.

        Raises:
            BadInput: a listing is broken.
        """
        self.container, self.beside = container, beside
        self.taken = {(item.home, name) for item in items for name in texts.own_names(item)}
        self.about = {(item.home, name) for item in items for name in texts.about_names(item)}
        self.spelt: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for item in beside:
            self.spelt[item.home, *_by_spelling(item.name)].append(item.name)
        self.read: dict[Address, str] = {}
        self.faults: dict[Address, Fault] = {}
        self.pictures: dict[str, listings.Pictures] = {}
        self.listed: dict[Address, tuple[str, listings.Entry]] = {}
        """By picture, the entry that counts and the listing that it is from."""
        self.said: list[str] = []
        """What a person should know of tables beside the pictures, one sentence each."""
        sound: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            if not item.fault:
                sound[item.home].append(item)
        for home, of_home in sound.items():
            self._read_listings(home, of_home)

    def complete(self, item: Item) -> Item:
        """The item with what is said of it. Texts of an item that can't be used count as read."""
        if item.fault and not self.spelt:  # the container may not be readable at all
            return item
        if item.listed and item.content and item.content.path is None:  # a cell of a table has nothing beside it
            return item
        names = filter(None, (self._there(item.home, name) for name in texts.own_names(item)))
        own = [(name, text) for name in dict.fromkeys(names) if (text := self._text(item.home, name))]
        if item.fault:
            return item
        listing, entry = self.listed.get((item.home, item.name), ("", NOTHING))
        about, of_group = self._about(item, texts.about_names(item)), self._about(item, texts.about_group_names(item))
        # What the container itself knows of an item comes first, then a file beside it, then a listing.
        said = [("", item.text), *own, (listing, entry.text)]
        first, text = next(((name, text) for name, text in said if text), ("", about.text))
        for name, other in said:
            if first and other and other != text:
                self._note_second(item, first, name, listing)
        shared = (
            (self._text(item.home, there), of_set)
            for name, of_set in texts.shared_names(item)
            if (there := self._there(item.home, name))
        )
        return replace(
            item,
            text=text,
            listed=item.listed or bool(listing),
            facts=_merged(item.facts, self._found_references(item.home, listing, entry), about.facts, of_group.facts),
            shared=(
                *item.shared,
                *((found, of_set) for found, of_set in shared if found),
                *([(of_group.text, item.facts.group)] if of_group.text else []),
            ),
        )

    def rows(self) -> Iterator[Item]:
        """A row for each text that can't be read or used, and for each listing that doesn't fit the pictures."""
        for item in self.beside:
            is_text = posixpath.splitext(item.name)[1].lower() in texts.ENDINGS
            if is_text and (item.home, item.name) not in self.read:
                self.faults[item.home, item.name] = Fault(
                    STRAY, f"{item.source} belongs to no picture: there is none of its name in its folder."
                )
        for (home, name), fault in self.faults.items():
            yield Item(home, name, fault=fault)

    def _found_references(self, home: str, listing: str, entry: listings.Entry) -> Facts:
        """The facts of an entry, with the names in the container of the reference images that it names."""
        if not entry.facts.references:
            return entry.facts
        named = [listings.Entry(file, "", Facts()) for file in entry.facts.references]
        found = listings.places(named, listing[: listing.rfind("/") + 1], home, self.pictures[home])
        return replace(entry.facts, references=tuple(found))

    # ---- texts

    def _there(self, home: str, name: str) -> str:
        """A file's name as the container spells it; empty where there is none. A text of another picture is none."""
        spelt = self.spelt.get((home, *_by_spelling(name)), [])
        if name in spelt:
            return name
        if spelt or (self.spelt and not name.startswith(ABOVE)):  # the container lists such files
            return next((other for other in spelt if (home, other) not in self.taken), "")
        stem, ending = posixpath.splitext(name)
        spellings = (
            f"{unicodedata.normalize(form, stem)}{letters}"
            for letters in (ending, ending.upper())
            for form in ("NFC", "NFD")
        )
        tried = dict.fromkeys([name, *spellings])
        return next((other for other in tried if self.container.beside(home, other) is not None), "")

    def text_at(self, home: str, name: str) -> str:
        """What the text file of a name says, on one line; empty where there is none or it can't be read."""
        there = self._there(home, name)
        return self._text(home, there) if there else ""

    def _text(self, home: str, name: str) -> str:
        """What a text file says, on one line; empty where it can't be read, which becomes a row."""
        if (home, name) not in self.read:
            try:
                found = encodings.decode(self._bytes(home, name, texts.MOST_BYTES), f"{home}/{name}")
            except BadInput as error:
                found = Fault("unreadable", str(error))
            if isinstance(found, Fault):
                self.faults[home, name] = found
            self.read[home, name] = "" if isinstance(found, Fault) else grammar.fold(found)
        return self.read[home, name]

    def _about(self, item: Item, names: Sequence[str]) -> listings.Entry:
        """What a JSON file about an item says, as img2dataset and others write them.

        Args:
            names: where it may be.
        """
        for name in filter(None, (self._there(item.home, name) for name in names if self.spelt)):
            try:
                return listings.parse_one(self._bytes(item.home, name, texts.MOST_BYTES), f"{item.home}/{name}")
            except BadInput:  # it is some program's own, and nobody said that it describes a picture
                continue
        return NOTHING

    def _bytes(self, home: str, name: str, most: int) -> bytes:
        where, found = f"{home}/{name}", bytearray()
        content: Content | None = self.container.beside(home, name)
        try:
            for chunk in content.chunks() if content else ():
                found += chunk
                if len(found) > most:
                    raise BadInput(f"{where} has more than {most:,} bytes, too many for captions; move it away.")
        except OSError as error:
            raise BadInput(f"{where} can't be read: {error.strerror or error}.") from error
        return bytes(found)

    def _note_second(self, item: Item, first: str, other: str, listing: str) -> None:
        """Notes that two texts of an item differ, in the row of the text file that only this item has."""
        detail = f"{item.home}/{first} and {other} have different texts for {item.name}; remove one, the first counts."
        self.faults.setdefault((item.home, first if other == listing else other), Fault(SECOND, detail))

    # ---- listings

    def _read_listings(self, home: str, items: Sequence[Item]) -> None:
        """Reads every listing in or above the pictures' folders, the nearest first, or elsewhere in the container."""
        pictures = self.pictures[home] = listings.Pictures(item.name for item in items)
        folders = {f"{folder}/" if folder else "" for item in items for folder in _upwards(item.name)} | {ABOVE}
        found = {self._there(home, f"{folder}{name}") for folder in folders for name in listings.NAMES} - {""}
        known = frozenset(map(key, listings.NAMES))
        found |= {item.name for item in self.beside if item.home == home and _by_spelling(item.name)[1] in known}
        for name in sorted(found, key=lambda name: (name.startswith(ABOVE), -name.count("/"), _rank(name), name)):
            entries = listings.parse(self._bytes(home, name, listings.MOST_BYTES), f"{home}/{name}")
            folder = name[: name.rfind("/") + 1]
            note = self._note(
                home, name, zip(entries, listings.places(entries, folder, home, pictures), strict=True), pictures
            )
            is_ours = note.pictures or not name.startswith(ABOVE)
            if is_ours and (detail := note.detail(f"{home}/{name}")):
                self.faults[home, name] = Fault(LISTING, detail)
        self._read_tables(home, pictures, known)  # last: a listing knows more than the table of some trainer

    def _read_tables(self, home: str, pictures: listings.Pictures, known: frozenset[str]) -> None:
        """Reads tables that are not called as listings are: one that names pictures is a listing, others are told."""
        for item in self.beside:
            ending = posixpath.splitext(item.name)[1].lower()
            if item.home != home or ending not in TABLES or _by_spelling(item.name)[1] in known:
                continue
            if (home, item.name) in self.about:
                continue
            where, folder = f"{home}/{item.name}", item.name[: item.name.rfind("/") + 1]
            try:
                entries = listings.parse(self._bytes(home, item.name, listings.MOST_BYTES), where)
            except BadInput:
                entries = []
            places = listings.places(entries, folder, home, pictures)
            if not any(place in pictures.names for place in places):
                if ending in OTHERS:
                    continue
                self.said.append(
                    f"{where} is not used, since it names none of the pictures beside it; if its rows say which of "
                    f"them belong together, give it as a source: {command(['--source', where])}."
                )
                continue
            note = self._note(home, item.name, zip(entries, places, strict=True), pictures)
            self.said.append(f"{where} names {counted(note.pictures, 'picture')} and is used as their listing.")
            if detail := note.detail(where):
                self.faults[home, item.name] = Fault(LISTING, detail)

    def _note(
        self, home: str, name: str, entries: Iterable[tuple[listings.Entry, str]], pictures: listings.Pictures
    ) -> _Listing:
        """Takes the entries of a listing, and gives what is to be said of it."""
        note = _Listing()
        for number, (entry, picture) in enumerate(entries, start=1):
            if not entry.file:
                note.nameless.append(str(number))
            elif picture in pictures.names:
                note.pictures.add(picture)
                note.useful = note.useful or entry.is_useful
                note.keys |= dict.fromkeys(entry.keys)
                counts = self.listed.setdefault((home, picture), (name, entry))[1]
                if entry.text and counts.text not in ("", entry.text):
                    note.other[picture] = None
                if entry.flaw:
                    note.lost[picture] = entry.flaw
            elif self.container.beside(home, picture) is not None:  # a file that is no source, or not in this source
                note.pictures.add(picture)
            elif not name.startswith(ABOVE):  # one above the source may list what lies beside it
                note.missing[entry.file] = None
        return note


def _merged(*facts: Facts) -> Facts:
    """Each fact from the first that has it."""
    usual, sources = Facts(), (one.sources for one in facts if any(any(source.values()) for source in one.sources))
    found = {
        name: next((value for one in facts if (value := getattr(one, name)) != default), default)
        for name in ("boxes", "group", "panel", "order", "row", "set", "references", "places")
        for default in [getattr(usual, name)]
    }
    return Facts(**found, sources=next(sources, ()))


def _by_spelling(name: str) -> tuple[str, str]:
    """The folder, and what names of files in it have in common that differ in their spelling only."""
    folder, file = posixpath.split(name)
    return folder, key(file)


def _rank(name: str) -> int:
    """Place of a listing among others of its folder."""
    return [*map(key, listings.NAMES)].index(_by_spelling(name)[1])


def _upwards(name: str) -> Iterator[str]:
    """The folder of a file and all above it, to the root."""
    while name:
        name = name.rpartition("/")[0]  # not dirname(), which stays at "/"
        yield name
