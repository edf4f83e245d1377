"""Data sets with reference images: their files, every trainer's config, and reading them back as sources."""

from __future__ import annotations

import json
import shutil
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from PIL import Image

from iclora.testing import material
from pipeline import exporters, plugins, task
from pipeline.dataset import archive, checksums, parquet, portable, split, uses
from pipeline.dataset.samples import Dataset
from pipeline.errors import BadInput
from pipeline.exporters import imagefolder
from pipeline.records import Exported, Grid, Position, Record, Rejected, Row
from pipeline.stages import collect, export
from pipeline.text.counters import ESTIMATE

PLAIN = ("base=flux-2-klein", "condition=[1]")
TRAINERS = ("ai_toolkit", "diffsynth", "diffusers", "diffusion_pipe", "musubi_tuner", "simpletuner")


def filmed(row: Row) -> Row:
    """The row as kept, with panels of a film of its own, which decides its side."""
    at = Position(folder="films", film=f"{row.id}.mp4")
    records = tuple(replace(record, position=at) for record in row.grid.group.records)
    group = replace(row.grid.group, records=records)
    return replace(row, grid=replace(row.grid, group=group), decision="keep")


def write(home: Path, *settings: str) -> tuple[Dataset, list[Any]]:
    """A data set as a run exports it; and what the stage gives."""
    home.mkdir(parents=True, exist_ok=True)
    data = material.dataset(home, settings)
    rows = [filmed(row) for row in {sample.row.id: sample.row for sample in data.samples}.values()]
    of = task.load("storyboard", [*material.SMALL, *settings])

    def redraw(grid: Grid) -> None:
        raise AssertionError(grid.path)

    stage = export.stage(of, home, {}, ESTIMATE, redraw=redraw, state="", earlier=None)
    return data, list(stage.run(rows))


@pytest.fixture(scope="module")
def panels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("panels")
    write(home, *PLAIN, "export.use=panels")
    return home / "dataset"


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sheets")
    write(home, *PLAIN, "export.use=sheets")
    return home / "dataset"


def listing(folder: Path, side: str = "train") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / side / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


# ---- the data


def test_panels_and_their_references_are_cut_out_of_the_grids_without_loss(panels: Path) -> None:
    size = task.load("storyboard", list(material.SMALL)).grid_layout
    for entry in listing(panels):
        (reference,) = entry["references"]
        with (
            Image.open(panels / "train" / entry["file_name"]) as target,
            Image.open(panels / "train" / reference) as one,
            Image.open(panels.parent / f"{entry['id'][1:]}.png") as grid,
        ):
            for picture, panel in ((target, entry["panel"]), (one, entry["reference_panels"][0])):
                assert picture.tobytes() == grid.crop(size.boxes[panel - 1]).tobytes()
        assert entry["text"] == (panels / "train" / entry["file_name"]).with_suffix(".txt").read_text(encoding="utf-8")


def test_a_panel_that_is_a_reference_more_than_once_is_one_file(panels: Path) -> None:
    assert (panels / "control_1/0001-2.png").samefile(panels / "control_1/0001-3.png")


def test_whole_grids_are_the_run_s_own_and_have_a_reference_beside_them(sheets: Path) -> None:
    for entry in listing(sheets):
        assert (sheets / "train" / entry["file_name"]).read_bytes() == (
            sheets.parent / f"{entry['id'][1:]}.png"
        ).read_bytes()
        assert (len(entry["boxes"]), entry["reference_panels"]) == (3, [1])
        assert (sheets / "train" / entry["references"][0]).is_file()
    assert not list(sheets.glob("masks*"))


