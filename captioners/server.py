"""Any OpenAI-compatible endpoint: vLLM, SGLang, Ollama, LM Studio, `transformers serve` and hosted models.

The key comes from the environment (OPENAI_API_KEY) and goes nowhere but into the requests' header.
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

HERE = "http://localhost:8000/v1"
"""Where vLLM and `transformers serve` listen."""
MEGAPIXEL = 1_000_000
QUALITY = 95
LARGEST = 2**20
"""Bytes of a response that are read; an answer has some thousand, one of a model that thinks some hundred thousand."""
SOON = 10.0
"""Seconds within which a server takes a connection and lists its models."""
PATIENCE = 120.0
"""Seconds of rest that a server may ask for; the client waits no longer."""
SECRET = 8
"""Letters from which on a key is a secret: "none" and "EMPTY", which local servers are given, may stand in any text."""
SHORT = 300
"""Letters that are passed on of a server's message."""
SCHEMA = {"name": "joint_caption", "schema": JointReply.model_json_schema()}
ONE_IMAGE = re.compile(r"(at most|only) (1|one|a single) image|(multiple|more than one) images?", re.IGNORECASE)


class Options(plugins.Options):
    url: str = Field(default_factory=lambda: os.environ.get("OPENAI_BASE_URL") or HERE)
    """Base URL; that of most servers ends with /v1."""
    model: str = ""
    """Name as the server knows it; may be left out where it lists exactly one."""
    concurrency: int = Field(16, ge=1, le=512)
    """Questions under way at once."""
    timeout: float = Field(120, gt=0)
    """Seconds without an answer after which a question is asked again."""
    retries: int = Field(5, ge=0, le=20)
    max_new_tokens: int = Field(768, ge=32)
    """A joint caption of four detailed panels takes about 300 tokens, its JSON frame another 100; a model that thinks
    first needs some thousand."""
    seed: int = 0
    images: protocol.Images = "panels"
    answer_schema: Literal["auto", "json_schema", "none"] = Field("auto", alias="schema")
    """Whether the server is asked to hold the model to the JSON schema of an answer; "auto" goes on without where the
    server refuses that."""
    price_in: float = Field(0, ge=0)
    """Price of a million tokens read, in any currency."""
    price_out: float = Field(0, ge=0)


