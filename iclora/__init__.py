"""Turns related images into a reviewed data set, an In-Context LoRA, and new image sets.

    source -> Item -> Record -> Group -> Grid -> Caption -> Scores -> reviewed Row -> data set -> latents -> LoRA -> image sets
      collect         inspect   group    compose  caption    filter    review/export   encode     train    generate

    import iclora

    with iclora.open_run("storyboard", "films") as run:
        run.advance("export", progress=print)
        outcome = iclora.train(run)
    (drawn,) = iclora.generate(outcome.file, "[MOVIE-SHOTS] ... [SCENE-1] ... [SCENE-2] ... [SCENE-3] ...")
    drawn.grid.save("grid.png")

docs/python-api.md goes through an example. Everything here is imported when it is first used, so that the import alone
is fast and loads neither torch nor numpy. The command line (`iclora.cli`) is written on these names.
"""  # noqa: E501

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iclora.advancing import StageResult
    from iclora.evaluation import Evaluation, evaluate
    from iclora.evaluation.comparison import compare
    from iclora.evaluation.people import Preference
    from iclora.exported import write_configs
    from iclora.generation import Generation, ImageSet, generate, open_generation
    from iclora.handover import hand_over, push_lora
    from iclora.lora import Training, open_training, train
    from iclora.machine import Machine, doctor
    from iclora.opening import open_run
    from iclora.prompts import Prompt
    from iclora.run import Run
    from iclora.settings import Setting, list_plug_ins, list_tasks, load_task
    from iclora.sharding import Shard, merge, shard
    from iclora.surveys import Fit, Survey, survey
    from iclora.watching import watch
    from pipeline.errors import BadInput, Diverged, EmptyResult, MissingWeights, ToolkitError
    from pipeline.review.reviews import Change
    from training.config import BaseWeights, Dtype
    from training.handover.folder import Handover

__all__ = [
    "BadInput",
    "BaseWeights",
    "Change",
    "Diverged",
    "Dtype",
    "EmptyResult",
    "Evaluation",
    "Fit",
    "Generation",
    "Handover",
    "ImageSet",
    "Machine",
    "MissingWeights",
    "Preference",
    "Prompt",
    "Run",
    "Setting",
    "Shard",
    "StageResult",
    "Survey",
    "ToolkitError",
    "Training",
    "compare",
    "doctor",
    "evaluate",
    "generate",
    "hand_over",
    "list_plug_ins",
    "list_tasks",
    "load_task",
    "merge",
    "open_generation",
    "open_run",
    "open_training",
    "push_lora",
    "shard",
    "survey",
    "train",
    "watch",
    "write_configs",
]
_HOMES = {
    **dict.fromkeys(("StageResult",), "iclora.advancing"),
    **dict.fromkeys(("Generation", "ImageSet", "generate", "open_generation"), "iclora.generation"),
    **dict.fromkeys(("hand_over", "push_lora"), "iclora.handover"),
    **dict.fromkeys(("Training", "open_training", "train"), "iclora.lora"),
    **dict.fromkeys(("Prompt",), "iclora.prompts"),
    **dict.fromkeys(("Evaluation", "evaluate"), "iclora.evaluation"),
    **dict.fromkeys(("compare",), "iclora.evaluation.comparison"),
    **dict.fromkeys(("Preference",), "iclora.evaluation.people"),
    **dict.fromkeys(("write_configs",), "iclora.exported"),
    **dict.fromkeys(("Machine", "doctor"), "iclora.machine"),
    **dict.fromkeys(("open_run",), "iclora.opening"),
    **dict.fromkeys(("Run",), "iclora.run"),
    **dict.fromkeys(("Setting", "list_plug_ins", "list_tasks", "load_task"), "iclora.settings"),
    **dict.fromkeys(("Shard", "merge", "shard"), "iclora.sharding"),
    **dict.fromkeys(("Fit", "Survey", "survey"), "iclora.surveys"),
    **dict.fromkeys(("watch",), "iclora.watching"),
    **dict.fromkeys(("BadInput", "Diverged", "EmptyResult", "MissingWeights", "ToolkitError"), "pipeline.errors"),
    **dict.fromkeys(("Change",), "pipeline.review.reviews"),
    **dict.fromkeys(("Handover",), "training.handover.folder"),
    **dict.fromkeys(("BaseWeights", "Dtype"), "training.config"),
}
"""The module that each name is imported from when it is first used."""
_TRAINED = {
    "iclora.lora": "training",
    "iclora.generation": "drawing",
    "iclora.evaluation": "an evaluation",
    "iclora.handover": "handing over",
    "iclora.evaluation.comparison": "an evaluation",
    "iclora.evaluation.people": "an evaluation",
}
"""Modules that need the extra `train`, and what for."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'iclora' has no attribute '{name}'")
    home = _HOMES[name]
    if home in _TRAINED:
        import_module("pipeline.plugins.extras").require(_TRAINED[home], "train")
        if home not in sys.modules:  # PyTorch alone may take half a minute
            import_module("pipeline.progress").LOG.info("importing packages for %s", _TRAINED[home])
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
