"""What a server's address and model come from, and how to set them anew when they are wrong."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
from asking import answers_of, ask
from endpoint import GOOD, Handler, closed, fails, says, sends, serving

from captioners import server
from iclora import open_run
from miniature.film import picture as write_picture
from miniature.world import draw_scene
from pipeline.errors import BadInput


def test_the_address_that_is_asked_without_a_setting_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    url = closed()
    monkeypatch.setattr(server, "LOCAL_URL", url)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(BadInput) as error:
        server.make({}).identity()
    assert str(error.value).startswith(f"no server answers at the default address {url} (")
    assert str(error.value).endswith("; start one there, or give the address of yours with --set captioner.url=URL.")
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(BadInput, match=rf"at the address {url} in OPENAI_BASE_URL \("):
        server.make({}).identity()
    with serving(default=sends(b"<html>Django</html>", Content_Type="text/html"), models=[]) as other:
        monkeypatch.delenv("OPENAI_BASE_URL")
        monkeypatch.setattr(server, "LOCAL_URL", other.url)
        with pytest.raises(
            BadInput, match=r"the default address http\S+ does not answer as .*\); give the address of yours"
        ):
            answers_of(server.make({"model": "m"}), [ask()])


def test_a_model_that_the_server_lacks_is_set_anew_as_the_sentence_says(tmp_path: Path) -> None:
    def lacks(handler: Handler) -> None:
        (fails(404, "no such model") if handler.body["model"] == "qwen" else says(GOOD))(handler)

    def walk(*more: str) -> int:
        settings = [*usual, *more]
        with open_run(
            "storyboard",
            tmp_path / "shots",
            captioner="server",
            scorer="none",
            settings=settings,
            folder=tmp_path / "run",
        ) as run:
            return run.advance("caption")[-1].kept

    for number in range(3):
        write_picture(draw_scene(Random(number)), tmp_path / "shots" / f"{number}.png", (384, 192))
    with serving(default=lacks) as endpoint:
        usual = [f"captioner.url={endpoint.url}", "captioner.schema=none", "group.floor=0", "group.ceiling=1"]
        for wrong in (["captioner.model=qwen"], []):
            with pytest.raises(BadInput, match=r"no such model; .*the run keeps 'qwen' until it is set anew") as error:
                walk(*wrong)
        told = re.search(r"the same command with --set (\S+), or correct", str(error.value))
        assert told and walk(told[1]) == 1
