"""The finished data set: its files, its card, that every trainer's config fits it, and importing it again."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from PIL import Image

from iclora.run import Run
from iclora.settings import Settings
from miniature.film import picture
from miniature.world import draw_scene
from pipeline import exporters, families, plugins, task
from pipeline.dataset import card, samples, split
from pipeline.dataset.samples import Dataset
from pipeline.engines.base import Facts
from pipeline.errors import BadInput
from pipeline.records import Grid, Record, Rejected, Row
from pipeline.review import reviews
from pipeline.stages import export
from pipeline.store import Store, read_settings
from pipeline.text.counters import ESTIMATE

TEXTS = [
    'says "yes", then = and + and @, at once',
    "emoji 🎬 and שלום to the end",
    "a | bar, a \\ stroke and a # mark",
    "it's 50% of {this|that}, no more",
    "e1234567890, NA, null, 3/4",
    "one line that is rather ordinary",
]


def answer(number: int) -> str:
    texts = [f"in shot {shot} of {number}: {TEXTS[number]}" for shot in ("one", "two", "three")]
    return json.dumps({"summary": f"story {number} of a day", "panels": [{"text": text} for text in texts]})


def make(home: Path, *overrides: str) -> Path:
    """Makes a home of six grids from six folders; returns its folder."""
    rng = random.Random(0)
    for number in range(6):
        (home / f"film-{number}").mkdir(parents=True)
        for shot in range(3):
            picture(draw_scene(rng), home / f"film-{number}" / f"{shot}.png")
    answers = json.dumps([answer(number) for number in range(6)])
    fixed = (f"captioner.answers={answers}", "group.floor=0.0", "caption.attempts=1")
    settings = Settings(
        task="storyboard", sources=(str(home),), captioner="scripted", scorer="none", overrides=fixed + overrides
    )
    run = Run(settings, home / "run")
    with run.store:
        run.advance()
    return home / "run"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("export") / "a set", "condition=[1]")


@pytest.fixture(scope="module")
def data(home: Path) -> Dataset:
    """The run's data set as exporters see it."""
    with Store(home) as store:
        run_task = Settings.model_validate(read_settings(store.folder)).load_task()
        kept = [row for row in reviews.rows(store, run_task, ESTIMATE) if row.decision == "keep"]
    return samples.gather(kept, run_task, home, split.divide(kept, run_task))


def export_to(folder: Path, of: task.Task, rows: Sequence[Row]) -> list[Any]:
    """What the export gives for rows whose grids are in a run's folder."""

    def redraw(grid: Grid) -> None:
        raise BadInput(f"{grid.path} has no sources.")

    return list(export.stage(of, folder, {}, ESTIMATE, redraw=redraw, state="", earlier=None).run(rows))


