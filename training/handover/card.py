"""The model card: what a person on the hub needs to draw with a LoRA, and to judge it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.families.base import ComfyUI
from training.backends.base import Backend
from training.conditions import SEEN, which
from training.evaluation.statistics import Estimate
from training.handover.comfy import Drawing
from training.handover.gallery import Sample
from training.handover.header import skeleton
from training.lora_file import Card

LICENCES = ("apache-2.0", "mit", "openrail", "openrail++", "creativeml-openrail-m", "unknown")
"""Of models, for which the hub has an identifier; any other is given as "other" with its name and a link."""
GALLERY = "samples"
"""Folder of the gallery's pictures."""
BASE = "base"
"""How an evaluation names what is drawn without a LoRA."""
FIGURES = {
    "score": "score (1: as real grids, 0: as shuffled ones)",
    "followed": "follows its texts",
    "kept": "keeps together",
    "diversity": "diversity of scenes (1: as in real grids)",
    "copies": "grids with one panel twice",
    "malformed": "malformed grids",
    "memorised": "grids with a panel that was trained on",
}
"""Figures of an evaluation that a card shows, by their keys in evaluation.json."""


@dataclass(frozen=True)
class Contents:
    """What a hand-over folder holds, by file name, and what its card tells."""

    lora: str
    script: str
    """Empty if there is none."""
    workflows: Mapping[str, str]
    """What each is for, by file name."""
    remarks: Sequence[str]
    """Why something is not there, as sentences."""
    gallery: Sequence[Sample]
    evaluation: Mapping[str, Any] | None
    """Of evaluation.json, if this LoRA was evaluated."""
    data_set: str
    """The data set's name on the hub; empty if it isn't there."""


def write(card: Card, digest: str, backend: Backend, drawing: Drawing, contents: Contents) -> str:
    """The card as Markdown with the hub's front matter.

    Args:
        digest: of the LoRA's tensors.
    """
    parts = (
        _front_matter(card, backend, contents),
        _about(card, drawing),
        _use(card, backend, contents),
        _evaluation(digest, contents.evaluation),
        _training(card, contents),
        _licence(card, backend),
    )
    return "\n".join(line for part in parts for line in part)


def picture_name(number: int, *, base: bool = False) -> str:
    """File of a gallery's picture, relative to the card."""
    return f"{GALLERY}/{number}{'-base' if base else ''}.png"


def _front_matter(card: Card, backend: Backend, contents: Contents) -> Iterator[str]:
    """YAML; strings are written as JSON, which is valid YAML."""
    yield "---"
    if backend.folder is None:
        yield f"base_model: {_quoted(card.base)}"
        yield "base_model_relation: adapter"
    yield "library_name: diffusers"
    yield "pipeline_tag: text-to-image"
    if card.licence in LICENCES:
        yield f"license: {card.licence}"
    else:
        yield from ("license: other", f"license_name: {_quoted(card.licence)}")
        if backend.folder is None:
            yield f"license_link: {_quoted(_licence_link(card))}"
    if card.prefix:
        yield f"instance_prompt: {_quoted(card.prefix)}"
    yield from ("tags:", *(f"- {tag}" for tag in _tags(card)))
    if contents.data_set:
        yield from ("datasets:", f"- {_quoted(contents.data_set)}")
    if contents.gallery:
        yield "widget:"
    for number, sample in enumerate(contents.gallery, 1):
        yield f"- text: {_quoted(sample.prompt)}"
        yield f"  output: {{url: {_quoted(picture_name(number))}}}"
    yield from ("---", "")


def _tags(card: Card) -> tuple[str, ...]:
    """`template:sd-lora` gives the page its gallery."""
    return ("text-to-image", "diffusers", "lora", "template:sd-lora", "in-context-lora", "iclora", card.family)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _licence_link(card: Card) -> str:
    return f"https://huggingface.co/{card.base}/blob/main/LICENSE.md"


def _about(card: Card, drawing: Drawing) -> Iterator[str]:
    layout = drawing.layout
    width, height = layout.canvas
    yield from (f"# {card.task}, an In-Context LoRA for {card.base}", "", "<Gallery />", "")
    if layout.size == 1:
        yield f"Draws single panels of {width} x {height} pixels, which belong to what it is shown."
    else:
        yield (
            f"Draws {layout.size} related panels as one grid of {width} x {height} pixels, {layout.rows} x "
            f"{layout.cols} panels of {layout.panel_width} x {layout.panel_height} each (In-Context LoRA, arXiv "
            "2410.23775)."
        )
    yield from ("", "A prompt reads", "", "```text", skeleton(card), "```", "")
    if card.markers:  # a single panel has none
        yield from ("| panel | marker | left, top, right, bottom |", "| --- | --- | --- |")
        for number, (marker, box) in enumerate(zip(card.markers, layout.boxes, strict=True), 1):
            yield f"| {number} | `{marker}` | {', '.join(map(str, box))} |"
        yield ""
    if card.prefix:
        yield from (f"Trigger: `{card.prefix}`, at the beginning.", "")


