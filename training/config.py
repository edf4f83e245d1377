"""What can be set about a training: `[train]` of a task file, or `--set train.KEY=VALUE`. Defaults are the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline import families, plugins
from pipeline.errors import BadInput
from pipeline.families.base import Recipe, Share, fill
from pipeline.records import Layout
from pipeline.task import Task
from pipeline.wording import counted
from training import conditions, presets
from training.conditions import Condition
from training.presets import Preset

MINIATURE = Path(__file__).parent.parent / "miniature" / "flux"
MINIATURE_NAME = "miniature/flux"
"""Its name in the LoRA's file, wherever the toolkit is installed."""
FOR_MINIATURE: dict[str, Any] = {
    "model": str(MINIATURE),
    "steps": 400,
    "learning_rate": 2e-3,
    "warmup": 20,
    "scales": [0.125],
    "smallest_panel": 48,
    "micro_batch": 4,
    "sample_every": 200,
    "validate_every": 50,
    "save_every": 200,
}
"""Defaults for the miniature, which generates panels of an eighth of the size and learns within minutes."""

BESIDES = {
    *("validate_every", "sample_every", "save_every", "evaluate_every", "samples", "sample_steps", "guidance"),
    *("patience", "keep", "wandb"),
    *("preset", "checkpointing", "offload", "compile", "micro_batch", "smallest_panel", "truncate"),
    *("model", "revision", "init"),
    "conditional",
}
"""Settings that do not affect the trained weights. `Job.recipe` says which weights the last row but one names; the last
is short for another setting."""

BaseWeights = Literal["auto", "fp32", "bf16", "int8", "nf4", "fp8"]
"""How the base is held in memory; auto is bf16 on a GPU and fp32 on a CPU."""

Dtype = Literal["fp32", "bf16", "fp16"]
"""Of the weights in a LoRA file that is handed over."""


class Config(Recipe):
    """The recipe that all trainers share, with the settings that only iclora's own training has."""

    model: str | None = None
    """Base model: a name on the hub, or a folder in diffusers' layout. Default: the model of the task's base family."""
    revision: str | None = None
    """Commit or tag on the hub. Default: the newest on this machine, otherwise the hub's main branch."""

    # the objective
    conditions: tuple[Condition, ...] | None = None
    """What is given, each with its share of the examples; in the rest, nothing is: joint mode, as in the paper. For
    example [{seen="clean", panels="first", share=0.3}, {seen="reference", share=0.3}]. seen: clean (in the canvas,
    without noise), noised (in the canvas, with the noise of the rest) or reference (beside the canvas, for models that
    take reference images). panels: task (those that the task gives), first, any (drawn anew for every example) or
    their numbers. Default: what train.conditional says."""
    conditional: Share | None = None
    """Short for a list of one condition: the share of the examples with given panels, which stay clean and carry no
    loss. The task says which panels; if it names none, they are drawn anew for every example. Default: 1 for a task
    that names condition panels, otherwise 0."""
    timesteps: Literal["auto", "logit-normal", "uniform", "weighted"] = "auto"
    """How the noise levels are drawn, before the shift: auto as the family does, which is logit-normal unless it says
    otherwise; weighted is uniform, with losses that count more in the middle (ai-toolkit's way)."""
    shift: Annotated[float, Field(gt=0)] | Literal["auto", "none"] = "auto"
    """How they are shifted towards noise: a factor (1 is none); auto is the family's own, which may grow with the
    canvas."""
    panel_weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Weight of each panel's loss, in panel order. Default: all equal."""
    permute: Share = 0.0
    """Share of the examples whose panels are put in another order, along with their texts."""
    init: str | None = None
    """A LoRA file to start from: iclora's own, or any with diffusers' keys, such as the published In-Context LoRAs."""

    # the optimizer
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """adamw8bit keeps the optimizer's state in 8 bits; it needs bitsandbytes and CUDA."""
    weight_decay: float = Field(1e-4, ge=0)
    """Of the optimizer, decoupled from the gradient (AdamW)."""
    micro_batch: int = Field(1, ge=1)
    """Grids per forward pass; a step accumulates as many passes as its batch needs."""

    # the canvas
    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field((1.0,), min_length=1)
    """Sizes of the canvas as fractions of the task's own; with several, each step draws one."""
    smallest_panel: int = Field(256, ge=16)
    """Pixels: a scale that would make a side of a panel shorter than this is an error."""
    truncate: bool = False
    """Allow the text encoder to truncate captions that are too long; otherwise they are an error."""

    # the machine
    preset: Preset | None = None
    """Settings for a GPU of so many GB, where you set none yourself: base_weights, checkpointing, offload, optimizer
    and micro_batch. `iclora train TASK --plan` shows them."""
    base_weights: BaseWeights = "auto"
    """Precision of the frozen base model: auto is bf16 on a GPU and fp32 on a CPU; int8 and nf4 need CUDA and
    bitsandbytes. The LoRA itself is always fp32."""
    checkpointing: bool | None = None
    """Recompute each block in the backward pass to save memory. Default: on, except for small models."""
    offload: bool = False
    """Keep the base's blocks in main memory and copy each to the GPU whenever its turn comes: any base fits, and a step
    takes longer by the time for that. Not with int8, nf4 or compile."""
    compile: bool = False
    """torch.compile block by block: takes minutes at the start and makes the steps after it faster."""

    # monitoring
    evaluate_every: int | None = Field(None, ge=1)
    """Steps between two evaluations, as `iclora evaluate` makes them: grids are drawn from the held-out captions with
    sample_steps and guidance, and scored. Default: none."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many validations in a row without a better held-out loss; with evaluate_every, evaluations
    without a better score. Default: never."""
    keep: int | None = Field(None, ge=1)
    """LoRAs of earlier steps that stay: the newest so many, and that of the lowest held-out loss. Default: all."""
    wandb: bool = False
    """Log to Weights & Biases too; its package must be installed and logged in."""

    @property
    def best_by(self) -> Literal["loss", "score"]:
        """What patience goes by: the held-out loss, or the score of evaluations."""
        return "loss" if self.evaluate_every is None else "score"

    @property
    def recipe(self) -> dict[str, Any]:
        """Settings that decide the weights."""
        return self.model_dump(mode="json", exclude=BESIDES | ({"steps"} if self.schedule == "constant" else set()))


