"""What a person reads about a group, a rejected image, or an image that might have joined a group."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import Record, Rejected


def name_of(record: Record) -> str:
    """What an image is called: the shot of its film, or its file."""
    return f"{record.position.film} shot {record.position.shot}" if record.position.film else record.source


def place_of(records: Sequence[Record], why: str) -> str:
    """Where in their source the images of a group are.

    Args:
        why: why those of a folder may be neighbours.
    """
    first, last = records[0].position, records[-1].position
    if first.film:
        shots = ", ".join(str(record.position.shot) for record in records)
        return f"shots {shots} of {first.film}, {first.time:.1f} to {last.time:.1f} s"
    return f"neighbours in {first.folder}: {', '.join(record.position.stem for record in records)} ({why})"


def reject(record: Record, reason: str, why: str) -> Rejected:
    """
    Args:
        reason: the class that rejections are counted by, such as "strangers".
        why: the rest of a sentence that begins with the image's name.
    """
    return Rejected(record.id, name_of(record), reason, f"{name_of(record)}: {why}.")
