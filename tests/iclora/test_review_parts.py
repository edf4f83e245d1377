"""A person edits the parts of a caption: its summary and how its people look, in the table and on the page."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from served import Served, carried_out, finish, opened
from tabled import apply, parts, row, table, write

from iclora.run import Run
from miniature import film
from miniature.world import draw_scene
from pipeline import task
from pipeline.errors import BadInput
from pipeline.records import Parts, Person, Review, Row, Score, Shown, Tie
from pipeline.review import csv_table, reviews
from pipeline.review.notes import captioners_word
from pipeline.review.people import people_cell, people_in, redescribed
from pipeline.text import grammar

STORYBOARD = task.load("storyboard")
RABBIT, BEAR, OWL = "a red rabbit with a top hat", "a blue bear", "a white owl, old and fat"
FREE = "[MOVIE-SHOTS] a day by the sea, [SCENE-1] the tide comes in, [SCENE-2] boats leave, [SCENE-3] gulls cry out."


def reply(texts: list[str], people: dict[str, str], **more: object) -> str:
    """An answer; people named in a text are listed in its panel."""
    panels = [{"text": text, "people": [name for name in people if f"<{name}>" in text]} for text in texts]
    known = [{"name": name, "looks": looks} for name, looks in people.items()]
    return json.dumps({"summary": "a day of <P1>", "panels": panels, "people": known} | more)


ANSWERS = [
    reply(
        ["<P1> flies a kite by the sea", "<P1> sits down on the sand", "<P2> rides a train to town"],
        {"P1": RABBIT, "P2": BEAR},
        ties=[{"what": "the beach", "panels": [1, 2]}],
        strangers=[3],
    ),
    json.dumps(
        {
            "summary": "<P1> and <P2> at the fair",
            "panels": [
                {"text": "<P1> buys a ticket there", "people": ["P1"]},
                {"text": "<P2> waits by the wheel", "people": [{"name": "P2", "looks": "a blue bear in a coat"}]},
                {"text": "<P1> waves to <P2> from above", "people": ["P1", "P2"]},
            ],
            "people": [{"name": "P1", "looks": OWL}, {"name": "P2", "looks": BEAR, "changes": "what it wears"}],
        }
    ),
    FREE,
    reply(["rain falls on the town", "a lamp is lit inside", "the street dries up"], {}, summary="a wet evening"),
]
STRANGER, FAIR, ONE_TEXT, NOBODY = range(4)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of four grids: one has a stranger, one a person who changes, one is a single text, one has no people."""
    home, rng = tmp_path_factory.mktemp("parts"), random.Random(5)
    for folder in range(len(ANSWERS)):
        for shot in range(3):
            film.picture(draw_scene(rng), home / f"film-{folder}" / f"{shot}.png")
    return finish(home, ANSWERS, "caption.attempts=1")


def doubt(run: Run, number: int, **cells: str) -> str:
    """The only doubt about such a table, without its row number."""
    with pytest.raises(BadInput) as caught:
        apply(run, number, **cells)
    assert run.table("decisions") == []
    (message,) = str(caught.value).split("\n  ")[1:]
    return message.partition(", ")[2]


def first_and_second(run: Run, number: int) -> tuple[str, str]:
    one, two = parts(row(run, number)).people
    return one.name, two.name


# ---- the text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[MOVIE-SHOTS] old words; [SCENE-1] a, [SCENE-2] b, [SCENE-3] c.",
         "[MOVIE-SHOTS] new ones; [SCENE-1] a, [SCENE-2] b, [SCENE-3] c."),
        ("[MOVIE-SHOTS]: old words [SCENE-1] a [SCENE-2] b [SCENE-3] c",
         "[MOVIE-SHOTS]: new ones [SCENE-1] a [SCENE-2] b [SCENE-3] c"),
        ("[MOVIE-SHOTS] [SCENE-1] a, [SCENE-2] b, [SCENE-3] c.",
         "[MOVIE-SHOTS] new ones, [SCENE-1] a, [SCENE-2] b, [SCENE-3] c."),
        ("old words, [SCENE-1] a, [SCENE-2] b, [SCENE-3] c.",
         "new ones, [SCENE-1] a, [SCENE-2] b, [SCENE-3] c."),
        ("[MOVIE-SHOTS] old words, [SCENE-2] b, [SCENE-3] c.",
         "[MOVIE-SHOTS] new ones, [SCENE-2] b, [SCENE-3] c."),
    ],
)  # fmt: skip
def test_another_summary_leaves_every_other_letter_unchanged(text: str, expected: str) -> None:
    caption = grammar.parse(text, STORYBOARD)
    changed = grammar.replace_summary(caption, " new\nones. ", STORYBOARD)
    assert changed == expected
    assert grammar.parse(changed, STORYBOARD).panels == caption.panels


