"""Whether a LoRA keeps its panels together and follows its texts, against its base on the same prompts and noise.

`candidates` is what is compared, `measuring` how grids are measured, `results` what is found, `report` and `page` how
it is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from iclora import exported
from iclora.evaluation import choice
from iclora.evaluation.candidates import captions, open_candidates
from iclora.evaluation.measuring import Measuring, measured
from iclora.evaluation.report import write
from iclora.evaluation.results import BASE, FOLDER, Drawn, Evaluation, Result, compare
from iclora.generation import Loras
from iclora.prompts import Prompt
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.progress import Progress, silent
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
    texts = captions(prompts, run) or [sample.text for sample in data.held_out]
    if not texts:
        raise BadInput("no grids are held out, so there are no prompts; give some with --prompts.")
    if seeds < 1:
        raise BadInput(f"an evaluation takes at least 1 seed for each prompt, got --seeds {seeds}.")
    loras = choice.wanted(run, loras, checkpoints=checkpoints, choose=choose)
    candidates = open_candidates(run, loras, strengths, model, SamplingSettings(steps, guidance))
    measuring = Measuring(run.scorer, run.task, data)
    folder = run.folder / FOLDER
    requests = [GenerationRequest(text, seed) for text in texts for seed in range(seeds)]
    grids = _draw_and_measure(candidates, requests, measuring, folder, progress)
    results = compare(grids, len(texts), seeds)
    evaluation = Evaluation(folder, results, grids, choice.choose(results), measuring.scale, len(texts), seeds)
    if choose:
        evaluation = choice.keep(run, evaluation, candidates)
    write(evaluation)
    return evaluation


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