def _use(card: Card, backend: Backend, contents: Contents) -> Iterator[str]:
    yield from ("## How to draw with it", "")
    if contents.script:
        yield f"- `python {contents.script}` draws a grid with diffusers and cuts it into its panels."
    for name, what in contents.workflows.items():
        yield f"- `{name}` is a ComfyUI workflow {what}: drop it on ComfyUI's page."
    yield f"- `iclora generate {contents.lora}` takes a text for each panel, tables of prompts and given pictures."
    yield ""
    for remark in contents.remarks:
        yield from (remark, "")
    if contents.workflows and backend.family.comfyui:
        looked_for = f"`{contents.lora}` in models/loras{_files(backend.family.comfyui.of(backend.model))}"
        yield f"ComfyUI looks for {looked_for}; files of other names are chosen in the nodes."
        yield ""
    for one in card.conditions:
        yield from (f"Given in {one.share:.0%} of its training: {which(one, card.condition)}, {SEEN[one.seen]}.", "")
    if bases := [number for number, sample in enumerate(contents.gallery, 1) if sample.base]:
        yield from ("| with the LoRA | the base alone, from the same noise |", "| --- | --- |")
        for number in bases:
            yield f"| ![]({picture_name(number)}) | ![]({picture_name(number, base=True)}) |"
        yield ""


def _files(base: ComfyUI) -> str:
    """Where ComfyUI looks for the base, as the rest of a sentence."""
    if not base.encoders:
        return f" and `{base.model}` in models/checkpoints"
    encoders = " and ".join(f"`{name}`" for name in base.encoders)
    model = f"`{base.model}` in models/diffusion_models"
    return f", {model}, {encoders} in models/text_encoders and `{base.vae}` in models/vae"


def _evaluation(digest: str, evaluation: Mapping[str, Any] | None) -> Iterator[str]:
    if evaluation is None:
        return
    base = next(one for one in evaluation["candidates"] if one["candidate"] == BASE)
    own = next(one for one in evaluation["candidates"] if one["weights"] == digest)
    yield from ("## Evaluation", "")
    yield (
        f"{evaluation['prompts']} prompts with {evaluation['seeds']} seeds each, drawn with and without the LoRA from "
        "the same noise and measured by iclora on the scale of the data set's own grids; 95 % intervals."
    )
    yield from ("", "| | with the LoRA | the base alone |", "| --- | --- | --- |")
    for key, words in FIGURES.items():
        if key in own:
            yield f"| {words} | {_estimate(own[key])} | {_estimate(base[key])} |"
    p = "one prompt, so whether it is chance is unknown" if own["p"] is None else f"paired, p {own['p']:.3g}"
    yield from ("", f"Difference of the scores: {_estimate(own['better'])} ({p}).", "")


def _estimate(told: Mapping[str, Any]) -> str:
    return str(Estimate(told["value"], told["low"], told["high"]))


def _training(card: Card, contents: Contents) -> Iterator[str]:
    recipe = card.recipe
    averaged = "averaged weights (EMA)" if card.averaged else "raw weights"
    yield from ("## Training", "")
    yield f"- {card.grids} grids; the weights are the {averaged} of step {card.step}{f': {card.why}' * bool(card.why)}."
    yield f"- Base: {card.base}, weights `{card.weights}`."
    if {"rank", "learning_rate", "batch"} <= recipe.keys():
        yield f"- Rank {recipe['rank']}, learning rate {recipe['learning_rate']:g}, {recipe['batch']} grids per step."
    link = f" ([{contents.data_set}](https://huggingface.co/datasets/{contents.data_set}))" if contents.data_set else ""
    yield f"- Data set{link}: hash `{card.data}`."
    yield f"- Trained with iclora {card.iclora}; the whole recipe is in the file's header."
    yield ""


def _licence(card: Card, backend: Backend) -> Iterator[str]:
    yield from ("## Licence", "")
    link = f" ([text]({_licence_link(card)}))" if backend.folder is None and card.licence not in LICENCES else ""
    yield f"That of the base, {card.licence}{link}, and whatever applies to the pictures that it was trained on."
    yield ""