class Server:
    verbatim = False

    def __init__(self, options: Options) -> None:
        self.options = options
        # A batch ends with its slowest answer, so it should be several times what is under way at once; but each grid
        # of it takes up to 10 MB of memory as pixels.
        self.batch = max(options.concurrency, min(4 * options.concurrency, 128))
        self.url, self._login = _address(options.url, told="url" in options.model_fields_set)
        self._key = os.environ.get("OPENAI_API_KEY", "").strip() or "none"
        if not (self._key.isascii() and self._key.isprintable()):
            raise BadInput("OPENAI_API_KEY holds letters that no key has, so it can't be sent; set it anew.")
        self._refused: frozenset[str] = frozenset()
        """Parameters that this server does not take."""
        self._answered = False

    def __reduce__(self) -> tuple[type[Server], tuple[Options]]:
        """Another process gets the options and takes the key from its own environment."""
        return Server, (self.options,)

    def identity(self) -> dict[str, Any]:
        """
        Raises:
            BadInput: no model was named and the server does not list exactly one.
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
            BadInput: there is no server, or it does not take the key, or it has no such model, or it wants no more
                questions before some time has passed.
        """
        came: SimpleQueue[tuple[int, protocol.Answer] | None] = SimpleQueue()
        with start_blocking_portal() as portal:
            job = portal.start_task_soon(self._ask, questions, came.put)
            job.add_done_callback(lambda _: came.put(None))
            while found := came.get():
                yield found
            job.result()

    # ---- the server and its models

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        """Names of the server's models; none where it does not list them.

        A model that is not among them may be there all the same: `transformers serve` does not list folders.
        """
        try:
            with (
                openai.DefaultHttpxClient(auth=self._login) as http,
                openai.OpenAI(base_url=self.url, api_key=self._key, timeout=SOON, http_client=http) as client,
            ):
                return tuple(str(model.id) for model in client.models.list().data)
        except openai.APITimeoutError:
            return ()  # it is there, but busy
        except openai.APIConnectionError as error:
            raise BadInput(
                f"no server answers at {self.url} ({self._clean(error.__cause__ or error)}); "
                "start it, or name another with --set captioner.url=URL."
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise self._stopped(error) from None
        except (openai.OpenAIError, AttributeError, TypeError, ValueError):  # no list, or not in the form of one
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
        self, questions: Sequence[protocol.Question], tell: Callable[[tuple[int, protocol.Answer]], None]
    ) -> None:
        """Answers all questions, several at once; what stops one of them for good stops them all."""
        options = self.options
        waiting = iter(enumerate(questions))

        async def work(client: openai.AsyncOpenAI) -> None:
            for place, question in waiting:
                tell((place, await self._answer(client, question)))

        try:
            async with (
                openai.DefaultAsyncHttpxClient(auth=self._login, event_hooks={"response": [self._bound]}) as http,
                openai.AsyncOpenAI(
                    base_url=self.url,
                    api_key=self._key,
                    timeout=openai.Timeout(options.timeout, connect=min(SOON, options.timeout)),
                    max_retries=options.retries,
                    default_headers={"Accept-Encoding": "identity"},  # else few bytes may become many
                    http_client=http,
                ) as client,
                asyncio.TaskGroup() as group,
            ):
                if not self._answered:  # no server at all is told at once and not after every question's retries
                    group.create_task(asyncio.to_thread(getattr, self, "_listed"))
                for _ in range(min(options.concurrency, len(questions))):
                    group.create_task(work(client))
        except BaseExceptionGroup as stopped:
            raise stopped.exceptions[0] from None

    async def _bound(self, response: httpx2.Response) -> None:
        response.stream = _Bounded(cast(httpx2.AsyncByteStream, response.stream), self.options.timeout)

    async def _answer(self, client: openai.AsyncOpenAI, question: protocol.Question) -> protocol.Answer:
        """The answer to one question, or what became of it after all retries.

        The client itself asks again after a time-out, a cut connection and the statuses that call for it, when the
        server bids it to or with growing pauses; what comes with a good status and can't be read is asked for again
        here.
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
                )  # it may look at the models
            break
        return replace(answer, seconds=time.perf_counter() - started)

    async def _send(self, client: openai.AsyncOpenAI, messages: Any) -> object:
        """Asks, and again without the parameters that the server refuses; which these are is kept for all questions.

        Raises:
            OpenAIError: the client gave up.
            BadReply: what came is too long, or no JSON (then _Malformed).
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
                raise _Malformed("the response is no whole JSON") from error
            else:
                self._refused |= refused
                return reply

    def _parameters(self, refused: frozenset[str]) -> dict[str, Any]:
        options = self.options
        asked: dict[str, Any] = {"temperature": 0, "seed": options.seed, "max_tokens": options.max_new_tokens}
        if options.answer_schema != "none":
            asked["response_format"] = {"type": "json_schema", "json_schema": SCHEMA}
        if "max_tokens" in refused:  # hosted models that think know it by another name
            asked["max_completion_tokens"] = options.max_new_tokens
        return {name: value for name, value in asked.items() if name not in refused}

    def _unwanted(self, parameters: Mapping[str, Any], said: str) -> str | None:
        """The parameter on whose account a request was refused: the one that is named, else perhaps the schema."""
        droppable = [name for name in ("temperature", "seed", "max_tokens") if name in parameters]
        if self.options.answer_schema == "auto" and "response_format" in parameters:
            droppable.append("response_format")
        named = [name for name in droppable if re.search(rf"\b{name}\b", said)]
        return next(iter(named), "response_format" if "response_format" in droppable else None)

    # ---- reading what came

    def _read(self, reply: Any) -> protocol.Answer:
        """
        Raises:
            _Malformed: JSON, but not in the form of a chat's completion.
        """
        try:
            choice = reply.choices[0]
            said = choice.message.content or getattr(choice.message, "refusal", None) or ""
            written, read = (int(getattr(reply.usage, f"{kind}_tokens", 0) or 0) for kind in ("completion", "prompt"))
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise _Malformed(f"the response has no message: {self._clean(_body(reply))}") from error
        if not isinstance(said, str):
            raise _Malformed(f"the message is no text: {self._clean(said)}")
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
        """Class and sentence of an error that one question met.

        Raises:
            BadInput: every other question would meet it too.
        """
        if isinstance(error, openai.APITimeoutError):
            return f"timeout: no answer within {self.options.timeout:g} s, asked {self.options.retries + 1} times"
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
        """Whether a status concerns all questions: key, bill, model, or a rest longer than the client waits.

        Once an answer has come, or the model is on the list, key and model are right; then a 403 or 404 is about one
        question's content.
        """
        if error.status_code in (403, 404):
            return not self._answered and self._model not in self._listed
        rest = error.response.headers.get("retry-after", "")
        long = bool(re.fullmatch(r"\d+(\.\d+)?", rest)) and float(rest) > PATIENCE
        return error.status_code in (401, 402) or long or error.code == "insufficient_quota"

    def _stopped(self, error: openai.APIStatusError) -> BadInput:
        told = f"{self.url} says HTTP {error.status_code}, {self._clean(_said(error))}"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return BadInput(f"{told}; put a key that it takes into the environment as OPENAI_API_KEY.")
        if isinstance(error, openai.NotFoundError):
            return BadInput(
                f"{told}; it lists {self._known()}, so name one with --set captioner.model=NAME "
                f"instead of '{self._model}', or mend captioner.url, which mostly ends with /v1."
            )
        rest = error.response.headers.get("retry-after")
        return BadInput(f"{told}; type the same again {f'in {rest} s' if rest else 'when that is settled'}.")

    def _clean(self, message: object) -> str:
        """A stranger's words as part of a sentence: one line, not long, without the key."""
        return grammar.fold(self._redacted(str(message)))[:SHORT].rstrip(".") or type(message).__name__

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "[key]") if len(self._key) >= SECRET else text


