"""A run made against earlier ones uses none of their pictures again, and says why; a picture's place is explained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import iclora as toolkit
from pipeline.errors import BadInput

BARE = ("--captioner", "sidecar", "--scorer", "none", "--set", "layout.panel_width=128", "--set",
        "layout.panel_height=64", "--set", "group.floor=0.0", "--set", "grids=[1,100]")  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources: sets a, b and c, of which the second source has b mirrored and smaller, and c as it is."""
    import numpy as np

    folder = tmp_path_factory.mktemp("against")
    for number, name in enumerate("abcd"):
        for place in range(3):
            rng = np.random.default_rng(100 * number + place)
            coarse = Image.fromarray(rng.integers(0, 256, (4, 8, 3), np.uint8))
            shown = coarse.resize((320, 160), Image.Resampling.BICUBIC)
            for source in ("one", "two"):
                if (source, name) in (("one", "d"), ("two", "a")):
                    continue
                path = folder / source / name / f"{place + 1}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                again = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((256, 128))
                (again if (source, name) == ("two", "b") else shown).save(path)
    lines = [word for word in BARE if "=" in word]
    with toolkit.open_run(
        "storyboard", folder / "one", captioner="sidecar", scorer="none", folder=folder / "runs" / "one", settings=lines
    ) as run:
        run.advance("compose")
    return folder


def rows(run: Path) -> dict[str, str]:
    with toolkit.open_run("storyboard", folder=run, must_exist=True) as opened:
        found = opened.rejected()
        return dict(zip(found["what"], found["reason"] + ": " + found["detail"], strict=True))


def test_pictures_that_an_earlier_run_uses_are_rejected_with_its_name(
    home: Path, tmp_path: Path, iclora: Callable[..., tuple[int, str, str]]
) -> None:
    out, earlier = tmp_path / "run", home / "runs" / "one"
    words = ("group", "storyboard", "--source", str(home / "two"), "--out", str(out), *BARE)
    assert iclora(*words, "--against", str(earlier))[0] == 0
    found = rows(out)
    assert len(found) == 6 and all(text.startswith("used before: ") for text in found.values())
    assert f"the run {earlier} uses it already, as {home}/one/c/1.png (same bytes)" in found[f"{home}/two/c/1.png"]
    assert f"as {home}/one/b/2.png (mirrored)" in found[f"{home}/two/b/2.png"]
    # the run keeps it, and takes it back
    assert "1 kept" not in iclora("group", "storyboard", "--out", str(out))[1].splitlines()[0]
    assert len(rows(out)) == 6
    assert iclora("group", "storyboard", "--out", str(out), "--unset", "against")[0] == 0
    assert rows(out) == {}


def test_against_takes_several_runs_and_python_has_it_too(home: Path, tmp_path: Path) -> None:
    def run(name: str, *against: Path) -> toolkit.Run:
        return toolkit.open_run("storyboard", home / "two", captioner="sidecar", scorer="none", folder=tmp_path / name,
                                settings=[word for word in BARE if "=" in word], against=against)  # fmt: skip

    with run("first", home / "runs" / "one") as first:
        assert first.advance("group")[-1].kept == 3
        assert [one.value for one in first.settings_in_force() if one.key == "against"] == [
            [str(home / "runs" / "one")]
        ]
    with run("second", home / "runs" / "one", tmp_path / "first") as second, pytest.raises(toolkit.EmptyResult) as said:
        second.advance("group")
    assert "9 used before" in str(said.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda home, own: home / "none", "there is no run in .*none, which --against names"),
        (lambda home, own: own, "a run can't be made against itself"),
    ],
)
def test_a_run_that_is_none_is_refused_before_anything_changes(
    home: Path, tmp_path: Path, make: Callable[[Path, Path], Path], said: str
) -> None:
    own = tmp_path / "run"
    with (
        toolkit.open_run("storyboard", home / "two", captioner="sidecar", scorer="none", folder=own,
                         against=make(home, own)) as run,
        pytest.raises(BadInput, match=said),
    ):  # fmt: skip
        run.advance("group")
    assert not (own / "run.settings.json").exists() or said.startswith("a run")


def test_a_run_without_groups_or_of_another_version_is_refused(home: Path, tmp_path: Path) -> None:
    with toolkit.open_run("storyboard", home / "two", captioner="sidecar", scorer="none", folder=tmp_path / "a") as run:
        run.advance("collect")
    old = shutil.copytree(home / "runs" / "one", tmp_path / "old")
    (old / "run.db").unlink()
    for folder, said in ((tmp_path / "a", "has no groups yet"), (old, "are gone or were made by another version")):
        with (
            toolkit.open_run("storyboard", home / "two", captioner="sidecar", scorer="none", folder=tmp_path / "b",
                             against=folder) as run,
            pytest.raises(BadInput, match=said),
        ):  # fmt: skip
            run.advance("group")


