"""The task files, and how a task is found, read and changed from the command line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pipeline import plugins, task
from pipeline.captioning import instructions
from pipeline.errors import BadInput

FOUR = "[TOP-LEFT] [TOP-RIGHT] [BOTTOM-LEFT] [BOTTOM-RIGHT]"
SCENES = "[SCENE-1] [SCENE-2] [SCENE-3]"

# Canvas (px), rows, columns, markers and the words that a caption begins with, as published with In-Context LoRA
# (arXiv 2410.23775; README of ali-vilab/In-Context-LoRA, "Model zoo"). Its example of visual-identity goes on "the
# joyful identity of", which is about one brand.
PUBLISHED = {
    "couple-profile": ((2048, 1024), 1, 2, "[LEFT] [RIGHT]", "This two-part image portrays a couple of"),
    "font-design": ((1792, 1216), 2, 2, FOUR, "The four-panel image showcases"),
    "home-decoration": ((1344, 1728), 2, 2, FOUR, "This four-panel image showcases"),
    "portrait-illustration": ((1152, 1088), 1, 2, "[LEFT] [RIGHT]", "This two-panel image presents a transformation"),
    "portrait-photography": ((1344, 1728), 2, 2, FOUR, "This [FOUR-PANEL] image illustrates"),
    "ppt-template": ((1984, 1152), 2, 2, FOUR, "This four-panel image showcases"),
    "sandstorm": ((1408, 1600), 2, 1, "[TOP] [BOTTOM]", "[SANDSTORM-PSA]"),
    "sparklers": ((960, 1088), 2, 1, "[TOP] [BOTTOM]", "[REAL-SPARKLERS-OVERLAYS]"),
    "storyboard": ((1024, 1536), 3, 1, SCENES, "[MOVIE-SHOTS]"),
    "visual-identity": ((1472, 1024), 1, 2, "[LEFT] [RIGHT]", "The two-panel image showcases"),
}
EVERY = pytest.mark.parametrize("name", task.names())

OWN = """
title = "Own"
markers = ["[A]", "[B]"]

[layout]
rows = 1
cols = 2
panel_width = 64
panel_height = 64

[group]
by = "names"

[caption]
instructions = "Look."
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own_task.toml"
    path.write_text(OWN)
    return path


# ---- the files


def test_the_ten_published_tasks_are_there():
    assert set(PUBLISHED) <= set(task.names())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_task_has_the_published_canvas_markers_and_first_words(name: str):
    loaded = task.load(name)
    layout = loaded.grid_layout
    first_words = " ".join(part for part in (loaded.prefix, loaded.opening) if part)
    assert (layout.canvas, layout.rows, layout.cols, " ".join(loaded.markers), first_words) == PUBLISHED[name]


@EVERY
def test_every_panel_has_a_marker_and_lies_on_the_grid_of_16_px(name: str):
    loaded = task.load(name)
    assert len(loaded.markers) == loaded.grid_layout.size
    assert {side % 16 for box in loaded.grid_layout.boxes for side in box} == {0}


@EVERY
def test_prefix_and_opening_hold_no_marker(name: str):
    loaded = task.load(name)
    assert not [marker for marker in loaded.markers if marker in loaded.prefix or marker in loaded.opening]


@EVERY
def test_stand_ins_are_for_markers_of_the_task(name: str):
    loaded = task.load(name)
    assert set(loaded.stand_ins) <= set(loaded.markers)


@EVERY
def test_the_instruction_mentions_every_marker_and_the_opening(name: str):
    loaded = task.load(name)
    text = instructions.write(loaded)
    assert [marker for marker in loaded.markers if marker not in text] == []
    assert loaded.opening in text
    assert ("<P1>" in text) == loaded.caption.people


def test_the_instruction_mentions_the_prefix_and_how_to_abstain():
    text = instructions.write(task.load("sandstorm"))
    assert "[SANDSTORM-PSA]" in text
    assert 'If no images belong together, "unrelated" says why' in text


