"""The page on base models says what the code knows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import planned
import pytest

from pipeline import families, plugins, task
from training import backends
from training.backends.base import Backend
from training.config import Config, load
from training.model_files import parameter_count

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def trainable() -> list[Backend]:
    return [module.make(None) for _, module in plugins.usable(backends)]


def row(backend: Backend) -> str:
    def gib(*parts: str) -> str:
        return f"{sum(parameter_count(backend.blank(part)) for part in parts) * 2 / 2**30:.1f}"

    others = ", ".join(name for name in backend.KNOWN if name != backend.model) or "none"
    sizes = f"{gib('transformer')} | {gib(*backend.ENCODERS)}"
    head = f"| `{backend.BASE}` | {backend.model} | {backend.licence} | {backend.text_limit:,} "
    return f"{head}| {references(backend)} | {sizes} | {others} |"


def references(backend: Backend) -> str:
    """How many reference images a base takes; if it is shown none here, also with which trainers it is."""
    known = backend.family.references
    if backend.REFERENCES or known is None:
        return str(backend.REFERENCES or "none")
    trainers = ", ".join(name.replace("_", "-") for name in known.trainers)
    return f"none ({trainers}: {known.most})"


def test_the_table_has_a_row_for_every_base_that_can_be_trained() -> None:
    known = {backend.BASE: backend for backend in trainable()}
    rows = re.findall(r"^\| `([\w.-]+)` \| .*$", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(known)
    for backend in known.values():
        assert row(backend) in PAGE.splitlines()


def test_the_other_families_are_named() -> None:
    trained = {backend.BASE for backend in trainable()}
    paragraph = re.search(r"Captions are also budgeted.*?can't train these", PAGE, re.DOTALL)
    assert paragraph
    assert sorted(set(re.findall(r"`([\w.-]+)`", paragraph[0])) - {"iclora"}) == sorted(set(families.names()) - trained)


def test_the_models_that_configs_of_other_trainers_can_be_for_are_named() -> None:
    known = {backend.BASE: backend.KNOWN for backend in trainable()}
    others = [(base, model) for base, family in families.usable() for model in family.others]
    assert all(not known[base][model].distilled for base, model in others)
    sentence = re.search(r"Configs for other trainers are for .*?;", PAGE, re.DOTALL)
    assert sentence
    assert sorted(re.findall(r"`([\w.-]+/[\w.-]+)`", sentence[0])) == sorted(model for _, model in others)


def test_the_conditions_of_the_page_can_be_loaded() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    given = tomllib.loads(block)["train"]["conditions"]
    config = load(task.load("storyboard", {"train.conditions": given}))
    assert [(one.seen, one.panels, one.share) for one in config.conditions or ()] == [
        ("clean", "first", 0.3),
        ("reference", "any", 0.3),
    ]


def cells(section: str) -> list[list[str]]:
    """The rows of a section's table, without its head."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert text
    rows = re.findall(r"^\| (.*) \|$", text[1], re.MULTILINE)
    return [row.split(" | ") for row in rows[1:]]


def test_the_noise_levels_of_every_base_are_those_that_it_is_trained_at() -> None:
    told = {base: float(factor) for names, factor, _ in cells("Noise levels") for base in names.split(", ")}
    used = {one.BASE: one.shift(one.tokens(planned.CANVAS)) for one in trainable()}
    assert told == pytest.approx(used, abs=0.005)


def test_of_every_base_it_is_told_what_was_checked_and_that_real_weights_never_were() -> None:
    checked = {row[0]: row[-1] for row in cells("What was checked, and how") if row[-1] == "never"}
    assert checked.keys() == {one.BASE for one in trainable()}


OFFLOADED = Config(base_weights="bf16", checkpointing=True, offload=True, micro_batch=1)


@pytest.mark.slow
def test_the_memory_of_every_base_is_that_of_its_plan() -> None:
    rows = []
    for one in trainable():
        found = {name: planned.peak(one, planned.with_preset(name), card) for name, card in planned.CARDS.items()}
        figures = [f"*{gib:.1f}*" if gib > planned.CARDS[name] else f"{gib:.1f}" for name, gib in found.items()]
        away = planned.peak(one, OFFLOADED, min(planned.CARDS.values()))
        rows.append([one.BASE, *figures, f"{away:.1f}"])
    assert sorted(cells("Memory by plan")) == sorted(rows)
