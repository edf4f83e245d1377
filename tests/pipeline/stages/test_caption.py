"""The caption stage: ask, read, check, ask again, name the people; and never lose a grid or ask twice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import gcd
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from plain import LAYOUT, facts, painted, small

import captioners
from captioners.scripted import Scripted
from pipeline import plugins, task
from pipeline.cache import Cache
from pipeline.captioning import replies
from pipeline.captioning.protocol import Answer, Question, Turn
from pipeline.engines import local
from pipeline.errors import Abstained, BadReply, Stopped
from pipeline.records import Caption, Grid, Parts, Person, Rejected, Shown, Tie
from pipeline.stages import caption
from pipeline.store import Mark, Store
from pipeline.task import Task
from pipeline.text import grammar, names
from pipeline.text.counters import ESTIMATE, Estimate, TokenCounter


def grids(folder: Path, count: int, texts: Sequence[str] = ("", "", "")) -> list[Grid]:
    return painted(folder, ((number, 99, 99) for number in range(count)), texts)


LOOKS = {"P1": "a man in a blue cap", "P2": "an old woman with a cane", "P3": "a girl in a yellow raincoat"}


def reply(*texts: str, summary: str = "a day of <P1> by the sea", names: Sequence[str] = ("P1",)) -> str:
    said = texts or ("<P1> rows a red boat", "gulls fly over the roofs", "<P1> mends a long net")
    people = [{"name": name, "looks": LOOKS[name]} for name in names]
    return json.dumps({"panels": [{"text": text} for text in said], "people": people, "summary": summary})


GOOD = reply()
THIN = reply("<P1> rows", "gulls fly over the roofs", "<P1> mends a long net")
THIN_TWICE = reply("<P1> rows", "gulls fly", "<P1> mends a long net")
BROKEN = GOOD[:-20]


def make(name: str, *answers: str) -> Any:
    return plugins.load(captioners, name).make({"answers": answers} if answers else {})


def run(folder: Path, captioner: Any, inputs: Sequence[Grid], task: Task | None = None) -> list[Caption]:
    """Sends the grids through the stage, run by the engine, into the run in the folder."""
    with Store(folder) as store:
        go(captioner, folder, store, inputs, task)
        return store.items(Caption, "captions")


def go(
    captioner: Any,
    folder: Path,
    store: Store,
    inputs: Sequence[Grid],
    task: Task | None = None,
    counter: TokenCounter = ESTIMATE,
) -> Mark:
    places = caption.places(inputs)
    parameters = caption.Parameters(task or small(), captioner, folder, store.cache, counter, places)
    return local.run(caption.stage(parameters), inputs, store, upstream="grids", progress=lambda *_: None)


# ---- asking again


def test_a_good_answer_becomes_a_caption_at_once(tmp_path: Path) -> None:
    captioner = make("scripted", GOOD)
    (made,) = run(tmp_path, captioner, grids(tmp_path, 1))
    assert (made.attempts, made.problems, made.captioner, made.grid) == (1, (), "scripted", "g0")
    assert made.prefix == "[MOVIE-SHOTS]" and made.panels[1] == "gulls fly over the roofs"
    assert len(captioner.asked) == 1 and captioner.asked[0].panels[0].size == (64, 64)


def test_faults_are_sent_back_to_the_model_until_they_are_gone(tmp_path: Path) -> None:
    captioner = make("scripted", BROKEN, THIN, GOOD)
    (made,) = run(tmp_path, captioner, grids(tmp_path, 1))
    assert (made.attempts, made.problems) == (3, ())
    first, second, third = captioner.asked
    assert first.earlier == ()
    (broken,) = second.earlier
    assert broken.answer == BROKEN and broken.faults[0].startswith("the answer is neither the complete JSON object")
    assert third.earlier[0] == broken
    assert third.earlier[1].faults == ("the text of [SCENE-1] has fewer than 3 words",)


def test_after_the_last_attempt_the_best_answer_is_kept_with_its_problems(tmp_path: Path) -> None:
    captioner = make("scripted", THIN_TWICE, THIN, BROKEN, GOOD)
    (made,) = run(tmp_path, captioner, grids(tmp_path, 1))
    assert (made.attempts, made.problems) == (3, ("the text of [SCENE-1] has fewer than 3 words",))
    assert len(captioner.asked) == 3


@pytest.mark.parametrize(
    "useless", ["", "I'm sorry, I can't.", "x" * 2_000_000, BROKEN, '{"summary": "s", "panels": 7}']
)
def test_an_unreadable_answer_is_worse_than_any_caption(tmp_path: Path, useless: str) -> None:
    faulty = reply("rows", "rows", "as before he", summary="here is the caption [X] <")
    (made,) = run(tmp_path, make("scripted", useless, faulty, useless), grids(tmp_path, 1))
    assert made.panels == ("rows", "rows", "as before he")


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_the_task_sets_the_number_of_attempts(tmp_path: Path, attempts: int) -> None:
    captioner = make("scripted", THIN)
    (made,) = run(tmp_path, captioner, grids(tmp_path, 1), small(caption__attempts=attempts))
    assert len(captioner.asked) == made.attempts == attempts


def test_no_answer_loses_its_grid(tmp_path: Path) -> None:
    answers = [
        "",
        "I'm sorry, I can't help with that.",
        BROKEN,
        "x" * 2_000_000,
        "<" * 5000,
        '{"panels": []}',
        "\ud83d",
    ]
    made = run(tmp_path, make("scripted", *answers), inputs := grids(tmp_path, 7), small(caption__attempts=1))
    assert [row.grid for row in made] == [grid.id for grid in inputs]
    assert all(row.problems and len(row.text) <= caption.KEPT for row in made)
    assert [row.attempts for row in made] == [1] * 7


def test_only_grids_with_faults_are_asked_about_again(tmp_path: Path) -> None:
    captioner = make("scripted", GOOD, THIN, GOOD)
    made = run(tmp_path, captioner, grids(tmp_path, 3))
    assert [row.attempts for row in made] == [1, 2, 1] and len(captioner.asked) == 4


def test_faults_that_only_the_answer_shows_are_sent_back_and_kept_with_our_names(tmp_path: Path) -> None:
    texts = ("<P1> rows a red boat", "gulls fly over the roofs", "<P1> mends a long net")
    panels = [{"people": [{"looks": LOOKS["P1"], "name": "P1"}], "text": text} for text in texts]
    captioner = make("scripted", json.dumps({"panels": panels, "summary": "a day by the sea"}))
    (made,) = run(tmp_path, captioner, grids(tmp_path, 1))
    assert captioner.asked[1].earlier[0].faults == (
        'the text of [SCENE-2] does not mention <P1>, who is in its "people"',
    )
    assert made.problems == (f'the text of [SCENE-2] does not mention <{made.names[0]}>, who is in its "people"',)


def test_a_caption_over_the_token_limit_of_its_base_is_sent_back_and_reported(tmp_path: Path) -> None:
    long = reply("<P1> rows a red boat " + "past a green island " * 9, "gulls fly over the roofs", "<P1> mends a net")
    captioner = make("scripted", long, GOOD)
    made = run(tmp_path, captioner, grids(tmp_path, 1), small(base="hidream-i1"))
    assert captioner.asked[1].earlier[0].faults[0].endswith("128 are read: [SCENE-3] would be lost")
    assert made[0].problems == () and facts(tmp_path)["length"]["over the limit"] == {}
    run(tmp_path, make("scripted", long), grids(tmp_path, 1), small(base="hidream-i1"))
    length = facts(tmp_path)["length"]
    assert (length["base"], length["limit"]) == ("hidream-i1", 128)
    assert length["over the limit"]["g0"]["lost"] == ["[SCENE-3]"]


class Letters(Estimate):
    """Counts a token per letter."""

    name, exact = "one per letter", True

    @property
    def identity(self) -> dict[str, str]:
        return {"counter": "letters"}

    def starts(self, text: str) -> list[int]:
        return list(range(len(text)))


def test_the_token_counter_is_part_of_what_captions_depend_on_and_is_reported(tmp_path: Path) -> None:
    captioner, inputs = make("scripted", GOOD), grids(tmp_path, 1)
    task = small(base="hidream-i1")
    with Store(tmp_path) as store:
        first = go(captioner, tmp_path, store, inputs, task)
        assert go(captioner, tmp_path, store, inputs, task) == first
        assert store.items(Caption, "captions")[0].problems == ()
        second = go(captioner, tmp_path, store, inputs, task, Letters())
        (made,) = store.items(Caption, "captions")
    assert second.fingerprint != first.fingerprint
    assert (first.facts["length"]["counted by"], second.facts["length"]["counted by"]) == (
        "an estimate that errs upwards",
        "one per letter",
    )
    assert [problem for problem in made.problems if "128 are read" in problem]


class Short(Scripted):
    """A captioner whose model reaches its limit at the first attempt."""

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        for place, answer in super().ask(questions):
            yield place, replace(answer, finished=bool(questions[place].earlier), tokens=50)


def test_an_answer_that_was_cut_off_is_a_fault_even_if_it_can_be_read(tmp_path: Path) -> None:
    captioner = Short(make("scripted", GOOD).options)
    (made,) = run(tmp_path, captioner, grids(tmp_path, 1))
    cut = "the answer is longer than captioner.max_new_tokens allows and was cut off"
    assert captioner.asked[1].earlier[0].faults == (cut,)
    assert (made.attempts, made.problems) == (2, ())
    assert facts(tmp_path)["spent"]["tokens written"] == 100


def test_a_grid_whose_panels_the_captioner_finds_unrelated_is_rejected_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = replies.read

    def abstaining(answer: str, task: Task) -> Caption:
        if answer.startswith("unrelated"):
            raise Abstained("a boat and two invoices")
        return read(answer, task)

    monkeypatch.setattr(replies, "read", abstaining)
    captioner, inputs = make("scripted", GOOD, "unrelated", THIN, "unrelated"), grids(tmp_path, 3)
    with Store(tmp_path) as store:
        mark = go(captioner, tmp_path, store, inputs)
        rejected = store.rejected("caption")
        assert [row.grid for row in store.items(Caption, "captions")] == ["g0"]
    assert rejected == [
        Rejected("g1", "grids/1.png", "abstained", "a boat and two invoices"),
        Rejected("g2", "grids/2.png", "abstained", "a boat and two invoices"),  # at its second attempt
    ]
    assert (mark.entered, mark.kept, len(captioner.asked)) == (3, 1, 4)
    assert (mark.facts["attempts"], mark.facts["spent"]["answers"]) == ({"1": 1}, 4)


# ---- the cache, kills and changes


def test_a_known_answer_is_not_asked_for_again(tmp_path: Path) -> None:
    inputs = grids(tmp_path, 3)
    first = run(tmp_path, make("scripted", THIN, GOOD), inputs)
    assert (
        facts(tmp_path)["asked"] == 6
    )  # the answers repeat in a cycle: three grids, two of them again, one of those again
    (tmp_path / "run.db").unlink()
    captioner = make("scripted", THIN, GOOD)
    assert run(tmp_path, captioner, inputs) == first
    assert captioner.asked == [] and facts(tmp_path)["answers from the cache"] == 6


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"caption__instructions": "Other words."}, 2),
        ({"opening": "This is"}, 2),
        ({"caption__max_words": 300}, 0),  # checked again, but the question is the same
        ({"seed": 5}, 0),
        ({"layout__max_crop": 0.1}, 0),
    ],
)
def test_only_a_changed_instruction_asks_again(tmp_path: Path, change: dict[str, object], asked: int) -> None:
    inputs = grids(tmp_path, 2)
    run(tmp_path, make("scripted", GOOD), inputs)
    captioner = make("scripted", GOOD)
    run(tmp_path, captioner, inputs, small(**change))
    assert len(captioner.asked) == asked


def test_another_captioner_or_another_image_asks_again(tmp_path: Path) -> None:
    inputs = grids(tmp_path, 2)
    run(tmp_path, make("scripted", GOOD), inputs)
    other = make("scripted", GOOD, GOOD)
    run(tmp_path, other, inputs)
    assert len(other.asked) == 2
    Image.new("RGB", LAYOUT.canvas, "white").save(tmp_path / inputs[1].path)
    with Store(tmp_path) as store:
        store.begin("caption", "captions", "anew", anew=True)
    again = make("scripted", GOOD, GOOD)
    run(tmp_path, again, inputs)
    assert len(again.asked) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"text": "half"}'])
def test_a_cached_answer_that_cannot_be_read_is_asked_for_again(tmp_path: Path, content: str) -> None:
    inputs = grids(tmp_path, 1)
    first = run(tmp_path, make("scripted", GOOD), inputs)
    (kept,) = (tmp_path / "cache" / "replies").rglob("*.json")
    kept.write_text(content)
    (tmp_path / "run.db").unlink()
    captioner = make("scripted", GOOD)
    assert run(tmp_path, captioner, inputs) == first and len(captioner.asked) == 1


class Flaky(Scripted):
    """A captioner whose machine fails at its third call."""

    batch = 2
    calls = 0

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        self.calls += 1
        if self.calls == 3:
            raise MemoryError("no memory is left on the device")
        yield from super().ask(questions)


def test_an_error_of_the_model_keeps_the_answers_before_it(tmp_path: Path) -> None:
    inputs = grids(tmp_path, 8)
    flaky = Flaky(make("scripted", GOOD).options)
    with pytest.raises(MemoryError):
        run(tmp_path, flaky, inputs)
    with Store(tmp_path) as store:
        assert [row.grid for row in store.items(Caption, "captions")] == ["g0", "g1", "g2", "g3"]
    rest = make("scripted", GOOD)
    assert [row.grid for row in run(tmp_path, rest, inputs)] == [grid.id for grid in inputs]
    assert len(rest.asked) == 4


def test_a_picture_that_cannot_be_read_stops_the_stage_after_the_answers_under_way(tmp_path: Path) -> None:
    inputs = grids(tmp_path, 8)
    (tmp_path / inputs[5].path).write_bytes(b"no picture")
    captioner = make("scripted", GOOD)
    with pytest.raises(Stopped, match=r"5\.png can't be read as a picture"):
        run(tmp_path, captioner, inputs)
    with Store(tmp_path) as store:
        assert [row.grid for row in store.items(Caption, "captions")] == ["g0", "g1", "g2", "g3", "g4"]
    assert len(captioner.asked) == 5


CHILD = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/pipeline/stages"]
import test_caption
from pathlib import Path
test_caption.report_and_die(Path(sys.argv[2]), int(sys.argv[3]))
"""


