"""Whether a LoRA keeps its panels together and follows its texts, against its base on the same prompts and noise.

`candidates` is what is compared, `measuring` how grids are measured, `judge` how a model judges them, `results` what is
found, `choice` which LoRA is taken, `report` and `page` how it is told, `people` what people prefer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from iclora import exported
from iclora.evaluation import choice
from iclora.evaluation.candidates import captions, open_candidates
from iclora.evaluation.judge import Judge, Judgement, open_judge
from iclora.evaluation.measuring import Measuring, measured
from iclora.evaluation.report import write
from iclora.evaluation.results import BASE, FOLDER, Drawn, Evaluation, Result, compare
from iclora.generation import Loras
from iclora.prompts import Prompt
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.progress import Progress, silent
from pipeline.records import Layout
from pipeline.task import Given
from training import dataset
from training import generate as drawing
from training.generator import GenerationRequest, Generator
from training.sampling import SamplingSettings

__all__ = ["BASE", "Drawn", "Evaluation", "Result", "evaluate"]


def evaluate(  # noqa: PLR0913  (one argument per option)
    run: Run,
    loras: Loras = (),
    *,
    strengths: Sequence[float] = (),
    prompts: Sequence[str | Prompt] = (),
    seeds: int = 2,
    checkpoints: bool = False,
    choose: bool = False,
    judge: str | None = None,
    settings: Given = (),
    model: str | None = None,
    steps: int = 20,
    guidance: float = 3.5,
    progress: Progress = silent,
) -> Evaluation:
    """Draws the same prompts with the base and with LoRAs, from the same noise, and measures the grids.

    The scale is the run's own: real grids are 1, grids of shuffled real panels 0. Grids with a panel twice count as 0.
    Written to `evaluation` in the run's folder: the grids, `evaluation.csv`, `evaluation.json`, `evaluation.html`.

    Args:
        run: with an exported data set; its scorer measures.
        loras: files, in the order of preference; the run's own LoRA by default.
        strengths: at which each is tried; as given or 1 by default.
        prompts: joint captions or `Prompt`s; those of the held-out grids by default.
        seeds: so many for each prompt, from 0.
        checkpoints: compare all that the run's training has saved, beside `loras` if there are any.
        choose: put the chosen LoRA, at its strength, in place of the run's own, which is kept beside it with `-last` in
            its name. A training that resumes leaves the choice as it is.
        judge: a captioner that looks at every grid, such as `server`: do panels show what their texts tell, and the
            same people and things?
        settings: its options, such as `{"judge.url": "http://localhost:8000/v1"}`.
        model, steps, guidance: as for `generate`.
        progress: called with a candidate and how many of its grids are drawn.

    Raises:
        BadInput: the run has no data set, no scorer or no LoRA, real grids are no better than shuffled ones, a prompt
            lacks the text of a panel, or the judge can't judge.
        MissingWeights: the base, the scorer or the judge is not here.
    """
    data, texts, measuring = _prepare(run, prompts, seeds)
    asked = open_judge(judge, settings, run.task) if judge else None
    if asked:
        sample = (data.held_out or data.train)[0]
        asked.check(Path(sample.path), sample.text, sample.layout)
    loras = choice.wanted(run, loras, checkpoints=checkpoints, choose=choose)
    candidates = open_candidates(run, loras, strengths, model, SamplingSettings(steps, guidance))
    folder = run.folder / FOLDER
    requests = [GenerationRequest(text, seed) for text in texts for seed in range(seeds)]
    grids = _draw_and_measure(candidates, requests, measuring, folder, progress)
    results = compare(grids, len(texts), seeds)
    evaluation = Evaluation(folder, results, grids, choice.choose(results), measuring.scale, len(texts), seeds)
    if asked:
        evaluation = _judged(evaluation, asked, candidates[BASE].layout, progress)
    if choose:
        evaluation = choice.keep(run, evaluation, candidates)
    write(evaluation)
    return evaluation


def _prepare(run: Run, prompts: Sequence[str | Prompt], seeds: int) -> tuple[dataset.Data, list[str], Measuring]:
    """The run's data, the captions to draw, and what measures."""
    exported.check(run)
    if run.scorer is None:
        raise BadInput("without a scorer nothing can be measured; set one with --scorer, such as open_clip.")
    data = dataset.read(run.dataset, run.task)
    texts = captions(prompts, run) or [sample.text for sample in data.held_out]
    if not texts:
        raise BadInput("no grids are held out, so there are no prompts; give some with --prompts.")
    if seeds < 1:
        raise BadInput(f"an evaluation takes at least 1 seed for each prompt, got --seeds {seeds}.")
    return data, texts, Measuring(run.scorer, run.task, data)


def _judged(evaluation: Evaluation, judge: Judge, layout: Layout, progress: Progress) -> Evaluation:
    found = list[Judgement]()
    grids = [(evaluation.folder / one.file, one.prompt) for one in evaluation.grids]
    for judgement in judge.judge(grids, layout):
        found.append(judgement)
        progress("judging", len(found), len(grids))
    return replace(evaluation, judgements=tuple(found), judge=judge.identity)


def _draw_and_measure(
    candidates: Mapping[str, Generator],
    requests: Sequence[GenerationRequest],
    measuring: Measuring,
    folder: Path,
    progress: Progress,
) -> tuple[Drawn, ...]:
    """The grids of all candidates, drawn from the same noise; those of each in the order of the requests."""
    found, inputs = list[Drawn](), drawing.encode(candidates[BASE], requests)
    for name, generator in candidates.items():
        progress(name, 0, len(requests))
        drawn = drawing.sample(generator, requests, inputs)
        progress(name, len(requests), len(requests))
        found += measured(name, requests, drawn, generator.layout, measuring, folder)
    return tuple(found)
