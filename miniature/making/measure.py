"""Measures both models on .mp4 films that were never trained on, and writes the figures into the model card."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import open_clip
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from miniature.draw import draw
from miniature.film import HELD_OUT_SEED, truth_path, write_film
from miniature.making.frames import ATTRIBUTES, alter, value_of
from miniature.making.reply import NAMES, reply
from miniature.world import ACTIONS, PLACES, SHOTS, WORN, Character, Scene, describe, draw_scene

HOME = Path(__file__).parent.parent
CLIP, VLM, CARD = HOME / "clip", HOME / "vlm", HOME / "README.md"
PANEL = (1024, 512)  # px, as in a storyboard
PANELS_PER_GRID = 3
FALSE_REJECTS = 0.05
PEOPLE = ("Mira", "Tadeusz", "Ngozi", "Jean-Luc", "Sakura", "O'Brien", "Ana María", "Wren")  # in no training text
# Shapes of the other tasks' panels: their name, their size, how many make a grid.
SHAPES = (
    ("1024x1024", (1024, 1024), 2),
    ("672x864", (672, 864), 4),
    ("896x608", (896, 608), 4),
    ("736x1024", (736, 1024), 2),
    ("576x1088", (576, 1088), 2),
    ("1408x800", (1408, 800), 2),
)
MARKS = ("<!-- figures -->", "<!-- /figures -->")

# What a captioning tool asks, in about as many words; the mini VLM needs to understand only <P1>.
INSTRUCTION = """\
You see the panels of one storyboard in reading order, each after its marker. Write a joint caption for the whole grid.
First describe every panel by itself: who is in it, what they look like, what they do, where they are, and how the
camera sees them. Then sum up in one sentence what the story is about. Call the people by the placeholders <P1>, <P2>
and so on, always the same one for the same person, and never repeat a name for somebody else. Do not refer to other
panels with words like "again", "as before" or "another side"; every panel must make sense when it is read alone. Use
plain English, no line breaks, and do not mention the grid, the layout or the image itself. Do not guess at feelings or
backstory that can't be seen. If there is text in a picture, quote it. Answer with JSON alone, in this form:
{"panels": [{"image": 1, "people": [{"looks": "...", "name": "P1"}], "text": "..."}], "people": [], "summary": ""}."""


Item = TypeVar("Item")


@dataclass(frozen=True)
class Panel:
    """A picture as the pipeline cuts it from a film, its scene, and the number of its film."""

    image: Image.Image
    scene: Scene
    film: int


def film_panels(films: int, *, seed: int = HELD_OUT_SEED, shots: int = 24, fps: int = 12) -> list[Panel]:
    """The middle frame of each shot of newly written films, cropped to 2:1 and scaled to a storyboard's panel."""
    panels: list[Panel] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(films):
            path = write_film(Path(folder) / f"{number}.mp4", seed + number, shots=shots, fps=fps)
            shots_of_film = json.loads(truth_path(path).read_text(encoding="utf-8"))["shots"]
            middles = [(shot["start"] + shot["dissolve"] + shot["end"]) / 2 for shot in shots_of_film]
            images = frames_at(path, middles)
            panels += [Panel(i, scene_of(shot), number) for i, shot in zip(images, shots_of_film, strict=True)]
    return panels


def frames_at(path: Path, times: Sequence[float]) -> Iterator[Image.Image]:
    """The frames shown at these times (seconds, increasing), as panels."""
    waiting = list(times)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if waiting and frame.time is not None and frame.time >= waiting[0]:
                waiting.pop(0)
                yield crop(Image.fromarray(frame.to_ndarray(format="rgb24")), PANEL)


def crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest centred part with the aspect ratio of `size`, scaled to it."""
    scale = max(size[0] / image.width, size[1] / image.height)
    width, height = size[0] / scale, size[1] / scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))


def scene_of(shot: dict[str, Any]) -> Scene:
    who = Character(shot["kind"], shot["colour"], shot["worn"])
    return Scene(who, shot["place"], shot["action"], shot["shot"])


def drawn_grids(count: int, size: tuple[int, int], panels: int, seed: int) -> list[list[Panel]]:
    """Grids of single pictures in another shape, with scenes from a random stream of their own."""
    rng = random.Random(f"measure {seed}")
    grids = []
    for number in range(count):
        scenes = [draw_scene(rng) for _ in range(panels)]
        pictures = [Image.fromarray(draw(scene, time=rng.uniform(0, 4), size=size)) for scene in scenes]
        grids.append([Panel(i, scene, number) for i, scene in zip(pictures, scenes, strict=True)])
    return grids


def grids_of(panels: list[Panel], size: int = PANELS_PER_GRID) -> list[list[Panel]]:
    """Neighbouring shots of one film, each used once."""
    return [list(grid) for grid in batched(panels, size) if len(grid) == size and grid[0].film == grid[-1].film]


def spoilt(grids: Sequence[list[Panel]]) -> list[list[Panel]]:
    """The grids with one panel each replaced by a panel from another film."""
    rng, made = random.Random("spoilt"), []
    for grid in grids:
        others = [panel for other in grids if other[0].film != grid[0].film for panel in other]
        place = rng.randrange(len(grid))
        made.append([*grid[:place], rng.choice(others), *grid[place + 1 :]])
    return made


def batched(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


# --- CLIP -------------------------------------------------------------------------------------------------------------


class Clip:
    """The model, loaded as iclora loads any open_clip model."""

    def __init__(self, folder: Path = CLIP) -> None:
        name = f"local-dir:{folder}"
        self.model, _, self.look = open_clip.create_model_and_transforms(name, image_resize_mode="squash")
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        parts = [torch.stack([self.look(image) for image in some]) for some in batched(images, 64)]
        return torch.cat([self.model.encode_image(part, normalize=True) for part in parts])

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        parts = [self.tokenizer(list(some)) for some in batched(texts, 256)]
        return torch.cat([self.model.encode_text(part, normalize=True) for part in parts])


def area_under_curve(right: np.ndarray[Any, Any], wrong: np.ndarray[Any, Any]) -> float:
    """The probability that a right pair scores above a wrong one."""
    return float((right[:, None] > wrong[None]).mean() + 0.5 * (right[:, None] == wrong[None]).mean())


def measure_clip(panels: list[Panel], folder: Path = CLIP, wording: int | None = None) -> dict[str, float]:
    """Cosines of right pairs compared with shuffled ones, and with texts that are wrong in one attribute."""
    clip, rng = Clip(folder), random.Random("measure clip")
    images = clip.images([panel.image for panel in panels])
    wordings = [rng.randrange(5) if wording is None else wording for _ in panels]
    names = [PEOPLE[(panel.film + len(panel.scene.character.kind)) % len(PEOPLE)] for panel in panels]
    owns = [describe(panel.scene, name, how) for panel, name, how in zip(panels, names, wordings, strict=True)]
    texts = clip.texts(owns)
    right = (images * texts).sum(-1).numpy()
    threshold = float(np.quantile(right, FALSE_REJECTS))

    shuffled, within = _swaps(panels, owns)
    cosines = images @ texts.T
    other, sibling = (np.array([float(cosines[i, j]) for i, j in pairs]) for pairs in (shuffled, within))
    figures = {
        "panels": len(panels),
        "area under curve, shuffled over all films": area_under_curve(right, other),
        "area under curve, swapped within a grid": area_under_curve(right, sibling),
        "swapped within a grid, rejected": float((sibling < threshold).mean()),
    }
    for attribute in ATTRIBUTES:
        described = zip(panels, names, wordings, strict=True)
        wrong = clip.texts([describe(alter(panel.scene, attribute, rng), name, how) for panel, name, how in described])
        cosine = (images * wrong).sum(-1).numpy()
        figures[f"{attribute} wrong, scored lower"] = float((cosine < right).mean())
        figures[f"{attribute} wrong, rejected"] = float((cosine < threshold).mean())
    return figures


def _swaps(panels: list[Panel], texts: list[str]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Wrong pairs (panel, text): with a text from any film, and with a neighbour's text from the same grid."""
    order = list(range(len(panels)))
    random.Random("shuffle").shuffle(order)
    far = [(i, j) for i, j in enumerate(order) if panels[i].scene != panels[j].scene]
    starts = range(0, len(panels) - PANELS_PER_GRID + 1, PANELS_PER_GRID)
    near = [(s + a, s + b) for s in starts for a in range(PANELS_PER_GRID) for b in range(PANELS_PER_GRID) if a != b]
    return far, [(i, j) for i, j in near if texts[i] != texts[j] and panels[i].scene != panels[j].scene]


OF_PANELS = ("names",)
OF_REPLIES = ("valid JSON", "summary", "ties", "strangers", "unrelated", "whole reply")


# --- VLM --------------------------------------------------------------------------------------------------------------


class Vlm:
    """The model, loaded as iclora loads any image-text-to-text model."""

    def __init__(self, folder: Path = VLM) -> None:
        self.processor = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)

    def ask(self, grids: Sequence[Sequence[Image.Image]], instruction: str = INSTRUCTION) -> list[str]:
        """One reply per grid; the grids go through the model together."""
        return self.reply_to([conversation(images, instruction) for images in grids])

    def reply_to(self, chats: list[list[dict[str, Any]]]) -> list[str]:
        inputs = self.processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        tokens = self.model.generate(**inputs, do_sample=False, max_new_tokens=320)
        asked = inputs["input_ids"].shape[1]
        replies: list[str] = self.processor.batch_decode(tokens[:, asked:], skip_special_tokens=True)
        return replies


