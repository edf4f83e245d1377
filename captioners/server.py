"""Asks an OpenAI-compatible endpoint: vLLM, SGLang, Ollama, LM Studio, `transformers serve` or a hosted model.

The key comes from the environment (OPENAI_API_KEY) and is only ever put into the request header.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, cast

import httpx2
import openai
from anyio.from_thread import start_blocking_portal
from pydantic import Field

from pipeline import plugins
from pipeline.captioning import protocol
from pipeline.captioning.replies import JointReply
from pipeline.errors import BadInput, BadReply
from pipeline.text import grammar

if TYPE_CHECKING:
    from PIL import Image

LOCAL_URL = "http://localhost:8000/v1"
"""Where vLLM and `transformers serve` listen."""
MEGAPIXEL = 1_000_000
QUALITY = 95
LARGEST = 2**20
"""Largest response in bytes; an answer has a few thousand, that of a reasoning model a few hundred thousand."""
CONNECT_SECONDS = 10.0
"""Time limit, in seconds, for a server to accept a connection and to list its models."""
LONGEST_PAUSE = 120.0
"""Longest pause, in seconds, that a server may ask for; the client waits no longer."""
SECRET = 8
"""Characters; shorter keys, such as "none" and "EMPTY" for local servers, are not secret and may be in any text."""
MOST_QUOTED = 300
"""Most characters of a server's message that are quoted."""
SCHEMA = {"name": "joint_caption", "schema": JointReply.model_json_schema()}
ONE_IMAGE = re.compile(r"(at most|only) (1|one|a single) image|(multiple|more than one) images?", re.IGNORECASE)


class Options(plugins.Options):
    url: str = Field(default_factory=lambda: os.environ.get("OPENAI_BASE_URL") or LOCAL_URL)
    """Base URL; for most servers it ends with /v1."""
    model: str = ""
    """The model's name on the server; may be left out if the server lists exactly one."""
    concurrency: int = Field(16, ge=1, le=512)
    """Concurrent requests."""
    timeout: float = Field(120, gt=0)
    """Seconds to wait for an answer before the request is retried."""
    retries: int = Field(5, ge=0, le=20)
    max_new_tokens: int = Field(768, ge=32)
    """Token limit of an answer. A joint caption of four detailed panels takes about 300, its JSON frame another 100; a
    reasoning model needs several thousand."""
    seed: int = 0
    images: protocol.Images = "panels"
    answer_schema: Literal["auto", "json_schema", "none"] = Field("auto", alias="schema")
    """Whether the server is asked to enforce the JSON schema of an answer; "auto" does without if the server
    refuses."""
    price_in: float = Field(0, ge=0)
    """Price per million input tokens, in any currency."""
    price_out: float = Field(0, ge=0)
    """Price per million output tokens."""


