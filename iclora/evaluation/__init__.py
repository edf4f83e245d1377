"""Whether a LoRA keeps its panels together and follows its texts, against its base on the same prompts and noise.

`candidates` is what is compared, `measuring` how grids are measured, `results` what is found, `report` and `page` how
it is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iclora import exported
from iclora.evaluation.candidates import captions, open_candidates
from iclora.evaluation.measuring import Measuring, measured
from iclora.evaluation.report import write
from iclora.evaluation.results import BASE, Drawn, Evaluation, Result, compare
from iclora.generation import Loras
from iclora.prompts import Prompt
from iclora.run import Run
from pipeline.errors import BadInput
from pipeline.progress import Progress, silent
from training import dataset
from training import generate as drawing
from training.evaluation import statistics
from training.generator import GenerationRequest
from training.sampling import SamplingSettings

__all__ = ["BASE", "Drawn", "Evaluation", "Result", "evaluate"]
FOLDER = Path("evaluation")


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

    The scale is the run's own: real grids are 1, grids of shuffled real panels 0. Grids with a panel twice count as 0.
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
    texts = captions(prompts, run) or [sample.text for sample in data.held_out]
    if not texts:
        raise BadInput("no grids are held out, so there are no prompts; give some with --prompts.")
    if seeds < 1:
        raise BadInput(f"an evaluation takes at least 1 seed for each prompt, got --seeds {seeds}.")
    candidates = open_candidates(run, loras, strengths, model, SamplingSettings(steps, guidance))
    measuring = Measuring(run.scorer, run.task, data)
    folder, grids = run.folder / FOLDER, list[Drawn]()
    requests = [GenerationRequest(text, seed) for text in texts for seed in range(seeds)]
    inputs = drawing.encode(candidates[BASE], requests)
    for name, generator in candidates.items():
        progress(name, 0, len(requests))
        drawn = drawing.sample(generator, requests, inputs)
        progress(name, len(requests), len(requests))
        grids += measured(name, requests, drawn, generator.layout, measuring, folder)
    results = compare(grids, len(texts), seeds)
    tuned = {one.candidate: one.score for one in results if one.candidate != BASE}
    evaluation = Evaluation(folder, results, tuple(grids), statistics.choose(tuned), measuring.scale, len(texts), seeds)
    write(evaluation)
    return evaluation
