"""Asks an OpenAI-compatible endpoint: vLLM, SGLang, Ollama, LM Studio, `transformers serve` or a hosted model.

The key comes from the environment (OPENAI_API_KEY) and is only ever put into the request header.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from queue import SimpleQueue
from typing import Annotated, Any, Literal

import httpx2
import openai
from anyio.from_thread import start_blocking_portal
from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from captioners.server import requests, responses
from captioners.server.endpoint import LOCAL_URL, ONE_IMAGE, Endpoint
from captioners.server.responses import Malformed, Refused
from pipeline import plugins
from pipeline.captioning import protocol, thoughts
from pipeline.captioning.jpegs import Form
from pipeline.captioning.streak import MOST
from pipeline.errors import BadReply
from pipeline.network import find_proxy

MEGAPIXEL, QUALITY = 1_000_000, 95
SMALLEST = 2**15
"""Pixels; below this a panel shows too little to be described."""
OURS = ("messages", "model", "stream")
"""Parameters that `captioner.extra` can't replace."""
TOO_LARGE = re.compile(
    r"(request|payload|body|entity|images?)\b.{0,40}\b(too (large|big|long)|exceed|over the (limit|maximum))|"
    r"image (size|dimensions?|resolution)\b.{0,40}\b(exceed|too|larger)|too many (pixels|image tokens)|"
    r"maximum (context|model) length|context (length|window|size|limit)|max_model_len|"
    r"inputs?\b.{0,60}\b(must have (less|fewer) than|longer than|exceed)",
    re.IGNORECASE,
)
"""How servers and hosted models say that smaller pictures would fit."""
REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""Statuses of a request that may have a parameter too many."""


def _read_extra(given: Any) -> Any:
    """JSON, as people copy it from a server's documentation, beside a table of TOML."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise ValueError('must be a table such as {top_k = 20} or JSON such as {"top_k": 20}') from error


