"""The caption stage stops when the captioner fails in one way again and again, and keeps what it has."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from plain import facts, painted, small

from pipeline.captioning.protocol import Answer, Question
from pipeline.captioning.streak import MOST
from pipeline.engines import local
from pipeline.errors import BadInput, Stopped
from pipeline.records import Caption, Grid
from pipeline.stages import caption
from pipeline.store import Store
from pipeline.text.counters import ESTIMATE

TEXTS = ("a red boat lies ashore", "gulls fly over the roofs", "rain falls on a net")
GOOD = Answer(json.dumps({"panels": [{"text": text} for text in TEXTS], "summary": "a day by the sea"}))
LATE, REFUSED = Answer(failure="timeout: no answer within 1 s"), Answer(failure="refused: HTTP 400, no")
SPENT, CUT = Answer("<think>hm", finished=False), Answer(GOOD.text[:80], finished=False)


class Moody:
    """Gives these answers in turn, and good ones after them."""

    batch, verbatim = 16, False

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.asked = list(answers), 0

    def identity(self) -> dict[str, Any]:
        return {"captioner": "moody"}

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        for place in range(len(questions)):
            self.asked += 1
            yield place, self.answers.pop(0) if self.answers else GOOD


def run(folder: Path, captioner: Any, count: int) -> list[Caption]:
    inputs = painted(folder, ((number, 99, 99) for number in range(count)))
    with Store(folder) as store:
        go(folder, captioner, store, inputs)
        return store.items(Caption, "captions")


def go(folder: Path, captioner: Any, store: Store, inputs: Sequence[Grid]) -> None:
    earlier = store.items(Caption, "captions")
    parameters = caption.Parameters(small(), captioner, folder, store.cache, ESTIMATE, caption.places(inputs))
    local.run(caption.stage(parameters, earlier), inputs, store, upstream="grids", progress=lambda *_: None)


@pytest.mark.parametrize("batch", [4, 16])
def test_eight_failures_of_one_kind_in_a_row_stop_the_stage_and_good_rows_are_kept(tmp_path: Path, batch: int) -> None:
    captioner = Moody(*[GOOD] * 3, *[LATE] * 30)
    captioner.batch = batch
    with pytest.raises(
        Stopped, match=r"failed on 8 grids in a row \(timeout: no answer within 1 s\).* are kept, and the"
    ):
        run(tmp_path, captioner, 30)
    assert captioner.asked == 3 + MOST
    with Store(tmp_path) as store:
        kept = [row.grid for row in store.items(Caption, "captions") if not row.failure]
        assert (kept == ["g0", "g1", "g2"] and not (mark := store.mark("caption"))) or not mark.done
    again = Moody()
    run(tmp_path, again, 30)
    made = run(tmp_path, again, 30)  # with those that failed in whole batches
    assert again.asked == 27 and [row.grid for row in made] == [f"g{number}" for number in range(30)]
    assert not [row for row in made if row.problems]


@pytest.mark.parametrize("broken", [GOOD, REFUSED])
def test_failures_of_several_kinds_or_with_an_answer_between_do_not_stop_it(tmp_path: Path, broken: Answer) -> None:
    made = run(tmp_path, Moody(*[LATE] * 7, broken, *[LATE] * 7), 16)
    assert len(made) == 16 and sum(row.failure == "timeout" for row in made) == 14


def test_grids_without_a_caption_are_counted_by_reason(tmp_path: Path) -> None:
    run(tmp_path, Moody(LATE, REFUSED, LATE, SPENT, CUT, GOOD), 6)
    told = facts(tmp_path)["without a caption"]
    assert told == {"timeout": 2, "refused": 1, "thinking": 1, "cut off": 1}
    (line,) = caption.lines(facts(tmp_path))
    assert line == "5 grids have no caption (2 timeout, 1 refused, 1 thinking, 1 cut off); the same command asks again."
    run(tmp_path, Moody(), 6)
    assert facts(tmp_path)["without a caption"] == {"thinking": 1, "cut off": 1}
    (line,) = caption.lines(facts(tmp_path))
    assert line == "2 grids have no caption (1 thinking, 1 cut off)."
    assert list(caption.lines({"without a caption": {}})) == []


@pytest.mark.parametrize(
    ("spent", "problem"),
    [
        (SPENT, "no answer (thinking: twice the tokens of captioner.max_new_tokens went into thinking"),
        (CUT, "no answer (cut off: twice the tokens of captioner.max_new_tokens did not suffice"),
    ],
)
def test_an_answer_that_spent_its_tokens_is_never_asked_for_again(tmp_path: Path, spent: Answer, problem: str) -> None:
    captioner = Moody(spent)
    (made,) = run(tmp_path, captioner, 1)
    assert captioner.asked == 1 and made.panels == ("", "", "") and made.problems[0].startswith(problem)
    assert run(tmp_path, captioner, 1) == [made] and captioner.asked == 1
    (tmp_path / "run.db").unlink()
    assert run(tmp_path, captioner, 1) == [made] and captioner.asked == 1


def test_known_failures_do_not_keep_the_rest_from_being_asked(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="thinking"):
        run(tmp_path, Moody(*[SPENT] * 8), 10)
    made = run(tmp_path, again := Moody(), 10)
    assert again.asked == 2 and sum(row.failure == "thinking" for row in made) == 8


def test_what_concerns_every_question_keeps_the_captions_made_before(tmp_path: Path) -> None:
    class Expiring(Moody):
        def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
            for place, answer in super().ask(questions):
                if self.asked == 3:
                    raise BadInput("the key has run out.")
                yield place, answer

    with pytest.raises(BadInput, match=r"^the key has run out\.$"):
        run(tmp_path, Expiring(), 5)
    with Store(tmp_path) as store:
        assert [row.grid for row in store.items(Caption, "captions")] == ["g0", "g1"]
    assert len(run(tmp_path, again := Moody(), 5)) == 5 and again.asked == 3


def test_thoughts_are_not_sent_back_to_the_model(tmp_path: Path) -> None:
    asked: list[Question] = []

    class Thinker(Moody):
        def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
            asked.extend(questions)
            yield from super().ask(questions)

    run(tmp_path, Thinker(Answer(f"<think>{'hm ' * 5000}</think>{GOOD.text[:-20]}")), 1)
    assert asked[1].earlier[0].answer == GOOD.text[:-20]
