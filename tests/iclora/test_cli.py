"""The command line: errors that a user can fix are one sentence with exit code 2, never a traceback."""

import csv
import json
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from miniature import film
from miniature.world import draw_scene
from pipeline import task
from pipeline.captioning import instructions, replies

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two sequences of three images, one with text files beside its images."""
    rng = random.Random(3)
    for folder in ("day", "night"):
        for number in range(1, 4):
            film.picture(draw_scene(rng), tmp_path / "pictures" / folder / f"{number}.png")
    for number in range(1, 4):
        text = f"part {number} of the day is told here"
        (tmp_path / "pictures" / "day" / f"{number}.txt").write_text(text, encoding="utf-8")
    return tmp_path / "pictures"


SKELETON = "[MOVIE-SHOTS] [SCENE-1], [SCENE-2], [SCENE-3]."
BARE = ("--captioner", "sidecar", "--scorer", "none", "--set", "group.floor=0.0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset", "storybord"], "no task named 'storybord', did you mean 'storyboard'?"),
        (["dataset", "storyboard", "--source", "nowhere"], "nowhere does not exist"),
        (["dataset", "storyboard", "--captioner", "sidcar"], "no captioner named 'sidcar', did you mean 'sidecar'?"),
        (["dataset", "storyboard", "--scorer", "clip"], "no scorer named 'clip'"),
        (["dataset", "storyboard", "--set", "group.flor=1"], "unknown key 'group.flor', did you mean 'floor'?"),
        (["dataset", "storyboard", "--set", "nonsense"], "--set takes key=value"),
        (
            ["dataset", "storyboard", "--set", "captioner.modle=x"],
            "unknown key 'captioner.modle', did you mean 'model'?",
        ),
        (["show", "storyboard"], "there is no run in runs/storyboard; start one with 'iclora dataset storyboard'"),
        (["review", "storyboard"], "there is no run in runs/storyboard"),
    ],
)
def test_errors_that_a_user_can_fix_are_one_sentence_with_exit_code_two(
    iclora: Run, words: list[str], message: str
) -> None:
    code, _, errors = iclora(*words)
    assert code == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_path_whose_spaces_lack_quotes_is_answered_with_quotes(iclora: Run) -> None:
    code, _, errors = iclora("dataset", "storyboard", "--source", "my", "films")
    assert code == 2 and errors.endswith("A path with spaces in it takes quotes, such as 'my films'.\n")


def test_a_single_unreadable_source_is_named_with_what_is_wrong_with_it(iclora: Run, tmp_path: Path) -> None:
    table = tmp_path / "products.csv"
    table.write_bytes("sku;view;text\r\nA1;front;größer\r\n".encode("cp1252"))
    code, _, errors = iclora("dataset", "visual-identity", "--source", str(table), *BARE)
    assert code == 1 and "is not UTF-8 text" in errors and "save it as UTF-8" in errors


def test_missing_weights_are_reported_before_any_work_with_ways_to_proceed(iclora: Run, pictures: Path) -> None:
    code, output, errors = iclora("dataset", "storyboard", "--source", str(pictures))
    assert code == 2
    for way in ("hf download Qwen/Qwen3-VL-4B-Instruct", "--set captioner.model=FOLDER", "--captioner sidecar"):
        assert way in errors
    assert output == ""


def test_pictures_with_and_without_texts_pass_the_whole_pipeline(iclora: Run, pictures: Path) -> None:
    code, output, _ = iclora("dataset", "storyboard", "--source", str(pictures), *BARE)
    assert code == 0
    assert "1 no caption" in output
    assert "note: 3 panels in 1 of 2 grids came without a text; write their captions in captions.csv" in output
    assert "note: 1 of 2 captions have no summary; write one in the table's column 'summary'." in output
    caption = Path("runs/storyboard/dataset/train/0001.txt").read_text(encoding="utf-8")
    assert caption == (
        "[MOVIE-SHOTS] [SCENE-1] part 1 of the day is told here, [SCENE-2] part 2 of the day is told here, "
        "[SCENE-3] part 3 of the day is told here."
    )


def test_a_caption_written_by_hand_brings_its_grid_into_the_data_set(iclora: Run, pictures: Path) -> None:
    iclora("dataset", "storyboard", "--source", str(pictures), *BARE)
    table = Path("runs/storyboard/captions.csv")
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    row = next(number for number, line in enumerate(lines) if '"unsure"' in line)
    mine = "[MOVIE-SHOTS] By hand, [SCENE-1] a first thing, [SCENE-2] a second thing, [SCENE-3] a third thing."
    lines[row] = lines[row].replace(f'"unsure","{SKELETON}"', f'"keep","{mine}"')
    table.write_text("\n".join(lines), encoding="utf-8")
    code, output, _ = iclora("review", "storyboard", "--apply", str(table))
    assert code == 0
    assert "1 row changed; 2 grids" in output
    assert mine in [path.read_text(encoding="utf-8") for path in Path("runs/storyboard/dataset").glob("*/*.txt")]


def edited(name: str, **cells: str) -> Path:
    """The run's table with other cells in the row whose caption contains a text, saved under another name."""
    table = Path("runs/storyboard/captions.csv")
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = [row | cells if "part 1 of the day" in row["caption"] else row for row in csv.DictReader(file)]
    with Path(name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Path(name)


def test_a_dry_run_prints_what_would_change_and_changes_nothing(iclora: Run, pictures: Path) -> None:
    iclora("dataset", "storyboard", "--source", str(pictures), *BARE)
    table = edited("mine.csv", panel_2="short", note="see\nbelow")
    code, output, _ = iclora("review", "storyboard", "--apply", str(table), "--dry-run")
    assert code == 0
    assert output.splitlines()[1:] == [
        "  caption: '...old here, [SCENE-2] part 2 of the day is told here, [SCENE-3] part 3 o...' -> "
        "'...old here, [SCENE-2] short, [SCENE-3] part 3 o...'",
        "  problem: the caption has no summary: say before [SCENE-1] what the images have in common",
        "  problem: the text of [SCENE-2] has fewer than 3 words",
        "  note: '' -> 'see below'",
        "1 row would change; nothing was applied.",
    ]
    assert iclora("show", "storyboard", "events")[1] == "events is empty\n"
    assert iclora("review", "storyboard", "--dry-run")[2].startswith(
        "error: --dry-run shows what a table would change; name"
    )


def test_applied_edits_are_printed_and_scored_again_and_recorded_in_the_event_log(iclora: Run, pictures: Path) -> None:
    iclora("dataset", "storyboard", "--source", str(pictures), *BARE)
    shutil.move(pictures, pictures.with_name("elsewhere"))  # a review needs the run, no sources
    table = edited("mine.csv", panel_2="another part is told", note="see below")
    code, output, _ = iclora("review", "storyboard", "--apply", str(table))
    assert code == 0
    assert re.search(r"^g-\w+ is now keep by your decision: not scored$", output, re.M)
    assert output.splitlines()[-1].startswith("1 row changed; 1 grid in ")
    assert "another part is told" in Path("runs/storyboard/dataset/train/0001.txt").read_text(encoding="utf-8")
    events = json.loads(iclora("show", "storyboard", "events", "--json")[1])
    assert [(event["who"], event["field"], event["becomes"]) for event in events][1:] == [
        ("mine.csv", "note", "see below")
    ]
    shown = iclora("show", "storyboard", "events")[1]
    assert "[SCENE-2] another part is told, [SCENE-3]" in shown
    assert iclora("review", "storyboard", "--apply", str(table))[1].startswith("0 rows changed; 1 grid in ")


def test_edits_that_were_not_applied_are_set_aside_and_reported(iclora: Run, pictures: Path) -> None:
    iclora("dataset", "storyboard", "--source", str(pictures), *BARE)
    edited("runs/storyboard/captions.csv", note="see below")
    for command in (["review", "storyboard"], ["dataset", "storyboard"]):
        reported = "it is kept as runs/storyboard/captions.not-applied-1.csv" in iclora(*command)[1]
        assert reported == (command[0] == "review")
    assert "see below" in Path("runs/storyboard/captions.not-applied-1.csv").read_text(encoding="utf-8")


def test_a_later_command_remembers_the_settings_of_the_run(iclora: Run, pictures: Path) -> None:
    iclora("dataset", "storyboard", "--source", str(pictures), *BARE)
    code, output, _ = iclora("dataset", "storyboard")
    assert code == 0
    assert output.count("nothing to do") == 7


def test_a_change_reruns_the_pipeline_from_the_first_stage_that_it_affects(iclora: Run, pictures: Path) -> None:
    iclora("dataset", "storyboard", "--source", str(pictures), *BARE)
    code, output, _ = iclora("dataset", "storyboard", "--set", "group.floor=0.0", "--set", "layout.fit=pad")
    done = re.findall(r"^(\w+): done", output, re.M)
    assert code == 0
    assert done == ["collect"]  # where a picture is cropped is part of what grouping sees


def test_a_stage_command_stops_at_its_stage(iclora: Run, pictures: Path) -> None:
    code, _, _ = iclora("group", "storyboard", "--source", str(pictures), *BARE)
    assert code == 0
    assert not Path("runs/storyboard/grids").exists()


@pytest.mark.parametrize("stage", ["collect", "group", "filter", "export"])
def test_the_suggested_next_command_can_be_typed_as_it_stands(iclora: Run, pictures: Path, stage: str) -> None:
    _, output, _ = iclora(stage, "storyboard", "--source", str(pictures), "--out", "a run", *BARE)
    suggestion = re.search(r"^(?:next:|  ?) ?(iclora .+)$", output, re.M)
    assert suggestion
    code, _, errors = iclora(*shlex.split(suggestion[1])[1:])
    assert (code, errors) == (0, "")


@pytest.mark.parametrize("form", ["--json", "--csv", None])
def test_show_prints_any_table(iclora: Run, pictures: Path, form: str | None) -> None:
    iclora("group", "storyboard", "--source", str(pictures), *BARE)
    for table in ("collected", "records", "groups", "rejected", "stages", "grids"):
        code, output, _ = iclora("show", "storyboard", table, *([form] if form else []))
        assert code == 0
        assert output
        if form == "--json":
            assert isinstance(json.loads(output), list)


def test_show_lists_the_tables_when_a_name_is_misspelt(iclora: Run, pictures: Path) -> None:
    iclora("collect", "storyboard", "--source", str(pictures), *BARE)
    code, _, errors = iclora("show", "storyboard", "recrods")
    assert code == 2
    assert "known: collected, records" in errors


# ---- what would be sent to the model


def test_show_prompt_prints_the_whole_conversation_and_sends_nothing(iclora: Run) -> None:
    code, output, _ = iclora("caption", "storyboard", "--show-prompt")
    assert code == 0
    lines = output.splitlines()
    assert lines[:7] == [
        "[user]",
        "[SCENE-1]",
        "<image: panel 1, 1024 x 512>",
        "[SCENE-2]",
        "<image: panel 2, 1024 x 512>",
        "[SCENE-3]",
        "<image: panel 3, 1024 x 512>",
    ]
    assert instructions.write(task.load("storyboard")) in output
    schema = json.loads(output[output.index("\n{\n") :])
    assert schema == replies.JointReply.model_json_schema()
    assert not Path("runs").exists()


def test_show_prompt_respects_the_settings(iclora: Run) -> None:
    changes = ("caption.people=false", "layout.panel_width=512")
    code, output, _ = iclora("caption", "couple-profile", "--show-prompt", *(f"--set={change}" for change in changes))
    assert code == 0
    assert re.findall("^<image: .*>$", output, re.M) == ["<image: panel 1, 512 x 1024>", "<image: panel 2, 512 x 1024>"]
    assert "<P1>" not in output


def test_a_captioner_that_is_shown_the_grid_gets_it_before_its_panels() -> None:
    shown = instructions.show(task.load("couple-profile"), "both")
    sizes = ["the whole grid, 2048 x 1024", "panel 1, 1024 x 1024", "panel 2, 1024 x 1024"]
    assert re.findall("^<image: .*>$", shown, re.M) == [f"<image: {size}>" for size in sizes]
    assert "panel 1" not in instructions.show(task.load("couple-profile"), "grid")


def test_show_prompt_knows_the_settings_of_the_run(iclora: Run, pictures: Path) -> None:
    iclora("group", "storyboard", "--source", str(pictures), "--scorer", "none", "--set", "caption.people=false")
    code, output, _ = iclora("caption", "storyboard", "--show-prompt")
    assert code == 0
    assert "Name nobody" in output


def test_show_prompt_says_when_texts_written_by_people_are_not_sent_to_any_model(iclora: Run) -> None:
    code, _, errors = iclora("caption", "storyboard", "--show-prompt", "--captioner", "sidecar")
    assert code == 2
    assert "the captioner 'sidecar' takes texts as they are and is sent nothing" in errors


def test_show_prompt_loads_no_model_library() -> None:
    code = (
        "import sys; sys.argv = ['iclora', 'caption', 'storyboard', '--show-prompt']\n"
        "from iclora import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print('heavy:', sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.endswith("heavy: []\n")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_list_of_commands_is_whole_at_80_columns(option: str, iclora: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, output, _ = iclora(option)
    assert code == 0 and "  handover  Write a folder for other people and programs.\n" in output
    assert "..." not in output.partition("Commands:")[2]
    assert max(map(len, output.splitlines())) <= 80


def test_the_version_is_that_of_the_package(iclora: Run) -> None:
    assert iclora("--version") == (0, f"iclora {metadata.version('iclora')}\n", "")


def test_a_shell_completes_commands_and_options(iclora: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ICLORA_COMPLETE", "complete_bash")
    for typed, position, found in (("iclora ha", "1", "handover"), ("iclora train storyboard --pl", "3", "--plan")):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", position)
        code, output, errors = iclora()
        assert (code, output.split(), errors) == (0, [found], "")