def test_a_summary_must_be_followed_by_a_marker_and_contain_none() -> None:
    with pytest.raises(grammar.BadReply, match="has no \\[SCENE-1\\], so the summary can't be changed on its own"):
        grammar.replace_summary(grammar.parse("[MOVIE-SHOTS] words", STORYBOARD), "x", STORYBOARD)
    with pytest.raises(grammar.BadReply, match="must not contain the marker"):
        grammar.replace_summary(grammar.parse(FREE, STORYBOARD), "x [SCENE-2] y", STORYBOARD)


def test_parts_follow_pictures_that_change_places_and_lose_those_that_go() -> None:
    before = Parts((), tuple(Shown(text) for text in "abc"), "", (Tie("x", (0, 2)), Tie("y", (0, 1))), (2,), "nothing")
    swapped = grammar.rearranged(before, [2, 1, 0])
    assert [panel.text for panel in swapped.panels] == ["c", "b", "a"]
    assert (swapped.ties, swapped.strangers, swapped.unrelated) == (
        (Tie("x", (0, 2)), Tie("y", (1, 2))),
        (0,),
        "nothing",
    )
    gone = grammar.rearranged(before, [0, 1, None])
    assert [panel.text for panel in gone.panels] == ["a", "b", ""]
    assert (gone.ties, gone.strangers, gone.unrelated) == ((Tie("y", (0, 1)),), (), "")


# ---- the table


def test_the_table_has_the_summary_before_the_panels_and_the_people_after_them(run: Run) -> None:
    lines = {line["id"]: line for line in table(run)}
    assert list(table(run)[0])[:11] == [
        "id", "decision", "caption", "summary", "panel_1", "panel_2", "panel_3", "people", "ties", "strangers", "note",
    ]  # fmt: skip
    in_order = [lines[row(run, number).id] for number in range(4)]
    (mara, leo), (una, bo) = first_and_second(run, STRANGER), first_and_second(run, FAIR)
    assert [line["people"] for line in in_order] == [
        f"{mara}: {RABBIT}; {leo}: {BEAR}",
        f"{una}: {OWL}; {bo}: {BEAR} (changes: what it wears)",
        "",
        "",
    ]
    assert [line["summary"] for line in in_order] == [row(run, number).caption.summary for number in range(4)]
    assert run.apply(run.folder / "captions.csv") == []


def test_edited_looks_appear_where_the_old_ones_were_and_survive_the_next_table(run: Run) -> None:
    (mara, leo), before = first_and_second(run, STRANGER), row(run, STRANGER)
    (change,) = apply(run, STRANGER, people=f"{mara}: a green rabbit, in a scarf; {leo}: {BEAR}")
    after = row(run, STRANGER)
    assert (
        after.caption.text == before.caption.text.replace(RABBIT, "a green rabbit, in a scarf") != before.caption.text
    )
    assert parts(after).people == (Person(mara, "a green rabbit, in a scarf"), Person(leo, BEAR))
    assert [panel.text.replace(">,", ">") for panel in parts(after).panels] == [
        panel.text for panel in parts(before).panels
    ]
    assert change.review.people == (Person(mara, "a green rabbit, in a scarf"),)
    assert [(event["field"], event["was"], event["becomes"]) for event in run.table("events")] == [
        ("caption", before.caption.text, after.caption.text),
        ("people", f"{mara}: {RABBIT}; {leo}: {BEAR}", f"{mara}: a green rabbit, in a scarf; {leo}: {BEAR}"),
    ]
    lines = {line["id"]: line for line in table(run)}
    assert lines[before.id]["people"] == f"{mara}: a green rabbit, in a scarf; {leo}: {BEAR}"
    assert run.apply(run.folder / "edited.csv") == []  # the same table again
    apply(run, STRANGER, people=f"{mara}: a green rabbit, in a scarf; {leo}: a brown bear")
    assert [person.looks for person in parts(row(run, STRANGER)).people] == [
        "a green rabbit, in a scarf",
        "a brown bear",
    ]


