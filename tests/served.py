"""A finished home and its review page behind a real server, for the tests of the page."""

from __future__ import annotations

import json
import random
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bitmaps
import httpx2

import iclora
from iclora.offline import MINIATURE
from iclora.page import access, app
from iclora.page.bulk import Undo
from iclora.page.jobs import Jobs
from iclora.page.server import Server
from iclora.page.session import ReviewSession
from iclora.run import Run
from iclora.settings import Settings
from miniature import film
from miniature.world import Scene, describe, draw_scene, summarise
from pipeline.review import decisions, reviews
from pipeline.store import write_settings

GRIDS = 4
SHOTS = 5
"""Pictures a folder: three make a grid, two are left to take a panel's place."""


SHORT = "[MOVIE-SHOTS] a day at sea, [SCENE-1] a man hauls a net, [SCENE-2] fish, [SCENE-3] a man sorts the catch."
"""A caption with a problem."""


def reply(summary: str, texts: Sequence[str], looks: str = "") -> str:
    """An answer that describes its one person, if there is any."""
    people = [{"name": "P1", "looks": looks}] if looks else []
    return json.dumps({"panels": [{"text": text} for text in texts], "people": people, "summary": summary})


def story(number: int) -> str:
    texts = [f"<P1> does thing {number} in the {shot} shot" for shot in ("first", "second", "third")]
    return reply(f"story {number} of a day of <P1>", texts, "a man in a blue cap")


def truths(scenes: Sequence[Sequence[Scene]]) -> list[str]:
    """What each grid shows; but the first grid's texts are out of order, and one text refers to another panel."""
    texts = [[describe(scene) for scene in each[:3]] for each in scenes]
    texts[0] = [texts[0][1], texts[0][2], texts[0][0]]
    texts[1][1] += " as before"
    return [reply(summarise(list(seen[:3]), [None] * 3), panels) for seen, panels in zip(scenes, texts, strict=True)]


def build(home: Path, *, scored: bool = False) -> Path:
    """A home of four grids; the captioner has written a text of its own for each, and has a fifth in reserve.

    Args:
        scored: the texts describe what each grid shows, with two mistakes, and the miniature's model scores them.
    """
    rng = random.Random(7)
    scenes = [[draw_scene(rng) for _ in range(SHOTS)] for _ in range(GRIDS)]
    for folder, drawn in enumerate(scenes):
        for shot, scene in enumerate(drawn):
            film.picture(scene, home / f"film-{folder}" / f"{shot}.png")
    answers = [*(truths(scenes) if scored else map(story, range(GRIDS))), story(GRIDS)]
    overrides = ["caption.attempts=1", "group.window=3"]
    if scored:
        overrides.append(f"scorer.model=local-dir:{MINIATURE / 'clip'}")
        return finish(home, answers, *overrides, scorer="open_clip")
    return finish(home, answers, *overrides, "filter.recurring=false")


def finish(home: Path, answers: Sequence[str], *overrides: str, scorer: str = "none") -> Path:
    """Takes the images of a folder through all stages of the storyboard task; returns the run's folder in it.

    Args:
        answers: the captioner's, one per grid.
        overrides: further settings.
    """
    settings = Settings(
        task="storyboard",
        sources=(str(home),),
        captioner="scripted",
        scorer=scorer,
        overrides=(f"captioner.answers={json.dumps(answers)}", "group.floor=0.0", *overrides),
    )
    run = Run(settings, home / "run")
    with run.store:
        run.advance()
    return home / "run"


def captioned(home: Path, text: str) -> Path:
    """Takes the three pictures in the folder `in` to a data set of one grid, whose caption has come with them."""
    for number in range(3):
        (home / "in" / f"{number}.txt").write_text(text)
    with iclora.open_run(
        "storyboard", home / "in", settings=bitmaps.SMALL, captioner="sidecar", scorer="none", folder=home / "run"
    ) as run:
        run.advance()
    return home / "run"


def opened(home: Path) -> Run:
    """The home as a later command opens it."""
    return iclora.open_run("storyboard", folder=home, must_exist=True)


def resettle(home: Path, **settings: Any) -> None:
    """Has the home continue with other settings."""
    changed = opened(home).settings.changed(**settings)
    write_settings(home, changed.model_dump(mode="json", exclude_unset=True))


@dataclass(frozen=True)
class Served:
    address: str
    token: str
    home: Path

    @property
    def url(self) -> str:
        return f"http://{self.address}/#{self.token}"

    @contextmanager
    def client(self) -> Iterator[httpx2.Client]:
        """What the page's script in a browser can do."""
        home = f"http://{self.address}"
        headers = {"Origin": home, access.TOKEN: self.token}
        with httpx2.Client(base_url=home, headers=headers, timeout=60) as client:
            yield client


@contextmanager
def serving(home: Path, reviewer: str = "") -> Iterator[Served]:
    """The page of a run; its store is opened in the server's own thread, as SQLite requires.

    Args:
        reviewer: who reviews; empty for somebody who gave no name.
    """
    token = secrets.token_urlsafe(8)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        address = f"127.0.0.1:{door.getsockname()[1]}"
        servers: list[Server] = []
        ready = threading.Event()

        def work() -> None:
            run = opened(home)
            with run.store:
                jobs = Jobs()
                session = ReviewSession(run, reviewer)
                servers.append(Server(app.make(session, jobs, address, token), jobs, door))
                servers[0].start()
                ready.set()
                jobs.work(session.check_some)

        thread = threading.Thread(target=work)
        thread.start()
        assert ready.wait(30)
        try:
            yield Served(address, token, home)
        finally:
            servers[0].should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def carried_out(client: httpx2.Client, path: str, said: dict[str, Any]) -> httpx2.Response:
    """The last answer about a change that the page asks about until it is made."""
    while (answer := client.post(path, json=said)).is_success and not answer.json()["done"]:
        pass
    return answer


def looked_for(client: httpx2.Client, said: dict[str, Any]) -> httpx2.Response:
    """The last answer to a search for a phrase, with all replacements that are shown."""
    shown: list[object] = []
    answer = client.post("/replacements", json=said)
    while answer.is_success:
        found = answer.json()
        shown += found["shown"]
        if found["done"]:
            return httpx2.Response(answer.status_code, json={**found, "shown": shown})
        answer = client.get(f"/replacements/{found['number']}", params={"known": len(shown)})
    return answer


def undo(session: ReviewSession, step: int) -> None:
    """Undoes a step of a session that no page has."""
    undoing = Undo(session, session.step(step))
    while not undoing.write():
        undoing.prepare(undoing.rows(), session.read().made.grids)


def edited_elsewhere(home: Path, texts: Mapping[str, str]) -> None:
    """Another process edits captions, by grid, as applying a table does."""
    run = opened(home)
    with run.store, decisions.deciding(home):
        rows = {row.id: row for row in run.reviewed()}
        changes = (reviews.change(rows[grid], run.task, run.counter, text=text) for grid, text in texts.items())
        reviews.decide(run.store, [change for change in changes if change], "table.csv")
