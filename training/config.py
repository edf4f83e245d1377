"""What can be set about a training: `[train]` of a task file, or `--set train.KEY=VALUE`. Defaults are the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline import plugins
from pipeline.errors import BadInput
from pipeline.records import Layout
from pipeline.task import Task

MINIATURE = Path(__file__).parent.parent / "miniature" / "flux"
MINIATURE_NAME = "miniature/flux"
"""What a LoRA's file calls it, wherever the toolkit lies."""
FOR_MINIATURE: dict[str, Any] = {
    "model": str(MINIATURE),
    "steps": 600,
    "learning_rate": 1e-3,
    "warmup": 20,
    "scales": [0.125],
    "smallest_panel": 48,
    "micro_batch": 4,
    "sample_every": 200,
    "validate_every": 50,
    "save_every": 200,
}
"""What is other for the miniature, which draws panels of an eighth of the size and learns within minutes."""

BESIDES = {
    *("validate_every", "sample_every", "save_every", "samples", "sample_steps", "guidance", "patience", "wandb"),
    *("checkpointing", "compile", "micro_batch", "smallest_panel", "truncate"),
    *("model", "revision", "init"),
}
"""Settings that no weight hangs on. The last are names of weights: which those are, `Job.recipe` tells."""

Share = Annotated[float, Field(ge=0, le=1)]


class Config(plugins.Options):
    """A training's settings. `recipe` names those that decide which weights come out of it."""

    model: str | None = None
    """Base model: a name on the model hub, or a folder as diffusers saves one; without it the one that the back end of
    the task's base names."""
    revision: str | None = None
    """Commit or tag on the hub; without it the newest that is on this machine, or the hub's main."""

    # the objective
    conditional: Share | None = None
    """Share of the samples with given panels, which stay clean and carry no loss: 0 is the paper's joint mode, 1 the
    conditional one, between them both are mixed. Without it 1 for a task that names condition panels, else 0. Which
    are given says the task; where it names none, they are drawn anew for every sample."""
    panel_weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """What each panel's loss counts, in panel order; without it all alike."""
    caption_dropout: Share = 0.05
    permute: Share = 0.0
    """Share of the samples whose panels are put in another order, their texts with them."""
    init: str | None = None
    """A LoRA file to start from: ours, or any with diffusers' keys, such as the published In-Context LoRAs."""

    # the LoRA and its descent
    rank: int = Field(16, ge=1)
    alpha: float = Field(16.0, gt=0)
    learning_rate: float = Field(1e-4, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = Field(0, ge=0)
    """Steps in which the learning rate rises to its value."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """8 bits for the optimizer's state take bitsandbytes and CUDA."""
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(1.0, gt=0)
    """Norm that a step's gradient is cut to."""
    ema: float = Field(0.99, ge=0, lt=1)
    """How much of the averaged weights stays at every step; in the first steps less, (1 + n) / (10 + n)."""
    steps: int = Field(5_000, ge=1)
    batch: int = Field(4, ge=1)
    """Grids a step, over all processes."""
    micro_batch: int = Field(1, ge=1)
    """Grids that go through the model together; a step gathers as many of these as it needs."""
    seed: int = 0

    # the canvas
    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field((1.0,), min_length=1)
    """Sizes of the canvas as shares of the task's own sides; with several, each step draws one."""
    smallest_panel: int = Field(256, ge=16)
    """Pixels: a scale that would make a side of a panel shorter is refused."""
    truncate: bool = False
    """Let the text encoder cut captions that are too long, knowing what is lost; else they are an error."""

    # the machine
    base_weights: Literal["auto", "fp32", "bf16", "int8", "nf4", "fp8"] = "auto"
    """Numbers of the frozen base: bf16 on a GPU and fp32 on a CPU if not told; int8 and nf4 take CUDA and
    bitsandbytes. The LoRA itself is always fp32."""
    checkpointing: bool | None = None
    """Compute each block again in the backward pass to save memory; on if not told, but for small models."""
    compile: bool = False
    """torch.compile block by block: minutes at the start, faster steps after."""

    # looking on
    validate_every: int = Field(250, ge=1)
    sample_every: int = Field(500, ge=1)
    save_every: int = Field(250, ge=1)
    samples: int = Field(4, ge=0)
    """Grids drawn each time, from captions of held-out grids."""
    sample_steps: int = Field(20, ge=1)
    guidance: float = Field(3.5, ge=0)
    """Strength at which samples are drawn; training itself has 1 (see backends/flux.py)."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many validations in a row without a better held-out loss; without it never."""
    wandb: bool = False
    """Log to Weights & Biases too, whose package must be installed and know who you are."""

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.warmup >= self.steps:
            raise ValueError(f"warmup {self.warmup} leaves no step of {self.steps} at the full learning rate")
        return self

    @property
    def recipe(self) -> dict[str, Any]:
        """Settings that decide the weights."""
        return self.model_dump(mode="json", exclude=BESIDES | ({"steps"} if self.schedule == "constant" else set()))


def load(task: Task, *, miniature: bool = False) -> Config:
    """A task's training settings, checked.

    Args:
        miniature: whether the task's data was drawn by the miniature, whose model is then the default, with settings
            that fit it.

    Raises:
        BadInput: an unknown setting or a wrong value; all faults at once.
    """
    usual = FOR_MINIATURE if miniature and task.base == "flux-1" and "model" not in task.train else {}
    config = plugins.parse_options(Config, "the training", usual | task.train, "train.")
    fill: dict[str, Any] = {}
    if config.conditional is None:
        fill["conditional"] = 1.0 if task.condition else 0.0
    panels = task.grid_layout.size
    if config.panel_weights is not None and len(config.panel_weights) != panels:
        raise BadInput(
            f"train.panel_weights has {len(config.panel_weights)} numbers and {task.name} has {panels} panels; "
            "give one a panel."
        )
    if config.permute and task.condition:
        raise BadInput(
            f"train.permute={config.permute} would move the panels that {task.name} gives "
            f"({', '.join(map(str, task.condition))}); leave permute out, or condition."
        )
    for scale in config.scales:
        scaled(task.grid_layout, scale, config.smallest_panel)
    return config.model_copy(update=fill)


def scaled(layout: Layout, scale: float, smallest: int) -> Layout:
    """The layout at another size: a panel's sides are the nearest multiples of 16 pixels, so no token spans a seam.

    Raises:
        BadInput: a side of a panel would be shorter than `smallest` pixels.
    """
    width, height = (max(16, round(side * scale / 16) * 16) for side in (layout.panel_width, layout.panel_height))
    if min(width, height) < smallest:
        raise BadInput(
            f"train.scales: at {scale} the panels are {width} x {height} pixels, and the shortest side may have "
            f"{smallest}; give a larger scale, or a smaller train.smallest_panel."
        )
    return Layout(layout.rows, layout.cols, width, height)
