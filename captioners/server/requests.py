"""What the captioner `server` sends: pictures, and parameters in the dialects of several kinds of servers."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from pipeline.captioning import protocol
from pipeline.captioning.jpegs import Form
from pipeline.captioning.replies import JointReply
from pipeline.captioning.thoughts import Thinking

if TYPE_CHECKING:
    from PIL import Image

    from captioners.server import Options

SCHEMA: Mapping[str, Any] = {"name": "joint_caption", "schema": JointReply.model_json_schema()}
EFFORTS = ((1024, "low"), (8192, "medium"))
"""Most tokens of thinking that each effort stands for, by Google's table for its OpenAI-compatible endpoint; more is
"high"."""
LIMITS = ("max_tokens", "max_completion_tokens")
"""Names of the parameter that limits an answer."""

Ways = dict[str, list[dict[str, Any]]]
_BODY = TypeAdapter(dict[str, Any])


def schema_of(question: protocol.Question) -> Mapping[str, Any]:
    """The schema of an answer, as a server takes it."""
    if question.form is None:
        return SCHEMA
    schema = question.form.model_json_schema()
    return {"name": schema["title"], "schema": schema}


def ways(options: Options, tokens: int, schema: Mapping[str, Any] = SCHEMA) -> Ways:
    """By parameter, the forms in which it is sent, the most usual first; after the last it is left out."""
    found: Ways = {
        "temperature": [{"temperature": 0}],
        "seed": [{"seed": options.seed}],
        "max_tokens": [{name: tokens} for name in LIMITS],  # hosted reasoning models know only the second
    }
    if options.answer_schema != "none":
        found["response_format"] = [{"response_format": {"type": "json_schema", "json_schema": schema}}]
    if options.thinking is not None:
        found |= _thinking(options.thinking)
    return found


def _thinking(thinking: Thinking) -> Ways:
    """All servers ignore or refuse what they don't know, so each kind is told in its own words."""
    think, template, efforts = thinking != "off", {"enable_thinking": thinking != "off"}, ["medium"]
    if thinking == "off":
        efforts = ["none", "minimal", "low"]  # the least that a hosted model offers differs
    elif isinstance(thinking, int):
        efforts = [next((effort for most, effort in EFFORTS if thinking <= most), "high")]
    found: Ways = {
        "chat_template_kwargs": [{"chat_template_kwargs": template}],  # vLLM, SGLang, llama-server
        "reasoning_effort": [{"reasoning_effort": effort} for effort in efforts],  # hosted models, Ollama
        "think": [{"think": think}],  # Ollama's own
    }
    if isinstance(thinking, int):
        found["chat_template_kwargs"] = [{"chat_template_kwargs": template | {"thinking_budget": thinking}}]
        found["thinking_token_budget"] = [{"thinking_token_budget": thinking}]  # vLLM
    return found


def parameters(
    options: Options, tokens: int, refused: Mapping[str, int], schema: Mapping[str, Any] = SCHEMA
) -> dict[str, Any]:
    """The parameters of a request, with those of `captioner.extra`.

    Args:
        tokens: limit of the answer.
        refused: how many forms of each parameter the server has refused.
        schema: of the answer.
    """
    sent: dict[str, Any] = {}
    for name, forms in ways(options, tokens, schema).items():
        for form in forms[refused.get(name, 0) :][:1]:
            sent |= form
    for name, value in options.extra.items():
        merged = isinstance(value, dict) and isinstance(sent.get(name), dict)
        sent[name] = sent[name] | value if merged else value
    return sent


def unwanted(options: Options, sent: Mapping[str, Any], said: str) -> str | None:
    """The parameter for which a request was refused: one that the server names, else perhaps the schema."""
    droppable = {
        name: [key for form in forms for key in form if key in sent and key not in options.extra]
        for name, forms in ways(options, 1).items()
        if name != "response_format" or options.answer_schema == "auto"
    }
    for name, keys in droppable.items():
        if any(re.search(rf"\b{key}\b", said) for key in keys):
            return name
    return "response_format" if droppable.get("response_format") else None


def encoded(body: dict[str, Any]) -> bytes:
    """A request's body as JSON, which pydantic writes in an eighth of the time that the client would take."""
    return _BODY.dump_json(body)


# ---- messages


def messages(question: protocol.Question, images: protocol.Images, pixels: int, quality: int) -> list[dict[str, Any]]:
    """The conversation in the endpoint's format; a model's answers are plain text, since some servers take no parts.

    Args:
        pixels: most pixels of a panel's picture.
        quality: of the JPEGs, 1 to 100.
    """
    made, form = [], Form(pixels, quality)
    ready = question.jpegs.files if question.jpegs and question.jpegs.form == form else None
    for turn in protocol.conversation(question, images, ready):
        parts = [_part(part, question, form) for part in turn["content"]]
        content = "".join(part["text"] for part in parts) if turn["role"] == "assistant" else parts
        made.append({"role": turn["role"], "content": content})
    return made


def size(made: list[dict[str, Any]]) -> int:
    """Bytes of the pictures in a conversation, as they are sent."""
    parts = [part for turn in made if isinstance(turn["content"], list) for part in turn["content"]]
    return sum(len(part["image_url"]["url"]) for part in parts if "image_url" in part)


def _part(part: Mapping[str, Any], question: protocol.Question, form: Form) -> dict[str, Any]:
    if part["type"] == "text":
        return dict(part)
    image = part["image"]
    if image is question.grid:
        form = replace(form, most=form.most * len(question.panels))
    return {"type": "image_url", "image_url": {"url": data_url(image, form)}}


def data_url(image: Image.Image | bytes, form: Form) -> str:
    """A picture, or the JPEG that was made of it, as a JPEG data URL."""
    jpeg = image if isinstance(image, bytes) else form.encode(image)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