def test_a_scorer_reads_edited_looks_in_place_of_names(run: Run) -> None:
    mara, leo = first_and_second(run, STRANGER)
    apply(run, STRANGER, people=f"{mara}: a green rabbit; {leo}: {BEAR}")
    counting = next(c for c in reviews.captions(run.store, run.task, run.counter) if c.grid == row(run, STRANGER).id)
    assert grammar.alone(counting) == (
        "a green rabbit flies a kite by the sea",
        "a green rabbit sits down on the sand",
        f"{BEAR}, rides a train to town",  # the comma came with the looks
        counting.parts.summary.replace(f"<{mara}>", "a green rabbit") if counting.parts else "",
    )
    assert counting.problems == ()


def test_edited_looks_outlive_an_edit_of_the_text_and_a_new_round_of_captions(run: Run) -> None:
    mara, leo = first_and_second(run, STRANGER)
    apply(run, STRANGER, people=f"{mara}: a green rabbit; {leo}: {BEAR}")
    apply(run, STRANGER, panel_2=f"<{mara}> digs a deep hole")
    edited = row(run, STRANGER)
    assert parts(edited).panels[1].text == f"<{mara}> digs a deep hole"
    assert parts(edited).people[0] == Person(mara, "a green rabbit")
    words = [ANSWERS[STRANGER].replace("flies a kite", "drops a kite"), *ANSWERS[1:]]
    second = Run(run.settings.changed(settings={"captioner.answers": words}), run.folder)
    second.advance()
    again = row(second, STRANGER)
    assert (again.caption.text, parts(again).people) == (edited.caption.text, parts(edited).people)


def test_a_person_added_by_an_edit_gets_looks_in_the_next_table(run: Run) -> None:
    apply(run, NOBODY, panel_1="<Ada> runs through the rain")
    assert parts(row(run, NOBODY)).people == (Person("Ada", ""),)
    assert "<Ada> is named, but nothing says what they look like" in row(run, NOBODY).caption.problems
    apply(run, NOBODY, people="Ada: a tall woman with an umbrella")
    after = row(run, NOBODY)
    assert after.caption.panels[0] == "<Ada>, a tall woman with an umbrella, runs through the rain"
    assert (parts(after).panels[0].text, after.caption.problems) == ("<Ada>, runs through the rain", ())


def test_the_variable_looks_of_a_person_can_be_edited_and_removed(run: Run) -> None:
    una, bo = first_and_second(run, FAIR)
    before = row(run, FAIR).caption.text
    assert "a blue bear in a coat" in before  # in the panel in which she wears one
    (change,) = apply(run, FAIR, people=f"{una}: {OWL}; {bo}: {BEAR}")
    assert change.review.people == (Person(bo, BEAR),)
    assert "in a coat" not in row(run, FAIR).caption.text
    (change,) = apply(run, FAIR, people=f"{una}: {OWL}; {bo}: {BEAR} (changes: its hat, and its shoes)")
    assert change.review.people == (Person(bo, BEAR, "its hat, and its shoes"),)


def test_an_edited_summary_changes_only_its_part_of_the_caption(run: Run) -> None:
    before = row(run, ONE_TEXT).caption
    apply(run, ONE_TEXT, summary="a night by the sea")
    after = row(run, ONE_TEXT).caption
    assert after.text == before.text.replace("a day by the sea", "a night by the sea")
    assert (after.summary, after.panels) == ("a night by the sea", before.panels)