# ---- --explain


def test_a_picture_is_told_its_group_and_what_else_it_could_have_joined(
    home: Path, tmp_path: Path, iclora: Callable[..., tuple[int, str, str]]
) -> None:
    source = shutil.copytree(home / "one", tmp_path / "in")
    with Image.open(source / "a" / "2.png") as shown:
        shown.resize((200, 100)).save(source / "a" / "4.png")
    Image.new("RGB", (8, 8)).save(source / "a" / "small.png")
    out = ("--out", str(tmp_path / "run"))
    first = ("group", "storyboard", "--source", str(source), *out, *BARE)
    code, told, _ = iclora(*first, "--explain", "a/2.png")
    assert code == 0
    assert told.splitlines()[0].startswith(f"{source}/a/2.png is panel 2 of group s-")
    assert any("it is of another film or folder, which shots does not mix" in line for line in told.splitlines()[1:])
    code, told, _ = iclora("group", "storyboard", *out, "--explain", "a/4.png")
    assert told.splitlines()[0] == f"{source}/a/4.png: shows the same as {source}/a/2.png (hash within 6 bits)."
    code, told, _ = iclora("group", "storyboard", *out, "--explain", str(source / "a" / "small.png"))
    assert code == 0 and "8 x 8 pixels" in told
    code, _, errors = iclora("group", "storyboard", *out, "--explain", "smal.png")
    assert code == 2 and errors.startswith("error: the run has no picture 'smal.png'; did you mean small.png")
    code, _, errors = iclora("group", "storyboard", *out, "--explain", "1")
    assert code == 2 and errors.startswith("error: several pictures of the run are called '1': ")


def test_a_picture_of_a_folder_without_structure_is_told_what_stands_in_the_way(
    tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(9):
        draw(number, (320, 160)).save(tmp_path / "in" / f"IMG_{number:04d}.png")
    with toolkit.open_run("storyboard", tmp_path / "in", captioner="sidecar", scorer="none", folder=tmp_path / "run",
                          settings=[word for word in BARE if "=" in word]) as run:  # fmt: skip
        with pytest.raises(BadInput, match="has formed no groups yet; 'iclora group storyboard --out"):
            run.explain("IMG_0003.png")
        with pytest.raises(toolkit.EmptyResult, match=r"9 pictures of .* form no group.*group.by=similarity"):
            run.advance("group")
        first, *others = run.explain("IMG_0003.png")
    assert "is one of 9 pictures of in that nothing ties together" in first
    assert others and all(line.startswith("With ") for line in others)


def test_a_shot_that_is_left_over_is_told_which_groups_of_its_film_are_full(
    tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    for number in range(1, 5):
        (tmp_path / "in" / "one").mkdir(parents=True, exist_ok=True)
        draw(number, (320, 160)).save(tmp_path / "in" / "one" / f"{number}.png")
    with toolkit.open_run("storyboard", tmp_path / "in", captioner="sidecar", scorer="none", folder=tmp_path / "run",
                          settings=[word for word in BARE if "=" in word]) as run:  # fmt: skip
        run.advance("group")
        first, second, *_ = run.explain("4.png")
    assert first.endswith("one/4.png: has 0 neighbours left, storyboard needs 2.")
    assert "full; nothing speaks against this image in place of" in second


def test_where_names_decide_no_likeness_is_offered_in_their_place(
    tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    for number, name in enumerate(("oak_before", "oak_after", "elm_before", "elm_after", "lonely")):
        (tmp_path / "in").mkdir(exist_ok=True)
        draw(number, (1200, 600)).save(tmp_path / "in" / f"{name}.png")
    settings = ["group.near=0", "group.floor=0", "group.ceiling=1", "group.prove=false", "grids=[1, 9]"]
    with toolkit.open_run("sandstorm", tmp_path / "in", captioner="sidecar", scorer="none", folder=tmp_path / "run",
                          settings=settings) as run:  # fmt: skip
        run.advance("group")
        lonely, *others = run.explain("lonely.png")
        own, *rest = run.explain("oak_before.png")
    assert "has a name that says no role" in lonely
    assert others and all("it is not named as one of the same set" in line for line in others)
    assert "is panel 1 of group" in own
    assert rest and all("it is not named as one of the same set" in line for line in rest)