def pairs(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Stem to caption and image of a folder of `x.png` and `x.txt`, as most trainers read it."""
    return {
        path.stem: (path.with_suffix(".txt").read_text(encoding="utf-8"), path.read_bytes())
        for path in folder.glob("*.png")
        if not path.stem.endswith("-masklabel")
    }


def expected(data: Dataset, side: str) -> dict[str, tuple[str, bytes]]:
    return {
        sample.stem: (sample.text, (data.run / sample.row.grid.path).read_bytes())
        for sample in data.samples
        if sample.side == side
    }


# ---- the data


def test_both_sides_hold_pairs_with_captions_on_one_line(home: Path, data: Dataset) -> None:
    assert (len(data.train), len(data.held_out)) == (5, 1)
    for side in ("train", "validation"):
        exported = pairs(home / "dataset" / side)
        assert exported == expected(data, side)
        assert all(text and "\n" not in text for text, _ in exported.values())
    stems = [path.stem for path in (home / "dataset").glob("*/*.txt") if path.parts[-2] in ("train", "validation")]
    assert sorted(stems) == [f"{number:04d}" for number in range(1, 7)]


def test_images_are_upright_rgb_of_the_canvas_without_exif(home: Path) -> None:
    for path in (home / "dataset").glob("train/*.png"):
        with Image.open(path) as picture_:
            assert (picture_.mode, picture_.size, dict(picture_.getexif()), picture_.format) == (
                *("RGB", (1024, 1536), {}),
                "PNG",
            )


@pytest.mark.parametrize("words", [("imagefolder", True), ("folder", False)])
def test_datasets_loads_both_sides_by_folder_and_by_card(home: Path, data: Dataset, words: tuple[str, bool]) -> None:
    folder = str(home / "dataset")
    loaded = datasets.load_dataset("imagefolder", data_dir=folder) if words[1] else datasets.load_dataset(folder)
    assert {side: len(rows) for side, rows in loaded.items()} == {"train": 5, "validation": 1}
    assert loaded["train"]["text"] == [sample.text for sample in data.train]
    assert loaded["train"].column_names == ["image", "text", "id", "task", "group", "boxes", "panels", "sources"]
    assert loaded["validation"][0]["image"].size == (1024, 1536)
    assert loaded["validation"][0]["sources"][0]["name"] == f"{data.held_out[0].group}/0.png"


def test_a_data_set_in_a_folder_of_the_same_name_is_not_mistaken_for_another(data: Dataset, tmp_path: Path) -> None:
    for name, samples_ in (("a", data.samples), ("b", data.samples[::-1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "grids").symlink_to(data.run / "grids")
        export_to(tmp_path / name, data.task, [sample.row for sample in samples_])
    first, second = (
        datasets.load_dataset(str(tmp_path / name / "dataset"), cache_dir=str(tmp_path / "cache"))["train"]["text"]
        for name in ("a", "b")
    )
    assert list(first) != list(second)
    assert sorted(first) == sorted(second)


def test_masks_are_black_on_given_panels_and_white_where_the_loss_counts(home: Path, data: Dataset) -> None:
    for sample in data.samples:
        with Image.open(home / "dataset" / sample.mask) as mask:
            panels = [mask.crop(box).getextrema() for box in sample.row.grid.layout.boxes]
            assert (mask.size, panels) == ((1024, 1536), [(0, 0), (255, 255), (255, 255)])
    assert len(list((home / "dataset").glob("masks*/*"))) == 6


@pytest.mark.parametrize("condition", ["[0]", "[4]", "[1, 1]", "[1, 2, 3]"])
def test_given_panels_must_be_panels_of_the_task(condition: str) -> None:
    with pytest.raises(BadInput, match="condition lists panels from 1 to 3, each once and not all of them"):
        task.load("storyboard", [f"condition={condition}"])


def test_a_grid_that_is_kept_without_a_caption_is_left_out_with_the_reason(data: Dataset, tmp_path: Path) -> None:
    row = data.train[0].row
    empty = replace(row, caption=replace(row.caption, text=" "), decision="keep")
    (tmp_path / "grids").symlink_to(data.run / "grids")
    results = export_to(tmp_path, data.task, [empty, data.train[1].row])
    assert [result.reason for result in results if isinstance(result, Rejected)] == ["no caption"]


def test_a_run_with_nothing_kept_makes_no_data_set(data: Dataset, tmp_path: Path) -> None:
    assert [type(result) for result in export_to(tmp_path, data.task, [])] == [Facts]
    assert list(tmp_path.iterdir()) == []


def test_no_file_reveals_where_the_sources_are_on_this_machine(home: Path) -> None:
    for file in ("README.md", "iclora.toml", "train/metadata.jsonl", "validation/metadata.jsonl"):
        assert str(home.parent) not in (home / "dataset" / file).read_text(encoding="utf-8")


# ---- the card


def test_the_card_states_what_is_known_and_what_is_not(home: Path) -> None:
    card = (home / "dataset" / "README.md").read_text(encoding="utf-8")
    for line in (
        "- 5 training grids, 1 held out; 1 of 6 groups of sources is held out (share 0.1, seed 0).",
        "- Every grid is 1024 x 1536 pixels: 3 x 1 panels of 1024 x 512, in reading order [SCENE-1] [SCENE-2]",
        "- Given panels: [SCENE-1]; the masks are black there.",
        "The licence of 18 of 18 panels is unknown: ask before you share them.",
        "| film-0/* | film-0 | unknown | unknown | unknown | unknown |  | 3 |",
        "- captioner, captioner: scripted",
        "- A person decided on 0 of 6 grids; the rest passed the automatic checks only.",
        "- 6 grids are few: the task is meant for 20 or more.",
    ):
        assert line in card


def test_the_card_s_front_matter_is_what_the_hub_reads(home: Path) -> None:
    from huggingface_hub import DatasetCard

    header = DatasetCard.load(home / "dataset" / "README.md").data.to_dict()
    assert (header["license"], header["size_categories"], header["task_categories"]) == (
        *("unknown", ["n<1K"]),
        ["text-to-image"],
    )
    assert [entry["split"] for entry in header["configs"][0]["data_files"]] == ["train", "validation"]


def estimate(count: int, of: int, low: float, high: float) -> dict[str, float]:
    return {"count": count, "of": of, "rate": count / of, "low": low, "high": high}


FACTS = {
    "scorer": {"model": "local-dir:/home/me/miniature/clip", "values": [0.1] * 99},
    "false rejects": estimate(2, 50, 0.011, 0.135),
    "false accepts": {"grids": estimate(0, 9, 0, 0.299)},
    "thresholds": {
        "text": {
            "value": 0.21,
            "is": "floor",
            "found by": "the run's scores",
            "false rejects": estimate(1, 50, 0.004, 0.105),
            "false accepts": {"grids": estimate(1, 99, 0.002, 0.055)},
        }
    },
}


@pytest.mark.parametrize(
    ("licences", "stated"),
    [(("CC-BY 4.0",), "cc-by-4.0"), (("mit", "cc0-1.0"), "other"), (("mit", ""), "unknown"), (("my own",), "other")],
)
def test_the_card_names_a_licence_only_if_all_sources_have_it(data: Dataset, licences, stated: str) -> None:
    def licensed(number: int, row: Row) -> Row:
        def record(record: Record) -> Record:
            return replace(record, licence=licences[number % len(licences)], author="Ada", url="https://example.org/a")

        group = replace(row.grid.group, records=tuple(map(record, row.grid.group.records)))
        return replace(row, grid=replace(row.grid, group=group))

    rows = [licensed(number, sample.row) for number, sample in enumerate(data.samples)]
    text = card.write(samples.gather(rows, data.task, data.run, data.split), FACTS)
    assert f"\nlicense: {stated}\n" in text
    assert "| Ada | https://example.org/a | unknown |  | 3 |" in text
    assert (
        "- scorer, model: miniature/clip\n- false rejects: 2 of 50 (1.1 to 13.5 %)\n- false accepts, grids: 0 of 9"
        in text
    )
    assert (
        "| text | floor | 0.21 | the run's scores | 1 of 50 (0.4 to 10.5 %) | grids: 1 of 99 (0.2 to 5.5 %) |" in text
    )
    assert "/home/me" not in text


# ---- trainers, each by its own configs; test_contract.py has what holds for every one


def read(path: Path) -> Any:
    """A config in its own format; a script as a list of words."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        return tomllib.loads(text)
    if path.suffix == ".sh":
        return shlex.split(text.replace("\\\n", " "), comments=True)
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text) if path.suffix == ".yaml" else text