def test_summary_panels_and_people_may_be_edited_at_once_if_they_agree(run: Run) -> None:
    mara, leo = first_and_second(run, STRANGER)
    seen = row(run, STRANGER).caption
    cells = {
        "people": f"{mara}: a green rabbit; {leo}: {BEAR}",
        "summary": seen.summary.replace("a day", "a whole day"),  # it still says how the rabbit looked
        "panel_2": f"<{mara}> digs a deep hole",
    }
    apply(run, STRANGER, **cells)
    after = row(run, STRANGER).caption
    assert after.summary == f"{cells['summary'].replace(RABBIT, 'a green rabbit')}"
    assert after.panels == (seen.panels[0], f"<{mara}> digs a deep hole", seen.panels[2])


def test_caption_and_people_agree_if_the_caption_states_the_new_looks(run: Run) -> None:
    mara, leo = first_and_second(run, STRANGER)
    text = row(run, STRANGER).caption.text.replace(RABBIT, "a green rabbit").replace("sits down", "lies down")
    apply(run, STRANGER, people=f"{mara}: a green rabbit; {leo}: {BEAR}", caption=text)
    after = row(run, STRANGER)
    assert (after.caption.text, parts(after).people[0].looks) == (text, "a green rabbit")


def test_invalid_people_are_in_doubt_with_a_way_to_proceed(run: Run) -> None:
    mara, leo = first_and_second(run, STRANGER)
    for cell, message in (
        (f"{mara}: {RABBIT}; {leo}: {BEAR}; Zeno: a cat",
         f"people: 'Zeno' is not in this grid; its caption names {mara}, {leo}"),
        (f"{mara}: ; {leo}: {BEAR}",
         f"people: the looks of {mara} are missing; describe them, or take <{mara}> out of the caption"),
        (f"{leo}: {BEAR}", f"people: {mara} is left out; describe them, or take <{mara}> out of the caption"),
        ("", f"people: {mara} is left out; describe them, or take <{mara}> out of the caption"),
        (f"{mara}: a cat; {leo}: {BEAR}; {mara}: a dog", f"people: {mara} appears twice; describe them once"),
        (f"{mara}: a [cat]; {leo}: {BEAR}", f"people: the looks of {mara} contain '['; write them without ; < > [ ]"),
    ):  # fmt: skip
        assert doubt(run, STRANGER, people=cell) == message
    assert doubt(run, ONE_TEXT, people="Zeno: a cat") == (
        "people: the caption is plain text and has no separate looks for Zeno; edit the caption"
    )
    assert doubt(run, NOBODY, people="Zeno: a cat") == ("people: 'Zeno' is not in this grid; its caption names nobody")


def test_people_and_texts_that_contradict_each_other_are_in_doubt(run: Run) -> None:
    (mara, leo), seen = first_and_second(run, STRANGER), row(run, STRANGER).caption
    people = f"{mara}: a green rabbit; {leo}: {BEAR}"
    for cells, other in (
        ({"caption": seen.text.replace("sits down", "lies down")}, "caption"),  # still with the old looks
        ({"caption": seen.text.replace(RABBIT, "a brown rabbit")}, "caption"),
        ({"summary": seen.summary.replace(RABBIT, "a brown rabbit")}, "summary"),
    ):
        message = doubt(run, STRANGER, people=people, **cells)
        assert message == f"people: differ from the {other}, which was edited too; change only one"
    assert doubt(run, STRANGER, summary="a day", caption=seen.text.replace("sits", "lies")) == (
        "summary: differs from the caption, which was edited too; change only one"
    )
    assert doubt(run, STRANGER, summary=" ") == "summary: is empty"
    assert doubt(run, STRANGER, summary="a [SCENE-2] day").startswith("summary: a text must not contain the marker")


def test_looks_that_contain_a_semicolon_are_shown_without_it_and_left_as_they_are(run: Run) -> None:
    made = Parts((Person("Mara", "a cat; asleep"), Person("Leo", BEAR)), (), "")
    assert people_cell(made) == f"Mara: a cat, asleep; Leo: {BEAR}"
    seen = replace(row(run, STRANGER), caption=replace(row(run, STRANGER).caption, parts=made))
    said = people_in(f"Mara: a cat, asleep; Leo: {BEAR} (big)")
    assert redescribed(seen, said) == (Person("Leo", f"{BEAR} (big)"),)