class Server:
    verbatim = False

    def __init__(self, options: Options) -> None:
        self.options = options
        # A batch ends with its slowest answer, so it should be several times the number of concurrent requests; but
        # each grid in it takes up to 10 MB of memory.
        self.batch = max(options.concurrency, min(4 * options.concurrency, 128))
        self.url, self._login = _address(options.url, from_options="url" in options.model_fields_set)
        self._key = os.environ.get("OPENAI_API_KEY", "").strip() or "none"
        if not (self._key.isascii() and self._key.isprintable()):
            raise BadInput("OPENAI_API_KEY contains characters that no key has, so it can't be sent; set it again.")
        self._refused: frozenset[str] = frozenset()
        """Parameters that this server refuses."""
        self._answered = False

    def __reduce__(self) -> tuple[type[Server], tuple[Options]]:
        """Another process gets the options and takes the key from its own environment."""
        return Server, (self.options,)

    def identity(self) -> dict[str, Any]:
        """
        Raises:
            BadInput: no model is set and the server does not list exactly one.
        """
        return {
            "captioner": "server",
            "url": self.url,
            "model": self._model,
            "max_new_tokens": self.options.max_new_tokens,
            "seed": self.options.seed,
            "images": self.options.images,
            "schema": self.options.answer_schema,
        }

    def ask(self, questions: Sequence[protocol.Question]) -> Iterator[tuple[int, protocol.Answer]]:
        """
        Raises:
            BadInput: there is no server, it rejects the key, it lacks the model, or it asks for too long a pause.
        """
        answers: SimpleQueue[tuple[int, protocol.Answer] | None] = SimpleQueue()
        with start_blocking_portal() as portal:
            job = portal.start_task_soon(self._ask, questions, answers.put)
            job.add_done_callback(lambda _: answers.put(None))
            while found := answers.get():
                yield found
            job.result()

    # ---- the server and its models

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        """Names of the server's models; empty if it does not list them.

        A model that is not listed may exist all the same: `transformers serve` does not list folders.
        """
        try:
            with (
                openai.DefaultHttpxClient(auth=self._login) as http,
                openai.OpenAI(
                    base_url=self.url, api_key=self._key, timeout=CONNECT_SECONDS, http_client=http
                ) as client,
            ):
                return tuple(str(model.id) for model in client.models.list().data)
        except openai.APITimeoutError:
            return ()  # the server exists but is busy
        except openai.APIConnectionError as error:
            raise BadInput(
                f"no server answers at {self.url} ({self._clean(error.__cause__ or error)}); "
                "start it, or set another with --set captioner.url=URL."
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise self._stopped(error) from None
        except (openai.OpenAIError, AttributeError, TypeError, ValueError):  # no list, or a malformed one
            return ()

    @cached_property
    def _model(self) -> str:
        if self.options.model:
            return self.options.model
        if len(self._listed) != 1:
            raise BadInput(f"{self.url} lists {self._known()}; name one with --set captioner.model=NAME.")
        return self._listed[0]

    def _known(self, most: int = 20) -> str:
        names = self._listed[:most]
        more = f" and {len(self._listed) - most} more" if len(self._listed) > most else ""
        return f"the models {', '.join(names)}{more}" if names else "no models"

    # ---- asking

    async def _ask(
        self, questions: Sequence[protocol.Question], report: Callable[[tuple[int, protocol.Answer]], None]
    ) -> None:
        """Answers all questions concurrently; a permanent error of one stops them all."""
        options = self.options
        waiting = iter(enumerate(questions))

        async def work(client: openai.AsyncOpenAI) -> None:
            for place, question in waiting:
                report((place, await self._answer(client, question)))

        try:
            async with (
                openai.DefaultAsyncHttpxClient(auth=self._login, event_hooks={"response": [self._bound]}) as http,
                openai.AsyncOpenAI(
                    base_url=self.url,
                    api_key=self._key,
                    timeout=openai.Timeout(options.timeout, connect=min(CONNECT_SECONDS, options.timeout)),
                    max_retries=options.retries,
                    default_headers={"Accept-Encoding": "identity"},  # compressed, a few bytes could become many
                    http_client=http,
                ) as client,
                asyncio.TaskGroup() as group,
            ):
                if not self._answered:  # fails at once if there is no server, without any retries
                    group.create_task(asyncio.to_thread(getattr, self, "_listed"))
                for _ in range(min(options.concurrency, len(questions))):
                    group.create_task(work(client))
        except BaseExceptionGroup as stopped:
            raise stopped.exceptions[0] from None

    async def _bound(self, response: httpx2.Response) -> None:
        response.stream = _Bounded(cast(httpx2.AsyncByteStream, response.stream), self.options.timeout)

    async def _answer(self, client: openai.AsyncOpenAI, question: protocol.Question) -> protocol.Answer:
        """The answer to one question, or its failure after all retries.

        The client itself retries after a timeout, a lost connection or a retryable status, when the server says so or
        with growing pauses. Responses with a good status that can't be parsed are retried here.
        """
        started = time.perf_counter()
        messages = await asyncio.to_thread(_messages, question, self.options.images)
        for left in reversed(range(self.options.retries + 1)):
            try:
                answer = self._read(await self._send(client, messages))
            except _Malformed as error:
                answer = protocol.Answer(failure=f"malformed: {error}")
                if left:
                    await asyncio.sleep(_pause(self.options.retries - left))
                    continue
            except BadReply as error:
                answer = protocol.Answer(failure=f"malformed: {error}")
            except openai.OpenAIError as error:
                answer = protocol.Answer(
                    failure=await asyncio.to_thread(self._failure, error)
                )  # it may list the models
            break
        return replace(answer, seconds=time.perf_counter() - started)

    async def _send(self, client: openai.AsyncOpenAI, messages: Any) -> object:
        """Sends a request, again without parameters that the server refuses; these are remembered for all questions.

        Raises:
            OpenAIError: the client gave up.
            BadReply: the response is too long, or not JSON (then _Malformed).
        """
        refused = self._refused
        while True:
            parameters = self._parameters(refused)
            try:
                reply = await client.chat.completions.create(model=self._model, messages=messages, **parameters)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                unwanted = self._unwanted(parameters, _said(error))
                if unwanted is None:
                    raise
                refused |= {unwanted}
            except (ValueError, RecursionError) as error:
                raise _Malformed("the response is not complete JSON") from error
            else:
                self._refused |= refused
                return reply

    def _parameters(self, refused: frozenset[str]) -> dict[str, Any]:
        options = self.options
        asked: dict[str, Any] = {"temperature": 0, "seed": options.seed, "max_tokens": options.max_new_tokens}
        if options.answer_schema != "none":
            asked["response_format"] = {"type": "json_schema", "json_schema": SCHEMA}
        if "max_tokens" in refused:  # hosted reasoning models use another name
            asked["max_completion_tokens"] = options.max_new_tokens
        return {name: value for name, value in asked.items() if name not in refused}

    def _unwanted(self, parameters: Mapping[str, Any], said: str) -> str | None:
        """The parameter for which a request was refused: the one that the server names, else perhaps the schema."""
        droppable = [name for name in ("temperature", "seed", "max_tokens") if name in parameters]
        if self.options.answer_schema == "auto" and "response_format" in parameters:
            droppable.append("response_format")
        named = [name for name in droppable if re.search(rf"\b{name}\b", said)]
        return next(iter(named), "response_format" if "response_format" in droppable else None)

    # ---- responses

    def _read(self, reply: Any) -> protocol.Answer:
        """
        Raises:
            _Malformed: JSON, but not a chat completion.
        """
        try:
            choice = reply.choices[0]
            said = choice.message.content or getattr(choice.message, "refusal", None) or ""
            written, read = (int(getattr(reply.usage, f"{kind}_tokens", 0) or 0) for kind in ("completion", "prompt"))
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise _Malformed(f"the response has no message: {self._clean(_body(reply))}") from error
        if not isinstance(said, str):
            raise _Malformed(f"the message is not text: {self._clean(said)}")
        self._answered = True
        cost = (written * self.options.price_out + read * self.options.price_in) / 1_000_000
        finished = choice.finish_reason != "length"
        nothing = f"empty: the message has no text (finish reason {self._clean(choice.finish_reason)})"
        return protocol.Answer(
            text=self._redacted(said).strip(),
            tokens=written,
            read=read,
            finished=finished,
            failure=nothing if finished and not said.strip() else "",
            cost=cost,
        )

    def _failure(self, error: openai.OpenAIError) -> str:
        """Class and description of an error with one question.

        Raises:
            BadInput: every other question would have the same error.
        """
        if isinstance(error, openai.APITimeoutError):
            return f"timeout: no answer within {self.options.timeout:g} s after {self.options.retries + 1} attempts"
        if isinstance(error, openai.APIConnectionError):
            return f"connection: {self._clean(error.__cause__ or error)}"
        if not isinstance(error, openai.APIStatusError):
            return f"malformed: {self._clean(error)}"
        if self._stops(error):
            raise self._stopped(error) from None
        said = self._clean(_said(error))
        kind = "server error" if isinstance(error, openai.InternalServerError) else "refused"
        way = "; show it one with --set captioner.images=grid" if ONE_IMAGE.search(said) else ""
        return f"{kind}: HTTP {error.status_code}, {said}{way}"

    def _stops(self, error: openai.APIStatusError) -> bool:
        """Whether a status concerns all questions: key, payment, model, or a pause longer than the client waits.

        After the first answer, or if the model is listed, key and model are right, so a 403 or 404 is about the content
        of one question.
        """
        if error.status_code in (403, 404):
            return not self._answered and self._model not in self._listed
        rest = error.response.headers.get("retry-after", "")
        long = bool(re.fullmatch(r"\d+(\.\d+)?", rest)) and float(rest) > LONGEST_PAUSE
        return error.status_code in (401, 402) or long or error.code == "insufficient_quota"

    def _stopped(self, error: openai.APIStatusError) -> BadInput:
        said = f"{self.url} says HTTP {error.status_code}, {self._clean(_said(error))}"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return BadInput(f"{said}; set a valid key as OPENAI_API_KEY in the environment.")
        if isinstance(error, openai.NotFoundError):
            return BadInput(
                f"{said}; it lists {self._known()}, so set one with --set captioner.model=NAME "
                f"instead of '{self._model}', or correct captioner.url, which usually ends with /v1."
            )
        rest = error.response.headers.get("retry-after")
        return BadInput(f"{said}; run the same command again {f'in {rest} s' if rest else 'when that is settled'}.")

    def _clean(self, message: object) -> str:
        """A server's message as part of a sentence: one short line without the key."""
        return grammar.fold(self._redacted(str(message)))[:MOST_QUOTED].rstrip(".") or type(message).__name__

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "[key]") if len(self._key) >= SECRET else text