class Mortal(Scripted):
    """Records every question as it comes, and kills its process instead of answering the last one."""

    batch = 2
    last = 0

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        answers = list(super().ask(questions))
        if self.last and len(self.asked) >= self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        with Path("asked.txt").open("a") as log:
            log.writelines(f"{question.panels[0].getpixel((0, 0))} {len(question.earlier)}\n" for question in questions)
        yield from answers


def report_and_die(folder: Path, last: int) -> None:
    os.chdir(folder)
    captioner = Mortal(make("scripted", THIN).options)
    captioner.last = last
    run(folder, captioner, grids(folder, 7))


def test_a_killed_captioner_resumes_without_repeating_a_question_and_ends_like_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    unbroken = run(tmp_path / "unbroken", make("scripted", THIN), grids(tmp_path / "unbroken", 7))
    folder = tmp_path / "broken"
    folder.mkdir()
    for last in (4, 7, 0):
        words = [sys.executable, "-c", CHILD, str(Path(__file__).parents[2]), str(folder), str(last)]
        ran = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ran.returncode == (-signal.SIGKILL if last else 0), ran.stderr
    with Store(folder) as store:
        assert store.items(Caption, "captions") == unbroken
    asked = (folder / "asked.txt").read_text().splitlines()
    assert len(asked) == len(set(asked)) == 21  # seven grids, three attempts each


