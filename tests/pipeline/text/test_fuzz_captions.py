"""Captions of any characters: read, checked, rendered and edited, and nothing but the toolkit's own errors."""

from __future__ import annotations

from fuzzing import ANY_TEXT, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pipeline import task
from pipeline.errors import BadReply
from pipeline.records import Appearance, Caption, Parts, Person, Shown, Tie
from pipeline.task import Task
from pipeline.text import budget, grammar, lint
from pipeline.text.counters import ESTIMATE

EXCLUDE = {"caption.exclude": {"hair": ["hair", "金发", "é"], "red": ["red"]}}
TASKS = [
    task.load(name, EXCLUDE | {"caption.looks": looks, **more})
    for name, looks, more in (
        ("storyboard", "once", {}),
        ("visual-identity", "each", {"caption.people": True}),
        ("font-design", "never", {"condition": [2]}),
    )
]
OWN = st.sampled_from(TASKS)
TAGS = st.sampled_from(
    [
        *(tag for own in TASKS for tag in (*own.markers, own.prefix, own.opening, *own.stand_ins.values()) if tag),
        *"<>[]'\"«»,;:. \n\x00\x85\u200d\u2028\ud800",
        "<Ann>",
        "<Ann>, a tall woman",
        " being a tall woman",
        "a tall woman",
        "Ann",
        "e\u0301",
        "hair",
        "红金发",
    ]
)
TEXT = st.lists(st.one_of(TAGS, ANY_TEXT), max_size=10).map("".join)
NAMES = st.one_of(st.sampled_from(["Ann", "Ann B", "P1", ""]), ANY_TEXT)
LOOKS = st.one_of(st.sampled_from(["", "a tall woman", "a tall"]), ANY_TEXT)


@st.composite
def parts_of(draw: st.DrawFn, panels: int) -> Parts:
    """Parts as a captioner's answer or a table might give them, with whatever characters."""
    people = draw(st.lists(st.builds(Person, NAMES, LOOKS, LOOKS), max_size=3, unique_by=lambda person: person.name))
    seen = st.lists(st.builds(Appearance, NAMES, LOOKS), max_size=2).map(tuple)
    shown = draw(st.lists(st.builds(Shown, TEXT, seen), min_size=panels, max_size=panels))
    ties = draw(st.lists(st.builds(Tie, TEXT, st.just((0, 1))), max_size=1))
    return Parts(tuple(people), tuple(shown), draw(TEXT), tuple(ties))


def checked(caption: Caption, own: Task) -> None:
    assert len(caption.panels) == len(own.markers)
    assert all(fault and fault == fault.strip() for fault in lint.faults(caption, own))
    assert budget.fit(caption, own, ESTIMATE).tokens > 0


@fuzzed
@given(OWN, TEXT)
def test_fuzz_any_text_is_read_checked_and_counted(own: Task, text: str) -> None:
    caption = grammar.parse(text, own)
    checked(caption, own)
    assert grammar.parse(caption.text, own) == caption
    assert grammar.rename(grammar.bracket_names(text, caption.names), {}) is not None


@fuzzed
@given(OWN, TEXT, st.lists(TEXT, max_size=5), st.lists(NAMES, max_size=3))
def test_fuzz_any_texts_are_rendered_or_refused(own: Task, summary: str, panels: list[str], names: list[str]) -> None:
    for several in (panels, [*panels, *[""] * 4][: len(own.markers)]):
        try:
            text = grammar.render(summary, several, names, own)
        except BadReply:
            continue
        checked(grammar.parse(text, own), own)
        assert grammar.is_joint(text, own)


@fuzzed
@given(OWN, TEXT, TEXT, st.integers(0, 1))
def test_fuzz_any_part_is_replaced_in_any_text_or_refused(own: Task, text: str, new: str, panel: int) -> None:
    caption = grammar.parse(text, own)
    for change in (
        lambda: grammar.replace_panel(caption, panel, new, own),
        lambda: grammar.replace_summary(caption, new, own),
    ):
        try:
            checked(grammar.parse(change(), own), own)
        except BadReply:
            continue


@fuzzed
@given(OWN, st.data())
def test_fuzz_any_parts_are_rendered_edited_and_read_again_or_refused(own: Task, data: st.DataObject) -> None:
    parts, count = data.draw(parts_of(len(own.markers))), len(own.markers)
    try:
        caption = grammar.caption_of(parts, own)
    except BadReply:
        return
    checked(caption, own)
    edited = grammar.edited(caption, data.draw(TEXT), own)
    checked(edited, own)
    assert edited.parts is not None
    for each in (caption, edited):
        assert each.parts is not None
        assert len(grammar.alone(each)) == count + 1
        grammar.inherited(each.parts, 0, [1], own)
        grammar.bared(each.parts)
        grammar.renamed(each.parts, {"Ann": "Bo"})
        grammar.redescribed(each.parts, data.draw(st.lists(st.builds(Person, NAMES, LOOKS), max_size=2)))
        grammar.rearranged(each.parts, [1, None, 0, None][:count])
