"""What the model is trained on: data sets, the images and captions of every view, latents, batches."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import task
from pipeline.cache import Cache
from pipeline.errors import BadInput
from pipeline.records import Layout
from pipeline.task import Task
from pipeline.text import grammar
from training import batches, config, dataset, loop, objective, random_streams
from training.backends.base import Backend
from training.batches import TrainingExample
from training.dataset import Prompt, View
from training.job import Job
from training.latents import EncodedDataset, Encoder
from training.processes import Processes

Make = Callable[..., Job]
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SMALL = Layout(3, 1, 128, 64)


def quiet(*_: object) -> None:
    pass


def painted(folder: Path, names: Sequence[str] = tuple(COLOURS), *, stem: str = "flag", size: int = 128) -> Path:
    """A storyboard whose panels have one colour each, which their texts name."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (2 * size, 3 * size))
    for place, name in enumerate(names):
        picture.paste(COLOURS[name], (0, place * size, 2 * size, (place + 1) * size))
    picture.save(folder / f"{stem}.png")
    text = grammar.render("a flag", [f"all {name} here" for name in names], [], task.load("storyboard"))
    (folder / f"{stem}.txt").write_text(text, encoding="utf-8")
    return folder


def renamed(grids: Path, folder: Path) -> Path:
    """The same data set with its file names in reverse order."""
    for side in ("train", "validation"):
        (folder / side).mkdir(parents=True)
        files = sorted((grids / side).glob("*.png"))
        for file, other in zip(files, reversed(files), strict=True):
            for suffix in (".png", ".txt"):
                shutil.copy(file.with_suffix(suffix), folder / side / f"{other.stem}{suffix}")
    return folder


@contextmanager
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    with monkeypatch.context() as patch:
        patch.setattr(Backend, "load", fail)
        yield


def encoded_by(job: Job) -> EncodedDataset:
    return loop.encode(job, Processes(), quiet)


# ---- data sets


def test_an_export_is_read_with_both_sides(grids: Path, storyboard: Task) -> None:
    data = dataset.read(grids, storyboard)
    assert (len(data.train), len(data.held_out)) == (6, 2)
    for side, samples in (("train", data.train), ("validation", data.held_out)):
        for sample in samples:
            assert Path(sample.path).parent == grids / side
            assert sample.text == Path(sample.path).with_suffix(".txt").read_text(encoding="utf-8")
            assert (sample.layout, sample.side, sample.task) == (Layout(3, 1, 256, 128), side, "storyboard")


def test_pairs_of_images_and_texts_without_a_table_are_the_same_data(
    grids: Path, storyboard: Task, tmp_path: Path
) -> None:
    for file in (grids / "train").glob("*.*g"):
        shutil.copy(file, tmp_path)
        text = file.with_suffix(".txt").read_text(encoding="utf-8").replace(", ", ",\n")
        (tmp_path / f"{file.stem}.txt").write_text(f"\ufeff{text}\n", encoding="utf-8")
    data, exported = dataset.read(tmp_path, storyboard), dataset.read(grids, storyboard)
    assert {one.id for one in data.train} == {one.id for one in exported.train}
    assert data.digest == exported.digest
    assert data.held_out == ()


def test_file_names_do_not_matter(grids: Path, storyboard: Task, tmp_path: Path) -> None:
    """The order of samples depends on their place in the list, so a renamed data set must keep the list."""
    other = dataset.read(renamed(grids, tmp_path / "other"), storyboard)
    own = dataset.read(grids, storyboard)
    assert [(one.id, one.text) for one in other.train] == [(one.id, one.text) for one in own.train]
    assert other.digest == own.digest


