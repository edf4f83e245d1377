"""Whether a LoRA keeps its panels together and follows its texts, against its base on the same prompts and noise."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iclora import evaluation_page, exported
from iclora.generation import Loras, strengths_of
from iclora.prompts import Prompt
from iclora.run import Run
from pipeline import files, pixels
from pipeline.consistency.scorers.base import Scorer
from pipeline.errors import BadInput
from pipeline.progress import Progress, silent
from pipeline.records import Layout, TrainingSample
from pipeline.task import Task
from pipeline.text import grammar
from pipeline.wording import counted
from training import dataset, lora_file
from training import generate as drawing
from training.evaluation import seams, statistics
from training.evaluation.measures import Measures, Scale, Vectors, calibrate, measure, panels_of
from training.evaluation.statistics import Draws, Estimate
from training.generator import Adapter, GenerationRequest, Generator, open_generator
from training.processes import Processes
from training.sampling import SamplingSettings

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

BASE = "base"
FOLDER = Path("evaluation")


@dataclass(frozen=True)
class Drawn:
    """One grid of an evaluation."""

    candidate: str
    prompt: str
    seed: int
    file: Path
    """Relative to the evaluation's folder."""
    measures: Measures
    followed: float
    """0 as shuffled real grids, 1 as real ones; 0 for copies and malformed grids."""
    kept: float
    copy: bool
    """Whether two of its panels are the same picture."""
    memorised: bool
    """Whether one of its panels is one that was trained on."""
    malformed: bool
    """Whether its panels are not where the layout says."""
    faults: str
    """What is malformed, such as "panel 2 is blank"."""


@dataclass(frozen=True)
class Result:
    """What a candidate comes to. Shares and means have 95 % intervals."""

    candidate: str
    score: Estimate
    """The harmonic mean of the next two."""
    followed: Estimate
    kept: Estimate
    retrieval: Estimate
    """Share of panels that are nearer to their own text than to others of the grid."""
    diversity: Estimate
    copies: Estimate
    memorised: Estimate
    malformed: Estimate
    better: Estimate | None = None
    """By how much the score is above that of the base; None for the base."""
    p: float | None = None
    """Of no difference from the base, corrected for the number of candidates (Holm)."""


@dataclass(frozen=True)
class Evaluation:
    """Base and LoRAs, compared."""

    folder: Path
    results: tuple[Result, ...]
    """The base first."""
    grids: tuple[Drawn, ...]
    chosen: str
    """The first LoRA whose score is within one standard error of the best; smaller steps and strengths come first."""
    scale: Scale
    prompts: int
    seeds: int

    def lines(self) -> list[str]:
        """The results, one line for each candidate, and what was chosen."""
        return [*map(_line, self.results), *([self.reason] if self.reason else [])]

    @property
    def reason(self) -> str:
        """Why a LoRA was chosen among several, as a sentence; empty if there is one."""
        if len(self.results) <= 2:  # noqa: PLR2004  (the base and one LoRA)
            return ""
        return f"{self.chosen} is the first within one standard error of the best score."

    def table(self) -> pd.DataFrame:
        """Every grid with its figures, one row each."""
        import pandas as pd

        rows = [asdict(one) | asdict(one.measures) | {"diversity": one.measures.diversity} for one in self.grids]
        return pd.DataFrame(rows).drop(columns="measures")


def _line(one: Result) -> str:
    better = ""
    if one.better is not None and one.p is not None:
        better = f", {one.better.value:+.2f} ({one.better.low:+.2f} to {one.better.high:+.2f}, p {one.p:.3f})"
    return (
        f"{one.candidate}: score {one.score}{better}; follows {one.followed}, keeps together {one.kept}, "
        f"copies {one.copies.value:.0%}, memorised {one.memorised.value:.0%}, malformed {one.malformed.value:.0%}"
    )