class _Malformed(BadReply):
    """What came with a good status can't be read; the next try may bring it whole."""


class _Bounded(httpx2.AsyncByteStream):
    """A response that may neither be endless nor trickle for ever."""

    def __init__(self, stream: httpx2.AsyncByteStream, seconds: float) -> None:
        self._stream, self._seconds = stream, seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, end = 0, time.monotonic() + self._seconds
        async for piece in self._stream:
            size += len(piece)
            if size > LARGEST:
                raise BadReply(f"the response is longer than {LARGEST:,} bytes and was not read to its end")
            if time.monotonic() > end:
                raise httpx2.ReadTimeout("the response does not come to its end")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


def _address(url: str, *, told: bool) -> tuple[str, httpx2.BasicAuth | None]:
    """The URL without user and password, and these.

    Args:
        told: it is an option and not from the environment; options are kept with the run, so it may hold no password.

    Raises:
        BadInput: it is no web address, or holds what would be kept or shown and is secret.
    """
    bare = re.sub(r"//[^/]*@", "//", url).partition("?")[0]
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise BadInput(f"captioner.url is no web address, got '{bare}' ({error}).") from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise BadInput(f"captioner.url is no web address, got '{bare}'; one looks like {HERE}.")
    if parts.query:
        raise BadInput(
            f"captioner.url may not go on after a question mark, got '{bare}?...'; the key is OPENAI_API_KEY."
        )
    if parts.userinfo and told:
        raise BadInput(
            f"captioner.url would be kept with the run and may hold no password, got '{bare}' with one; "
            "put the whole address into the environment as OPENAI_BASE_URL."
        )
    login = httpx2.BasicAuth(parts.username, parts.password) if parts.userinfo else None
    return str(parts.copy_with(userinfo=b"")), login


def _messages(question: protocol.Question, images: protocol.Images) -> list[dict[str, Any]]:
    """The conversation in the form of the endpoint. What a model said goes back as plain text: some take no parts."""
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
    """The picture as JPEG, made smaller where it has more than so many pixels."""
    shrink = (most / (image.width * image.height)) ** 0.5
    if shrink < 1:
        image = image.resize((max(1, int(image.width * shrink)), max(1, int(image.height * shrink))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _said(error: openai.APIStatusError) -> str:
    """What the server wrote about an error; servers put it in different places."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body.get("error") or body
    return str(body or error.message)


def _body(reply: object) -> object:
    return reply.model_dump(exclude_none=True) if isinstance(reply, openai.BaseModel) else reply


def _pause(tries: int) -> float:
    """Seconds before the next try, as the client reckons them."""
    return min(0.5 * 2.0**tries, 8.0) * random.uniform(0.75, 1)


def make(options: dict[str, Any]) -> Server:
    return Server(plugins.parse_options(Options, "the captioner server", options))