class _Malformed(BadReply):
    """A response with a good status can't be parsed; a retry may succeed."""


class _Bounded(httpx2.AsyncByteStream):
    """A response with limits on its size and duration."""

    def __init__(self, stream: httpx2.AsyncByteStream, seconds: float) -> None:
        self._stream, self._seconds = stream, seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, end = 0, time.monotonic() + self._seconds
        async for piece in self._stream:
            size += len(piece)
            if size > LARGEST:
                raise BadReply(f"the response is longer than {LARGEST:,} bytes and was not read to the end")
            if time.monotonic() > end:
                raise httpx2.ReadTimeout("the response does not end")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


def _address(url: str, *, from_options: bool) -> tuple[str, httpx2.BasicAuth | None]:
    """The URL without user and password, and these as login.

    Args:
        from_options: whether it is an option rather than from the environment; options are stored with the run, so they
            must not contain a password.

    Raises:
        BadInput: it is not a web address, or it contains a secret that would be stored or shown.
    """
    bare = re.sub(r"//[^/]*@", "//", url).partition("?")[0]
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise BadInput(f"captioner.url must be a web address such as {LOCAL_URL}, got '{bare}' ({error}).") from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise BadInput(f"captioner.url must be a web address such as {LOCAL_URL}, got '{bare}'.")
    if parts.query:
        raise BadInput(f"captioner.url must not have a query, got '{bare}?...'; the key goes into OPENAI_API_KEY.")
    if parts.userinfo and from_options:
        raise BadInput(
            f"captioner.url is stored with the run, so it must not contain a password, got '{bare}' with one; "
            "set the whole address as OPENAI_BASE_URL in the environment."
        )
    login = httpx2.BasicAuth(parts.username, parts.password) if parts.userinfo else None
    return str(parts.copy_with(userinfo=b"")), login


