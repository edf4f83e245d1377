"""A model hub for tests: repositories in memory and the few requests that pushing a folder makes."""

from __future__ import annotations

import base64
import json
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

from running import LocalServer, SilentHandler, running

TOKEN = "hf_of_the_tests"


class Hub(LocalServer):
    def __init__(self) -> None:
        super().__init__(Handler)
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []


class Handler(SilentHandler):
    server: Hub

    def do_GET(self) -> None:
        self._react(b"")

    def do_POST(self) -> None:
        self._react(self._body())

    def _body(self) -> bytes:
        """The request's body; commits come in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _react(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid credentials"}, 401)
            return
        repo = "/".join(path.removeprefix("/api/datasets/").removeprefix("/api/models/").split("/")[:2])
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [entry["path"] for entry in json.loads(body)["files"]]
            self._answer({"files": [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]})
        elif "/commit/" in path:
            self._commit(repo, body)
        elif "/tree/" in path:
            listed = self.server.files[repo].items()
            self._answer([{"type": "file", "path": file, "size": len(body), "oid": "0"} for file, body in listed])
        else:
            self._answer({"id": repo, "sha": "0", "private": self.server.private[repo], "siblings": []})

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        url = f"{self.server.url}/{'datasets/' if asked.get('type') == 'dataset' else ''}{repo}"
        if repo in self.server.private:
            self._answer({"error": "You already created this dataset repo", "url": url}, 409)
            return
        self.server.private[repo] = asked.get("visibility") == "private" or asked.get("private") is True
        self.server.files[repo] = {}
        self._answer({"url": url, "name": repo})

    def _commit(self, repo: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.server.files[repo][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.server.files[repo][value["path"]]
        self._answer({"commitUrl": f"{self.server.url}/datasets/{repo}/commit/0", "commitOid": "0"})

    def _answer(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def serving() -> AbstractContextManager[Hub]:
    return running(Hub())
