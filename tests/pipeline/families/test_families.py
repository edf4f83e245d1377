"""The families of base models: what every file must state, and that a new one is one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline import exporters, families, plugins, task
from pipeline.errors import BadInput
from pipeline.families.base import UNKNOWN, Family, Recipe, fill
from pipeline.text import budget
from training import config

ROOT = Path(__file__).parents[3]


@pytest.fixture
def krea(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new family, in a file beside the others; returns its name."""
    source = (ROOT / "pipeline/families/z_image.py").read_text(encoding="utf-8").replace("limit=512", "limit=77")
    source = source.replace("trainers={", 'token=32,\n    recipe={"learning_rate": 3e-4, "rank": 32},\n    trainers={')
    (tmp_path / "krea_2_1_raw.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    return "krea-2.1-raw"


@pytest.mark.parametrize("name", families.names())
def test_a_family_states_the_limit_of_its_text_encoder_and_where_its_weights_are(name: str) -> None:
    family = families.load(name)
    assert 0 < family.template < family.limit
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", family.model) and re.fullmatch(r"[\w.-]+/[\w.-]+/\w+", family.tokenizer)
    assert family.encoder and family.licence and family.source.endswith(".py")
    assert family.token in (16, 32)
    assert set(family.trainers) <= set(plugins.names(exporters))
    assert Recipe(**family.recipe)


@pytest.mark.parametrize("name", families.names())
def test_the_source_of_a_limit_is_a_file_of_diffusers(name: str) -> None:
    import diffusers

    assert (Path(diffusers.__file__).parent / "pipelines" / families.load(name).source).is_file()


def test_kohya_gets_the_limit_of_the_family() -> None:
    for name in families.names():
        arguments = families.load(name).trainers.get("kohya", {}).get("arguments", {})
        assert arguments.get("t5xxl_max_token_length", families.load(name).limit) == families.load(name).limit


def test_licences_are_those_that_were_looked_up() -> None:
    known = {name: families.load(name).licence for name in families.names()}
    assert {name: licence for name, licence in known.items() if licence != UNKNOWN} == {
        "anima": "circlestone-labs-non-commercial-license",
        "auraflow": "apache-2.0",
        "chroma": "apache-2.0",
        "ernie-image": "apache-2.0",
        "flux-1": "flux-1-dev-non-commercial-license",
        "flux-1-fill": "flux-1-dev-non-commercial-license",
        "flux-1-kontext": "flux-1-dev-non-commercial-license",
        "flux-2": "flux-dev-non-commercial-license",
        "flux-2-klein": "apache-2.0",
        "flux-3-klein": "flux-kommunity-license",
        "hidream-i1": "mit",
        "ideogram-4": "ideogram-non-commercial-model-agreement",
        "krea-2": "krea-2-community-license",
        "longcat-image": "apache-2.0",
        "lumina-2": "apache-2.0",
        "pixart-sigma": "openrail++",
        "qwen-image": "apache-2.0",
        "qwen-image-2.1": "qwen-research",
        "qwen-image-edit": "apache-2.0",
        "sd-3.5": "stabilityai-ai-community",
        "z-image": "apache-2.0",
    }


def test_a_name_has_hyphens_and_dots_where_the_file_has_underscores() -> None:
    assert {"flux-1", "flux-2-klein", "sd-3.5", "hidream-i1"} <= set(families.names())
    assert families.names() == sorted(families.names())
    assert isinstance(families.load("sd-3.5"), Family)


def test_a_misspelt_name_is_reported_in_one_sentence_with_a_suggestion() -> None:
    with pytest.raises(BadInput, match=r"no base model named 'flux1', did you mean 'flux-1'\? \(known: anima, .*\)"):
        families.load("flux1")


def test_hub_names_of_base_models_and_limits_appear_nowhere_else() -> None:
    models = {families.load(name).model for name in families.names()}
    for folder in ("pipeline", "iclora", "training/monitoring"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.parent.name != "families":
                text = path.read_text(encoding="utf-8")
                assert not [model for model in models if f'"{model}"' in text], path


def test_a_new_family_is_one_file(krea: str, tmp_path: Path) -> None:
    own = task.load("storyboard", [f"base={krea}", "layout.panel_width=1056"])
    assert krea in families.names()
    assert budget.words(own) < budget.words(task.load("storyboard"))
    assert (config.load(own).rank, config.load(own).learning_rate) == (32, 3e-4)
    assert config.load(task.load("storyboard", [f"base={krea}", "train.rank=8"])).rank == 8
    layout = config.scaled(own.grid_layout, 0.47, 64, families.load(krea).token)
    assert (layout.panel_width, layout.panel_height) == (512, 256)  # 496 x 240 in steps of 16


# ---- the recipe


def test_the_recipe_is_that_of_the_published_loras() -> None:
    recipe = Recipe()
    assert (recipe.rank, recipe.alpha, recipe.learning_rate, recipe.batch, recipe.steps) == (16, 16, 1e-4, 4, 5000)
    assert (recipe.ema, recipe.caption_dropout, recipe.schedule, recipe.warmup) == (0.99, 0.05, "constant", 0)


def test_training_uses_the_whole_recipe_and_changes_no_default() -> None:
    own = config.load(task.load("storyboard"))
    assert {key: getattr(own, key) for key in Recipe.model_fields} == Recipe().model_dump()


def test_a_warmup_as_long_as_the_training_is_an_error() -> None:
    with pytest.raises(BadInput, match="warmup 20 leaves no step of 20 at the full learning rate"):
        config.load(task.load("storyboard", ["train.warmup=20", "train.steps=20"]))


@pytest.mark.parametrize("steps", [1, 2, 4, 20, 100, 599, 600, 5_000])
def test_a_training_of_any_length_is_possible_without_setting_anything_else(steps: int) -> None:
    for miniature in (True, False):
        own = config.load(task.load("storyboard", [f"train.steps={steps}"]), miniature=miniature)
        assert own.warmup < own.steps == steps
        for every, least in ((own.save_every, 4), (own.validate_every, 4), (own.sample_every, 2)):
            assert every <= max(5, steps // least)
    usual = config.load(task.load("storyboard", ["train.steps=5000"]))
    assert (usual.save_every, usual.validate_every, usual.sample_every) == (250, 250, 500)


def test_defaults_of_a_family_fit_a_short_training_and_settings_of_a_person_stay(krea: str) -> None:
    asked = {"steps": 60, "validate_every": 40}
    filled = fill({"warmup": 500, "rank": 32}, asked)
    assert filled == {"steps": 60, "warmup": 2, "rank": 32, "validate_every": 40, "save_every": 15, "sample_every": 30}
    assert fill({"warmup": 500}, {"warmup": 700, "steps": 60})["warmup"] == 700
    assert fill({"warmup": 500}, {}) == {"warmup": 500}
    with pytest.raises(BadInput, match=r"train\.steps: Input should be a valid integer"):
        config.load(task.load("storyboard", [f"base={krea}", "train.steps=many"]))


def test_grids_at_a_time_are_no_more_than_a_step_has(krea: str) -> None:
    assert config.load(task.load("storyboard", ["train.batch=2"]), miniature=True).micro_batch == 2
    assert (
        config.load(task.load("storyboard", ["train.batch=2", "train.micro_batch=4"]), miniature=True).micro_batch == 4
    )
