"""Writes the hand-over folder of a LoRA: everything that it takes to draw with it elsewhere, and its card."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline import files
from pipeline.errors import BadInput
from training import conditions, lora_file
from training.backends.base import Backend
from training.config import Dtype
from training.generator import base_of, usual_sampling
from training.handover import card as model_card
from training.handover import comfy, gallery
from training.handover.card import GALLERY, Contents
from training.handover.comfy import Drawing
from training.handover.header import skeleton, thumbnail_of
from training.handover.script import around_given, obstacle, script
from training.lora_file import Card

CARD, SCRIPT = "README.md", "generate.py"
EVALUATION = Path("evaluation", "evaluation.json")
"""Of a run, relative to its folder."""

DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Options:
    """How a LoRA is handed over."""

    dtype: Dtype = "fp32"
    """Of the weights in the file."""
    given: tuple[int, ...] = ()
    """Panels, from 1, that are given in the workflow for given panels; if none are named, those that the LoRA has
    learnt with, or the first."""
    keep_given: bool = False
    """Whether that workflow pastes given pictures back."""
    data_set: str = ""
    """The data set's name on the hub."""


@dataclass(frozen=True)
class Handover:
    """What was written."""

    folder: Path
    files: tuple[Path, ...]
    """Relative to the folder."""
    remarks: tuple[str, ...]
    """What is not there, and why, as sentences."""


def write(lora: Path, folder: Path, options: Options, model: str | None = None) -> Handover:
    """Writes everything anew; what the folder holds besides stays.

    Args:
        lora: a file of iclora's. Samples and an evaluation of it that lie beside it, as in a run, are taken up.
        model: where its base is, if that is a folder.

    Raises:
        BadInput: the file is not iclora's or is damaged, or an option names a panel that there is not.
    """
    card = lora_file.find_card(lora)
    if card is None:
        raise BadInput(
            f"{lora} was not written by iclora, so nothing is known of its base and panels to hand over; draw with it "
            f"by 'iclora generate {lora} --task TASK'."
        )
    if wrong := [panel for panel in options.given if not 1 <= panel <= card.layout.size]:
        raise BadInput(f"panel {wrong[0]} can't be given, the LoRA's grids have panels 1 to {card.layout.size}.")
    backend = base_of(lora, card, model)
    weights, samples = lora_file.read_weights(lora), gallery.find(lora, card.step)
    name, digest = f"{card.task}.safetensors", lora_file.digest_of(lora)
    drawing = Drawing(
        name=card.task,
        prompt=samples[0].prompt if samples else skeleton(card),
        layout=card.shown,
        **vars(usual_sampling(backend.family)),
        loras={name: 1.0},
    )
    thumbnail = thumbnail_of(samples[0].picture) if samples else b""
    folder.mkdir(parents=True, exist_ok=True)
    lora_file.write(folder / name, weights, 1.0, card, thumbnail=thumbnail, dtype=DTYPES[options.dtype])
    _clear(folder, card)
    workflows, remarks = _workflows(folder, backend, card, drawing, options)
    draws_text = conditions.joint_share(card.conditions) > 0
    beside = conditions.share_of(card.conditions, "reference") == 1
    why_no_script = obstacle(backend) or ("" if draws_text else around_given(backend, references=beside))
    if not why_no_script:
        revision = card.commit if backend.folder is None else None
        files.write(folder / SCRIPT, script(backend, revision, drawing, SCRIPT))
    else:
        remarks.append(f"There is no diffusers script: {why_no_script}.")
    if not samples:
        remarks.append(f"There are no samples of step {card.step} beside the LoRA, so the card has no pictures.")
    for number, sample in enumerate(samples, 1):
        _copy(sample.picture, folder / model_card.picture_name(number))
        if sample.base:
            _copy(sample.base, folder / model_card.picture_name(number, base=True))
    contents = Contents(
        lora=name,
        script="" if why_no_script else SCRIPT,
        workflows=workflows,
        remarks=remarks,
        gallery=samples,
        evaluation=_evaluation(lora, digest),
        data_set=options.data_set,
    )
    files.write(folder / CARD, model_card.write(card, digest, backend, drawing, contents))
    written = [name, *workflows, *([] if why_no_script else [SCRIPT]), CARD, *([GALLERY] if samples else [])]
    return Handover(folder, tuple(map(Path, written)), tuple(remarks))


def _workflows(
    folder: Path, backend: Backend, card: Card, drawing: Drawing, options: Options
) -> tuple[dict[str, str], list[str]]:
    """Writes the workflows that draw as the LoRA has learnt; returns what each is for, and why one is missing."""
    if why := comfy.obstacle(backend):
        return {}, [f"There is no ComfyUI workflow: {why}."]
    found, remarks = dict[str, str](), list[str]()
    text_alone, around_given, beside_references = _workflow_names(card)
    learnt = {seen: conditions.share_of(card.conditions, seen) for seen in conditions.SEEN}
    if conditions.joint_share(card.conditions):
        found[text_alone] = "for text alone"
        _write_json(folder / text_alone, comfy.workflow(backend, drawing))
    if learnt["reference"]:
        if comfy.shows_references(backend):
            found[beside_references] = "beside a reference image"
            shown = replace(drawing, references=("reference1.png",))
            _write_json(folder / beside_references, comfy.workflow(backend, shown))
        else:
            remarks.append(
                "There is no ComfyUI workflow for reference images: how stock nodes show them to "
                f"{backend.BASE} is not known here; draw with 'iclora generate' and --reference."
            )
    if learnt["clean"] and not comfy.draws_around(backend, "clean"):
        remarks.append(
            f"There is no ComfyUI workflow for given panels: {comfy.CLEAN}; draw with 'iclora generate' and --given."
        )
    elif learnt["reference"] < 1:
        given = options.given or card.condition or (1,)
        names = {panel - 1: f"panel{panel}.png" for panel in given}
        found[around_given] = f"around given panels ({', '.join(map(str, given))})"
        around = replace(drawing, given=names, keep_given=options.keep_given)
        _write_json(folder / around_given, comfy.workflow(backend, around))
    return found, remarks


def _workflow_names(card: Card) -> tuple[str, str, str]:
    """For text alone, for given panels, and for reference images."""
    return f"{card.task}-comfyui.json", f"{card.task}-given-comfyui.json", f"{card.task}-reference-comfyui.json"


def _clear(folder: Path, card: Card) -> None:
    """Takes away what an earlier hand-over of the same task wrote and this one may not: it would be sent along."""
    for file in (*(folder / GALLERY).glob("[0-9]*.png"), *map(folder.joinpath, (*_workflow_names(card), SCRIPT))):
        file.unlink(missing_ok=True)


def _write_json(file: Path, content: Any) -> None:
    files.write(file, json.dumps(content, ensure_ascii=False, indent=1))


def _copy(picture: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(to) as part:
        shutil.copyfile(picture, part)


def _evaluation(lora: Path, digest: str) -> dict[str, Any] | None:
    """The run's last evaluation, if this LoRA took part."""
    for home in lora.resolve().parents[1:3]:  # a run's LoRA lies in `training`, a checkpoint one folder deeper
        try:
            found: dict[str, Any] = json.loads((home / EVALUATION).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if any(one.get("weights") == digest for one in found["candidates"]):
            return found
    return None