# ---- names


def people(made: Sequence[Caption]) -> list[str]:
    return [name for row in made for name in row.names]


def test_people_get_names_from_the_pool_in_every_panel_and_no_name_is_used_twice(tmp_path: Path) -> None:
    texts = ("<P1> and <P2> row", "<P3> waits for P2 and P1", "<P2> mends a net")
    crowd = reply(*texts, summary="<P1>, <P2> and <P3> by the sea", names=["P1", "P2", "P3"])
    made = run(tmp_path, make("scripted", crowd), grids(tmp_path, 40))
    assert len(people(made)) == len(set(people(made))) == 120 and set(people(made)) <= set(names.POOL)
    one, two, three = made[7].names
    assert made[7].panels == (
        f"<{one}> and <{two}> row",
        f"<{three}> waits for <{two}> and <{one}>",
        f"<{two}> mends a net",
    )
    assert not made[7].problems


def test_names_depend_on_position_and_seed_and_not_on_what_was_asked_before(tmp_path: Path) -> None:
    first = run(tmp_path / "one", make("scripted", GOOD), grids(tmp_path / "one", 3))
    again = run(tmp_path / "two", make("scripted", THIN, GOOD), grids(tmp_path / "two", 3))
    other = run(tmp_path / "three", make("scripted", GOOD), grids(tmp_path / "three", 3), small(seed=1))
    assert people(first) == people(again) != people(other)


