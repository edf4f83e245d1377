"""Prompts: joint ones, texts of panels, and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from iclora.prompts import Prompt, read
from pipeline.errors import BadInput
from pipeline.task import load

STORYBOARD = load("storyboard")
PANELS = {1: "Ada wakes up.", 2: "she <Ada> runs", 3: "sits down"}
JOINT = "[MOVIE-SHOTS] a morning, [SCENE-1] <Ada> wakes up, [SCENE-2] she <Ada> runs, [SCENE-3] sits down."


def test_a_text_for_each_panel_becomes_a_joint_caption() -> None:
    assert Prompt(summary="a morning", panels=PANELS).caption(STORYBOARD) == JOINT
    assert Prompt(JOINT).caption(None) == JOINT


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        (Prompt(), "there is no prompt; give a joint caption, or a text for each panel"),
        (Prompt(summary="a day"), "there is no prompt"),
        (Prompt(JOINT, summary="a day"), "is joint already; leave out summary and texts of panels"),
        (Prompt(panels={1: "a", 3: "b"}), "has 3 panels, and panel 2 has no text; give each of them one"),
        (Prompt(panels=PANELS | {4: "b"}), "has 3 panels, and there is a text for panel 4; give each"),
        (Prompt(panels=PANELS | {3: "[SCENE-1] b"}), r"must not contain the marker \[SCENE-1\]"),
    ],
)
def test_what_makes_no_caption_is_told_in_one_sentence(prompt: Prompt, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        prompt.caption(STORYBOARD)


def test_texts_of_panels_need_a_task() -> None:
    with pytest.raises(BadInput, match="use --task"):
        Prompt(panels=PANELS).caption(None)


TABLES = {
    "a.csv": "\ufeffprompt,summary,panel 1,panel 2,panel 3,seed,given 2\n"
    f'"{JOINT}",,,,,3;4,\n,a morning,Ada wakes up.,she <Ada> runs,sits down,,b.png\n',
    "a.jsonl": f'{{"prompt": "{JOINT}", "seed": [3, 4]}}\n\n'
    '{"summary": "a morning", "panel_1": "Ada wakes up.", "panel_2": "she <Ada> runs", "panel_3": "sits down", '
    '"given_2": "b.png"}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_gives_prompts_seeds_and_given_pictures(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(TABLES[name], encoding="utf-8")
    whole, parts = read(tmp_path / name)
    assert whole == Prompt(JOINT, seeds=(3, 4))
    assert parts == Prompt(summary="a morning", panels=PANELS, given={2: tmp_path / "b.png"})


def test_numbers_in_a_table_stay_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "1984", "seed": 7}\n{"prompt": "007"}\n', encoding="utf-8")
    assert read(tmp_path / "a.jsonl") == [Prompt("1984", seeds=(7,)), Prompt("007")]
    (tmp_path / "a.csv").write_text("prompt\nNA\n007\n", encoding="utf-8")
    assert read(tmp_path / "a.csv") == [Prompt("NA"), Prompt("007")]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"prompt,sed\na,1\n", "has the column 'sed'; the columns of a table of prompts are: prompt, or"),
        (b"prompt,seed\na,one\n", "row 1 of .*a.csv has the seed 'one'; give whole numbers"),
        (b"prompt,seed\na,1.5\n", "has the seed '1.5'"),
        (b"prompt\n", "has no rows; give one for each image set"),
        (b"", "can't be read as a table of prompts"),
        (b"prompt\n\xff\xfe\n", "can't be read as a table of prompts"),
    ],
)
def test_a_bad_table_is_told_in_one_sentence(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(BadInput, match=sentence):
        read(tmp_path / "a.csv")


def test_a_missing_table_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read as a table of prompts"):
        read(tmp_path / "a.csv")