@pytest.mark.parametrize(
    ("rows", "cols", "places"),
    [
        (1, 2, "side by side from left to right: [P-1], [P-2]."),
        (3, 1, "one below the other from top to bottom: [P-1], [P-2], [P-3]."),
        (2, 3, "in 2 rows of 3, each row from left to right; row 1: [P-1], [P-2], [P-3]; row 2: [P-4], [P-5], [P-6]."),
    ],
)
def test_a_task_of_any_layout_gets_an_instruction_that_says_where_its_panels_stand(
    own: Path, rows: int, cols: int, places: str
):
    markers = [f"[P-{number}]" for number in range(1, rows * cols + 1)]
    bare = OWN.replace('[caption]\ninstructions = "Look."', "").replace('["[A]", "[B]"]', str(markers))
    own.write_text(bare.replace("rows = 1", f"rows = {rows}").replace("cols = 2", f"cols = {cols}"))
    text = instructions.write(task.load(str(own)))
    assert places in text
    assert "what sets it apart from the other images" in text
    assert f"exactly {rows * cols} entries" in text


def test_a_tasks_own_instructions_take_the_place_of_the_general_ones(own: Path):
    text = instructions.write(task.load(str(own)))
    assert "\nLook.\n" in text
    assert "what sets it apart" not in text


def test_the_smaller_the_base_models_budget_the_shorter_the_texts_that_are_asked_for():
    asked = {base: instructions.write(task.load("font-design", [f"base={base}"])) for base in ("flux-1", "sd-3.5")}
    assert "one clause of 10 to 50 words" in asked["flux-1"]
    assert "one clause of 10 to 22 words" in asked["sd-3.5"]


@EVERY
def test_a_file_says_what_it_is_and_where_its_layout_comes_from(name: str):
    comment = Path(plugins.find(plugins.TASKS, name).target).read_text().split("title =")[0]
    assert comment.startswith("# ")
    assert "2410.23775" in comment or name not in PUBLISHED


def test_before_and_after_are_paired_by_name_with_a_floor_that_a_repainted_picture_passes():
    for name in ("portrait-illustration", "sandstorm", "sparklers", "visual-identity"):
        group = task.load(name).group
        assert group.by == "names" and group.floor is not None and group.floor <= 0.1


# ---- finding a task


def test_hyphen_and_underscore_in_a_name_are_the_same():
    assert task.load("visual_identity") == task.load("visual-identity")


def test_a_users_own_file_works_by_its_path(own: Path):
    loaded = task.load(str(own))
    assert (loaded.name, loaded.grid_layout.canvas) == ("own_task", (128, 64))


def test_a_misspelt_name_is_answered_with_the_nearest_and_all_that_are_known():
    with pytest.raises(BadInput, match="no task named 'story_bord', did you mean 'storyboard'") as raised:
        task.load("story_bord")
    assert all(name in str(raised.value) for name in task.names())


def test_a_missing_file_is_named_with_the_reason(tmp_path: Path):
    with pytest.raises(BadInput, match=r"gone\.toml can't be read: No such file"):
        task.load(str(tmp_path / "gone.toml"))


@pytest.mark.parametrize("content", [b"title = ", b"title = '\xff'"])
def test_a_file_that_is_no_toml_is_named(own: Path, content: bytes):
    own.write_bytes(content)
    with pytest.raises(BadInput, match=r"own_task\.toml is not valid TOML"):
        task.load(str(own))


# ---- faults of a file


def test_an_unknown_key_is_named_with_a_suggestion(own: Path):
    own.write_text(OWN.replace("instructions", "instruction"))
    with pytest.raises(BadInput, match=r"unknown key 'caption\.instruction', did you mean 'instructions'\?"):
        task.load(str(own))