def test_a_changed_pixel_or_word_makes_another_data_set(grids: Path, storyboard: Task, tmp_path: Path) -> None:
    home = shutil.copytree(grids, tmp_path / "grids")
    first = dataset.read(home, storyboard).digest
    lines = (home / "train" / "metadata.jsonl").read_text(encoding="utf-8")
    (home / "train" / "metadata.jsonl").write_text(lines.replace("medium", "middling", 1), encoding="utf-8")
    (home / "train" / "0001.txt").unlink()
    second = dataset.read(home, storyboard).digest
    with Image.open(home / "train" / "0001.png") as picture:
        changed = picture.convert("RGB")
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(home / "train" / "0001.png")
    assert len({first, second, dataset.read(home, storyboard).digest}) == 3


def test_all_faults_are_listed_with_their_files(storyboard: Task, tmp_path: Path) -> None:
    painted(tmp_path, stem="good")
    painted(tmp_path, stem="wide", size=130)
    Image.new("RGB", (300, 384)).save(tmp_path / "wide.png")
    (painted(tmp_path, stem="silent") / "silent.txt").write_text(" \n", encoding="utf-8")
    (painted(tmp_path, stem="torn") / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(BadInput) as refused:
        dataset.read(tmp_path, storyboard)
    message = str(refused.value)
    assert (
        "wide.png has 300 x 384 pixels, which can't be cut into 3 x 1 panels of the shape that storyboard has"
        in message
    )
    assert "silent.png has no caption" in message
    assert "torn.png is not a readable picture" in message
    assert "good.png" not in message


def test_an_image_without_a_text_beside_it_is_a_fault(storyboard: Task, tmp_path: Path) -> None:
    """Trainers that look for another suffix silently drop all captions."""
    painted(tmp_path, stem="told")
    (painted(tmp_path, stem="untold") / "untold.txt").rename(tmp_path / "untold.text")
    with pytest.raises(BadInput, match=r"untold\.png has no caption"):
        dataset.read(tmp_path, storyboard)


def test_a_truncated_image_is_reported_before_anything_is_encoded(
    grids: Path, storyboard: Task, tmp_path: Path
) -> None:
    home = shutil.copytree(grids, tmp_path / "grids")
    file = home / "train" / "0003.png"
    file.write_bytes(file.read_bytes()[:-5_000])
    with pytest.raises(BadInput, match=r"0003\.png is not a readable picture"):
        dataset.read(home, storyboard)


def test_an_image_is_measured_upright_as_it_will_be_split(tmp_path: Path) -> None:
    """Two squares side by side in the file, but one above the other when shown upright."""
    pair, turned = task.load("couple-profile"), Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (512, 256), "red").save(tmp_path / "pair.jpg", exif=turned)
    (tmp_path / "pair.txt").write_text("[LEFT] a man, [RIGHT] his wife", encoding="utf-8")
    with pytest.raises(BadInput, match=r"pair\.jpg has 256 x 512 pixels"):
        dataset.read(tmp_path, pair)


def test_a_table_that_lists_missing_images_is_a_fault(grids: Path, storyboard: Task, tmp_path: Path) -> None:
    home = shutil.copytree(grids, tmp_path / "grids")
    (home / "train" / "0003.png").unlink()
    with pytest.raises(BadInput, match=r"0003\.png is missing"):
        dataset.read(home, storyboard)


def test_an_unreadable_table_is_refused_with_the_line_number(storyboard: Task, tmp_path: Path) -> None:
    painted(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "flag.png", "text": "a"}\n{"text": 1}\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"metadata\.jsonl lists 1 picture, 1 was found; entry 2 names no picture"):
        dataset.read(tmp_path, storyboard)


def test_a_text_that_differs_from_the_table_beside_it_is_a_fault(grids: Path, storyboard: Task, tmp_path: Path) -> None:
    """Which of them the user means is unknown, and the wrong one would be trained on silently."""
    home = shutil.copytree(grids, tmp_path / "grids")
    text = home / "train" / "0002.txt"
    same = text.read_text(encoding="utf-8").replace(", ", ",\n")
    text.write_text(same, encoding="utf-8")
    dataset.read(home, storyboard)
    edited = same.replace("<Mara>", "<Lena>")
    text.write_text(edited, encoding="utf-8")
    with pytest.raises(
        BadInput, match=r": .*/0002\.txt and metadata\.jsonl have different texts for 0002\.png; remove one"
    ):
        dataset.read(home, storyboard)
    (home / "train" / "metadata.jsonl").unlink()
    assert grammar.fold(edited) in {sample.text for sample in dataset.read(home, storyboard).train}


