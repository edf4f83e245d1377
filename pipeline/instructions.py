"""What a captioner is told: what to look at in a task's images, and the form of the answer."""

from __future__ import annotations

import hashlib

from pipeline import grammar
from pipeline.task import Task


def write(task: Task) -> str:
    """The whole instruction of a task: what to look at, then the form of the answer."""
    count = len(task.markers)
    lines = [
        f"You see {count} images, marked {', '.join(task.markers)}: the panels of one picture.",
        grammar.fold(task.caption.instructions),
        "Answer with one JSON object and nothing else: "
        '{"panels": [{"image": 1, "text": "...", "names": [...]}, ...], "names": [...], "summary": "..."}.',
        f'"panels" has exactly {count} entries, one per image in order. Each "text" is one clause of 10 to 50 words, '
        "in English, on one line, without square brackets; it tells only what is to be seen in that image and is true "
        "when read alone, so no 'as before', 'another angle' or 'the same'. No two texts say the same.",
        '"summary" is one clause of 8 to 30 words on what all images share'
        + (f"; it goes on after the words '{task.opening}'." if task.opening else "."),
    ]
    if task.caption.people:
        lines.append(
            "Call people and characters <P1>, <P2> and so on in order of first appearance, the same one by the same "
            'name in every image, and say in each text how they look; "names" lists P1, P2, ... without brackets.'
        )
    else:
        lines.append('Name nobody; leave every "names" empty.')
    return "\n".join(lines)


def id_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