def test_all_faults_of_a_file_are_told_at_once_with_their_values(own: Path):
    own.write_text(OWN.replace("panel_width = 64", "panel_width = 70").replace('"names"', '"twins"') + "attemps = 2\n")
    with pytest.raises(BadInput) as raised:
        task.load(str(own))
    message = str(raised.value)
    assert "layout.panel_width" in message
    assert "multiple of 16, got 70" in message
    assert "group.by" in message
    assert "got 'twins'" in message
    assert "unknown key 'caption.attemps', did you mean 'attempts'?" in message


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('["[A]", "[B]"]', '["[A]", "[B]", "[C]"]', r"2 panels need 2 markers, got \[A\] \[B\] \[C\]"),
        ('["[A]", "[B]"]', '["[A]", "B"]', "a marker must be enclosed in square brackets, got 'B'"),
        ('["[A]", "[B]"]', '["[A]", "[A]"]', r"markers must differ, got \[A\] \[A\]"),
        ('title = "Own"', 'title = "Own"\nprefix = "[B]"', r"the marker \[B\] can't also be in the prefix"),
        (
            'title = "Own"',
            'title = "Own"\ngrids = [9, 3]',
            "the smallest number of grids, 9, is larger than the largest, 3",
        ),
        ('title = "Own"', "", "title: Field required"),
        ('title = "Own"', 'title = "Own"\nbase = "flux1"', "base: no base model of that name, did you mean 'flux-1'"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(own: Path, old: str, new: str, fault: str):
    own.write_text(OWN.replace(old, new))
    with pytest.raises(BadInput, match=fault):
        task.load(str(own))


# ---- overrides


def test_overrides_reach_into_sections_and_are_read_as_toml(own: Path):
    changes = ["group.floor=0.5", "caption.people=false", "grids=[2, 3]", "captioner.model=some/model", "prefix=[OWN]"]
    loaded = task.load(str(own), changes)
    assert (loaded.group.floor, loaded.caption.people, loaded.grids) == (0.5, False, (2, 3))
    assert (loaded.captioner, loaded.prefix) == ({"model": "some/model"}, "[OWN]")


def test_an_override_leaves_the_task_itself_alone():
    task.load("storyboard", ["seed=7"])
    assert task.load("storyboard").seed == 0


def test_a_wrong_override_is_a_fault_like_any_other():
    with pytest.raises(BadInput, match=r"unknown key 'group\.cieling', did you mean 'ceiling'\?"):
        task.load("storyboard", ["group.cieling=0.9"])


@pytest.mark.parametrize("override", ["seed", "=3", " =3"])
def test_an_override_without_key_or_value_shows_the_form(override: str):
    with pytest.raises(BadInput, match="--set takes key=value"):
        task.load("storyboard", [override])


def test_an_override_below_a_value_is_refused():
    with pytest.raises(BadInput, match=r"title\.size can't be set: 'title' is a value and has no keys"):
        task.load("storyboard", ["title.size=3"])


# ---- values that would do harm


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "/tmp/x",
        "a/b",
        "a\\b",
        "..",
        ".",
        "",
        " ",
        "-raw",
        ".hidden",
        "a.",
        "a\x00b",
        "a\nb",
        "c:x",
        "x" * 101,
    ],
)
def test_a_name_that_would_lead_elsewhere_is_refused(own: Path, name: str):
    with pytest.raises(BadInput, match="name"):
        task.load(str(own), {"name": name})
    for written in (f"name = '{name}'\n", f'name = "{name}"\n'):
        own.write_text(written + OWN)
        with pytest.raises(BadInput):
            task.load(str(own))


@pytest.mark.parametrize("name", ["comic", "comic strip (2)", "漫画", "v1.5", "a_b"])
def test_a_name_that_a_file_can_have_is_taken(own: Path, name: str):
    own.write_text(f'name = "{name}"\n{OWN}')
    assert task.load(str(own)).name == name


def test_a_file_whose_name_is_no_name_is_refused(tmp_path: Path):
    path = tmp_path / "...toml"
    path.write_text(OWN)
    with pytest.raises(BadInput, match=r"name: .* dots at either end"):
        task.load(str(path))


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("layout.panel_width=64000", "layout.panel_width: Input should be less than or equal to 4096, got 64000"),
        ("layout.panel_height=1e400", "layout.panel_height: Input should be a finite number"),
        ("layout.rows=99999999999999999999", "layout.rows: Input should be less than or equal to 4"),
        ("layout.max_enlarge=1e308", "layout.max_enlarge"),
        ("group.window=1000000000000", "group.window"),
        ("group.span=1e300", "group.span"),
        ("group.span=nan", "group.span: Input should be a finite number"),
        ("caption.max_words=1000000", "caption.max_words"),
        ("caption.min_panel_words=1000000", "caption.min_panel_words"),
        ("filter.floor=-inf", "filter.floor: Input should be a finite number"),
        ("filter.slack=1e300", "filter.slack"),
        ("filter.related=1e300", "filter.related"),
        ("export.held_out=1e300", "export.held_out"),
        ("grids=[1, 99999999999999999999]", "grids.1: Input should be less than or equal to 1000000"),
        ("grids=[-1, 5]", "grids.0: Input should be greater than or equal to 0"),
        (f"seed={2**63}", "seed: Input should be less than 9223372036854775808"),
        (f"seed={'9' * 5000}", "seed: "),
        (f"condition={[1] * 50}", "condition: Tuple should have at most 16 items"),
        (f"prefix={'x' * 201}", "prefix: String should have at most 200 characters"),
        (f"caption.instructions={'x' * 20_001}", "caption.instructions: String should have at most 20000 characters"),
        ('prefix="a\\u001b[31mb"', r"prefix: must not contain the control character '\x1b'"),
        ('opening="a\\u0000b"', r"opening: must not contain the control character '\x00'"),
        ('title="a\\u0007b"', "title: must not contain the control character"),
        ('stand_ins={"[SCENE-1]" = " "}', "stand_ins"),
        (f'markers=["[{"x" * 41}]", "[B]", "[C]"]', "a marker may have 42 characters"),
        ("prefix=see [SCENE-1] here", r"the marker [SCENE-1] can't also be in the prefix"),
    ],
)
def test_a_number_or_text_out_of_all_proportion_is_refused_with_its_key(setting: str, fault: str):
    with pytest.raises(BadInput, match=re.escape(fault)):
        task.load("storyboard", [setting])