def _messages(question: protocol.Question, images: protocol.Images) -> list[dict[str, Any]]:
    """The conversation in the endpoint's format; a model's answers are plain text, since some servers take no parts."""
    messages = []
    for turn in protocol.conversation(question, images):
        parts = [_part(part, question) for part in turn["content"]]
        content = "".join(part["text"] for part in parts) if turn["role"] == "assistant" else parts
        messages.append({"role": turn["role"], "content": content})
    return messages


def _part(part: Mapping[str, Any], question: protocol.Question) -> dict[str, Any]:
    if part["type"] == "text":
        return dict(part)
    image = part["image"]
    most = MEGAPIXEL * (len(question.panels) if image is question.grid else 1)
    return {"type": "image_url", "image_url": {"url": _data_url(image, most)}}


def _data_url(image: Image.Image, most: int) -> str:
    """The picture as a JPEG data URL, scaled down to at most this many pixels."""
    shrink = (most / (image.width * image.height)) ** 0.5
    if shrink < 1:
        image = image.resize((max(1, int(image.width * shrink)), max(1, int(image.height * shrink))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _said(error: openai.APIStatusError) -> str:
    """A server's error message, which different servers put in different places."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body.get("error") or body
    return str(body or error.message)


def _body(reply: object) -> object:
    return reply.model_dump(exclude_none=True) if isinstance(reply, openai.BaseModel) else reply


def _pause(tries: int) -> float:
    """Seconds before the next attempt, as the client computes them."""
    return min(0.5 * 2.0**tries, 8.0) * random.uniform(0.75, 1)


def make(options: dict[str, Any]) -> Server:
    return Server(plugins.parse_options(Options, "the captioner server", options))