def evaluate(  # noqa: PLR0913  (one argument per option)
    run: Run,
    loras: Loras = (),
    *,
    strengths: Sequence[float] = (),
    prompts: Sequence[str | Prompt] = (),
    seeds: int = 2,
    model: str | None = None,
    steps: int = 20,
    guidance: float = 3.5,
    progress: Progress = silent,
) -> Evaluation:
    """Draws the same prompts with the base and with LoRAs, from the same noise, and measures the grids.

    The scale is the run's own: real grids are 1, grids of shuffled real panels 0. Grids with a panel twice and
    malformed ones count as 0.
    Written to `evaluation` in the run's folder: the grids, `evaluation.csv`, `evaluation.json`, `evaluation.html`.

    Args:
        run: with an exported data set; its scorer measures.
        loras: files, in the order of preference; the run's own LoRA by default.
        strengths: at which each is tried; as given or 1 by default.
        prompts: joint captions or `Prompt`s; those of the held-out grids by default.
        seeds: so many for each prompt, from 0.
        model, steps, guidance: as for `generate`.
        progress: called with a candidate and how many of its grids are drawn.

    Raises:
        BadInput: the run has no data set, no scorer or no LoRA, real grids are no better than shuffled ones, or a
            prompt lacks the text of a panel.
        MissingWeights: the base or the scorer is not here.
    """
    exported.check(run)
    if run.scorer is None:
        raise BadInput("without a scorer nothing can be measured; set one with --scorer, such as open_clip.")
    data = dataset.read(run.dataset, run.task)
    texts = _captions(prompts, run) or [sample.text for sample in data.held_out]
    if not texts:
        raise BadInput("no grids are held out, so there are no prompts; give some with --prompts.")
    if seeds < 1:
        raise BadInput(f"an evaluation takes at least 1 seed for each prompt, got --seeds {seeds}.")
    candidates = _candidates(run, loras, strengths, model, SamplingSettings(steps, guidance))
    measuring = _Measuring(run.scorer, run.task, data)
    folder, grids = run.folder / FOLDER, list[Drawn]()
    requests = [GenerationRequest(text, seed) for text in texts for seed in range(seeds)]
    inputs = drawing.encode(candidates[BASE], requests)
    for name, generator in candidates.items():
        progress(name, 0, len(requests))
        drawn = drawing.sample(generator, requests, inputs)
        progress(name, len(requests), len(requests))
        grids += _measured(name, requests, drawn, generator.layout, measuring, folder)
    results = _results(grids, len(texts), seeds)
    tuned = {one.candidate: one.score for one in results if one.candidate != BASE}
    evaluation = Evaluation(folder, results, tuple(grids), statistics.choose(tuned), measuring.scale, len(texts), seeds)
    _write(evaluation)
    return evaluation


# ---- what is compared


def _captions(prompts: Sequence[str | Prompt], run: Run) -> list[str]:
    """
    Raises:
        BadInput: one lacks the text of a panel, against which that would be measured, or has seeds or given pictures.
    """
    if own := [one for one in prompts if isinstance(one, Prompt) and (one.given or one.seeds)]:
        raise BadInput(
            f"the prompt '{own[0].caption(run.task)[:60]}' has seeds or given pictures of its own, and an evaluation "
            "draws all prompts alike; leave them out."
        )
    texts = [one if isinstance(one, str) else one.caption(run.task) for one in prompts]
    for text in texts:
        told = grammar.parse(text, run.task).panels
        if missing := [mark for mark, part in zip_longest(run.task.markers, told) if not part]:
            raise BadInput(f"the prompt '{text[:60]}' has no text for {missing[0]}; give one for each panel.")
    return texts


def _candidates(
    run: Run, loras: Loras, strengths: Sequence[float], model: str | None, settings: SamplingSettings
) -> dict[str, Generator]:
    """The base, then LoRAs by step and strength.

    Raises:
        BadInput: there is no LoRA, or they are for different bases or canvases.
    """
    given = dict(strengths_of(loras)) or {run.folder / "training" / f"{run.task.name}.safetensors": 1.0}
    if missing := [file for file in given if not Path(file).is_file()]:
        raise BadInput(f"there is no LoRA {missing[0]}; train one with '{run.command('train')}', or name a file.")
    wanted = [Adapter(Path(file), one) for file, usual in given.items() for one in strengths or (usual,)]
    wanted.sort(key=lambda one: (card.step if (card := lora_file.find_card(one.file)) else 0, one.strength))
    device, opened = Processes().device, dict[str, Generator]()
    for one in wanted:
        task = None if lora_file.find_card(one.file) else run.task
        opened[_name(one, wanted)] = open_generator([one], model, settings, device, task)
    first = next(iter(opened.values()))
    for name, generator in opened.items():
        if (generator.backend.model, generator.layout) != (first.backend.model, first.layout):
            raise BadInput(
                f"{name} draws on {_on(generator)} and {next(iter(opened))} on {_on(first)}; compare LoRAs of one base "
                "and canvas."
            )
    return {BASE: replace(first, loras=()), **opened}


def _on(generator: Generator) -> str:
    return f"{generator.backend.model} and {' x '.join(map(str, generator.layout.canvas))} pixels"


def _name(one: Adapter, among: Sequence[Adapter]) -> str:
    """The file's name, with its folder where two have the same, and its strength where it is not 1."""
    twins = {other.file for other in among if other.file.name == one.file.name}
    name = str(one.file) if len(twins) > 1 else one.file.stem
    return name if one.strength == 1 else f"{name} at {one.strength:g}"


# ---- measuring