def test_a_canvas_that_no_machine_could_hold_is_refused_though_each_panel_is_allowed():
    sizes = ["layout.panel_width=4096", "layout.panel_height=2048"]
    with pytest.raises(BadInput, match="the canvas of 8192 x 4096 pixels is larger than 16,777,216 pixels"):
        task.load("portrait-photography", sizes)
    assert task.load("sandstorm", sizes).grid_layout.canvas == (4096, 4096)


def test_white_space_in_what_goes_into_captions_is_folded_as_captions_are():
    loaded = task.load(
        "storyboard", {"prefix": " a\n b ", "opening": "In  a story", "markers": ["[A  1]", "[B]", "[C]"]}
    )
    assert (loaded.prefix, loaded.opening, loaded.markers) == ("a b", "In a story", ("[A 1]", "[B]", "[C]"))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (OWN + "more = " + "[" * 100_000, "is not valid TOML"),
        (OWN + "[captioner]\nmore = " + "[" * 40 + "]" * 40, "nested more than 16 levels deep"),
        (OWN + "[captioner]\n" + ".".join("a" * 50_000) + " = 1", "a line has more than 1000 dots"),
        (OWN + "[captioner]\n" + ".".join("a" * 500) + " = 1", "nested more than 16 levels deep"),
        (OWN + f"[train]\nseed = {'9' * 10_000}", "is not valid TOML"),
        ("#" * (task.MOST_BYTES + 1), "it has 1,048,577 bytes, more than 1,048,576"),
    ],
)
def test_a_file_that_python_cannot_read_is_named(own: Path, content: str, fault: str):
    own.write_text(content)
    with pytest.raises(BadInput, match=fault):
        task.load(str(own))


@pytest.mark.parametrize("setting", [f"captioner.more={'[' * 5000}", f"captioner.{'a.' * 5000}b=1"])
def test_a_setting_nested_without_end_is_refused(setting: str):
    with pytest.raises(BadInput, match="nested"):
        task.load("storyboard", [setting])


def test_a_setting_on_two_lines_is_one_text():
    assert task.load("storyboard", ["title=1\nseed = 7"]).title == "1 seed = 7"


@pytest.mark.timeout(60)
def test_only_a_regular_file_is_read_as_a_task(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "folder.toml").mkdir()
    for name in ("pipe", "zero", "folder"):
        with pytest.raises(BadInput, match=rf"{name}\.toml can't be read: it is not a regular file"):
            task.load(str(tmp_path / f"{name}.toml"))


def test_a_file_that_an_editor_began_with_a_byte_order_mark_is_read(own: Path):
    own.write_text(OWN, encoding="utf-8-sig")
    assert task.load(str(own)).title == "Own"


@pytest.mark.parametrize("setting", ["group.by=a\udcff", "a\udcff=1", "captioner.model=\ud800"])
def test_a_setting_typed_in_bytes_that_are_not_utf_8_is_refused(setting: str):
    with pytest.raises(BadInput, match="no character of UTF-8"):
        task.load("storyboard", [setting])


# ---- files that strangers made


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 100_000,
        b"a = " + b"9" * 100_000,
        b"a" + b".a" * 20_000 + b" = 1",
        b"\xff\xfe",
        b"markers = ['\\ud800']",
        b"\0",
        b"[layout\n",
    ],
    ids=lambda content: str(content[:12]),
)
def test_a_task_file_of_any_content_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_bytes(content)
    with pytest.raises(BadInput) as caught:
        task.load(str(tmp_path / "odd.toml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 100_000, "{" * 50_000])
def test_a_setting_of_any_value_is_read_or_one_sentence(value: str) -> None:
    with pytest.raises(BadInput):
        task.load("storyboard", [f"group.window={value}"])
