"""What the captioner `server` gets back: the answer in a chat completion of any form, or the error in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import openai

from pipeline.captioning import replies
from pipeline.errors import BadReply

QUOTED = 2_000
"""Characters of a response that are looked at for a sentence about it."""
SHOWN = 60
"""Characters of a response that a sentence about its beginning shows."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Fields in which servers put what a model thought."""
TEXTS = ("text", "output_text")
"""Types of the parts of a message that belong to the answer; of the others, most are thoughts."""
ERRORS, REFUSED = range(400, 600), range(400, 500)
"""Statuses of errors, and of those that are about the request."""
RETRIED = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)
"""Those among REFUSED after which the same request may be answered."""


class Malformed(BadReply):
    """A response with a good status is no chat completion.

    Attributes:
        cut: it may be a complete one the next time, since it ended too early.
        page: it is a web page.
    """

    def __init__(self, message: str, *, cut: bool = False, page: bool = False) -> None:
        super().__init__(message)
        self.cut, self.page = cut, page


@dataclass(frozen=True)
class Fault:
    """An error that a server reports."""

    status: int
    said: str
    """What it says about it, for people."""
    wait: str = ""
    """Seconds after which it wants to be asked again."""
    code: str = ""
    sent_as: int = 0
    """The status of the response, if the error has another one."""

    @property
    def disguised(self) -> bool:
        """Whether the response looked as if all were well."""
        return self.sent_as == HTTPStatus.OK

    @property
    def refused(self) -> bool:
        """Whether it is about the request, not about the server."""
        return self.status in REFUSED

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered the next time, though nobody has tried; statuses are retried by the
        client."""
        return self.disguised and (self.status in RETRIED or not self.refused)

    def __str__(self) -> str:
        how = f"HTTP {self.status}" if self.status in ERRORS else f"HTTP {self.sent_as} with an error"
        return f"{how}, {self.said}"


class Refused(Exception):
    """A server answers a request with an error."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True)
class Message:
    """A model's message."""

    text: str
    finish: str
    """Why it ended: "stop", "length"."""
    written: int
    read: int
    """Tokens."""


def fault_of(error: openai.APIStatusError) -> Fault:
    wait = error.response.headers.get("retry-after", "")
    body: object = error.body
    if not isinstance(body, dict | list):
        body = error.response.text[:QUOTED]
    return Fault(error.status_code, _said(body) or error.message, wait, str(error.code or ""))


def parse(content: bytes) -> Any:
    """
    Raises:
        Malformed: it is not JSON.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise Malformed("the response is nested too deeply") from error
    except ValueError as error:
        begins = content.lstrip()[:1]
        if begins in (b"", b"{", b"["):
            raise Malformed("the response is not complete JSON", cut=True) from error
        shown = " ".join(_said(content[:QUOTED].decode(errors="replace")).split())[:SHOWN]
        raise Malformed(f"the response is not JSON, but begins with '{shown}'", page=begins == b"<") from error


def fault_in(data: Any) -> Fault | None:
    """The error in a response that came with a good status; None if there is none."""
    if not isinstance(data, dict):
        return None
    error = data.get("error")
    if not error and (first := _first(data.get("choices"))):
        error = first.get("error")
    if not error and data.get("object") == "error":
        error = data
    if not error or _message(data):
        return None
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and re.fullmatch(r"\d{3}", code):
        code = int(code)
    status = code if isinstance(code, int) and code in ERRORS else HTTPStatus.OK
    return Fault(status, _said(error) or "no reason", code=str(code or ""), sent_as=HTTPStatus.OK)


def message_of(data: Any) -> Message:
    """The answer in a chat completion: in the message's text or parts, in a tool call, or where a server put thoughts.

    Raises:
        Malformed: there is no message.
    """
    message = _message(data)
    if message is None:
        raise Malformed(f"the response has no message: {_shown(data)}")
    finish = str((_first(data.get("choices")) or {}).get("finish_reason"))[:QUOTED]
    text = _text(message.get("content")) or _called(message)
    if not text and isinstance(message.get("refusal"), str):
        text = message["refusal"]
    if not text and finish != "length":
        text = _thought(message)
    usage = data.get("usage")
    written, read = (_count(usage, f"{kind}_tokens") for kind in ("completion", "prompt"))
    return Message(text, finish, written, read)


def _message(data: Any) -> Mapping[str, Any] | None:
    first = _first(data.get("choices")) if isinstance(data, dict) else None
    message = first.get("message") if first else None
    return message if isinstance(message, dict) else None


def _first(choices: Any) -> dict[str, Any] | None:
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _text(content: Any) -> str:
    """The text of a message's content: a text, parts of which thoughts are left out, or the answer as an object."""
    if isinstance(content, str):
        return content if content.strip() else ""
    if isinstance(content, list):
        return "".join(_text(part) for part in content if isinstance(part, str | dict))
    if not isinstance(content, dict):
        return ""
    if not content.keys().isdisjoint(replies.KEYS):
        return _dumped(content)
    text = content.get("text")
    return text if content.get("type", TEXTS[0]) in TEXTS and isinstance(text, str) else ""


def _called(message: Mapping[str, Any]) -> str:
    """The arguments of a tool call, which are the answer where a server maps the schema to a tool: of several calls,
    of the first that has one of the answer's keys."""
    called = message.get("tool_calls")
    calls = [call for call in called if isinstance(call, dict)] if isinstance(called, list) else []
    functions = [*(call.get("function") for call in calls), message.get("function_call")]
    given = [function.get("arguments") for function in functions if isinstance(function, dict)]
    texts = [_dumped(one) if isinstance(one, dict) else one for one in given if isinstance(one, dict | str)]
    return next((text for text in texts if any(f'"{key}"' in text for key in replies.KEYS)), texts[0] if texts else "")


def _thought(message: Mapping[str, Any]) -> str:
    """The answer that a server took for thoughts; only an object can be told from them."""
    for field in THOUGHTS:
        given = message.get(field)
        text = "".join(map(_spoken, given if isinstance(given, list) else [given]))
        try:
            found = replies.find_object(text[: replies.LONGEST])
        except (BadReply, RecursionError):
            continue
        if found is not None and "panels" in found:
            return _dumped(found)
    return ""


def _spoken(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""


def _dumped(given: Mapping[str, Any]) -> str:
    try:
        return json.dumps(given)
    except (ValueError, RecursionError):
        return ""


def _count(usage: Any, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**53 else 0


def _said(body: Any, depth: int = 3) -> str:
    """A server's error message, which different servers put in different places."""
    if isinstance(body, dict):
        inner: Iterable[Any] = (body[name] for name in ("message", "detail", "error", "msg") if body.get(name))
        return next((_said(one, depth - 1) for one in inner if depth), "") or _shown(body)
    if isinstance(body, str):
        text = body[:QUOTED]
        return re.sub(r"<[^>]*>", " ", text).strip() if text.lstrip().startswith("<") else text
    return _shown(body) if body else ""


def _shown(data: Any) -> str:
    """Data for a sentence."""
    try:
        return str(data)[:QUOTED]
    except (RecursionError, ValueError):
        return f"a {type(data).__name__}"
