"""Pushing a data set to a local imitation of the hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import TOKEN, Hub, serving

import iclora
from iclora import cli, stages
from pipeline.dataset import checksums, hub
from pipeline.errors import BadInput
from pipeline.store import Store, write_settings


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)  # older versions read their own name
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small data set with files that a trainer leaves beside it."""
    home = tmp_path / "dataset"
    for side, numbers in (("train", (1, 2)), ("validation", (3,))):
        (home / side).mkdir(parents=True)
        for number in numbers:
            (home / side / f"{number}.png").write_bytes(b"picture %d" % number)
            (home / side / f"{number}.txt").write_text(f"caption {number}")
            (home / side / f"{number}_flux.npz").write_bytes(b"cache")
            entry = {"file_name": f"{number}.png", "group": side, "sources": [{"sha256": str(number)}]}
            with (home / side / "metadata.jsonl").open("a") as listing:
                listing.write(json.dumps(entry) + "\n")
    (home / "masks").mkdir()
    (home / "masks" / "1.png").write_bytes(b"mask")
    for file in ("README.md", "TRAINERS.md", "kohya.toml"):
        (home / file).write_text("text")
    return home


SENT = {
    *("README.md", "masks/1.png", "train/1.png", "train/1.txt", "train/2.png", "train/2.txt"),
    *("train/metadata.jsonl", "validation/3.png", "validation/3.txt", "validation/metadata.jsonl"),
}


def test_only_the_data_and_its_card_are_uploaded_to_a_private_repository(server: Hub, folder: Path) -> None:
    url = hub.push(folder, "me/grids", public=False)
    assert url == f"{server.url}/datasets/me/grids"
    assert server.private == {"me/grids": True}
    assert set(server.files["me/grids"]) == SENT
    assert server.files["me/grids"]["train/1.png"] == b"picture 1"


def test_a_public_push_replaces_an_earlier_one(server: Hub, folder: Path) -> None:
    hub.push(folder, "me/grids", public=True)
    for name in ("2.png", "2.txt"):
        (folder / "train" / name).unlink()
    listing = folder / "train" / "metadata.jsonl"
    listing.write_text(listing.read_text().splitlines()[0] + "\n")
    server.files["me/grids"][".gitattributes"] = b"kept"
    hub.push(folder, "me/grids", public=True)
    assert server.private == {"me/grids": False}
    assert set(server.files["me/grids"]) == SENT - {"train/2.png", "train/2.txt"} | {".gitattributes"}


@pytest.mark.parametrize(
    ("first", "then", "advice"), [(True, False, "add --public"), (False, True, "leave out --public")]
)
def test_nothing_is_uploaded_to_a_repository_of_the_other_visibility(server, folder, first, then, advice) -> None:
    hub.push(folder, "me/grids", public=first)
    (folder / "train" / "1.txt").write_text("a secret")
    with pytest.raises(BadInput, match=f"me/grids already exists .*nothing was uploaded: {advice}"):
        hub.push(folder, "me/grids", public=then)
    assert server.files["me/grids"]["train/1.txt"] == b"caption 1"


def test_a_leaking_split_or_a_missing_data_set_is_never_uploaded(server: Hub, folder: Path) -> None:
    (folder / "validation" / "3.png").write_bytes(b"picture 1")
    with pytest.raises(BadInput, match=r"the two sides of the data set in .* overlap"):
        hub.push(folder, "me/grids", public=False)
    with pytest.raises(BadInput, match="is not a data set's metadata"):
        hub.push(folder / "nowhere", "me/grids", public=False)
    assert server.asked == []


def test_the_token_comes_only_from_the_environment(server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(BadInput, match="set HF_TOKEN to one with write access"):
        hub.push(folder, "me/grids", public=False)
    assert server.asked == []


def test_a_refusal_by_the_hub_is_reported_in_one_sentence_without_the_token(
    server: Hub, folder: Path, monkeypatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(BadInput, match=r"me/grids can't be uploaded to the hub: .*401") as caught:
        hub.push(folder, "me/grids", public=False)
    assert "hf_wrong" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_and_a_forbidden_name_are_reported_in_one_sentence(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name, reason in (("me/grids", "Connection refused"), ("me/a--b", "Cannot have -- or")):
        with pytest.raises(BadInput, match=f"{name} can't be uploaded to the hub: .*{reason}"):
            hub.push(folder, name, public=False)


@pytest.mark.parametrize("name", ["grids", "a/b/c", "me/", "me/a b"])
def test_a_name_consists_of_owner_and_name(name: str, folder: Path) -> None:
    with pytest.raises(BadInput, match="is named ORG/NAME"):
        hub.push(folder, name, public=False)


def test_the_command_pushes_a_runs_data_set(server: Hub, folder: Path, monkeypatch, capsys) -> None:
    write_settings(folder.parent, {"task": "storyboard"})
    words = ["iclora", "push", "storyboard", "me/grids", "--out", str(folder.parent)]
    monkeypatch.setattr(sys, "argv", words)
    with Store(folder.parent) as store:
        checksums.write(folder, SENT)
        with pytest.raises(SystemExit) as refused:
            cli.main()
        assert refused.value.code == 2 and server.asked == []
        assert "is not that of its run: the run has not exported it" in capsys.readouterr().err
        store.begin("export", "exported", "", anew=True)
        facts = {"contents": checksums.digest(folder), "state": stages.state(store, iclora.load_task("storyboard"))}
        store.finish("export", entered=3, kept=3, facts=facts)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == ["private:", f"{server.url}/datasets/me/grids"]
    assert set(server.files["me/grids"]) == SENT
