"""The instruction that a captioner gets: what to look at in a task's images, and the form of the answer."""

from __future__ import annotations

import hashlib
import json

from PIL import Image

from pipeline import pixels
from pipeline.captioning.protocol import Images, Question, conversation
from pipeline.captioning.replies import JointReply
from pipeline.task import Task
from pipeline.text import budget, grammar

ANY_IMAGES = """
Say in the summary what the images have in common: subject, place, time, style, light and mood. For each image say what
is in it and how it looks, with its colours and materials, what happens, where it is, and how the picture is framed; say
above all what sets it apart from the other images.
"""
"""What is worth saying about any images, for a task that does not say."""


def write(task: Task) -> str:
    """A task's whole instruction: what to look at, then the form of the answer."""
    count, most = len(task.markers), budget.words(task)
    added = f"the prefix {task.prefix} and the markers" if task.prefix else "the markers"
    lines = [
        f"You see {count} images, the panels of one picture, {_places(task)}.",
        grammar.fold(task.caption.instructions or ANY_IMAGES),
        f"Answer with one JSON object and nothing else: {_form(task)}.",
        f'"panels" has exactly {count} entries, one per image in order. '
        f'Each "text" is one clause of {min(10, most // 2)} to {most} words, in English, on one line, without square '
        f"brackets ({added} are put in later); it tells only what is to be seen in that image and is true when read "
        "alone, so no 'as before', 'another angle' or 'the same'. No two texts say the same.",
        f'"summary" is one clause of {min(8, most // 2)} to {min(30, most)} words on what all images share'
        + (f"; it goes on after the words '{task.opening}'." if task.opening else "."),
        *_people(task),
        '"ties" lists what two images or more have in common that a viewer would notice (a person, a thing, a place), '
        'with the numbers of the images in which it is seen. "strangers" has the numbers of images that do not belong '
        'with the others. If no images belong together, "unrelated" says why; else it is empty.',
    ]
    return "\n".join([*lines, *_exclude(task)])


def _form(task: Task) -> str:
    """The answer's form, by example."""
    people = task.caption.people
    seen = '[{"looks": "...", "name": "P1"}]' if people else "[]"
    known = '[{"name": "P1", "looks": "...", "changes": ""}]' if people else "[]"
    return (
        f'{{"panels": [{{"image": 1, "people": {seen}, "text": "..."}}, ...], "people": {known}, '
        '"summary": "...", "ties": [{"what": "...", "panels": [1, 2]}], "strangers": [], "unrelated": ""}'
    )


def _people(task: Task) -> list[str]:
    """How people are named and described."""
    if not task.caption.people:
        return ['Name nobody; leave every "people" empty.']
    return [
        "Call people and characters <P1>, <P2> and so on in order of first appearance, the same one by the same name "
        "in every image. Texts and summary say <P1> and nothing of how <P1> looks: that stands in "
        f'"looks", a noun phrase of at most {budget.LOOKS} words. The "people" of an image lists who is in it, as they '
        'look there; the last "people" lists everyone once, as they look in all images, and "changes" says in a few '
        "words what of it differs from image to image (clothes, say), or is empty."
    ]


def _exclude(task: Task) -> list[str]:
    """What the captions must not tell."""
    traits = {trait: words for trait, words in task.caption.exclude.items() if words != (trait,)}
    single = [word for word in task.caption.exclude if word not in traits]
    looks = ', not even in "looks"' if task.caption.people and task.caption.looks != "never" else ""
    said = [f"Say nothing of {trait}{looks}: never use words such as {', '.join(traits[trait])}." for trait in traits]
    return [*said, f"Never use these words: {', '.join(single)}."] if single else said


def _places(task: Task) -> str:
    """Where the panels are, with their markers in reading order."""
    rows, cols = task.layout.rows, task.layout.cols
    if rows == 1:
        return f"side by side from left to right: {', '.join(task.markers)}"
    if cols == 1:
        return f"one below the other from top to bottom: {', '.join(task.markers)}"
    lines = [", ".join(task.markers[row * cols : (row + 1) * cols]) for row in range(rows)]
    listed = "; ".join(f"row {number}: {line}" for number, line in enumerate(lines, start=1))
    return f"in {rows} rows of {cols}, each row from left to right; {listed}"


def id_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def show(task: Task, images: Images) -> str:
    """The conversation about one grid as it would be sent, with placeholders for the images, and the answer's schema.

    Args:
        images: what the captioner's model is shown of a grid.
    """
    grid = Image.new("RGB", task.grid_layout.canvas)
    panels = tuple(pixels.cut(grid, task.grid_layout))
    names = {id(grid): "the whole grid"} | {id(panel): f"panel {n}" for n, panel in enumerate(panels, start=1)}
    question = Question(panels, ("",) * len(panels), task.markers, write(task), grid=grid)
    lines = []
    for message in conversation(question, images):
        lines.append(f"[{message['role']}]")
        for part in message["content"]:
            picture = part.get("image")
            lines.append(
                f"<image: {names[id(picture)]}, {picture.width} x {picture.height}>" if picture else part["text"]
            )
    schema = json.dumps(JointReply.model_json_schema(), indent=2)
    return "\n".join([*lines, "", "[JSON schema of the answer, sent to servers that take one]", schema])
