"""Find and replace as one command: shown, done on a yes, in the data set, and taken back."""

from __future__ import annotations

import json
import random
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from served import finish, opened

from iclora.run import Run
from miniature.film import picture
from miniature.world import draw_scene
from pipeline.errors import BadInput

Command = Callable[..., tuple[int, str, str]]


def answer(number: int) -> str:
    texts = [f"a lamp stands in the {shot} room of house {number}" for shot in ("first", "second", "third")]
    return json.dumps({"panels": [{"text": text} for text in texts], "summary": f"a lamp in house {number}"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of three grids."""
    home, rng = tmp_path_factory.mktemp("replace"), random.Random(0)
    for number in range(3):
        for shot in range(3):
            picture(draw_scene(rng), home / f"film-{number}" / f"{shot}.png")
    return finish(home, [answer(number) for number in range(3)])


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def texts(home: Path) -> list[str]:
    return sorted(path.read_text(encoding="utf-8") for path in (home / "dataset").glob("*/*.txt"))


def test_changes_are_shown_then_made_by_the_command_that_is_printed_then_taken_back(
    iclora: Command, home: Path
) -> None:
    before = texts(home)
    words = ("replace", "storyboard", "--out", str(home))
    code, output, _ = iclora(*words, "lamp", "candle")
    assert code == 0 and texts(home) == before
    assert output.count("summary: 'a lamp in house ") == 3 and output.count("-> 'a candle stands in the ") == 9
    assert "3 captions (summary 3, panel_1 3, panel_2 3, panel_3 3)\nNothing was changed; to replace, type\n" in output
    (typed,) = (line for line in output.splitlines() if "--yes" in line)
    code, output, _ = iclora(*shlex.split(typed)[1:])
    assert code == 0 and output.splitlines()[-1].startswith("replaced in 3 captions; 3 grids in ")
    assert texts(home) == [text.replace("lamp", "candle") for text in before]
    code, output, _ = iclora(*words, "--undo")
    assert code == 0 and output.splitlines()[-1].startswith("taken back in 3 captions; 3 grids in ")
    assert texts(home) == before
    code, _, errors = iclora(*words, "--undo")
    assert code == 2 and errors.startswith("error: there is no replacement to undo")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lamp"], 'name the words to look for and what takes their place: iclora replace TASK "old" "new"'),
        ([], "name the words to look for"),
        (["lamp", "candle", "--undo"], "takes neither words nor --yes"),
        (["--yes", "--undo"], "takes neither words nor --yes"),
        (["zebra", "horse", "--yes"], "none of 3 captions has 'zebra' as a whole word; nothing was replaced"),
        (["lam", "can"], "none of 3 captions has 'lam' as a whole word; 3 have it inside a longer word"),
        (["stands", "[SCENE-1]"], "must not contain the marker [SCENE-1]"),
    ],
)
def test_what_cannot_be_replaced_is_one_error_and_changes_nothing(
    iclora: Command, home: Path, words: list[str], message: str
) -> None:
    before = texts(home)
    code, _, errors = iclora("replace", "storyboard", "--out", str(home), *words)
    assert code == 2 and errors.startswith("error: ") and message in errors
    assert texts(home) == before


def decisions(run: Run) -> list[tuple[str, bool, str]]:
    return [(row.decision, row.decided, row.caption.text) for row in run.reviewed()]


def test_an_undo_leaves_no_decision_behind_and_what_was_edited_since_stays(home: Path) -> None:
    with opened(home) as run:
        before = decisions(run)
        assert [change.fields[0][0] for change in run.replacements("lamp", "candle")] == ["caption"] * 3
        assert decisions(run) == before
        changes = run.replace("lamp", "candle")
        assert len(changes) == 3 and all(row.decided for row in run.reviewed())
        first, *_ = (change.review.grid for change in changes)
        mine = run.rows().loc[lambda rows: rows["id"] == first, ["id", "panel_1"]].assign(panel_1="my own words here")
        run.apply(mine)
        undo = run.undo_replace()
        assert undo.stay == (first,) and len(undo.changes) == 2
        after = {row.id: row for row in run.reviewed()}
        assert "my own words here" in after[first].caption.text and "candle" in after[first].caption.text
        rest = [(row.decision, row.decided, row.caption.text) for name, row in after.items() if name != first]
        assert set(rest) < set(before)
        whos = list(dict.fromkeys(event["who"] for event in run.table("events")))
        assert whos == ["replace 'lamp' by 'candle'", "python", "undo of replace 'lamp' by 'candle'"]


def test_a_replacement_outlives_the_process_and_can_be_undone_by_another(home: Path) -> None:
    with opened(home) as run:
        before = decisions(run)
        run.replace("lamp", "candle")
        run.replace("candle", "torch")
    with opened(home) as run:
        assert all(re.search(r"\btorch\b", text) for _, _, text in decisions(run))
        run.undo_replace()
        run.undo_replace()
        assert decisions(run) == before
        with pytest.raises(BadInput, match="no replacement to undo"):
            run.undo_replace()
