"""Builds `release.sql` and `before-decisions.sql`: runs of earlier versions, with decisions of every kind.

    git worktree add /tmp/release 82f8a54; git worktree add /tmp/before 517b186
    cd /tmp/release && PYTHONPATH=. python .../tests/data/earlier/build.py .../tests/data/earlier/release.sql
    cd /tmp/before && PYTHONPATH=. python .../tests/data/earlier/build.py .../tests/data/earlier/before-decisions.sql

The pictures are those of `tests/bitmaps.py`, five folders of three, captioned by `sidecar`.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

import bitmaps

MINE = "[MOVIE-SHOTS] Mine, [SCENE-1] my first words, [SCENE-2] my second words, [SCENE-3] my third words."


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        source, folder = bitmaps.folders(Path(home) / "films", "abcde"), Path(home) / "run"
        for path in source.rglob("*.bmp"):
            path.with_suffix(".txt").write_text(f"picture {path.stem} of folder {path.parent.name} is seen")
        decide(finished(source, folder))
        with closing(sqlite3.connect(folder / "run.db")) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            lines = [f"PRAGMA user_version={version};", *db.iterdump()]
        target.write_text("\n".join(lines).replace(home, "/home/user") + "\n", encoding="utf-8")


def finished(source: Path, folder: Path) -> Any:
    """The review session of a run that has gone through all stages."""
    asked = {"task": "storyboard", "sources": (str(source),), "captioner": "sidecar", "scorer": "none"}
    overrides = [f"{key}={json.dumps(value)}" for key, value in bitmaps.SMALL.items()]
    try:
        from pipeline.page.desk import Desk
        from pipeline.road import Road, Settings
    except ImportError:
        from iclora.page.session import ReviewSession
        from iclora.run import Run
        from iclora.settings import Settings as LaterSettings

        run = Run(LaterSettings(**asked, overrides=overrides), folder)
        run.advance()
        return ReviewSession(run)
    road = Road(Settings(**asked, overrides=tuple(overrides), fixed=True), folder)
    list(road.run(lambda *_: None))
    return Desk(road)


def decide(session: Any) -> None:
    base_of = __import__(type(session).__module__, fromlist=["base_of"]).base_of
    rows = {Path(row.grid.group.records[0].source).parent.name: row for row in session.rows()}
    given = {name: (row.id, base_of(row)) for name, row in rows.items()}
    session.decide(*given["a"], "drop", "too dark")
    session.edit(*given["b"], MINE, "keep")
    session.swap(*given["c"], 0, 2)
    session.undo(session.decide(*given["d"], "unsure", "perhaps").number)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
