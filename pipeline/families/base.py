"""What is known of a family of base models, and the recipe that every trainer follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline import plugins

PARTS = {"warmup": 30, "save_every": 4, "validate_every": 4, "sample_every": 2}
"""Settings counted in steps, whose default is at most one step in so many of the training: a short one too has steps at
the full rate, and is saved, measured and sampled before it ends."""
SHORTEST = 5
"""Steps; no default interval is made shorter."""

UNKNOWN = "unknown"
"""Licence of a model whose licence has not been looked up."""

Share = Annotated[float, Field(ge=0, le=1)]


class Recipe(plugins.Options):
    """How a LoRA is trained, in the settings that trainers share. The defaults are those of the ten published LoRAs
    (arXiv 2410.23775; movie-shots.yml of ali-vilab/In-Context-LoRA)."""

    rank: int = Field(16, ge=1)
    """Rank of the LoRA's matrices."""
    alpha: float = Field(16.0, gt=0)
    """The LoRA's update is scaled by alpha / rank."""
    learning_rate: float = Field(1e-4, gt=0)
    """The highest, after the warm-up."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up: it stays, or falls to 0 along a cosine."""
    warmup: int = Field(0, ge=0)
    """Steps over which the learning rate rises to its value."""
    clip: float = Field(1.0, gt=0)
    """Norm to which the gradient of a step is clipped."""
    ema: float = Field(0.99, ge=0, lt=1)
    """Decay of the moving average of the weights, reached gradually: (1 + n) / (10 + n) in the first steps. 0 turns it
    off."""
    caption_dropout: Share = 0.05
    """Share of the examples that are trained with an empty caption."""
    steps: int = Field(5_000, ge=1)
    """Steps of the optimizer."""
    batch: int = Field(4, ge=1)
    """Grids per step, over all processes."""
    seed: int = 0
    """Of the LoRA's first weights and of all that is drawn at random."""

    save_every: int = Field(250, ge=1)
    """Steps between two checkpoints, and two LoRA files of earlier steps."""
    validate_every: int = Field(250, ge=1)
    """Steps between two measurements of the loss on held-out grids."""
    sample_every: int = Field(500, ge=1)
    """Steps between two rounds of samples."""
    samples: int = Field(4, ge=0)
    """Samples per round, from captions of held-out grids."""
    sample_steps: int = Field(20, ge=1)
    """Steps of the sampler for a sample."""
    guidance: float = Field(3.5, ge=0)
    """Guidance scale of the samples; training itself uses 1 (see training/backends/base.py)."""

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.warmup >= self.steps:
            raise ValueError(
                f"warmup {self.warmup} leaves no step of {self.steps} at the full learning rate; set a shorter warmup "
                "or more steps"
            )
        return self


def fill(defaults: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training, unchecked: those asked for and, for the rest, defaults that fit its length.

    Args:
        defaults: those that differ from the recipe's own.
    """
    settings = {**defaults, **asked}
    steps = settings.get("steps")
    if not isinstance(steps, int) or "steps" not in asked:
        return settings
    for key in PARTS.keys() - asked.keys():
        usual = defaults.get(key, Recipe.model_fields[key].default)
        least = 0 if key == "warmup" else SHORTEST
        settings[key] = min(usual, max(least, steps // PARTS[key]))
    return settings


@dataclass(frozen=True)
class ComfyUI:
    """How ComfyUI's stock nodes load a family and draw with it, as its official workflow templates do."""

    model: str
    """File of the family's own model in models/diffusion_models; in models/checkpoints if it holds all parts."""
    encoders: tuple[str, ...] = ()
    """Files in models/text_encoders; none if the model's file holds all parts."""
    encoder_type: str = ""
    """What CLIPLoader, or DualCLIPLoader for two files, is told that they are."""
    vae: str = ""
    """File in models/vae; empty if the model's file holds all parts."""
    latent: str = "EmptySD3LatentImage"
    """Node that makes an empty canvas."""
    noise_levels: str = "ModelSamplingAuraFlow"
    """Node that shifts noise levels by one factor."""
    rescaled: str = ""
    """Node that keeps classifier-free guidance from growing the prediction; empty for none."""
    references: str = ""
    """Node that shows the model reference images, either `ReferenceLatent`, one by one, or one that takes the caption
    with all of them; empty if none is known."""
    reference_scale: str = ""
    """Node that brings a reference image to the size that the model expects; empty for its own."""
    reference_method: str = ""
    """How the model is told which tokens are reference images; empty for its own way."""
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What differs for other models of the family, by their names on the hub."""

    def of(self, model: str) -> ComfyUI:
        """The same for another model of the family."""
        return replace(self, **self.others.get(model, {}))


DESCRIPTION = "{text}"
"""Caption of a panel that describes it and nothing else: what it leaves out is inherited from the reference images."""
INSTRUCTION = "Another picture of what image 1 shows. {text}"
"""Caption of a panel for models that are used to instructions, which name the first reference image. The words are the
same in every caption: they stand for what the LoRA learns, which is to carry on what is not described."""


@dataclass(frozen=True)
class References:
    """How LoRAs are trained with reference images: pictures that the model is shown beside the noisy one."""

    most: int
    """Reference images that the model takes."""
    template: str = DESCRIPTION
    """The caption of a panel, in which `{text}` is what the panel shows."""
    trainers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """As in `Family`, for training with reference images: what differs from it there. A trainer that is missing here
    can't do that."""


@dataclass(frozen=True)
class Family:
    """One family of base models: everything that differs between families and is not code."""

    model: str
    """The model that LoRAs are trained on: its repository on the hub, in diffusers' layout."""
    encoder: str
    """Name of the text encoder that reads the panels, for messages. FLUX.1 and SD3.5 also use CLIP, but only for a
    summary vector, so its 77 tokens are no limit."""
    limit: int
    """Tokens that the encoder reads, those of the template included. Text beyond it is silently truncated, so that the
    last panels go first."""
    template: int
    """Tokens of the limit that are not the caption's: end mark, chat marks, the pipeline's own system prompt."""
    tokenizer: str
    """Repository on the hub and the folder in it that holds the tokenizer."""
    source: str
    """Where the limit comes from: the text-to-image pipeline's file in diffusers 0.42, relative to its `pipelines`."""
    licence: str = UNKNOWN
    """Licence of the model's weights, by the hub's name for it; a LoRA trained on them is bound by it."""
    token: int = 16
    """The sides of panels are multiples of it, in pixels: those of the square that one token of the transformer covers
    (VAE stride times patch size), or that several cover which stand for one place of a sequence."""
    shift: float | None = None
    """Factor by which noise levels are shifted in training, where the best trainers don't take that of sampling."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the recipe whose default differs for this family."""
    architecture: str = ""
    """Of the family's own model in LoRA files, by ModelSpec; empty where nobody has named it."""
    base_version: str = ""
    """The family in LoRA files of kohya-ss/sd-scripts (`ss_base_model_version`); empty where it has none."""
    comfyui: ComfyUI | None = None
    """None where nothing is known of the family there."""
    trainers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What a trainer needs to be told to train this family, by the exporter's name and in that trainer's own words;
    a trainer that is missing here can't train it. `{models}` stands for the folder in which the model's files lie."""
    others: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Other models of the family to train LoRAs on, by their names on the hub: what differs for each in a trainer's
    terms, by the exporter's name. A trainer that is missing there is not known to train that model."""
    references: References | None = None
    """None for a family that takes no reference images."""
