"""Configs for a model that the task chooses among those of its family."""

from __future__ import annotations

from pathlib import Path

import pytest

from iclora.testing import material
from pipeline import exporters, families, plugins
from pipeline.dataset.samples import Config
from pipeline.exporters import imagefolder

OWN = {"flux-2-klein": "4b", "qwen-image": "2512", "qwen-image-edit": "2511", "sd-3.5": "large"}
"""By family, what its own model is known by wherever a config names one of its files."""
CHOICES = [
    (base, model, trainer)
    for base, family in families.usable()
    for model, terms in family.others.items()
    for trainer in terms
]


def written(trainer: str, base: str, model: str, folder: Path) -> tuple[Config, str]:
    """A trainer's config, and all that its files say."""
    references = ["export.use=sheets", "condition=[1]"] if base == "qwen-image-edit" else []
    folder.mkdir()
    data = material.dataset(folder, [f"base={base}", f"train.model={model}", *references])
    imagefolder.write(data, folder)
    config = plugins.load(exporters, trainer).write(data, folder)
    return config, "".join((folder / file).read_text(encoding="utf-8") for file in config.files)


@pytest.mark.parametrize(("base", "model", "trainer"), CHOICES)
def test_a_config_is_for_the_model_that_is_chosen(base: str, model: str, trainer: str, tmp_path: Path) -> None:
    config, text = written(trainer, base, model, tmp_path / "chosen")
    usual, usual_text = written(trainer, base, families.load(base).model, tmp_path / "usual")
    assert config.command and usual.command and text != usual_text
    assert OWN[base] not in text.lower()
    assert "train.model" not in " ".join((*config.notes, *usual.notes))


@pytest.mark.parametrize("model", ["black-forest-labs/FLUX.2-klein-9B", "/models/klein"])
def test_a_model_that_a_trainer_is_not_known_to_train_is_named_in_a_note(model: str, tmp_path: Path) -> None:
    config, text = written("simpletuner", "flux-2-klein", model, tmp_path / "chosen")
    assert '"model_flavour": "klein-4b"' in text and "train.model" in " ".join(config.notes)


def test_other_models_of_a_family_are_trained_by_trainers_of_the_family() -> None:
    for base, model, trainer in CHOICES:
        family = families.load(base)
        known = {*family.trainers, *(family.references.trainers if family.references else ())}
        assert trainer in known and model != family.model


def test_musubi_tuner_trains_the_release_of_qwen_image_that_the_family_names(tmp_path: Path) -> None:
    _, text = written("musubi_tuner", "qwen-image", families.load("qwen-image").model, tmp_path / "usual")
    assert "models/qwen_image_2512_bf16.safetensors" in text