def test_one_person_spelt_in_two_ways_or_without_brackets_gets_one_name(tmp_path: Path) -> None:
    free = "[MOVIE-SHOTS] <Anna> at home, [SCENE-1] <anna> reads a book, [SCENE-2] Anna sleeps well, "
    free += "[SCENE-3] <ANNA> cooks soup"
    captioner = make("scripted", free)
    (made,) = run(tmp_path, captioner, grids(tmp_path, 1))
    (name,) = made.names
    assert made.problems == () and made.attempts == 1
    assert made.text == (
        f"[MOVIE-SHOTS] <{name}> at home, [SCENE-1] <{name}> reads a book, [SCENE-2] <{name}> sleeps well, "
        f"[SCENE-3] <{name}> cooks soup"
    )


def test_faults_are_sent_to_the_model_with_its_own_names_and_kept_with_ours(tmp_path: Path) -> None:
    odd = reply("<P1> rows a boat", "gulls fly over >roofs", "<P1> mends a net", names=["P1"])
    captioner = make("scripted", odd)
    (made,) = run(tmp_path, captioner, grids(tmp_path, 1))
    assert "P1" in captioner.asked[1].earlier[0].answer
    assert "P1" not in made.text and made.problems == ("an angle bracket is unpaired, empty, or not around a name",)


