"""Whether a LoRA keeps its panels together and follows its texts, against its base on the same prompts and noise.

`candidates` is what is compared, `instruments` what measures, `measuring` how, `judge` how a model judges grids,
`results` what is found, `choice` which LoRA is taken, `report` and `page` how it is told, `people` what people prefer,
`during` the same while a training runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from iclora import exported
from iclora.evaluation import choice
from iclora.evaluation.candidates import (
    around_nothing,
    given_panels,
    open_candidates,
    own_requests,
    shown_beside,
    told_once,
    weights_of,
)
from iclora.evaluation.instruments import Instruments, by_section, open_instruments
from iclora.evaluation.judge import Judge, Judgement, open_judge
from iclora.evaluation.measuring import Measuring, panels_in
from iclora.evaluation.report import write
from iclora.evaluation.results import BASE, Drawn, Evaluation, Result, compare
from iclora.generation import Loras
from iclora.handover import hand_over
from iclora.prompts import Prompt
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.progress import Progress, silent, told
from pipeline.records import Layout
from pipeline.store import working
from pipeline.task import Given
from training import dataset
from training import generate as drawing
from training.config import BaseWeights
from training.generator import GenerationRequest, Generator, sampled_with

__all__ = ["BASE", "Drawn", "Evaluation", "Result", "evaluate"]


def evaluate(  # noqa: PLR0913  (one argument per option)
    run: Run,
    loras: Loras = (),
    *,
    strengths: Sequence[float] = (),
    prompts: Sequence[str | Prompt] = (),
    seeds: int = 2,
    given: Sequence[int] = (),
    checkpoints: bool = False,
    choose: bool = False,
    vectors: str | None = None,
    detector: str | None = None,
    judge: str | None = None,
    settings: Given = (),
    model: str | None = None,
    weights: BaseWeights = "auto",
    offload: bool = False,
    steps: int | None = None,
    guidance: float | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Draws the same prompts with the base and with LoRAs, from the same noise, and measures the grids.

    The scale is the run's own: real grids are 1, grids of shuffled real panels 0. Grids with a panel twice count as 0.
    Written to `evaluation` in the run's folder: the grids, `evaluation.csv`, `evaluation.json`, `evaluation.html`.

    Args:
        run: with an exported data set; its scorer measures.
        loras, strengths: files, in the order of preference, and at which strengths each is tried; the run's own at 1.
        prompts, seeds: what is drawn, with how many seeds from 0; the captions of the held-out grids by default.
            Prompts may have given pictures, all of the same panels.
        given: panels, from 1, that are given from the held-out grids; by default as a LoRA has learnt.
        checkpoints: compare all that the run's training has saved, beside `loras` if there are any.
        choose: put the chosen LoRA, at its strength, in place of the run's own, which is kept with `-last` in its name.
        vectors: an image encoder that compares panels with each other, such as `dino`; the scorer by default.
        detector: finds people and things, such as `transformers`; without one, nothing is said of subjects.
        judge: a captioner that looks at every grid, such as `server`: is what the texts tell there, and the same?
        settings: options of the last three, such as `{"judge.url": "http://localhost:8000/v1"}`.
        model, weights, offload, steps, guidance: as for `generate`.
        progress: called with each candidate's name and its sampling steps, then with "judging".

    Raises:
        BadInput: the run has no data set, no scorer or no LoRA, or another process evaluates it (with `choose`: trains
            on it); real grids are no better than shuffled ones, a prompt lacks a panel's text, the judge can't judge,
            no such plug-in or setting, or a device without such weights.
        MissingWeights: the base, the scorer, or what compares, finds or judges is not here.
    """
    exported.check_grids(run)
    options, own = by_section(settings, vectors=vectors, detector=detector, judge=judge), own_requests(prompts, run)
    instruments = open_instruments(run, vectors, detector, options)
    judging = open_judge(judge, options["judge"], run.task) if judge else None
    data = told_once(run, dataset.read(run.dataset, run.task))
    comparison = _Comparison(run, data, own, seeds, given, instruments, judging)
    loras = choice.wanted(run, loras, checkpoints=checkpoints, choose=choose)
    opened = open_candidates(run, loras, strengths, model, weights, offload=offload)
    with _alone(run, choose=choose):
        found = comparison.of({name: sampled_with(one, steps, guidance) for name, one in opened.items()}, progress)
        evaluation = choice.keep(run, found, opened) if choose else found
        _tell(evaluation, model)
    return evaluation


@contextmanager
def _alone(run: Run, *, choose: bool) -> Iterator[None]:
    """Nobody else evaluates the run meanwhile, or with `choose` trains on it."""
    run.evaluation.mkdir(exist_ok=True)
    with working(run.evaluation, ""), working(run.lora.parent, "") if choose else nullcontext():
        yield


def _tell(evaluation: Evaluation, model: str | None) -> None:
    write(evaluation)
    if evaluation.file:
        hand_over(evaluation.file, model=model)  # the one that was handed over is no longer the run's