def test_a_table_from_before_there_were_people_is_refused(run: Run) -> None:
    lines = table(run)
    for line in lines:
        line["base"] = line["base"][: -6 * 4] + line["base"][-6 * 2 :]  # its hashes cover two cells fewer
    with pytest.raises(BadInput, match="is not what was written there; edit a freshly written table"):
        run.apply(write(run, lines))
    bare = [{name: cell for name, cell in line.items() if name not in ("summary", "people")} for line in lines]
    with pytest.raises(BadInput, match="no column named 'summary' or 'people'; it needs one of each"):
        run.apply(write(run, bare))


def test_a_score_with_the_name_of_a_column_is_shown_beside_it(run: Run) -> None:
    stored_rows = run.reviewed()
    scored = replace(stored_rows[0], scores=(Score("summary", 0.5, 0.1, True, ""),))
    path, all_rows = run.folder / "scored.csv", [scored, *stored_rows[1:]]
    csv_table.write_csv(all_rows, run.task, path)
    assert csv_table.read_csv(path, all_rows, run.task, run.counter) == []
    assert '"summary score"' in path.read_text(encoding="utf-8-sig").splitlines()[0]


def test_looks_are_stored_and_scored_again_under_a_policy_that_never_states_them(run: Run) -> None:
    never = Run(run.settings.changed(settings={"caption.looks": "never"}), run.folder)
    never.advance()
    mara, leo = first_and_second(never, STRANGER)
    before, mark = row(never, STRANGER), never.store.mark("filter")
    (change,) = apply(never, STRANGER, people=f"{mara}: a green rabbit; {leo}: {BEAR}")
    assert [name for name, _, _ in change.fields] == ["people"]
    after = row(never, STRANGER)
    assert (after.caption.text, parts(after).people[0].looks) == (before.caption.text, "a green rabbit")
    never.advance(start="filter")
    again = never.store.mark("filter")
    assert mark and again and again.fingerprint != mark.fingerprint


# ---- the contact sheet


def test_the_contact_sheet_shows_the_captioners_remarks_and_names_the_stranger(run: Run) -> None:
    run.write_review()
    page = (run.folder / "review.html").read_text(encoding="utf-8")
    first = row(run, STRANGER)
    card = page[page.index(f'<article id="{first.id}"') :].partition("</article>")[0]
    assert '<p class="soft">The captioner: the beach in panels 1 and 2; panel 3 does not belong.</p>' in card
    failed = [score.reason for score in first.scores if not score.passed]
    assert len(failed) == 2
    assert "<p class=why>Panel [SCENE-3] is a stranger; the captioner: it does not belong. Nobody in panel" in card
    assert "The captioner:" not in page[page.index(f'<article id="{row(run, NOBODY).id}"') :].partition("</article>")[0]


def test_a_captioners_remark_is_one_line() -> None:
    shown = (Shown("a kite over the sea"), Shown("a kite in a tree"), Shown("the sea and a kite"))
    made = Parts((), shown, "", (Tie("a kite", (0, 1, 2)), Tie("the sea", (0, 2))), (0, 1), "all differ")
    assert captioners_word(made) == (
        "a kite in panels 1, 2 and 3; the sea in panels 1 and 3; panels 1 and 2 do not belong; "
        "no panels belong together: all differ"
    )
    assert captioners_word(None) == captioners_word(Parts((), (), "")) == ""


def test_a_captioners_remark_says_where_its_own_texts_speak_against_it() -> None:
    shown = (Shown("<Mara> by the sea"), Shown("a boat leaves"), Shown("<Mara> sleeps"))
    made = Parts((Person("Mara", "tall"),), shown, "", (Tie("the sea", (0, 1)),), (1, 2))
    assert captioners_word(made) == (
        "the sea in panels 1 and 2 (not in the text of panel 2); "
        "panels 2 and 3 do not belong (but somebody in panel 3 is in another panel too)"
    )


# ---- the page


def shown(client: httpx2.Client, served: Served, number: int = STRANGER) -> dict[str, Any]:
    grid = stored(served, number).id
    return dict(client.get(f"/rows/{grid}").json())