def test_the_parts_of_a_caption_are_kept_with_it_under_our_names(tmp_path: Path) -> None:
    answer = json.loads(GOOD) | {"ties": [{"what": "P1's cap", "panels": [1, 3]}], "strangers": [2]}
    (made,) = run(tmp_path, make("scripted", json.dumps(answer)), grids(tmp_path, 1))
    (name,) = made.names
    assert made.parts == Parts(
        people=(Person(name, LOOKS["P1"]),),
        panels=(
            Shown(f"<{name}> rows a red boat"),
            Shown("gulls fly over the roofs"),
            Shown(f"<{name}> mends a long net"),
        ),
        summary=f"a day of <{name}> by the sea",
        ties=(Tie(f"<{name}>'s cap", (0, 2)),),
        strangers=(1,),
    )
    assert made.text == grammar.text_of(made.parts, small()) and made.text.count(LOOKS["P1"]) == 1


def test_missing_looks_are_requested_with_the_models_names_and_reported_with_ours(tmp_path: Path) -> None:
    bare = json.dumps(json.loads(GOOD) | {"people": ["P1"]})
    captioner = make("scripted", bare, GOOD)
    (made,) = run(tmp_path, captioner, grids(tmp_path, 1))
    assert captioner.asked[1].earlier[0].faults == ("<P1> is named, but nothing says what they look like",)
    assert made.problems == () and LOOKS["P1"] in made.text
    (kept,) = run(tmp_path / "kept", make("scripted", bare), grids(tmp_path / "kept", 1))
    assert kept.problems == (f"<{kept.names[0]}> is named, but nothing says what they look like",)