class _Measuring:
    """Vectors of pictures and texts by a scorer, and the scale of a run's own grids.

    Raises:
        BadInput: real grids are too few, or no better than shuffled ones.
    """

    def __init__(self, scorer: Scorer, task: Task, data: dataset.Data) -> None:
        self._scorer, self._task, self._texts = scorer, task, dict[str, Any]()
        held_out, trained = (
            [self.vectors(_panels(sample), sample.text) for sample in side] for side in (data.held_out, data.train)
        )
        self.trained = panels_of(trained)
        try:
            self.scale = calibrate(held_out, trained)
        except ValueError as error:
            raise BadInput(
                f"nothing can be measured on this run: {error}; add grids, or use another scorer."
            ) from error

    def vectors(self, panels: Sequence[Image.Image], text: str) -> Vectors:
        if text not in self._texts:
            self._texts[text] = self._scorer.text_vectors(grammar.parse(text, self._task).panels)
        return Vectors(self._scorer.image_vectors(panels), self._texts[text])


def _panels(sample: TrainingSample) -> list[Image.Image]:
    return pixels.cut(pixels.open_image(Path(sample.path)), sample.layout)


def _measured(
    name: str,
    requests: Sequence[GenerationRequest],
    drawn: Sequence[Image.Image],
    layout: Layout,
    measuring: _Measuring,
    folder: Path,
) -> Iterator[Drawn]:
    home, scale = Path(name.replace("/", "_")), measuring.scale
    (folder / home).mkdir(parents=True, exist_ok=True)
    for number, (request, grid) in enumerate(zip(requests, drawn, strict=True), 1):
        file = home / f"{number:04d}.png"
        grid.save(folder / file)
        found = measure(measuring.vectors(pixels.cut(grid, layout), request.prompt), measuring.trained)
        faults = seams.faults(grid, layout)
        yield Drawn(
            name,
            request.prompt,
            request.seed,
            file,
            found,
            0.0 if faults else scale.followed(found),
            0.0 if faults else scale.kept(found),
            scale.is_copy(found),
            scale.is_memorised(found),
            bool(faults),
            "; ".join(faults),
        )


def _results(grids: Sequence[Drawn], prompts: int, seeds: int) -> tuple[Result, ...]:
    draws, names = Draws(prompts, seeds), list(dict.fromkeys(one.candidate for one in grids))
    columns = {name: _columns(grids, name, prompts, seeds) for name in names}
    scores = {name: draws.score(values["followed"], values["kept"]) for name, values in columns.items()}
    apart = {name: statistics.difference(scores[name], scores[BASE]) for name in names if name != BASE}
    corrected = dict(zip(apart, statistics.holm([p for _, p in apart.values()]), strict=True))
    means = {name: {key: draws.mean(column) for key, column in values.items()} for name, values in columns.items()}
    return tuple(
        Result(
            candidate=name,
            score=scores[name][0],
            followed=mean["followed"],
            kept=mean["kept"],
            retrieval=mean["retrieval"],
            diversity=mean["diversity"],
            copies=mean["copies"],
            memorised=mean["memorised"],
            malformed=mean["malformed"],
            better=apart[name][0] if name in apart else None,
            p=corrected.get(name),
        )
        for name, mean in means.items()
    )


def _columns(grids: Sequence[Drawn], name: str, prompts: int, seeds: int) -> Mapping[str, np.ndarray]:
    """Every figure of a candidate: prompts x seeds."""
    own = [one for one in grids if one.candidate == name]
    figures = {
        "followed": [one.followed for one in own],
        "kept": [one.kept for one in own],
        "retrieval": [one.measures.retrieval for one in own],
        "diversity": [one.measures.diversity for one in own],
        "copies": [one.copy for one in own],
        "memorised": [one.memorised for one in own],
        "malformed": [one.malformed for one in own],
    }
    return {key: np.array(values, np.float64).reshape(prompts, seeds) for key, values in figures.items()}


# ---- the report


def _write(evaluation: Evaluation) -> None:
    summary: dict[str, Any] = {
        "prompts": evaluation.prompts,
        "seeds": evaluation.seeds,
        "real grids": evaluation.scale.real,
        "scale": asdict(evaluation.scale),
        "candidates": [asdict(one) for one in evaluation.results],
        "chosen": evaluation.chosen,
        "reason": evaluation.reason,
    }
    folder = evaluation.folder
    files.write(folder / "evaluation.json", json.dumps(summary, ensure_ascii=False, indent=1))
    files.write(folder / "evaluation.csv", evaluation.table().to_csv(index=False))
    about = (
        f"{counted(evaluation.prompts, 'prompt')}, {counted(evaluation.seeds, 'seed')} each. 1 is as "
        f"{counted(evaluation.scale.real, 'real grid')} of the run, 0 as the same grids with their panels shuffled; a "
        "grid with one panel twice counts as 0, and so does a malformed one. Brackets: 95 % intervals by a bootstrap "
        "over prompts."
    )
    files.write(folder / "evaluation.html", evaluation_page.page(evaluation, about))