def stored(served: Served, number: int = STRANGER) -> Row:
    run = opened(served.home)
    with run.store:
        return row(run, number)


def post(client: httpx2.Client, row: dict[str, Any], what: str, **said: object) -> httpx2.Response:
    return client.post(f"/rows/{row['id']}/{what}", json=said)


def test_a_row_comes_with_its_people_and_the_captioners_remarks(client: httpx2.Client, served: Served) -> None:
    answer = shown(client, served)
    assert [person["looks"] for person in answer["people"]] == [RABBIT, BEAR]
    assert answer["word"] == "the beach in panels 1 and 2; panel 3 does not belong"
    other = shown(client, served, ONE_TEXT)
    assert (other["people"], other["word"]) == ([], "")
    assert shown(client, served, FAIR)["people"][1]["changes"] == "what it wears"


def test_looks_are_checked_in_the_text_that_they_would_produce_and_saved_with_it(
    client: httpx2.Client, served: Served
) -> None:
    before = shown(client, served)
    mara = before["people"][0]["name"]
    people, text = {mara: "  a green  rabbit, "}, before["text"].replace("sits down", "lies down")
    wanted = text.replace(RABBIT, "a green rabbit")
    check = post(client, before, "check", text=text, people=people).json()
    assert (check["text"], "".join(piece["text"] for piece in check["pieces"]), check["problems"]) == (
        wanted,
        wanted,
        [],
    )
    assert shown(client, served) == before
    answer = post(client, before, "edit", base=before["base"], text=text, people=people).json()
    assert (answer["row"]["text"], answer["row"]["people"][0]["looks"]) == (wanted, "a green rabbit")
    after = stored(served)
    assert after.review == Review(after.id, None, "", wanted, (), (Person(mara, "a green rabbit"),))
    assert answer["row"]["machine"]["people"][0]["looks"] == RABBIT
    assert carried_out(client, "/undo", {"step": answer["step"]}).status_code == 200
    back = shown(client, served)
    assert back == before
    run = opened(served.home)
    with run.store:
        fields = [(e["field"], e["was"], e["becomes"]) for e in run.table("events") if e["field"] == "people"]
    assert fields == [(name, was, now) for name, now, was in reversed(fields)] and len(fields) == 2


def test_the_linter_knows_the_parts_of_a_text_while_it_is_typed(client: httpx2.Client, served: Served) -> None:
    before = shown(client, served)
    mara = before["people"][0]["name"]
    typed = before["text"].replace("sits down", f"sits down, {RABBIT}")
    check = post(client, before, "check", text=typed).json()
    assert check["problems"] == [f"[SCENE-2] says what <{mara}> looks like again, after the summary"]
    assert "".join(piece["text"] for piece in check["pieces"]) == typed


@pytest.mark.parametrize("what", ["check", "edit", "score"])
def test_invalid_looks_are_answered_with_a_sentence_and_change_nothing(
    client: httpx2.Client, served: Served, what: str
) -> None:
    before = shown(client, served)
    mara = before["people"][0]["name"]
    base = {"base": before["base"]} if what == "edit" else {}
    for people, message in (
        ({mara: " "}, f"the looks of {mara} are missing"),
        ({"Zeno": "a cat"}, "'Zeno' is not in this grid"),
        ({mara: "a cat; a dog"}, f"the looks of {mara} contain ';'"),
    ):
        answer = post(client, before, what, text=before["text"], people=people, **base)
        if what == "score" and answer.status_code == 200:
            assert answer.json() == []  # without a scorer nothing is read
        else:
            assert answer.status_code == 422 and message in answer.json()["error"]
    assert shown(client, served) == before


def test_a_stranger_that_was_replaced_is_no_longer_one(client: httpx2.Client, served: Served) -> None:
    before = stored(served)
    assert [s.name for s in before.scores if not s.passed] == ["belongs 3", "recurs 3"]
    swapped = post(client, shown(client, served), "swap", base=shown(client, served)["base"], first=0, second=2)
    assert swapped.json()["row"]["word"] == "the beach in panels 2 and 3; panel 1 does not belong"
    run = opened(served.home)
    with run.store:
        run.advance(start="filter")
    assert [s.name for s in stored(served).scores if not s.passed] == ["belongs 1", "recurs 1"]