def test_an_image_that_is_not_in_the_table_is_a_fault(grids: Path, storyboard: Task, tmp_path: Path) -> None:
    home = shutil.copytree(grids, tmp_path / "grids")
    painted(home / "train", stem="late")
    with pytest.raises(BadInput, match=r": late\.png not in the listing that has the others: add to it"):
        dataset.read(home, storyboard)


@pytest.mark.parametrize("name", ["flag.txt", "metadata.jsonl"])
def test_a_text_that_is_not_utf_8_is_named(name: str, storyboard: Task, tmp_path: Path) -> None:
    painted(tmp_path)
    entry = {"file_name": "flag.png", "text": "[SCENE-1] a café"}
    (tmp_path / name).write_text(json.dumps(entry, ensure_ascii=False), encoding="latin-1")
    with pytest.raises(
        BadInput, match=rf"{name} is not UTF-8 text \(byte \d+ is 0xe9\); it may be .* save it as UTF-8"
    ):
        dataset.read(tmp_path, storyboard)


def test_a_folder_is_read_by_the_rules_of_all_sources(storyboard: Task, tmp_path: Path) -> None:
    """Hidden files, files of programs and what is no picture are passed over; captions may have many names."""
    home = tmp_path / "data"
    for number, name in enumerate(("a.caption", "b.TXT", "c.png.txt", "deep/d.txt")):
        stem = name.partition(".")[0]
        painted((home / name).parent, stem=Path(stem).name, size=128 + 16 * number)
        text = (home / f"{stem}.txt").read_text(encoding="utf-8")
        (home / f"{stem}.txt").unlink()
        (home / name).write_bytes(text.replace(", [", ",\r\n[").encode("utf-16" if number else "utf-8-sig"))
        (home / f"._{Path(stem).name}.png").write_bytes(b"\0\5\x16\7 Mac OS X")
    (home / "notes.pdf").write_bytes(b"%PDF-1.4")
    (home / "nobody.txt").write_text("whose?")
    (painted(home / "@eaDir") / "flag.txt").unlink()
    data = dataset.read(home, storyboard)
    assert sorted(Path(one.path).stem for one in data.train) == ["a", "b", "c", "d"]
    assert {one.text for one in data.train} == {data.train[0].text} and "all red here" in data.train[0].text
    assert data.remarks == (
        "1 text file belongs to no picture: nobody.txt.",
        "not pictures, and passed over: notes.pdf.",
    )


def test_only_what_is_held_out_is_in_the_folder_of_that_name(storyboard: Task, tmp_path: Path) -> None:
    painted(tmp_path)
    painted(tmp_path / "validation", stem="held", size=144)
    data = dataset.read(tmp_path, storyboard)
    assert [Path(one.path).stem for one in (*data.train, *data.held_out)] == ["flag", "held"]


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_without_grids_is_refused(there: bool, storyboard: Task, tmp_path: Path) -> None:
    folder = tmp_path if there else tmp_path / "nowhere"
    message = "no pictures with captions" if there else "there is no data set in .* --data FOLDER"
    with pytest.raises(BadInput, match=message):
        dataset.read(folder, storyboard)


def test_a_grid_in_both_training_and_held_out_data_is_refused(grids: Path, storyboard: Task, tmp_path: Path) -> None:
    home = shutil.copytree(grids, tmp_path / "grids")
    (home / "validation" / "metadata.jsonl").unlink()
    for suffix in (".png", ".txt"):
        shutil.copy(home / "train" / f"0002{suffix}", home / "validation" / f"9{suffix}")
    with pytest.raises(BadInput, match=r"1 grid of .* is both trained on and held out"):
        dataset.read(home, storyboard)


# ---- views