@dataclass(frozen=True)
class _Comparison:
    """What is drawn and how it is measured, whoever draws it."""

    run: Run
    data: dataset.Data
    own: Sequence[GenerationRequest]
    """Prompts of the user's own."""
    seeds: int
    given: Sequence[int]
    """Panels, from 1, of held-out grids that are given; if there are none, those that a LoRA has learnt to be given."""
    instruments: Instruments
    judge: Judge | None

    def __post_init__(self) -> None:
        if not self.own and not self.data.held_out:
            raise BadInput("no grids are held out, so there are no prompts; give some with --prompts.")
        if self.own and self.given:
            raise BadInput(
                "--given takes panels of the held-out grids; pictures for prompts of your own stand in their table, in "
                "columns such as 'given 1'."
            )
        if self.seeds < 1:
            raise BadInput(f"an evaluation takes at least 1 seed for each prompt, got --seeds {self.seeds}.")
        if self.judge:
            sample = (self.data.held_out or self.data.train)[0]
            self.judge.check(Path(sample.path), sample.text, sample.layout)

    def of(self, candidates: Mapping[str, Generator], progress: Progress) -> Evaluation:
        """What the candidates come to; their grids are written."""
        used, folder = self.instruments.identity(), self.run.evaluation  # tells what is missing before drawing
        given = self._given(candidates)
        asked = self._asked(given, candidates)
        drawing.check(candidates[BASE], asked)
        requests = [replace(one, seed=seed) for one in asked for seed in range(self.seeds)]
        measuring = Measuring(self.instruments, self.run.task, self.data, given)
        grids = _draw(candidates, requests, measuring, folder, progress)
        results = compare(grids, len(asked), self.seeds)
        evaluation = Evaluation(
            folder=folder,
            results=results,
            grids=grids,
            chosen=choice.choose(results),
            scale=measuring.scale,
            prompts=len(asked),
            seeds=self.seeds,
            instruments=used,
            given=given,
            note=around_nothing(candidates, given),
            weights=weights_of(candidates),
        )
        return _judged(evaluation, self.judge, candidates[BASE].layout, progress) if self.judge else evaluation

    def _given(self, candidates: Mapping[str, Generator]) -> tuple[int, ...]:
        """Panels, from 0, that are given.

        Raises:
            BadInput: the grids have no such panel.
        """
        panels = self.run.task.grid_layout.size
        if wrong := [panel for panel in self.given if not 1 <= panel <= panels]:
            raise BadInput(f"panel {wrong[0]} can't be given with --given, the grids have panels 1 to {panels}.")
        if self.own:
            return tuple(sorted(self.own[0].given))
        return tuple(sorted({panel - 1 for panel in self.given})) or given_panels(candidates)

    def _asked(self, given: Sequence[int], candidates: Mapping[str, Generator]) -> Sequence[GenerationRequest]:
        """Prompts of the user's own, else the held-out grids to be drawn again, of which some panels are given, in the
        canvas or beside it."""
        if self.own:
            return self.own
        pictures = [panels_in(sample) if given else [] for sample in self.data.held_out]
        return [
            GenerationRequest(
                sample.text,
                given={panel: panels[panel] for panel in given},
                references=shown_beside(sample, candidates),
            )
            for sample, panels in zip(self.data.held_out, pictures, strict=True)
        ]


def _judged(evaluation: Evaluation, judge: Judge, layout: Layout, progress: Progress) -> Evaluation:
    found = list[Judgement]()
    grids = [(evaluation.folder / one.file, one.prompt) for one in evaluation.grids]
    for judgement in judge.judge(grids, layout, evaluation.given):
        found.append(judgement)
        progress("judging", len(found), len(grids))
    return replace(evaluation, judgements=tuple(found), judge=judge.identity)


def _draw(
    candidates: Mapping[str, Generator],
    requests: Sequence[GenerationRequest],
    measuring: Measuring,
    folder: Path,
    progress: Progress,
) -> tuple[Drawn, ...]:
    """The grids of all candidates, drawn from the same noise, written and graded; in the order of the requests."""
    grids, inputs = list[Drawn](), drawing.encode(candidates[BASE], requests)
    for name, generator in candidates.items():
        drawn = drawing.sample(generator, requests, inputs, progress, name)
        home = Path(name.replace("/", "_"))
        (folder / home).mkdir(parents=True, exist_ok=True)
        pairs = told(zip(requests, drawn, strict=True), len(requests), f"measuring the grids of {name}")
        for number, (request, grid) in enumerate(pairs, 1):
            file = home / f"{number:04d}.png"
            grid.save(folder / file)
            grade = measuring.grade(grid, generator.layout, request.prompt, request.given)
            grids.append(Drawn(candidate=name, prompt=request.prompt, seed=request.seed, file=file, **vars(grade)))
    return tuple(grids)
