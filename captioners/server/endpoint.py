"""The endpoint of the captioner `server`: its address and models, and what its errors mean."""

from __future__ import annotations

import os
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2
import openai
from anyio.from_thread import start_blocking_portal

from captioners.server import responses
from captioners.server.connection import Client
from captioners.server.responses import Fault
from pipeline.errors import BadInput, BadReply
from pipeline.network import find_proxy, why
from pipeline.text import grammar
from pipeline.wording import command, escaped

if TYPE_CHECKING:
    from captioners.server import Options

LOCAL_URL = "http://localhost:8000/v1"
"""Where vLLM and `transformers serve` listen."""
LARGEST, LONGEST_LIST = 2**20, 2**24
"""Largest response, and largest list of models, in bytes; an answer has a few thousand, that of a reasoning model a few
hundred thousand."""
CONNECT_SECONDS = 10.0
"""Time limit, in seconds, for a server to accept a connection, and to list its models."""
LIST_RETRIES = 2
LONGEST_PAUSE = 120.0
"""Longest pause, in seconds, that a server may ask for; the client waits no longer."""
SECRET = 8
"""Characters; shorter keys, such as "none" and "EMPTY" for local servers, are not secret and may be in any text."""
MOST_QUOTED = 300
"""Most characters of a server's message that are quoted."""
MOST_LISTED = 20
"""Most models that are named in a sentence."""
ONE_IMAGE = re.compile(
    r"(at most|only) (1|one|a single) image|(multiple|more than one|too many|number of) images?|image count|"
    r"images? per (prompt|request)",
    re.IGNORECASE,
)
NO_ENDPOINT = re.compile(
    r"unexpected endpoint|not found|(no such|unknown|invalid) (url|route|path|endpoint)", re.IGNORECASE
)
SCHEMA = re.compile(r"schema|grammar|response_format", re.IGNORECASE)
LAST_PORT = 2**16 - 1
MISSING = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
"""Statuses that concern one question once address, key and model are known to be right, and all questions before."""
FINAL = (HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)