# ---- where each trainer is pointed


FOLDERS: dict[str, Callable[[Path], str]] = {
    "ai_toolkit": lambda at: read(at / "ai-toolkit.yaml")["config"]["process"][0]["datasets"][0]["folder_path"],
    "kohya": lambda at: read(at / "kohya.toml")["datasets"][0]["subsets"][0]["image_dir"],
    "diffusion_pipe": lambda at: read(at / "diffusion-pipe-data.toml")["directory"][0]["path"],
    "onetrainer": lambda at: read(at / "onetrainer-concepts.json")[0]["path"],
    "simpletuner": lambda at: read(at / "simpletuner-data.json")[0]["instance_data_dir"],
}
"""The folder of pairs that each config sends its trainer to."""
CONFIGS: dict[str, Callable[[Path], list[str]]] = {
    "kohya": lambda at: [read(at / "kohya-arguments.toml")["dataset_config"]],
    "diffusion_pipe": lambda at: [
        read(at / "diffusion-pipe.toml")["dataset"],
        read(at / "diffusion-pipe.toml")["eval_datasets"][0]["config"],
    ],
    "onetrainer": lambda at: [read(at / "onetrainer.json")["concept_file_name"]],
    "simpletuner": lambda at: [read(at / "simpletuner.json")["data_backend_config"]],
}
"""Further files that a config sends its trainer to."""