@pytest.mark.parametrize(("looks", "times"), [("once", 1), ("each", 3), ("never", 0)])
def test_a_changed_policy_on_looks_renders_the_same_answers_again(tmp_path: Path, looks: str, times: int) -> None:
    inputs = grids(tmp_path, 1)
    (first,) = run(tmp_path, make("scripted", GOOD), inputs, small(base="cogview-4"))
    captioner = make("scripted", GOOD)
    (made,) = run(tmp_path, captioner, inputs, small(base="cogview-4", caption__looks=looks))
    assert made.text.count(LOOKS["P1"]) == times and made.parts == first.parts
    assert captioner.asked == []


def test_a_reason_beside_described_panels_loses_no_grid(tmp_path: Path) -> None:
    answer = json.dumps(json.loads(GOOD) | {"unrelated": "a boat and two invoices"})
    (made,) = run(tmp_path, make("scripted", answer), grids(tmp_path, 1))
    assert made.problems == () and made.parts and made.parts.unrelated == "a boat and two invoices"


def test_a_reason_without_panels_rejects_the_grid(tmp_path: Path) -> None:
    captioner, inputs = make("scripted", '{"unrelated": "a boat and two invoices"}'), grids(tmp_path, 1)
    with Store(tmp_path) as store:
        go(captioner, tmp_path, store, inputs)
        assert store.rejected("caption") == [Rejected("g0", "grids/0.png", "abstained", "a boat and two invoices")]
        assert store.items(Caption, "captions") == []


def test_the_pool_is_large_and_even_enough_for_a_hundred_grids_of_three_people() -> None:
    drawn = [name for place in range(100) for name in names.draw(3, place, seed=0)]
    assert len(set(drawn)) == 300
    assert len({name.casefold() for name in names.POOL}) == len(names.POOL) == 360
    assert gcd(names.STRIDE, len(names.POOL)) == 1  # so that not even a crowd shares a name
    assert len(set(names.draw(360, 5, seed=3))) == 360
    assert all(name.isalpha() and name.istitle() for name in names.POOL)


# ---- texts from the source


# ---- a person asks again


def asking(folder: Path, captioner: Any) -> caption.Asking:
    return caption.Asking(caption.Parameters(small(), captioner, folder, Cache(folder / "cache"), ESTIMATE, {"g0": 0}))


def test_when_asked_again_the_captioner_is_told_what_is_wrong_until_it_writes_something_new(tmp_path: Path) -> None:
    (grid,) = grids(tmp_path, 1)
    captioner = make("scripted", GOOD, BROKEN, reply(summary="a night of <P1> by the sea"))
    (first,) = run(tmp_path, captioner, [grid])
    new = asking(tmp_path, captioner).again(grid, [first.text], ["Panel [SCENE-2] does not fit its text."])
    assert new.text == first.text.replace("a day of", "a night of")
    assert (new.grid, new.names, new.problems, new.attempts) == ("g0", first.names, (), 3)
    turns = captioner.asked[-1].earlier
    assert [turn.answer for turn in turns] == [GOOD, BROKEN]
    assert all("Panel [SCENE-2] does not fit its text." in turn.faults for turn in turns)
    assert len(captioner.asked) == 3  # the first answer was known


def test_when_asked_again_without_a_fault_the_captioner_is_asked_for_other_words(tmp_path: Path) -> None:
    (grid,) = grids(tmp_path, 1)
    captioner = make("scripted", GOOD, reply(summary="a night of <P1> by the sea"))
    (first,) = run(tmp_path, captioner, [grid])
    asking(tmp_path, captioner).again(grid, [first.text], [])
    assert captioner.asked[-1].earlier == (Turn(GOOD, ("a different wording is wanted",)),)


def test_a_captioner_that_repeats_itself_has_nothing_new(tmp_path: Path) -> None:
    (grid,) = grids(tmp_path, 1)
    captioner = make("scripted", GOOD)
    (first,) = run(tmp_path, captioner, [grid])
    with pytest.raises(BadReply, match="nothing new that can be read in 4 answers"):
        asking(tmp_path, captioner).again(grid, [first.text], [])


def test_a_captioner_that_fails_to_answer_again_says_why(tmp_path: Path) -> None:
    class Silent(Scripted):
        def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
            yield from ((place, Answer(failure="timeout: no answer within 5 s")) for place in range(len(questions)))

    with pytest.raises(BadReply, match="timeout: no answer within 5 s"):
        asking(tmp_path, Silent(make("scripted", GOOD).options)).again(grids(tmp_path, 1)[0], [], [])


