"""A model hub for tests: one folder as a model, the few requests that downloading it makes, and broken downloads."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from running import LocalServer, SilentHandler, running

MODEL, COMMIT = "some/model", "c0" * 20


class ModelHub(LocalServer):
    def __init__(self, folder: Path) -> None:
        super().__init__(Handler)
        self.folder = folder
        self.sent: list[str] = []
        """Files whose contents were asked for."""
        self.breaks: str = ""
        """A file of which half is sent before the connection ends, and nothing more at another try."""
        self._broken = False

    def content(self, name: str) -> tuple[int, bytes]:
        """How long a file is said to be, and what is sent of it."""
        content = (self.folder / name).read_bytes()
        if name != self.breaks:
            return len(content), content
        half, self._broken = b"" if self._broken else content[: len(content) // 2], True
        return len(content), half


class Handler(SilentHandler):
    server: ModelHub

    def do_HEAD(self) -> None:
        name = self._name()
        if not (self.server.folder / name).is_file():
            self._head(404, 0, {"X-Error-Code": "EntryNotFound"})
            return
        self._head(200, (self.server.folder / name).stat().st_size, {"ETag": f'"{name.encode().hex()}"'})

    def do_GET(self) -> None:
        if "/tree/" in self.path:  # more templates than one, which the model doesn't have
            self._head(404, 0, {"X-Error-Code": "EntryNotFound"})
            return
        if self.path.startswith(f"/api/models/{MODEL}"):
            found = [file for file in sorted(self.server.folder.rglob("*")) if file.is_file()]
            names = {file.relative_to(self.server.folder).as_posix(): file.stat().st_size for file in found}
            listed = [{"rfilename": name, "size": size} for name, size in names.items()]
            body = json.dumps({"id": MODEL, "sha": COMMIT, "siblings": listed, "private": False}).encode()
            self._head(200, len(body), {"Content-Type": "application/json"})
            self.wfile.write(body)
            return
        name = self._name()
        if not (self.server.folder / name).is_file():
            self._head(404, 0, {})
            return
        self.server.sent.append(name)
        length, content = self.server.content(name)
        if length and not content:
            self._head(503, 0, {})
            return
        self._head(200, length, {})
        self.wfile.write(content)
        self.close_connection = len(content) < length

    def _name(self) -> str:
        """`/some/model/resolve/main/part/file` is `part/file`."""
        return "/".join(unquote(urlsplit(self.path).path).split("/")[5:])

    def _head(self, status: int, length: int, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(length), **more}.items():
            self.send_header(name, value)
        self.end_headers()


def serving(folder: Path) -> AbstractContextManager[ModelHub]:
    return running(ModelHub(folder))


def use(hub: ModelHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the hub's client in this process ask that hub, with an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    files = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
