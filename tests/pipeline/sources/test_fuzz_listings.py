"""Listings of any bytes: entries by path, or one error."""

from __future__ import annotations

import json

import pytest
from fuzzing import ANY_TEXT, damaged, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.sources import encodings, listings
from pipeline.sources.tables import fields

ROWS = [
    {"file_name": "a/1.png", "text": "a dog", "licence": "CC0", "sources": [{"author": "x"}], "boxes": [[0, 0, 1, 1]]},
    {"image": "2.png", "prompt": ["one", "two"], "group": "g", "url": "https://example.org"},
]
CONTENT = {
    "metadata.jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
    "metadata.csv": b'file_name,text\na/1.png,a dog\n2.png,"a cat, asleep"\n',
    "captions.json": json.dumps({"1.png": ["one", "two"], "2.png": "three"}).encode(),
}
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(ANY_TEXT, inner, max_size=2)),
    max_leaves=6,
)
KEYS = st.sampled_from([*(name for names in fields.FIELDS.values() for name in names), "boxes", "sources"])


def parsed(content: bytes, where: str) -> None:
    try:
        entries = listings.parse(content, where)
    except BadInput:
        return
    for entry in entries:
        (entry.file + entry.text).encode()
        assert not encodings.flaw(entry.text)


@fuzzed
@given(st.sampled_from(sorted(CONTENT)), st.data())
def test_fuzz_a_damaged_listing_gives_entries_or_one_error(where: str, data: st.DataObject) -> None:
    parsed(data.draw(damaged(CONTENT[where])), where)


@fuzzed
@given(st.sampled_from(sorted(CONTENT)), st.binary(max_size=200))
def test_fuzz_any_bytes_give_entries_or_one_error(where: str, content: bytes) -> None:
    parsed(content, where)


@fuzzed
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=3))
def test_fuzz_rows_of_any_values_give_entries_or_one_error(rows: list[dict[str, object]]) -> None:
    parsed("\n".join(map(json.dumps, rows)).encode(), "metadata.jsonl")


@pytest.mark.parametrize(
    "content",
    ['{"file_name": "1.png", "text": ' + "[" * 100_000, '{"file_name": "1.png", "boxes": [[1e999, 0, 1, 1]]}'],
)
def test_a_listing_that_python_cannot_read_is_one_error(content: str) -> None:
    with pytest.raises(BadInput, match="can't be read as a listing"):
        listings.parse(content.encode(), "metadata.jsonl")