@pytest.mark.parametrize("layout", [SMALL, Layout(3, 1, 208, 96), Layout(3, 1, 272, 144)])
def test_no_pixel_at_a_seam_is_blended(layout: Layout, storyboard: Task, tmp_path: Path) -> None:
    """Resized as one image, or read beyond its box, a panel would get a rim of its neighbour."""
    (sample,) = dataset.read(painted(tmp_path), storyboard).train
    picture = dataset.picture(dataset.plain(sample, layout))
    assert picture.size == layout.canvas
    for box, colour in zip(layout.boxes, COLOURS.values(), strict=True):
        assert picture.crop(box).getcolors() == [(layout.panel_width * layout.panel_height, colour)]


def test_at_its_own_size_a_grid_is_unchanged(grids: Path, storyboard: Task) -> None:
    for sample in dataset.read(grids, storyboard).train:
        with Image.open(sample.path) as own:
            assert dataset.picture(dataset.plain(sample, sample.layout)).tobytes() == own.tobytes()


def test_panels_are_seen_whole_and_unmirrored(grids: Path, storyboard: Task) -> None:
    """Compared with the mean of every two by two pixels: a crop by one token or a mirror image would differ by far."""
    for sample in dataset.read(grids, storyboard).train:
        seen = np.array(dataset.picture(dataset.plain(sample, SMALL))).astype(float)
        with Image.open(sample.path) as own:
            means = np.array(own.reduce(2)).astype(float)
        assert np.abs(seen - means).mean() < 4
        assert np.abs(seen[:, ::-1] - means).mean() > 8
        assert np.abs(seen[:, 8:] - means[:, :-8]).mean() > 5


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_panels_move_with_their_texts_and_the_markers_stay(
    order: tuple[int, ...], storyboard: Task, tmp_path: Path
) -> None:
    (sample,) = dataset.read(painted(tmp_path), storyboard).train
    view = View(sample, SMALL, order)
    picture, text = dataset.picture(view), dataset.caption(view, storyboard)
    read = grammar.parse(text, storyboard)
    assert not read.problems
    assert read.summary == grammar.parse(sample.text, storyboard).summary
    assert [text.index(marker) for marker in storyboard.markers] == sorted(map(text.index, storyboard.markers))
    for place, (panel, box) in enumerate(zip(order, SMALL.boxes, strict=True)):
        name = list(COLOURS)[panel]
        assert read.panels[place] == f"all {name} here"
        assert picture.getpixel(box[:2]) == COLOURS[name]


def test_the_panels_of_a_caption_without_a_marker_cannot_be_reordered(storyboard: Task, tmp_path: Path) -> None:
    text = painted(tmp_path) / "flag.txt"
    text.write_text(text.read_text(encoding="utf-8").replace("[SCENE-2] ", ""), encoding="utf-8")
    (sample,) = dataset.read(tmp_path, storyboard).train
    with pytest.raises(BadInput, match=r"train\.permute: the panels of flag\.png .* no \[SCENE-2\]"):
        dataset.caption(View(sample, SMALL, (1, 0, 2)), storyboard)
    assert dataset.caption(dataset.plain(sample, SMALL), storyboard) == sample.text