@pytest.fixture(scope="module")
def moved(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set as if on another machine."""
    return Path(shutil.copytree(home / "dataset", tmp_path_factory.mktemp("elsewhere") / "my 'set'"))


@pytest.fixture
def start(moved: Path, tmp_path: Path) -> Callable[[str], tuple[Path, list[str]]]:
    """Runs a trainer's command in the data set's folder; returns where it was started, and its arguments.

    Programs that record both stand in for the trainers.
    """
    (tmp_path / "bin").mkdir()
    (tmp_path / "a trainer").mkdir()
    for program in ("python", "accelerate", "deepspeed", "simpletuner"):
        stand_in = tmp_path / "bin" / program
        stand_in.write_text(f'#!/bin/sh\nprintf \'%s\\0\' "$PWD" "$@" > "{tmp_path}/started"\n', encoding="utf-8")
        stand_in.chmod(0o755)

    def typed(name: str) -> tuple[Path, list[str]]:
        text = (moved / "TRAINERS.md").read_text(encoding="utf-8")
        section = text.partition(f"## {plugins.load(exporters, name).NAME}\n")[2]
        command = section.partition("```sh\n")[2].partition("\n```")[0]
        environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TRAINER": str(tmp_path / "a trainer")}
        subprocess.run(["sh", "-c", command], cwd=moved, env=environment, check=True)
        place, *words = (tmp_path / "started").read_text(encoding="utf-8").split("\0")[:-1]
        return Path(place), words

    return typed


@pytest.mark.parametrize("name", [*FOLDERS, "diffsynth", "diffusers"])
def test_a_trainer_finds_only_the_training_pairs_wherever_the_data_set_is(
    name: str, start: Callable[[str], tuple[Path, list[str]]], moved: Path, data: Dataset
) -> None:
    place, words = start(name)
    if name == "diffsynth":
        base, file = (words[words.index(f"--dataset_{what}_path") + 1] for what in ("base", "metadata"))
        table = datasets.load_dataset("csv", data_files=file, split="train")
        seen = {Path(row["image"]).stem: (row["prompt"], (Path(base) / row["image"]).read_bytes()) for row in table}
    elif name == "diffusers":
        folder, text = (words[words.index(f"--{what}") + 1] for what in ("dataset_name", "caption_column"))
        rows = datasets.load_dataset(folder)["train"].cast_column("image", datasets.Image(decode=False))
        seen = {Path(row["image"]["path"]).stem: (row[text], Path(row["image"]["path"]).read_bytes()) for row in rows}
    else:
        seen = pairs(place / FOLDERS[name](moved))
        (config,) = [word for word in words if word.endswith((".toml", ".yaml", ".json"))]
        assert all((place / file).is_file() for file in (config, *CONFIGS.get(name, lambda _: [])(moved)))
    assert seen == expected(data, "train")


def test_a_script_asks_for_the_folder_of_the_trainer(moved: Path) -> None:
    for script in ("diffsynth.sh", "diffusers.sh"):
        options = {"cwd": moved, "env": {"PATH": os.environ["PATH"]}, "capture_output": True, "text": True}
        ran = subprocess.run(["sh", script], check=False, **options)
        assert ran.returncode != 0 and "TRAINER: set it to the folder of the trainer" in ran.stderr


MASKS: dict[str, Callable[[Path], str]] = {
    "ai_toolkit": lambda at: read(at / "ai-toolkit.yaml")["config"]["process"][0]["datasets"][0]["mask_path"],
    "kohya": lambda at: read(at / "kohya.toml")["datasets"][0]["subsets"][0]["conditioning_data_dir"],
    "diffusion_pipe": lambda at: read(at / "diffusion-pipe-data.toml")["directory"][0]["mask_path"],
    "simpletuner": lambda at: read(at / "simpletuner-data.json")[2]["instance_data_dir"],
    "onetrainer": FOLDERS["onetrainer"],
}
"""The folder of masks that each config sends its trainer to."""


@pytest.mark.parametrize("name", MASKS)
def test_a_trainer_that_reads_masks_finds_one_for_every_training_image(
    name: str, start: Callable[[str], tuple[Path, list[str]]], moved: Path, data: Dataset
) -> None:
    place, _ = start(name)
    pattern = "*-masklabel.png" if name == "onetrainer" else "*.png"
    masks = {path.stem.removesuffix("-masklabel"): path for path in (place / MASKS[name](moved)).glob(pattern)}
    assert set(masks) == {sample.stem for sample in data.train}
    for path in masks.values():
        with Image.open(path) as mask:
            assert mask.crop((0, 0, 1024, 512)).getextrema() == (0, 0)


def test_the_canvas_is_the_only_size_in_every_config(home: Path) -> None:
    home = home / "dataset"
    assert read(home / "kohya.toml")["datasets"][0]["resolution"] == [1024, 1536]
    assert read(home / "kohya.toml")["datasets"][0]["enable_bucket"] is False
    assert read(home / "diffusion-pipe-data.toml")["size_buckets"] == [[1024, 1536, 1]]
    assert read(home / "onetrainer.json")["resolution"] == "1024x1536"
    assert read(home / "ai-toolkit.yaml")["config"]["process"][0]["datasets"][0]["resolution"] == [1255]  # of the area
    sizes = [
        (one["resolution"], one["resolution_type"], one["crop"]) for one in read(home / "simpletuner-data.json")[:2]
    ]
    assert sizes == [(1024, "pixel", False)] * 2
    words = " ".join(read(home / "diffusers.sh"))
    assert "--use_aspect_ratio_buckets" in words and "--aspect_ratio_buckets 1536,1024 " in words
    assert "--height 1536 --width 1024 " in " ".join(read(home / "diffsynth.sh"))


def test_cropping_and_flipping_and_shuffling_are_off(home: Path) -> None:
    home = home / "dataset"
    words = ("crop", "flip", "rotate", "shuff", "jitter", "tag_dropout", "token_dropout", "color", "hue", "wildcard")

    def settings(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from settings(inner, name)
        elif isinstance(value, list):
            for inner in value:
                yield from settings(inner, key)
        else:
            yield key, value

    files = [path for path in home.iterdir() if path.suffix in (".toml", ".json", ".yaml") and path.stem != "iclora"]
    on = [
        (file.name, key, value)
        for file in files
        for key, value in settings(read(file))
        if any(word in key for word in words) and value and value != "preserve"
    ]
    assert on == []


def test_a_canvas_that_a_trainer_would_change_is_reported(data: Dataset, tmp_path: Path) -> None:
    odd = replace(data, task=task.load("storyboard", ["layout.panel_width=1008", "layout.panel_height=528"]))
    (tmp_path / "train").mkdir()
    steps = {"ai_toolkit": 32, "diffusion_pipe": 32, "onetrainer": 64, "simpletuner": 64}
    for name in ("kohya", "diffusers", "diffsynth", *steps):
        notes = " ".join(plugins.load(exporters, name).write(odd, tmp_path).notes)
        assert ("Sizes go in steps" in notes) == (name in steps), name
        assert name not in steps or f"steps of {steps[name]} pixels" in notes


def test_only_the_formats_that_a_task_names_are_written(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "grids").symlink_to(data.run / "grids")
    chosen = data.task.model_copy(update={"export": data.task.export.model_copy(update={"formats": ("kohya",)})})
    export_to(tmp_path, chosen, [sample.row for sample in data.samples])
    files = {path.name for path in (tmp_path / "dataset").iterdir() if path.is_file()}
    assert files == {
        *("README.md", "SHA256SUMS", "TRAINERS.md", "iclora.toml"),
        *("kohya.toml", "kohya-arguments.toml"),
    }


def test_an_unknown_format_is_reported_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no exporter named 'koya', did you mean 'kohya'\?"):
        make(tmp_path / "home", 'export.formats=["koya"]')
    assert not (tmp_path / "home" / "run" / "grids").exists()


def test_the_report_counts_both_sides(home: Path) -> None:
    report = json.loads((home / "report.json").read_text(encoding="utf-8"))
    assert (report["stages"]["export"]["train"], report["stages"]["export"]["validation"]) == (5, 1)


def test_every_command_is_listed_in_one_file(home: Path) -> None:
    text = (home / "dataset" / "TRAINERS.md").read_text(encoding="utf-8")
    for name in FOLDERS:
        assert f"## {plugins.load(exporters, name).NAME}\n" in text
    assert '```sh\nSEED=0 python "$TRAINER/run.py" ai-toolkit.yaml\n```' in text


# ---- the recipe and the families in each trainer's dialect


RANKS: dict[str, Callable[[Path], object]] = {
    "ai_toolkit": lambda at: read(at / "ai-toolkit.yaml")["config"]["process"][0]["network"]["linear"],
    "kohya": lambda at: read(at / "kohya-arguments.toml")["network_dim"],
    "diffusion_pipe": lambda at: read(at / "diffusion-pipe.toml")["adapter"]["rank"],
    "onetrainer": lambda at: read(at / "onetrainer.json")["lora_rank"],
    "simpletuner": lambda at: read(at / "simpletuner.json")["lora_rank"],
    "diffusers": lambda at: int(word_after(at / "diffusers.sh", "--rank")),
    "diffsynth": lambda at: int(word_after(at / "diffsynth.sh", "--lora_rank")),
}


def word_after(script: Path, option: str) -> str:
    words = read(script)
    return str(words[words.index(option) + 1])


def with_settings(data: Dataset, *overrides: str) -> Dataset:
    return replace(data, task=task.load("storyboard", [*overrides]))


@pytest.mark.parametrize("name", RANKS)
def test_the_rank_of_the_task_is_the_rank_of_the_config(name: str, data: Dataset, tmp_path: Path) -> None:
    config = plugins.load(exporters, name).write(with_settings(data), tmp_path)
    assert (RANKS[name](tmp_path), "train.alpha" in " ".join(config.notes)) == (16, False)
    config = plugins.load(exporters, name).write(with_settings(data, "train.rank=32"), tmp_path)
    assert RANKS[name](tmp_path) == 32
    forced = name in ("diffusion_pipe", "diffsynth")  # both take alpha from the rank, whatever it is
    assert ("train.alpha=16.0" in " ".join(config.notes)) == forced


def test_a_complete_recipe_for_kohya(data: Dataset, tmp_path: Path) -> None:
    changed = with_settings(
        *(data, "train.rank=32", "train.alpha=8.5", "train.learning_rate=3e-4", "train.warmup=100", "train.batch=2"),
        *("train.steps=900", "train.caption_dropout=0", "train.ema=0", "train.seed=7", "train.save_every=90"),
    )
    config = plugins.load(exporters, "kohya").write(changed, tmp_path)
    arguments = read(tmp_path / "kohya-arguments.toml")
    keys = ("network_dim", "network_alpha", "learning_rate", "lr_scheduler", "lr_warmup_steps", "max_train_steps")
    assert [arguments[key] for key in keys] == [32, 8.5, 3e-4, "constant_with_warmup", 100, 900]
    assert (arguments["seed"], arguments["save_every_n_steps"]) == (7, 90)
    (subset,) = read(tmp_path / "kohya.toml")["datasets"][0]["subsets"]
    assert (subset["caption_dropout_rate"], read(tmp_path / "kohya.toml")["datasets"][0]["batch_size"]) == (0, 2)
    assert "no place in this config" not in " ".join(config.notes)


@pytest.mark.parametrize("base", families.names())
@pytest.mark.parametrize("name", RANKS)
def test_a_trainer_is_given_the_family_or_says_that_it_cannot_train_it(
    name: str, base: str, data: Dataset, tmp_path: Path
) -> None:
    config = plugins.load(exporters, name).write(with_settings(data, f"base={base}"), tmp_path)
    notes, family = " ".join(config.notes), families.load(base)
    assert bool(config.command) != (f"no way to train {base} with" in notes or "panels would be lost" in notes)
    known = {stem for stem in RANKS if stem in family.trainers}
    assert (f"no way to train {base} with" in notes) == (name not in known)
    if config.command:
        written = "".join((tmp_path / file).read_text(encoding="utf-8") for file in config.files)
        words = [value for value in family.trainers[name].values() if isinstance(value, str) and "{" not in value]
        assert (
            all(word in written or word in config.command or word in notes for word in words)
            and "{models}" not in written
        )


def test_a_script_that_always_uses_buckets_is_not_told_to(data: Dataset, tmp_path: Path) -> None:
    plugins.load(exporters, "diffusers").write(with_settings(data, "base=ideogram-4"), tmp_path)
    words = " ".join(read(tmp_path / "diffusers.sh"))
    assert "--aspect_ratio_buckets 1536,1024 " in words and "--use_aspect_ratio_buckets" not in words


# ---- importing


def imported(source: Path, home: Path, *overrides: str) -> tuple[Run, list[Grid]]:
    settings = Settings(
        task="storyboard", sources=(str(source),), captioner="sidecar", scorer="none", overrides=overrides
    )
    run = Run(settings, home)
    run.advance()
    return run, run.store.items(Grid, "grids")


def content(folder: Path) -> dict[str, tuple[str, str, bytes]]:
    """Caption to side, group and pixels."""
    contents = {}
    for file, entry in split.entries(folder).items():
        with Image.open(folder / file) as grid:
            contents[entry["text"]] = (file.partition("/")[0], entry["group"], grid.tobytes())
    return contents


def test_an_imported_data_set_keeps_its_pixels_and_captions_and_sides(home: Path, tmp_path: Path) -> None:
    run, _ = imported(home / "dataset", tmp_path / "again", "condition=[1]")
    assert content(tmp_path / "again" / "dataset") == content(home / "dataset")
    reasons = {row.reason for row in run.store.rejected("collect")}
    assert reasons == {"mask", "exact copy"}  # the copies are those for OneTrainer


def test_licence_and_author_and_address_are_imported_too(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    entry = json.loads((home / "dataset/train/metadata.jsonl").read_text(encoding="utf-8").splitlines()[0])
    entry["sources"] = [
        part | {"licence": f"l{n}", "author": "Ada", "url": "u"} for n, part in enumerate(entry["sources"])
    ]
    (source / "0001.png").symlink_to(home / "dataset/train/0001.png")
    (source / "metadata.jsonl").write_text(json.dumps(entry) + "\n", encoding="utf-8")
    _, (grid,) = imported(source, tmp_path / "run")
    assert [(one.licence, one.author, one.url, one.position.group) for one in grid.group.records] == [
        (f"l{n}", "Ada", "u", "film-0") for n in range(3)
    ]


LISTINGS: dict[str, Callable[[str], str]] = {
    "metadata.jsonl": lambda text: json.dumps({"file_name": "grids/a.png", "text": text}),
    "metadata.csv": lambda text: 'image,prompt\ngrids/a.png,"' + text.replace('"', '""') + '"\n',
    "captions.json": lambda text: json.dumps({"grids/a.png": [text]}),
}


@pytest.mark.parametrize("name", LISTINGS)
def test_captions_in_every_kind_of_listing_are_found(name: str, home: Path, tmp_path: Path) -> None:
    text = (home / "dataset/train/0001.txt").read_text(encoding="utf-8")
    (tmp_path / "source" / "grids").mkdir(parents=True)
    (tmp_path / "source" / "grids" / "a.png").symlink_to(home / "dataset/train/0001.png")
    (tmp_path / "source" / name).write_text(LISTINGS[name](text), encoding="utf-8")
    _, (grid,) = imported(tmp_path / "source", tmp_path / "run")
    assert {record.text for record in grid.group.records} == {text}
    assert (tmp_path / "run" / "dataset" / "train" / "0001.txt").read_text(encoding="utf-8") == text


def test_boxes_give_the_panels_and_boxes_outside_an_image_are_rejected(tmp_path: Path, draw) -> None:
    text = "[MOVIE-SHOTS] A day, [SCENE-1] one thing here, [SCENE-2] two things here, [SCENE-3] three things here."
    canvas = Image.new("RGB", (700, 700), "grey")
    boxes = [[0, 0, 640, 320], [30, 340, 670, 660], [60, 330, 700, 650]]
    for number, box in enumerate(boxes):
        canvas.paste(draw(number, (640, 320)), box[:2])
    entries = [
        {"file_name": "a.png", "text": text, "boxes": boxes},
        {"file_name": "b.png", "text": text, "boxes": [[0, 0, 701, 9]] * 3},
    ]
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        canvas.save(tmp_path / "in" / name)
    (tmp_path / "in" / "metadata.jsonl").write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    run, _ = imported(tmp_path / "in", tmp_path / "run")
    for record, box in zip(run.store.items(Record, "collected"), boxes, strict=True):
        with Image.open(tmp_path / "run" / record.path) as panel:
            assert panel.tobytes() == canvas.crop(tuple(box)).tobytes()
    assert [(row.reason, row.detail.partition("has ")[2]) for row in run.store.rejected("collect")] == [
        ("boxes", "boxes outside of its 700 x 700 pixels.")
    ]


def test_a_broken_listing_is_reported_and_a_table_of_another_kind_is_ignored(tmp_path: Path, draw, gather) -> None:
    (tmp_path / "in").mkdir()
    draw(1).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "metadata.csv").write_text("city,people\nRome,3\n", encoding="utf-8")
    records, _ = gather(tmp_path / "in")
    assert [record.text for record in records] == [""]
    (tmp_path / "in" / "metadata.jsonl").write_text('{"file_name": ', encoding="utf-8")
    with pytest.raises(BadInput, match=r"metadata.jsonl can't be read as a listing of pictures"):
        gather(tmp_path / "in")


def test_a_mask_needs_an_image_of_the_same_name(tmp_path: Path, draw, gather) -> None:
    for name in ("a.png", "a-masklabel.png", "masks/a.png", "masks/b.png", "b-masklabel.png", "x/masks/a.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        draw(len(name) * 7 + ord(name[-5]), (64, 64)).save(tmp_path / "in" / name)
    records, rejected = gather(tmp_path / "in")
    kept = sorted(str(Path(record.path).relative_to(tmp_path / "in")) for record in records)
    assert kept == ["a.png", "b-masklabel.png", "masks/b.png", "x/masks/a.png"]
    assert [row.reason for row in rejected] == ["mask", "mask"]