# ---- the page in a browser


@pytest.fixture
def page(context: BrowserContext, served: Served, tmp_path: Path) -> Iterator[Page]:
    """The page, showing the grid with a stranger."""
    faults: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.goto(served.url)
    page.locator("[role=gridcell]").first.press("Enter")
    expect(page.locator("#grid")).to_have_attribute("alt", f"grid {stored(served).id}")  # the riskiest
    yield page
    page.screenshot(path=tmp_path / "end.png")
    assert [fault for fault in faults if "status of 4" not in fault] == []


def test_the_stranger_is_marked_on_its_picture_with_the_reason_beside_it(
    page: Page, served: Served, tmp_path: Path
) -> None:
    page.screenshot(path=tmp_path / "stranger.png")
    marked = page.locator(".box.stranger")
    expect(marked).to_have_count(1)
    expect(marked).to_have_attribute("data-panel", "2")
    expect(marked.locator("em")).to_have_text("stranger")
    expect(marked.locator("em")).to_be_visible()
    assert marked.evaluate("box => getComputedStyle(box).boxShadow") != "none"
    failed = [score.reason for score in stored(served).scores if not score.passed]
    assert page.locator(".segment[data-panel='2'] .why").all_inner_texts() == failed
    expect(page.locator(".segment[data-panel='0'] .why")).to_have_count(0)
    expect(page.locator("#word")).to_have_text(
        "The captioner: the beach in panels 1 and 2; panel 3 does not belong. The pictures: cropped 6 % at the top and "
        "6 % at the bottom, about the centre (all panels)."
    )
    page.keyboard.press("ArrowRight")
    expect(page.locator(".box.stranger")).to_have_count(0)


def test_looks_are_edited_by_keyboard_and_previewed_at_once_and_saved_and_undone(
    page: Page, served: Served, tmp_path: Path
) -> None:
    before = stored(served)
    mara = parts(before).people[0].name
    page.keyboard.press("e")
    field = page.locator(f"#people textarea[name='{mara}']")
    expect(field).to_have_value(RABBIT)
    expect(page.locator("#people textarea")).to_have_count(2)
    field.fill("")
    expect(page.locator("#problems")).to_contain_text(f"the looks of {mara} are missing")
    field.focus()
    page.keyboard.type("a green rabbit")  # none of its letters is a command
    expect(page.locator("#caption .summary")).to_contain_text(f"{mara}>, a green rabbit")
    expect(page.locator("#problems")).to_contain_text("No problems found in the text.")
    page.screenshot(path=tmp_path / "looks.png")
    assert stored(served) == before
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_contain_text("text saved")
    expect(page.locator("#editor")).to_be_hidden()
    after = stored(served)
    assert after.caption.text == before.caption.text.replace(RABBIT, "a green rabbit")
    assert parts(after).people[0].looks == "a green rabbit"
    page.locator("#machine button").click()  # the captioner's text comes with the captioner's looks
    expect(field).to_have_value(RABBIT)
    expect(page.locator("#caption .summary")).to_contain_text(RABBIT)
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    expect(page.locator("#status")).to_contain_text("undone")
    assert stored(served) == before


def test_escape_restores_the_looks_and_every_grid_has_its_own(page: Page, served: Served) -> None:
    page.keyboard.press("e")
    page.locator("#people textarea").first.fill("a green rabbit")
    page.keyboard.press("Escape")
    expect(page.locator("#editor")).to_be_hidden()
    page.keyboard.press("e")
    expect(page.locator("#people textarea").first).to_have_value(RABBIT)
    page.keyboard.press("Escape")
    for number in (FAIR, ONE_TEXT):
        page.locator(f"#strip button[title^='{stored(served, number).id}']").click()
        expect(page.locator("#one.coming")).to_have_count(0)
        page.keyboard.press("e")
        looks = [OWL, BEAR] if number == FAIR else []
        expect(page.locator("#people textarea")).to_have_count(len(looks))
        assert page.locator("#people textarea").evaluate_all("fields => fields.map(field => field.value)") == looks
        page.keyboard.press("Escape")