def test_every_view_that_a_step_may_use_is_listed(make_job: Make) -> None:
    job = make_job(permute=0.5, scales=[0.125, 0.25], steps=50)
    listed, prompts = set(job.views()), set(job.prompts())
    assert len(listed) == 6 * 6 * 2 + 2  # grids, orders, scales; held-out grids only unchanged
    for position in range(200):
        drawn = random_streams.draw(job.config, position, len(job.data.train), 3, job.named, 0)
        layout = job.layouts[random_streams.scale_at(job.config, position // job.config.batch)]
        view = View(job.data.train[drawn.sample], layout, drawn.order)
        assert view in listed
        assert Prompt(dataset.caption(view, job.task)) in prompts


# ---- lengths and sizes


def test_captions_that_would_be_truncated_are_listed_and_refused_unless_truncation_is_allowed(
    make_job: Make, tmp_path: Path
) -> None:
    """T5 reads 128 letters here, the end token included."""
    painted(tmp_path / "long", stem="fits")
    text = (tmp_path / "long" / "fits.txt").read_text(encoding="utf-8")
    for stem, length in (("exact", 127), ("over", 128), ("far", 200)):
        painted(tmp_path / "long", stem=stem)
        Image.new("RGB", (256, 384), (length, 0, 0)).save(tmp_path / "long" / f"{stem}.png")
        (tmp_path / "long" / f"{stem}.txt").write_text(text.ljust(length, "x"), encoding="utf-8")
    with pytest.raises(
        BadInput, match=r"^2 captions are longer than the 128 tokens .*: long/far\.png \(201\), "
    ) as caught:
        make_job(data=tmp_path / "long").check_lengths()
    assert "long/over.png (129); shorten them (those of a run in its captions.csv)" in str(caught.value)
    make_job(data=tmp_path / "long", truncate=True).check_lengths()


def test_panels_below_the_minimum_size_are_refused_before_anything_is_read(make_job: Make) -> None:
    with pytest.raises(BadInput, match=r"train\.scales: at 0\.125 the panels are 128 x 64 pixels"):
        make_job(smallest_panel=96)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["flag.png", "flag.txt", "metadata.jsonl"])
@pytest.mark.parametrize("device", ["", "/dev/zero"])
def test_a_pipe_or_a_device_in_a_data_set_is_one_sentence(name: str, device: str, tmp_path: Path) -> None:
    file = painted(tmp_path / "data") / name
    file.unlink(missing_ok=True)
    if device:
        file.symlink_to(device)
    else:
        os.mkfifo(file)
    with pytest.raises(BadInput, match=re.escape(name)):
        dataset.read(tmp_path / "data", task.load("storyboard"))


@pytest.mark.parametrize("line", ["[" * 100_000, "5", '"a"', "[]", '{"file_name": 5}', '{"file_name": {"a": 1}}'])
def test_a_table_line_of_any_kind_is_one_sentence(line: str, tmp_path: Path) -> None:
    (painted(tmp_path / "data") / "metadata.jsonl").write_text(line)
    said = (
        r"metadata\.jsonl (can't be read as a listing of pictures \(line 1( is not JSON)?: "
        r"|names no pictures; every entry)"
    )
    with pytest.raises(BadInput, match=said):
        dataset.read(tmp_path / "data", task.load("storyboard"))


# ---- latents


def test_captions_stay_with_their_images_when_files_are_renamed(
    make_job: Make, grids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caches keyed by step or by place in a shuffled list mix them up: 95 % of the pairs of 20 grids (diffusers 12124).

    What the renamed data set gets is compared with its own files, encoded again.
    """
    cache = Cache(tmp_path / "cache")
    encoded_by(make_job(cache=cache))
    job = make_job(cache=cache, data=renamed(grids, tmp_path / "other"))
    with nothing_loads(monkeypatch):
        encoded = encoded_by(job)
    with job.backend.loaded(["vae", *job.backend.ENCODERS], torch.float32, "cpu") as parts:
        for sample in (*job.data.train, *job.data.held_out):
            view = dataset.plain(sample, SMALL)
            with Image.open(sample.path) as own:
                halves = [own.crop(box).resize((128, 64), Image.Resampling.LANCZOS) for box in sample.layout.boxes]
            canvas = torch.cat([dataset.pixels(half) for half in halves], dim=1)
            mean, _ = job.backend.encode_image(parts["vae"], canvas[None])
            torch.testing.assert_close(encoded.grids[view].mean, mean[0])
            text = Path(sample.path).with_suffix(".txt").read_text(encoding="utf-8")
            (alone,) = job.backend.encode_text(parts, [text])
            for name, tensor in encoded.texts[Prompt(sample.text)].items():
                torch.testing.assert_close(tensor, alone[name])


def test_a_second_training_on_the_same_data_loads_no_encoder(
    make_job: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    first = encoded_by(make_job("one", cache=cache))
    with nothing_loads(monkeypatch):
        second = encoded_by(make_job("two", cache=cache, seed=3, rank=8, conditional=1.0, steps=9))
    assert first.texts.keys() == second.texts.keys()
    for view, posterior in first.grids.items():
        again = {one.sample.id: latents for one, latents in second.grids.items()}[view.sample.id]
        assert all(torch.equal(vars(posterior)[name], vars(again)[name]) for name in ("mean", "std", "alone"))


def test_only_new_data_is_encoded(make_job: Make, grids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache")
    job = make_job(cache=cache)
    encoded_by(job)
    home = shutil.copytree(grids, tmp_path / "grids")
    table = home / "train" / "metadata.jsonl"
    lines = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    lines[4]["text"] = lines[4]["text"].replace("<Mara>", "<Lena>")
    (home / "train" / lines[4]["file_name"]).with_suffix(".txt").write_text(lines[4]["text"], encoding="utf-8")
    table.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    texts: list[str] = []
    kind = type(job.backend)
    encode = kind.encode_text

    def listen(self: Any, encoders: Any, some: Sequence[str], references: Any) -> Any:
        texts.extend(some)
        return encode(self, encoders, some, references)

    monkeypatch.setattr(kind, "encode_text", listen)
    encoded = encoded_by(make_job(cache=cache, data=home))
    assert texts == [lines[4]["text"]]
    assert Prompt(texts[0]) in encoded.texts


@pytest.mark.parametrize(
    "damage", ["half", "nan", *(pytest.param(one, marks=pytest.mark.slow) for one in ("reshaped", "renamed", "empty"))]
)
def test_a_damaged_entry_of_the_cache_is_encoded_again(damage: str, make_job: Make, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = encoded_by(make_job("one", cache=cache))
    for kind in ("texts", "latents"):
        file = sorted((tmp_path / "cache" / kind).rglob("*.safetensors"))[0]
        tensors = cache.get_tensors(kind, file.stem) or {}
        changed = {
            "half": tensors,
            "reshaped": {name: tensor[..., :-1].contiguous() for name, tensor in tensors.items()},
            "renamed": {f"my {name}": tensor for name, tensor in tensors.items()},
            "nan": {name: tensor * float("nan") for name, tensor in tensors.items()},
            "empty": {},
        }
        cache.put_tensors(kind, file.stem, changed[damage])
        if damage == "half":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    again = encoded_by(make_job("two", cache=cache))
    for prompt, encoded in first.texts.items():
        assert all(torch.equal(encoded[name], again.texts[prompt][name]) for name in encoded)
    for view, posterior in first.grids.items():
        assert all(torch.equal(tensor, vars(again.grids[view])[name]) for name, tensor in vars(posterior).items())


def test_a_text_is_encoded_the_same_whatever_else_is_encoded(make_job: Make, tmp_path: Path) -> None:
    """A process killed while encoding leaves some captions in the cache; that must not change the others."""
    job = make_job()
    prompts = job.prompts()
    whole = Encoder(job.backend, Cache(tmp_path / "a"), torch.float32, "cpu", "cpu", quiet).texts(prompts)
    interrupted = Encoder(job.backend, Cache(tmp_path / "b"), torch.float32, "cpu", "cpu", quiet)
    interrupted.texts(prompts[:3])
    rest = interrupted.texts(prompts)
    for prompt in prompts:
        for name, tensor in whole[prompt].items():
            assert torch.equal(tensor, rest[prompt][name])


def test_with_another_vae_grids_are_encoded_again(
    make_job: Make, tiny_flux: Path, encoded: Cache, tmp_path: Path
) -> None:
    own = make_job()
    other = shutil.copytree(tiny_flux, tmp_path / "other")
    vae_config = json.loads((other / "vae" / "config.json").read_text(encoding="utf-8"))
    vae_config["scaling_factor"] *= 2
    (other / "vae" / "config.json").write_text(json.dumps(vae_config), encoding="utf-8")
    first, second = encoded_by(own), encoded_by(make_job(model=str(other)))
    for view, posterior in first.grids.items():
        torch.testing.assert_close(second.grids[view].std, 2 * posterior.std)


def test_latents_are_sampled_anew_at_every_step(make_job: Make) -> None:
    job = make_job(batch=6)  # every step has every grid once
    encoded = encoded_by(job)
    first, second = (
        {
            example.view: example.latents_CHW
            for example in (example_at(job, encoded, at) for at in range(start, start + 6))
        }
        for start in (0, 6)
    )
    for view, posterior in encoded.grids.items():
        if view.sample.side == "train":
            assert not torch.equal(first[view], second[view])
            deviations = torch.stack(
                [(drawn - posterior.mean) / posterior.std for drawn in (first[view], second[view])]
            )
            assert float(deviations.mean()) == pytest.approx(0, abs=0.05)
            assert float(deviations.std()) == pytest.approx(1, abs=0.05)


def test_a_given_panel_is_encoded_without_its_neighbours(make_job: Make, tmp_path: Path) -> None:
    """At inference the neighbours don't exist yet; encoded together, a panel's rim would contain some of theirs."""
    for stem, names in (("one", ("red", "green", "blue")), ("two", ("red", "blue", "green"))):
        painted(tmp_path / "two", names, stem=stem)
    job = make_job(data=tmp_path / "two", cache=Cache(tmp_path / "cache"))
    one, two = encoded_by(job).grids.values()
    top = job.backend.latent_boxes(SMALL.boxes)[0][3]
    assert torch.equal(one.alone[:, :top], two.alone[:, :top])
    assert not torch.allclose(one.mean[:, :top], two.mean[:, :top])
    assert not torch.allclose(one.alone[:, top:], two.alone[:, top:])


def test_panels_of_a_permuted_grid_are_encoded_the_same_in_their_new_places(make_job: Make, tmp_path: Path) -> None:
    job = make_job(data=painted(tmp_path / "flag"), cache=Cache(tmp_path / "cache"), permute=1.0)
    boxes = job.backend.latent_boxes(SMALL.boxes)
    grids = encoded_by(job).grids
    own = {box: grids[dataset.plain(job.data.train[0], SMALL)].alone[:, box[1] : box[3]] for box in boxes}
    assert len(grids) == 6
    for view, posterior in grids.items():
        for place, panel in enumerate(view.order):
            top, bottom = boxes[place][1], boxes[place][3]
            torch.testing.assert_close(posterior.alone[:, top:bottom], own[boxes[panel]])


# ---- batches


def example_at(job: Job, encoded: EncodedDataset, position: int) -> TrainingExample:
    return batches.example_at(job, encoded, position // job.config.batch, position)


def test_an_example_has_the_caption_and_latents_of_one_grid(make_job: Make) -> None:
    job = make_job(caption_dropout=0.0)
    encoded = encoded_by(job)
    for position in range(12):
        example = example_at(job, encoded, position)
        sample = example.view.sample
        assert example.prompt == Prompt(sample.text)
        assert sample == job.data.train[random_streams.sample_at(0, position, 6)]
        assert (example.latents_CHW - encoded.grids[example.view].mean).abs().max() < 6 * encoded.grids[
            example.view
        ].std.max()


def test_a_batch_does_not_depend_on_how_it_is_assembled(make_job: Make) -> None:
    job = make_job(conditional=0.5)
    encoded, device = encoded_by(job), torch.device("cpu")
    examples = [example_at(job, encoded, at) for at in range(4)]
    together = batches.gather(job, encoded, examples, device)
    for place, example in reversed(list(enumerate([example_at(job, encoded, at) for at in range(4)]))):
        alone = batches.gather(job, encoded, [example], device)
        for name in ("noisy_BCHW", "target_BCHW", "sigma_B", "weights_BP"):
            assert torch.equal(getattr(together, name)[place], getattr(alone, name)[0])
        assert together.texts[place] is alone.texts[0]


def test_in_joint_mode_every_panel_is_noised_and_counts(make_job: Make) -> None:
    job = make_job()
    encoded = encoded_by(job)
    example = example_at(job, encoded, 0)
    batch = batches.gather(job, encoded, [example], torch.device("cpu"))
    sigma = float(example.sigma)
    torch.testing.assert_close(batch.noisy_BCHW[0], (1 - sigma) * example.latents_CHW + sigma * example.noise_CHW)
    assert torch.equal(batch.target_BCHW[0], example.noise_CHW - example.latents_CHW)
    assert batch.weights_BP.tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize("overrides", [[], ["condition=[1, 3]"]])
def test_given_panels_enter_clean_and_without_weight(overrides: list[str], make_job: Make) -> None:
    job = make_job(conditional=1.0, overrides=overrides)
    encoded, boxes = encoded_by(job), job.backend.latent_boxes(SMALL.boxes)
    examples = [example_at(job, encoded, at) for at in range(12)]
    batch = batches.gather(job, encoded, examples, torch.device("cpu"))
    for place, example in enumerate(examples):
        assert 0 < len(example.given.panels) < 3
        assert example.given.panels == (0, 2) or not overrides
        noised = objective.add_noise(example.latents_CHW[None], example.noise_CHW[None], example.sigma[None])[0]
        for panel, (left, top, right, bottom) in enumerate(boxes):
            seen = batch.noisy_BCHW[place, :, top:bottom, left:right]
            wanted = encoded.grids[example.view].alone if panel in example.given.panels else noised
            assert torch.equal(seen, wanted[:, top:bottom, left:right])
            assert batch.weights_BP[place, panel] == (0.0 if panel in example.given.panels else 1.0)


def test_panels_are_weighted_as_the_settings_say(make_job: Make) -> None:
    job = make_job(conditional=1.0, overrides=["condition=[2]"], panel_weights=[0.5, 1, 2])
    encoded = encoded_by(job)
    batch = batches.gather(job, encoded, [example_at(job, encoded, 0)], torch.device("cpu"))
    assert batch.weights_BP.tolist() == [[0.5, 0.0, 2.0]]
    with pytest.raises(BadInput, match=r"train\.panel_weights has 2 numbers and storyboard has 3 panels"):
        make_job(panel_weights=[1, 2])


def test_a_dropped_caption_is_the_empty_prompt_from_the_cache(make_job: Make) -> None:
    job = make_job(caption_dropout=1.0)
    encoded = encoded_by(job)
    example = example_at(job, encoded, 0)
    batch = batches.gather(job, encoded, [example], torch.device("cpu"))
    assert example.prompt == Prompt("")
    assert batch.texts[0] is encoded.texts[Prompt("")]
    with job.backend.loaded(job.backend.ENCODERS, torch.float32, "cpu") as encoders:
        (empty,) = job.backend.encode_text(encoders, [""])
    torch.testing.assert_close(batch.texts[0]["text"], empty["text"])
    assert empty["text"].any()  # not zeros, which some trainers use instead


def test_all_grids_of_a_step_share_its_canvas_and_its_shift(make_job: Make) -> None:
    job = make_job(scales=[0.125, 0.25])
    encoded, seen = encoded_by(job), set()
    for step in range(8):
        examples = [example_at(job, encoded, at) for at in range(step * 4, step * 4 + 4)]
        (layout,) = {example.view.layout for example in examples}
        assert layout == config.scaled(job.task.grid_layout, random_streams.scale_at(job.config, step), 48, 16)
        batch = batches.gather(job, encoded, examples, torch.device("cpu"))
        assert batch.noisy_BCHW.shape == (4, 16, layout.canvas[1] // 8, layout.canvas[0] // 8)
        assert batch.boxes[-1][2:] == (layout.canvas[0] // 8, layout.canvas[1] // 8)
        seen.add((layout, round(job.backend.shift(job.backend.tokens(layout.canvas)), 3)))
    assert len({layout for layout, _ in seen}) == len({shift for _, shift in seen}) == 2