NO_SUMMARY = "the caption has no summary: say before [SCENE-1] what the images have in common"


def test_texts_from_the_source_are_neither_renamed_nor_asked_for(tmp_path: Path) -> None:
    text = "[MOVIE-SHOTS] <Anna> at home [SCENE-1]: Anna reads, [SCENE-2] <Bo> sleeps a lot; [SCENE-3] both cook soup."
    (made,) = run(tmp_path, make("sidecar"), grids(tmp_path, 1, [text] * 3))
    assert made.text == text and made.names == ("Anna", "Bo") and (made.attempts, made.prompt) == (1, "")
    assert not (tmp_path / "cache").exists()


def test_a_verbatim_captioner_that_does_not_answer_says_why_and_is_asked_again(tmp_path: Path) -> None:
    class Lookup:
        batch, verbatim, answer = 4, True, Answer(failure="network: no such host")

        def identity(self) -> dict[str, Any]:
            return {"captioner": "lookup"}

        def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
            assert not any(question.panels or question.grid for question in questions)
            yield from ((place, self.answer) for place in range(len(questions)))

    lookup, inputs = Lookup(), grids(tmp_path, 1)
    (made,) = run(tmp_path, lookup, inputs)
    assert (made.failure, made.text, made.attempts) == ("network", "", 0)
    assert made.problems == ("no answer yet (network: no such host); the next run asks again",)
    lookup.answer = Answer(GOOD)
    parameters = caption.Parameters(small(), lookup, tmp_path, Cache(tmp_path), ESTIMATE, caption.places(inputs))
    assert not caption.stage(parameters, [made]).intact()
    ((made, _),) = [list(caption.caption(inputs, parameters=parameters))]
    assert isinstance(made, Caption) and (made.failure, made.attempts) == ("", 1)


@pytest.mark.parametrize("looks", ["once", "each", "never"])
def test_texts_from_the_source_need_not_say_how_people_look(tmp_path: Path, looks: str) -> None:
    texts = ["<Anna> reads a book", "<Bo> sleeps a lot", "<Anna>, a girl in a red coat, wakes <Bo>"]
    joint = f"[MOVIE-SHOTS] <Anna> at home, [SCENE-1] {texts[0]}, [SCENE-2] gulls cry aloud, [SCENE-3] {texts[1]}"
    for number, came in enumerate((texts, [joint] * 3)):
        folder = tmp_path / str(number)
        (made,) = run(folder, make("sidecar"), grids(folder, 1, came), small(caption__looks=looks))
        assert made.parts is None and made.problems == ((NO_SUMMARY,) if came == texts else ())


def test_texts_from_the_source_are_used_without_opening_the_image(tmp_path: Path) -> None:
    inputs = grids(tmp_path, 1, ["a cat sleeps here", "a dog runs there", "a hat is lost"])
    (tmp_path / inputs[0].path).unlink()
    (made,) = run(tmp_path, make("sidecar"), inputs)
    assert made.panels == ("a cat sleeps here", "a dog runs there", "a hat is lost") and made.problems == (NO_SUMMARY,)


def test_single_texts_from_the_source_get_the_published_opening_and_lack_a_summary(tmp_path: Path) -> None:
    couple = task.load("couple-profile", ["layout.panel_width=64", "layout.panel_height=64"])
    (one,) = grids(tmp_path, 1, ["a cat sleeps here", "a dog runs there", "a hat is lost"])
    pair = replace(one, group=replace(one.group, records=one.group.records[:2]))
    (made,) = run(tmp_path, make("sidecar"), [pair], couple)
    assert made.text == (
        "This two-part image portrays a couple of, [LEFT] a cat sleeps here, [RIGHT] a dog runs there."
    )
    assert made.problems == (
        f"the caption has no summary: say after '{couple.opening}' what the images have in common",
    )