class Endpoint:
    """
    Attributes:
        url: the address without user and password.
        answered: whether there was an answer yet.
    """

    def __init__(self, options: Options) -> None:
        """
        Raises:
            BadInput: address or key can't be used.
        """
        self.options = options
        self.url, self._login = _address(options.url, from_options="url" in options.model_fields_set)
        self._key = os.environ.get("OPENAI_API_KEY", "").strip() or "none"
        if not (self._key.isascii() and self._key.isprintable()):
            raise BadInput("OPENAI_API_KEY contains characters that no key has, so it can't be sent; set it again.")
        self._models: tuple[str, ...] | None = None
        self.answered = False

    def client(self) -> openai.AsyncOpenAI:
        """
        Raises:
            BadInput: there is a proxy that can't be used.
        """
        return self._client(self.options.timeout, self.options.retries, LARGEST)

    def _client(self, seconds: float, retries: int, largest: int) -> openai.AsyncOpenAI:
        http = Client(find_proxy(self.url), seconds=seconds, largest=largest, auth=self._login)
        return openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._key,
            timeout=openai.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
            max_retries=retries,
            default_headers={"Accept-Encoding": "identity"},
            http_client=http,
        )

    # ---- the models

    @property
    def model(self) -> str:
        """
        Raises:
            BadInput: none is set, and the server does not list exactly one.
        """
        if self.options.model:
            return self.options.model
        if len(self.models) != 1:
            usual = "" if self.models or _has_version(self.url) else f" {self._usual_address()}, or"
            raise BadInput(f"{self.url} lists {self._known()};{usual} name one with --set captioner.model=NAME.")
        return self.models[0]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the server's models, asked for once; empty if it does not list them.

        A model that is not listed may exist all the same: `transformers serve` does not list folders.

        Raises:
            BadInput: there is no server, it rejects the key, or it is at another address.
        """
        if self._models is None:
            with start_blocking_portal() as portal:
                made = self._client(CONNECT_SECONDS, LIST_RETRIES, LONGEST_LIST)
                with portal.wrap_async_context_manager(made) as client:
                    self._models = portal.call(self._ask, client)
        return self._models

    @property
    def proven(self) -> bool:
        """Whether address, key and model are known to be right: there was an answer, or the model is listed."""
        return self.answered or self.listed

    @property
    def listed(self) -> bool:
        """Whether the server lists the model, as far as it was asked."""
        return self._models is not None and self.model in self._models

    async def _ask(self, client: openai.AsyncOpenAI) -> tuple[str, ...]:
        try:
            response = await client.get("/models", cast_to=httpx2.Response)
            data = responses.parse(response.content)
        except openai.APITimeoutError:
            return ()  # the server exists but is busy
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, BadReply):  # see `lost`
                return ()
            raise self._unreachable(error) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise self._stopped(responses.fault_of(error)) from None
        except (openai.OpenAIError, BadReply, ValueError, RecursionError):  # no list, or a malformed one
            return ()
        if (fault := responses.fault_in(data)) and not _has_version(self.url):
            raise self.elsewhere(str(fault))
        models = data.get("data") if isinstance(data, dict) else None
        names = [model.get("id") for model in models if isinstance(model, dict)] if isinstance(models, list) else []
        return tuple(name for name in names if isinstance(name, str))

    def _known(self) -> str:
        listed = self._models or ()
        names = [self.clean(name) for name in listed[:MOST_LISTED]]
        more = f" and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
        return f"the models {', '.join(names)}{more}" if names else "no models"

    # ---- errors

    def failure(self, fault: Fault) -> str:
        """Kind and description of an error with one question.

        Raises:
            BadInput: every other question would have the same error.
        """
        if self._stops(fault):
            raise self._stopped(fault)
        wrong = fault.status == HTTPStatus.METHOD_NOT_ALLOWED or (fault.disguised and NO_ENDPOINT.search(fault.said))
        if wrong and not self.proven:
            raise self.elsewhere(str(fault))
        if fault.refused and self.options.answer_schema == "json_schema" and SCHEMA.search(fault.said):
            raise BadInput(
                f"{self.url} refuses the schema of the answer ({self.clean(fault)}); do without it with --set "
                "captioner.schema=auto."
            )
        way = "; show it one with --set captioner.images=grid" if ONE_IMAGE.search(fault.said) else ""
        return f"{'refused' if fault.refused else 'server error'}: {self.clean(fault)}{way}"

    def lost(self, error: openai.OpenAIError) -> str:
        """Kind and description of a request that got no response."""
        if isinstance(error, openai.APITimeoutError):
            return f"timeout: no answer within {self.options.timeout:g} s after {self.options.retries + 1} attempts"
        if isinstance(error.__cause__, BadReply):  # older versions of openai take it for a lost connection
            return f"malformed: {error.__cause__}"
        if isinstance(error, openai.APIConnectionError):
            return f"connection: {self.clean(why(error))}{self._through()}"
        return f"malformed: {self.clean(error)}"

    def elsewhere(self, said: str) -> BadInput:
        """The error that the address is not that of the protocol.

        Args:
            said: what is there instead.
        """
        return BadInput(
            f"{self._named} does not answer as an OpenAI-compatible server ({self.clean(said)}); "
            f"{self._usual_address()}."
        )

    def too_large(self, pixels: int, said: str) -> BadInput:
        """The error that not even the smallest pictures fit.

        Args:
            pixels: of the smallest.
            said: what the server says about them.
        """
        return BadInput(
            f"{self.url} finds even pictures of {pixels:,} pixels too large ({self.clean(said)}); raise the server's "
            "limit, or send less with --set captioner.quality=60 or --set captioner.images=grid."
        )

    def _unreachable(self, error: openai.APIConnectionError) -> BadInput:
        proxy, reason = find_proxy(self.url), self.clean(why(error))
        if proxy:
            host = httpx2.URL(self.url).host
            return BadInput(
                f"no server answers at {self._named} through {proxy} ({reason}); correct or unset {proxy.variable}, "
                f"set NO_PROXY={host}, or start the server."
            )
        return BadInput(
            f"no server answers at {self._named} ({reason}); start one there, or give the address of yours with --set "
            "captioner.url=URL."
        )

    def _stops(self, fault: Fault) -> bool:
        """Whether an error concerns all questions: key, payment, model, or a pause longer than the client waits."""
        if fault.status in MISSING:
            return not self.proven
        long = bool(re.fullmatch(r"\d{1,12}(\.\d+)?", fault.wait)) and float(fault.wait) > LONGEST_PAUSE
        return fault.status in FINAL or long or fault.code == "insufficient_quota"

    def _stopped(self, fault: Fault) -> BadInput:
        said = f"{self.url} says {self.clean(fault)}"
        if fault.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return BadInput(f"{said}; set a valid key as OPENAI_API_KEY in the environment.")
        if fault.status == HTTPStatus.NOT_FOUND:
            return BadInput(
                f"{said}; it lists {self._known()}, and the run keeps '{self.clean(self.model)}' until it is set anew: "
                f"give the same command with {self._other_model()}, or correct captioner.url; {self._usual_address()}."
            )
        if fault.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return BadInput(f"{said}{self._through()}; put a valid user and password into the proxy's address.")
        when = f"in {fault.wait[:20]} s" if fault.wait else "when that is settled"
        return BadInput(f"{said}; run the same command again {when}.")

    def _other_model(self) -> str:
        """What to add to a command so that it asks a model that the server has."""
        names = [name for name in self._models or () if name != self.model]
        return command(["--set", f"captioner.model={self.clean(names[0]) if names else 'NAME'}"])

    @property
    def _named(self) -> str:
        """The address, and where it comes from if it is no setting."""
        if "url" in self.options.model_fields_set:
            return self.url
        if os.environ.get("OPENAI_BASE_URL"):
            return f"the address {self.url} in OPENAI_BASE_URL"
        return f"the default address {self.url}"

    def _through(self) -> str:
        proxy = find_proxy(self.url)
        return f" (through {proxy})" if proxy else ""

    def _usual_address(self) -> str:
        if "url" not in self.options.model_fields_set:
            return "give the address of yours with --set captioner.url=URL, which usually ends with /v1"
        way = "" if _has_version(self.url) else f"; try --set captioner.url={self.url.rstrip('/')}/v1"
        return f"captioner.url usually ends with /v1{way}"

    def clean(self, message: object) -> str:
        """A server's message as part of a sentence: one short line without the key, on which no terminal acts."""
        line = escaped(grammar.fold(self.redacted(str(message))[: 4 * MOST_QUOTED]))
        return line[:MOST_QUOTED].rstrip(".") or type(message).__name__

    def redacted(self, text: str) -> str:
        return text.replace(self._key, "[key]") if len(self._key) >= SECRET else text


def _has_version(url: str) -> bool:
    """Whether an address has a part such as /v1."""
    return bool(re.search(r"/v\d", url))


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
    port = 1 if parts.port is None else parts.port
    if parts.scheme not in ("http", "https") or not parts.host or not 0 < port <= LAST_PORT:
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