def usual(task: Task, *, miniature: bool) -> dict[str, Any]:
    """Defaults that fit the miniature's model, if that is trained."""
    return FOR_MINIATURE if miniature and task.base == "flux-1" and "model" not in task.train else {}


def settings(task: Task, *, miniature: bool) -> dict[str, Any]:
    """A task's training settings, unchecked: its own, then those of the preset that they name, then the miniature's,
    then its base family's; defaults that count steps or grids fit the length and the batch that were asked for."""
    of_base = {**families.load(task.base).recipe, **usual(task, miniature=miniature)}
    defaults = {**of_base, **presets.settings_of(task.train.get("preset"))}
    found = fill(defaults, task.train)
    batch, together = found.get("batch"), found.get("micro_batch")
    if "micro_batch" not in task.train and isinstance(batch, int) and isinstance(together, int):
        found["micro_batch"] = max(1, min(batch, together))
    return found


def load(task: Task, *, miniature: bool = False) -> Config:
    """A task's training settings, checked, with the defaults of those that nobody sets.

    Args:
        miniature: whether the miniature drew the task's data: then its model is the default, with settings to match.

    Raises:
        BadInput: an unknown setting or a wrong value; all of them at once.
    """
    config = plugins.parse_options(Config, "the training", settings(task, miniature=miniature), "train.")
    given = _conditions(config, task)
    panels = task.grid_layout.size
    if config.panel_weights is not None and len(config.panel_weights) != panels:
        raise BadInput(
            f"train.panel_weights has {counted(config.panel_weights, 'number')} and {task.name} has "
            f"{counted(panels, 'panel')}; give one per panel."
        )
    if config.permute and task.condition:
        raise BadInput(
            f"train.permute={config.permute} would move the panels that {task.name} gives "
            f"({', '.join(map(str, task.condition))}); leave out either permute or condition."
        )
    if config.permute and (fixed := [one for one in given if one.panels != "any"]):
        raise BadInput(
            f"train.permute={config.permute} would move the panels that are given ({fixed[0]}); leave out permute, or "
            'give panels="any".'
        )
    for scale in config.scales:
        scaled(task.grid_layout, scale, config.smallest_panel, families.load(task.base).token)
    return config.model_copy(update={"conditions": given, "conditional": None})


def _conditions(config: Config, task: Task) -> tuple[Condition, ...]:
    """What is given in this training, however it was said.

    Raises:
        BadInput: it was said twice, or doesn't fit the task.
    """
    named = bool(task.condition)
    if config.conditions is None:
        share = config.conditional if config.conditional is not None else float(named)
        return conditions.of_share(share, named=named)
    if config.conditional is not None:
        raise BadInput(
            f"train.conditional={config.conditional:g} is short for a list of conditions, and train.conditions is one; "
            "leave one out."
        )
    if found := list(conditions.faults(config.conditions, task.grid_layout.size, task.condition)):
        raise BadInput(f"train.conditions: {'; '.join(found)}.")
    return config.conditions


def scaled(layout: Layout, scale: float, smallest: int, token: int) -> Layout:
    """The layout at another size. A panel's sides are rounded to multiples of a token, so that no token spans a seam.

    Args:
        smallest: pixels that every side must have at least.
        token: sides of a token in pixels.

    Raises:
        BadInput: a side of a panel would be shorter than `smallest`.
    """
    width, height = (
        max(token, round(side * scale / token) * token) for side in (layout.panel_width, layout.panel_height)
    )
    if min(width, height) < smallest:
        raise BadInput(
            f"train.scales: at {scale} the panels are {width} x {height} pixels, and the shortest side may have "
            f"{smallest}; choose a larger scale, or a smaller train.smallest_panel."
        )
    return Layout(layout.rows, layout.cols, width, height)