@pytest.mark.parametrize("use", ["panels", "sheets"])
def test_datasets_loads_targets_with_their_references_and_captions(use: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(use)
    loaded = datasets.load_dataset(str(folder))
    entries = listing(folder)
    assert loaded["train"].column_names == ["control_image", "target_image", "prompt", "id", "group"]
    assert list(loaded["train"]["prompt"]) == [entry["text"] for entry in entries]
    row = loaded["train"][0]
    with Image.open(folder / "train" / entries[0]["references"][0]) as one:
        assert row["control_image"].tobytes() == one.tobytes()
    assert set(loaded) == {"train", "validation"}


def test_the_card_says_the_use_and_how_references_were_chosen(panels: Path, sheets: Path) -> None:
    card = (panels / "README.md").read_text(encoding="utf-8")
    for line in (
        "- image-to-image",
        "- 10 training panels, 2 held out;",
        "- Use: panels: given 1 reference image, draw one panel from its own text, which leaves out what the reference",
        "- The reference is [SCENE-1], which the task gives.",
        "| control_1/ | reference images of the same names as in train/ |",
    ):
        assert line in card
    assert "- Use: sheets: given 1 reference image, draw the whole grid from its joint caption" in (
        sheets / "README.md"
    ).read_text(encoding="utf-8")


def test_the_stage_counts_panels_and_keeps_the_reason_of_each_that_has_no_reference(tmp_path: Path) -> None:
    _, results = write(tmp_path, "export.use=panels", 'export.formats=["musubi_tuner"]')
    exported = [one for one in results if isinstance(one, Exported)]
    assert {one.id.partition("#")[2] for one in exported} <= {"1", "2", "3"} and len(
        {one.id for one in exported}
    ) == len(exported)
    for one in results:
        if isinstance(one, Rejected):
            assert one.reason == uses.REASON and "#" in one.id


def test_configs_are_written_anew_from_the_folder_alone(panels: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(panels, copy)
    before = {file: (copy / file).read_bytes() for file in checksums.read(copy)}
    text, listed = copy / "train/0001-2.txt", copy / "train/metadata.jsonl"
    listed.write_text(listed.read_text(encoding="utf-8").replace(text.read_text(encoding="utf-8"), "Another text."))
    text.write_text("Another text.", encoding="utf-8")
    written = export.rewrite(copy, task.load(str(copy / "iclora.toml")))
    assert {"parquet/train.parquet", "musubi-tuner.jsonl"} <= set(written)
    changed = {file for file, content in before.items() if (copy / file).read_bytes() != content}
    assert {"parquet/train.parquet", "musubi-tuner.jsonl", "diffsynth.json", "train/0001-2.txt"} <= changed
    assert not any(file.startswith(("control", "validation")) for file in changed)
    assert checksums.faults(copy, checksums.digest(copy)) == []


def test_a_missing_reference_is_damage(panels: Path, tmp_path: Path) -> None:
    shutil.copytree(panels, tmp_path / "copy")
    (tmp_path / "copy/control_1/0001-2.png").unlink()
    with pytest.raises(BadInput, match=r"damaged: control_1/0001-2.png is missing"):
        portable.read(tmp_path / "copy", task.load(str(tmp_path / "copy" / "iclora.toml")))


# ---- trainers


def pairs(folder: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """By the target's file, its caption and its reference images."""
    return {
        f"train/{entry['file_name']}": (entry["text"], tuple(file.removeprefix("../") for file in entry["references"]))
        for entry in listing(folder)
    }


def of_folders(folder: Path, controls: list[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {
        f"train/{one.name}": (
            one.with_suffix(".txt").read_text(encoding="utf-8"),
            tuple(f"{control}/{one.name}" for control in controls if (folder / control / one.name).is_file()),
        )
        for one in (folder / "train").glob("*.png")
    }


def seen_by(name: str, folder: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What a trainer's config sends it to."""
    if name == "ai_toolkit":
        (of,) = yaml.safe_load((folder / "ai-toolkit.yaml").read_text("utf-8"))["config"]["process"][0]["datasets"]
        return of_folders(folder, [value for key, value in of.items() if key.startswith("control_path")])
    if name == "diffusion_pipe":
        (of,) = tomllib.loads((folder / "diffusion-pipe-data.toml").read_text("utf-8"))["directory"]
        return of_folders(folder, [of["control_path"].partition("/")[2]])
    if name == "simpletuner":
        backends = {one["id"]: one for one in json.loads((folder / "simpletuner-data.json").read_text("utf-8"))}
        first = next(iter(backends.values()))
        return of_folders(folder, [backends[one]["instance_data_dir"] for one in first["conditioning_data"]])
    if name == "musubi_tuner":
        lines = (folder / "musubi-tuner.jsonl").read_text("utf-8").splitlines()
        return {
            one["image_path"]: (
                one["caption"],
                tuple(one[key] for key in sorted(one) if key.startswith("control_path")),
            )
            for one in map(json.loads, lines)
        }
    if name == "diffsynth":
        rows = json.loads((folder / "diffsynth.json").read_text("utf-8"))
        return {one["image"]: (one["prompt"], tuple(one["edit_image"])) for one in rows}
    words = (folder / "diffusers.sh").read_text("utf-8").replace("\\\n", " ").split()
    columns = [words[words.index(f"--{what}_column") + 1] for what in ("image", "caption", "cond_image")]
    assert columns == [parquet.TARGET, parquet.PROMPT, parquet.CONTROL]
    return pairs(folder)  # `datasets` reads them, as above


@pytest.mark.parametrize("use", ["panels", "sheets"])
@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_is_sent_to_every_target_with_its_references(
    name: str, use: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(use)
    assert seen_by(name, folder) == pairs(folder)


@pytest.mark.parametrize("name", [name for name in plugins.names(exporters) if name != export.DATA])
def test_an_exporter_trains_with_references_or_says_that_it_can_not(name: str, tmp_path: Path) -> None:
    data = material.dataset(tmp_path, [*PLAIN, "export.use=sheets", "export.references=2", "condition=[1,3]"])
    (tmp_path / "set").mkdir()
    imagefolder.write(data, tmp_path / "set")
    config = plugins.load(exporters, name).write(data, tmp_path / "set")
    notes = " ".join(config.notes)
    assert bool(config.command) == (name in TRAINERS)
    assert config.command or "no way to train with reference images" in notes
    assert ("Only the first reference image" in notes) == (name in ("diffusers", "diffusion_pipe"))
    assert ("cropped to the shape" in notes) == (name in ("diffusers", "diffusion_pipe", "diffsynth"))


@pytest.mark.parametrize("name", TRAINERS)
def test_a_base_without_references_is_reported(name: str, tmp_path: Path) -> None:
    data = material.dataset(tmp_path, ["export.use=panels", "condition=[1]"])
    (tmp_path / "set").mkdir()
    imagefolder.write(data, tmp_path / "set")
    config = plugins.load(exporters, name).write(data, tmp_path / "set")
    assert config.command == "" and "no way to train flux-1 on reference images with" in " ".join(config.notes)


@pytest.mark.parametrize(
    ("base", "keys"),
    [
        ("flux-1-kontext", ["ctrl_img"]),
        ("flux-2-klein", ["ctrl_img_1", "ctrl_img_2"]),
        ("qwen-image-edit", ["ctrl_img_1", "ctrl_img_2"]),
        ("krea-2", ["ctrl_img_1", "ctrl_img_2"]),
    ],
)
def test_ai_toolkit_draws_samples_with_the_keys_that_its_model_reads(
    base: str, keys: list[str], tmp_path: Path
) -> None:
    settings = ["export.use=sheets", f"export.references={len(keys)}", "condition=[1,3]", f"base={base}"]
    data = material.dataset(tmp_path, settings)
    plugins.load(exporters, "ai_toolkit").write(data, tmp_path)
    (process,) = yaml.safe_load((tmp_path / "ai-toolkit.yaml").read_text("utf-8"))["config"]["process"]
    assert [{key: one[key] for key in one if key != "prompt"} for one in process["sample"]["samples"]] == [
        dict(zip(keys, one.references, strict=True)) for one in data.held_out
    ]


# ---- as sources


def sets(records: list[Record]) -> Iterator[list[tuple[str, str]]]:
    """The files and texts of every ready-made set, in its order."""
    by_set: dict[str, list[Record]] = {}
    for record in records:
        by_set.setdefault(record.position.set, []).append(record)
    for of_set in by_set.values():
        ordered = sorted(of_set, key=lambda record: record.position.page)
        yield [("/".join(Path(record.path).parts[-2:]), record.text) for record in ordered]


def test_single_panels_come_back_as_the_groups_that_they_were(panels: Path, gather) -> None:
    records, rejected = gather(panels)
    found = sorted(sets(records))
    assert len(found) == 6 and all(len(of_set) == 3 for of_set in found)
    first = next(of_set for of_set in found if of_set[1][0] == "train/0001-2.png")
    entries = {entry["file_name"]: entry["text"] for entry in listing(panels)}
    told = [entries[f"0001-{panel}.png"].partition("shows. ")[2] for panel in (2, 3)]
    assert first == [("control_1/0001-2.png", ""), *zip(["train/0001-2.png", "train/0001-3.png"], told, strict=True)]
    assert {row.reason for row in rejected} == {"exact copy"}  # of the panel that is the reference of two


def test_grids_with_references_come_back_as_grids(sheets: Path, gather) -> None:
    records, rejected = gather(sheets)
    assert len(records) == 18 and not rejected and {record.position.set[:5] for record in records} == {"train", "valid"}


FOLDERS = {
    "ai-toolkit": {"target": "images/{}.png", "controls": ["control_1/{}.png", "control_2/{}.png"]},
    "musubi-tuner": {"target": "images/{}.png", "controls": ["control/{}_0.png", "control/{}_1.png"]},
    "diffusion-pipe": {"target": "data/target/{}.png", "controls": ["data/control/{}.png"]},
    "Civitai": {"target": "main/{}.png", "controls": ["control_1/{}.png", "control_2/{}.png"]},
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_trainers_come_back_as_targets_with_their_references(
    name: str, tmp_path: Path, draw, gather
) -> None:
    for number in range(2):
        for place, file in enumerate([*FOLDERS[name]["controls"], FOLDERS[name]["target"]]):
            path = tmp_path / "in" / file.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(10 * number + place, (96, 64)).save(path)
        path.with_suffix(".txt").write_text(f"Picture {number}.", encoding="utf-8")
    records, rejected = gather(tmp_path / "in")
    tails = ["/".join(Path(file).parts[-2:]) for file in (*FOLDERS[name]["controls"], FOLDERS[name]["target"])]
    texts = [""] * len(FOLDERS[name]["controls"])
    assert list(sets(records)) == [
        list(zip([tail.format(number) for tail in tails], [*texts, f"Picture {number}."], strict=True))
        for number in range(2)
    ]
    assert rejected == []


@pytest.mark.parametrize("base", ["flux-2-klein", "flux-1-kontext"])
@pytest.mark.parametrize("name", [name for name in TRAINERS if name != "diffusers"])  # whose table is read below
def test_what_a_trainer_reads_comes_back_with_its_references(name: str, base: str, tmp_path: Path) -> None:
    home = tmp_path / "set"
    home.mkdir()
    data = material.dataset(tmp_path, [f"base={base}", "export.use=sheets", "condition=[1]"])
    imagefolder.write(data, home)
    config = plugins.load(exporters, name).write(data, home)
    (home / "train/metadata.jsonl").unlink()
    references = {one.file: one.references for one in data.train}
    for listed in {"diffsynth.json", "musubi-tuner.jsonl"} & set(config.files):  # texts and folders say nothing then
        for text in home.glob("train/*.txt"):
            text.unlink()
        (home / "control_1").rename(home / "given")
        content = (home / listed).read_text(encoding="utf-8").replace("control_1/", "given/")
        (home / listed).write_text(content, encoding="utf-8")
        references = {
            file: tuple(one.replace("control_1/", "given/") for one in references[file]) for file in references
        }
    found = {item.name: item for item in collect.find([home])}
    assert {one.file: (one.text, references[one.file]) for one in data.train} == {
        one.file: (found[one.file].text, tuple(reference.name for reference in found[one.file].references))
        for one in data.train
    }


def test_a_table_of_targets_and_references_is_read_row_by_row(panels: Path, sheets: Path, gather) -> None:
    records, _ = gather(panels / "parquet" / "train.parquet")
    first = [record for record in records if record.position.row == 0]
    assert [record.position.panel for record in first] == ["control_image", "target_image"]
    assert [record.text for record in first] == ["", listing(panels)[0]["text"]]


def test_a_listing_that_names_references_is_read_with_them(tmp_path: Path, draw, gather) -> None:
    for name in ("a.png", "b.png", "c.png"):
        draw(ord(name[0]), (96, 64)).save(tmp_path / name)
    entry = {
        "image_path": str(tmp_path / "c.png"),
        "control_path_1": "b.png",
        "control_path_0": "a.png",
        "caption": "C.",
    }
    (tmp_path / "metadata.jsonl").write_text(json.dumps(entry), encoding="utf-8")
    records, _ = gather(tmp_path)
    assert [[Path(file).name for file, _ in of_set] for of_set in sets(records)] == [["a.png", "b.png", "c.png"]]
    (tmp_path / "b.png").unlink()
    assert [record.position.set for record in gather(tmp_path)[0]] == ["", ""]


def test_both_sides_share_nothing(panels: Path) -> None:
    split.check(panels)


# ---- services


@pytest.mark.parametrize(
    ("service", "use", "names"),
    [
        ("civitai", "panels", ["main/0001-2.png", "main/0001-2.txt", "control_1/0001-2.png"]),
        ("fal", "panels", ["0001-2_start.png", "0001-2_end.png", "0001-2.txt"]),
    ],
)
def test_a_service_gets_targets_and_references_by_the_names_that_it_knows(
    service: str, use: str, names: list[str], panels: Path, tmp_path: Path
) -> None:
    data = portable.read(panels, task.load(str(panels / "iclora.toml")))
    packed = archive.pack_for(service, data, panels, tmp_path / "a.zip")
    assert packed.read_bytes() == archive.pack_for(service, data, panels, tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(packed) as inside:
        assert inside.namelist()[:3] == names and len(inside.namelist()) == 3 * len(data.train)
        sources = {name: inside.read(name) for name in names}
    assert sources[names[0 if service == "civitai" else 1]] == (panels / "train/0001-2.png").read_bytes()
    assert sources[names[2 if service == "civitai" else 0]] == (panels / "control_1/0001-2.png").read_bytes()
    found = list(collect.find([packed]))
    stem = {"civitai": "main/{}.png", "fal": "{}_end.png"}[service]
    assert not any(item.fault for item in found)
    assert {item.name: item.text for item in found} == {stem.format(one.stem): one.text for one in data.train}
    assert next(item.references[0].name for item in found if item.name == stem.format("0001-2")) in names


def test_a_service_that_takes_one_reference_refuses_more(tmp_path: Path) -> None:
    data = material.dataset(tmp_path, [*PLAIN, "export.use=sheets", "export.references=2", "condition=[1,3]"])
    with pytest.raises(BadInput, match=r"fal takes one reference image, and this data set has up to 2"):
        archive.pack_for("fal", data, tmp_path, tmp_path / "a.zip")
    with pytest.raises(BadInput, match=r"nothing is known of 'fall', did you mean 'fal'\?"):
        archive.pack_for("fall", data, tmp_path, tmp_path / "a.zip")


def test_grids_for_a_service_are_pictures_with_captions(tmp_path: Path) -> None:
    data = material.dataset(tmp_path, [])
    (tmp_path / "set").mkdir()
    imagefolder.write(data, tmp_path / "set")
    with zipfile.ZipFile(archive.pack_for("civitai", data, tmp_path / "set", tmp_path / "a.zip")) as packed:
        assert packed.namelist()[:2] == ["0001.png", "0001.txt"]