def test_panels_without_a_text_are_counted_at_once(tmp_path: Path) -> None:
    run(tmp_path, make("sidecar"), grids(tmp_path, 2, ["a cat sleeps here", "", ""]))
    assert facts(tmp_path)["remarks"] == [
        "4 panels in 2 of 2 grids came without a text; write their captions in captions.csv or on the review page, or "
        "put texts beside the pictures.",
        "2 of 2 captions have no summary; write one in the table's column 'summary'.",
    ]
    run(tmp_path / "asked", make("scripted", GOOD), grids(tmp_path / "asked", 1))
    assert facts(tmp_path / "asked")["remarks"] == []


def test_panels_without_a_text_are_named(tmp_path: Path) -> None:
    (made,) = run(tmp_path, make("sidecar"), grids(tmp_path, 1, ["a cat sleeps here", "", ""]))
    assert made.problems[0] == "no text came with [SCENE-2], [SCENE-3]" and made.panels[0] == "a cat sleeps here"
    (bare,) = run(tmp_path / "bare", make("sidecar"), grids(tmp_path / "bare", 1))
    assert bare.text == "" and bare.problems == (
        "no text came with [SCENE-1], [SCENE-2], [SCENE-3]",
        "the caption is empty",
    )


@pytest.mark.parametrize(
    "texts",
    [
        ("[MOVIE-SHOTS] s, [SCENE-2] b b b",) * 3,
        ("[SCENE-1] a cat sleeps", "a dog runs there", "a hat is lost"),
        ("[MOVIE-SHOTS] a cat", "a dog runs there", "a hat is lost"),
        ('{"summary": "not what it seems"}',) * 3,
        ("}{",) * 3,
    ],
)
def test_odd_texts_written_by_people_are_kept_for_a_person_to_correct(tmp_path: Path, texts: tuple[str, ...]) -> None:
    (made,) = run(tmp_path, make("sidecar"), grids(tmp_path, 1, texts))
    assert made.problems and all(text in made.text for text in texts)


# ---- the miniature model


def test_the_miniature_captions_grids_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    vlm = Path(__file__).parents[3] / "miniature" / "vlm"
    inputs = grids(tmp_path, 2)
    captioner = plugins.load(captioners, "local").make({"model": str(vlm), "max_new_tokens": 96})
    made = run(tmp_path, captioner, inputs, small(caption__attempts=1))
    assert [row.grid for row in made] == ["g0", "g1"] and all(len(row.panels) == 3 for row in made)
    assert facts(tmp_path)["captioner"]["model"] == str(vlm) and facts(tmp_path)["spent"]["tokens written"] > 20
    (tmp_path / "run.db").unlink()
    again = plugins.load(captioners, "local").make({"model": str(vlm), "max_new_tokens": 96})
    assert run(tmp_path, again, inputs, small(caption__attempts=1)) == made
    assert "_loaded" not in vars(again)  # nothing to ask, nothing to load


def test_the_stage_writes_nothing_but_the_cache(tmp_path: Path) -> None:
    run(tmp_path, make("scripted", GOOD), grids(tmp_path, 1))
    (file,) = (tmp_path / "cache").rglob("*.*")
    kept = json.loads(file.read_text())
    assert (
        kept["text"] == GOOD
        and kept["by"] == make("scripted", GOOD).identity()
        and kept["finished"]
        and "seconds" in kept
    )
    assert Cache(tmp_path / "cache").get_reply(file.stem) == kept


# ---- what must not be captioned


def test_a_trait_is_told_to_the_captioner_and_a_caption_that_still_has_it_is_kept_and_marked(tmp_path: Path) -> None:
    blonde = reply("<P1> rows a red boat", "blonde gulls fly over the roofs", "<P1> mends a long net")
    own = small(caption__exclude__hair=["hair", "blonde"])
    fault = "'blonde' must not appear in this task's captions (hair)"
    captioner = make("scripted", blonde, GOOD)
    (made,) = run(tmp_path / "cured", captioner, grids(tmp_path / "cured", 1), own)
    assert (made.problems, captioner.asked[1].earlier[0].faults) == ((), (fault,))
    (kept,) = run(tmp_path / "kept", make("scripted", blonde), grids(tmp_path / "kept", 1), own)
    assert (kept.problems, kept.attempts, kept.panels[1]) == ((fault,), 3, "blonde gulls fly over the roofs")