def _check_extra(given: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if taken := sorted(given.keys() & set(OURS)):
        raise ValueError(f"can't set {' and '.join(taken)}")
    return given


class Options(plugins.Options):
    url: str = Field(default_factory=lambda: os.environ.get("OPENAI_BASE_URL") or LOCAL_URL)
    """Base URL; for most servers it ends with /v1. If not set, that in `OPENAI_BASE_URL`, else http://localhost:8000/v1."""
    model: str = ""
    """The model's name on the server; may be left out if the server lists exactly one."""
    concurrency: int = Field(16, ge=1, le=512)
    """Concurrent requests."""
    timeout: float = Field(120, gt=0)
    """Seconds for a whole answer before the request is retried."""
    retries: int = Field(5, ge=0, le=20)
    """How often a request is repeated after a timeout, a lost connection or a busy server."""
    max_new_tokens: int = Field(768, ge=32)
    """Token limit of an answer, doubled once if it was not enough. A joint caption of four detailed panels takes about
    300, its JSON frame another 100; a model that thinks before it answers needs several thousand."""
    thinking: thoughts.Thinking | None = None
    """Whether the model thinks before it answers: off, on, or the number of tokens that it may spend on that besides
    those of the answer. If not set, it does as its server has it."""
    extra: Annotated[dict[str, JsonValue], BeforeValidator(_read_extra), AfterValidator(_check_extra)] = Field(
        default_factory=dict
    )
    """Further parameters of every request, sent as they are; they replace those of the same name."""
    seed: int = 0
    """Sent with every request; another one asks for other captions."""
    images: protocol.Images = "panels"
    """What the model sees: each panel as a separate picture, the grid as one picture, or both."""
    max_pixels: int = Field(MEGAPIXEL, ge=1024)
    """Most pixels per panel that are sent; halved as often as necessary if the server finds a request too large."""
    quality: int = Field(QUALITY, ge=1, le=100)
    """Quality of the JPEGs that are sent."""
    answer_schema: Literal["auto", "json_schema", "none"] = Field("auto", alias="schema")
    """Whether the server is asked to enforce the JSON schema of an answer; "auto" does without if the server
    refuses."""
    price_in: float = Field(0, ge=0)
    """Price per million input tokens, in any currency."""
    price_out: float = Field(0, ge=0)
    """Price per million output tokens."""


class Server:
    verbatim, streams = False, True

    def __init__(self, options: Options) -> None:
        self.options = options
        self.sends = Form(options.max_pixels, options.quality) if options.images == "panels" else None
        self.batch = max(options.concurrency, min(4 * options.concurrency, 128))
        self._endpoint = Endpoint(options)
        self._refused: Counter[str] = Counter()
        """By parameter, how many of its forms this server refuses."""
        self._too_large, self._said = math.inf, ""
        """Bytes of pictures that this server finds too many, and what it says about them."""
        self._finished = False
        """Whether there was an answer yet that was not cut off."""

    def __reduce__(self) -> tuple[type[Server], tuple[Options]]:
        """Another process gets the options and takes the key from its own environment."""
        return Server, (self.options,)

    def identity(self) -> dict[str, Any]:
        """
        Raises:
            BadInput: no model is set and the server does not list exactly one, or there is a proxy that can't be used.
        """
        find_proxy(self._endpoint.url)  # here, so that it fails before any work is done
        options = self.options
        later: dict[str, Any] = {"thinking": None, "extra": {}, "max_pixels": MEGAPIXEL, "quality": QUALITY}
        return {
            "captioner": "server",
            "url": self._endpoint.url,
            "model": self._endpoint.model,
            "max_new_tokens": options.max_new_tokens,
            "seed": options.seed,
            "images": options.images,
            "schema": options.answer_schema,
            # Answers that were kept before there were these options have an identity without them.
            **{name: value for name, usual in later.items() if (value := getattr(options, name)) != usual},
        }

    def ask(self, questions: Iterable[protocol.Question]) -> Iterator[tuple[int, protocol.Answer]]:
        """
        Raises:
            BadInput: there is no server, it rejects the key, it lacks the model, it asks for too long a pause, or it
                refuses what every question has.
        """
        if not self._endpoint.answered:
            _ = self._endpoint.models  # fails at once if there is no server, without any retries
        done: SimpleQueue[int] = SimpleQueue()
        waiting, failed = enumerate(questions), 0
        running: dict[int, Future[protocol.Answer]] = {}
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self._endpoint.client()) as client:
            try:
                while True:
                    # A question is begun only while somebody listens, so that nothing is sent in vain.
                    more = next(waiting, None) if len(running) < self._allowed(failed) else None
                    if more:
                        place, question = more
                        running[place] = portal.start_task_soon(self._answer, client, question)
                        running[place].add_done_callback(partial(_put, done, place))
                        if done.empty():
                            continue
                    if not running:
                        return
                    place = done.get()
                    answer = running.pop(place).result()
                    failed = failed + 1 if answer.failure or not answer.finished else 0
                    self._finished = self._finished or not failed
                    yield place, answer
            finally:
                for future in running.values():
                    future.cancel()

    def _allowed(self, failed: int) -> int:
        """How many questions may be under way.

        A server that has not answered yet, or has failed several times in a row, is asked no more than what it takes to
        see that it always fails; whoever still listens then wants the rest all the same.

        Args:
            failed: how many questions in a row have failed.
        """
        most = self.options.concurrency
        if failed >= MOST:
            return most
        if not self._finished:
            most = min(most, MOST if self._endpoint.listed else 1)
        return max(1, min(most, MOST - failed)) if failed else most

    async def _answer(self, client: openai.AsyncOpenAI, question: protocol.Question) -> protocol.Answer:
        """The answer to one question, or its failure after all retries; one that is cut off is asked for once more.

        Raises:
            BadInput: every other question would have the same error.
        """
        started = time.perf_counter()
        tokens = thoughts.budget(self.options.thinking, self.options.max_new_tokens)
        answer = await self._attempt(client, question, tokens)
        if not answer.finished:
            longer = await self._attempt(client, question, 2 * tokens, doubled=True)
            answer = replace(
                answer if longer.failure.startswith("refused") else longer,  # the limit may be more than the model has
                tokens=answer.tokens + longer.tokens,
                read=answer.read + longer.read,
                cost=answer.cost + longer.cost,
            )
        return replace(answer, seconds=time.perf_counter() - started)

    async def _attempt(
        self, client: openai.AsyncOpenAI, question: protocol.Question, tokens: int, *, doubled: bool = False
    ) -> protocol.Answer:
        """An answer of so many tokens at most.

        The client itself retries after a timeout, a lost connection or a retryable status, when the server says so or
        with growing pauses. Responses with a good status that are no answer are retried here.
        """
        for tries in itertools.count():
            try:
                return self._read(await self._send(client, question, tokens, doubled=doubled))
            except Malformed as error:
                if error.page and not self._endpoint.proven:
                    raise self._endpoint.elsewhere("it sends a web page") from None
                failure, most = f"malformed: {self._endpoint.clean(error)}", self.options.retries if error.cut else 1
            except Refused as error:
                failure, most = self._endpoint.failure(error.fault), int(error.fault.passing)
            except BadReply as error:
                failure, most = f"malformed: {error}", 0
            except openai.OpenAIError as error:
                failure, most = self._endpoint.lost(error), 0
            if tries >= min(most, self.options.retries):
                break
            await asyncio.sleep(_pause(tries))
        return protocol.Answer(failure=failure)

    async def _send(
        self, client: openai.AsyncOpenAI, question: protocol.Question, tokens: int, *, doubled: bool
    ) -> Any:
        """Sends a request, again with smaller pictures if it is too large, and without parameters that are refused.

        What a server refuses is remembered for all questions.

        Args:
            doubled: whether the limit of tokens was raised, so that it is no wonder if it is refused.

        Raises:
            OpenAIError: the client gave up.
            Refused: the server answers with an error.
            BadReply: the response is too long, or not JSON (then Malformed).
            BadInput: the server refuses what every question has.
        """
        options, refused = self.options, self._refused.copy()
        messages, size = await self._fitting(question)
        schema = requests.schema_of(question)
        while True:
            sent = requests.parameters(options, tokens, refused, schema)
            try:
                body = {"model": self._endpoint.model, "messages": messages, **sent}
                content = requests.encoded(body)
                response = await client.post("/chat/completions", cast_to=httpx2.Response, content=content)
                data = responses.parse(response.content)
                fault = responses.fault_in(data)
            except openai.APIStatusError as error:
                fault = responses.fault_of(error)
            except (ValueError, RecursionError) as error:  # of an error's body
                raise Malformed("the response can't be read") from error
            if fault is None:
                self._refused |= refused
                return data
            name = requests.unwanted(options, sent, fault.said) if fault.status in REFUSALS else None
            # With more tokens for the answer there is less room for the pictures, which were not too large before.
            crowded = _is_about_size(fault.said) and name in (None, "response_format", "max_tokens")
            if fault.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (crowded and not doubled):
                self._too_large, self._said = min(self._too_large, size), str(fault)
                messages, size = await self._fitting(question)
            elif name is not None and not (doubled and (crowded or name == "max_tokens")):
                refused[name] += 1
            else:
                raise Refused(fault)

    async def _fitting(self, question: protocol.Question) -> tuple[list[dict[str, Any]], int]:
        """A question's messages with the largest pictures that the server may take, and the bytes of these.

        Raises:
            BadInput: it finds even the smallest too large.
        """
        options, pixels = self.options, self.options.max_pixels
        while True:
            make = partial(requests.messages, question, options.images, pixels, options.quality)
            messages = await asyncio.to_thread(make)
            if (size := requests.size(messages)) < self._too_large:
                return messages, size
            if pixels // 2 < SMALLEST:
                raise self._endpoint.too_large(pixels, self._said)
            pixels //= 2

    def _read(self, data: Any) -> protocol.Answer:
        """
        Raises:
            Malformed: it is no chat completion.
        """
        message = responses.message_of(data)
        self._endpoint.answered = True
        cost = (message.written * self.options.price_out + message.read * self.options.price_in) / 1_000_000
        finished = message.finish != "length"
        nothing = f"empty: the message has no text (finish reason {self._endpoint.clean(message.finish)})"
        return protocol.Answer(
            text=self._endpoint.redacted(message.text).strip(),
            tokens=message.written,
            read=message.read,
            finished=finished,
            failure=nothing if finished and not message.text.strip() else "",
            cost=cost,
        )


def _is_about_size(said: str) -> bool:
    return bool(TOO_LARGE.search(said)) and not ONE_IMAGE.search(said)


def _put(done: SimpleQueue[int], place: int, _: Future[protocol.Answer]) -> None:
    done.put(place)


def _pause(tries: int) -> float:
    """Seconds before the next attempt, as the client computes them."""
    return min(0.5 * 2.0**tries, 8.0) * random.uniform(0.75, 1)


def make(options: dict[str, Any]) -> Server:
    return Server(plugins.parse_options(Options, "the captioner server", options))