def conversation(images: Sequence[Image.Image], instruction: str) -> list[dict[str, Any]]:
    """The images in order, each after its marker, followed by the instruction."""
    content: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        content += [{"type": "text", "text": f"[SCENE-{number}]"}, {"type": "image", "image": image}]
    return [{"role": "user", "content": [*content, {"type": "text", "text": instruction}]}]


def measure_vlm(
    grids: list[list[Panel]], folder: Path = VLM, *, instruction: str = INSTRUCTION, batch: int = 8
) -> dict[str, float]:
    """The share of panels with each attribute right in the reply, and the share of replies that are exactly right."""
    vlm, started = Vlm(folder), time.monotonic()
    right: dict[str, list[bool]] = {name: [] for name in (*OF_PANELS, *OF_REPLIES, *ATTRIBUTES)}
    for some in batched(grids, batch):
        for grid, answer in zip(some, vlm.ask([[p.image for p in grid] for grid in some], instruction), strict=True):
            scenes = [panel.scene for panel in grid]
            ideal_text = reply(scenes, named=NAMES[0] in instruction)
            parsed, ideal = parse(answer, len(grid)), json.loads(ideal_text)
            right["valid JSON"].append(parsed is not None)
            right["whole reply"].append(answer == ideal_text)
            panels = parsed["panels"] if parsed else [{"text": "", "people": []}] * len(grid)
            for part in ("summary", "ties", "strangers", "unrelated"):
                right[part].append(parsed is not None and parsed[part] == ideal[part])
            pairs = zip(panels, ideal["panels"], strict=True)
            right["names"] += [names_in(panel) == names_in(wanted_panel) for panel, wanted_panel in pairs]
            for scene, panel in zip(scenes, panels, strict=True):
                said = " ".join([*(f"{one['looks']} " for one in panel["people"]), panel["text"]])
                for attribute in ATTRIBUTES:
                    right[attribute].append(phrase(scene, attribute) in said)
    figures: dict[str, float] = {"grids": len(grids), "panels": len(right["kind"])}
    figures |= {name: sum(hits) / len(hits) for name, hits in right.items()}
    return figures | {"seconds per grid": (time.monotonic() - started) / len(grids)}


def names_in(panel: dict[str, Any]) -> list[str]:
    return [one["name"] for one in panel["people"]]


def parse(text: str, panels: int) -> dict[str, Any] | None:
    """The reply's JSON if it is valid, of the right form and with an entry for every panel."""
    try:
        parsed = json.loads(text)
        good = isinstance(parsed["summary"], str) and len(parsed["panels"]) == panels
        people = [one for panel in parsed["panels"] for one in panel["people"]]
        good = good and all(isinstance(one[key], str) for one in people for key in ("name", "looks"))
        good = good and all(isinstance(panel["text"], str) for panel in parsed["panels"])
        good = good and {"people", "ties", "strangers", "unrelated"} <= parsed.keys()
    except (ValueError, KeyError, TypeError):
        return None
    return parsed if good else None


def phrase(scene: Scene, attribute: str) -> str:
    """The words in which a panel's text states this value of the attribute and no other."""
    value = value_of(scene, attribute)
    return {
        "kind": f" {value}",
        "colour": f"a {value} ",
        "worn": f"with {WORN.get(value)}",
        "place": f" {PLACES.get(value)}",
        "action": f" {ACTIONS.get(value)} ",
        "shot": f"{SHOTS.get(value)} of ",
    }[attribute]


# --- the card ---------------------------------------------------------------------------------------------------------


def write_card(films: int, card: Path = CARD) -> None:
    """Measures everything, prints it, and writes it between the markers of the card."""
    panels = film_panels(films)
    tables = [
        ("CLIP, the mini VLM's own wording", measure_clip(panels, wording=0)),
        ("CLIP, all wordings that state the shot size", measure_clip(panels)),
        (
            f"VLM, grids of {PANELS_PER_GRID}, an instruction of {len(INSTRUCTION.split())} words with names",
            measure_vlm(grids_of(panels)),
        ),
        (
            f"VLM, grids of {PANELS_PER_GRID}, one panel of another film",
            measure_vlm(spoilt(grids_of(panels))),
        ),
        (
            "VLM, grids of 4, a short instruction without names",
            measure_vlm(grids_of(panels, 4)[:40], instruction="Describe."),
        ),
    ]
    for words, size, count in SHAPES:
        tables.append((f"VLM, {count} pictures of {words}", measure_vlm(drawn_grids(30, size, count, seed=count))))
    text = "\n\n".join(table(title, figures) for title, figures in tables)
    print(text)
    put_figures(card, text)


def put_figures(card: Path, text: str) -> None:
    before, _, rest = card.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    card.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def table(title: str, figures: dict[str, float]) -> str:
    rows = [f"| {title} | |", "|---|---|"]
    return "\n".join([*rows, *(f"| {name} | {show(name, value)} |" for name, value in figures.items())])


def show(name: str, value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if name.startswith("seconds") else f"{value:.4f}" if "curve" in name else f"{value:.1%}"
