"""Options of plug-ins and sections of a task, checked; and how errors name what is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pipeline.errors import BadInput

EXTRA = "extra_forbidden"
"""pydantic's name of the fault that a key is not known."""
WIDEST = 60
"""Letters of a wrong value that an error repeats."""


def suggest(word: str, known: Sequence[str]) -> str:
    """`, did you mean 'x'?` if a known word is close, otherwise nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f", did you mean '{near[0]}'?" if near else ""


class Options(BaseModel):
    """Base of a plug-in's options: unknown ones are errors, a number is a number, and one value stands for a list."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        """`train.scales=0.5` is as good as `train.scales=[0.5]`."""
        if not isinstance(given, Mapping):
            return given
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return {
            name: (value,) if isinstance(value, str | int | float) and _is_list(kinds.get(name)) else value
            for name, value in given.items()
        }


def _is_list(kind: Any) -> bool:
    """Whether values of a type are lists of any length."""
    if isinstance(kind, UnionType):
        return any(map(_is_list, get_args(kind)))
    return get_origin(kind) is tuple and Ellipsis in get_args(kind)


Checked = TypeVar("Checked", bound=Options)


def parse_options(kind: type[Checked], plugin: str, options: dict[str, Any], section: str = "") -> Checked:
    """The options of a plug-in, checked.

    Args:
        plugin: its kind and name, as in "the captioner local".
        section: what precedes a key where a user writes it, as in "train.".

    Raises:
        BadInput: an unknown option or a wrong value; all faults at once.
    """
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise BadInput(sentence(f"options of {plugin}: {faults_of(error, kind, section)}")) from error


def faults_of(error: ValidationError, model: type[BaseModel] | None = None, section: str = "", most: int = 5) -> str:
    """The first faults of a validation in one line, with the values.

    Args:
        model: what was validated; misspelt keys are answered with the nearest of its keys, or with all of them.
        section: what precedes every key.
        most: how many faults are named; the rest are counted.
    """
    return joined(list_faults(error, model, section), most)


def joined(faults: Sequence[str], most: int) -> str:
    """Faults as one line, those beyond `most` counted; after a question mark goes no semicolon."""
    more = [f"and {len(faults) - most} more"] if len(faults) > most else []
    return "; ".join([*faults[:most], *more]).replace("?; ", "? ")


def sentence(text: str) -> str:
    """The text with the full stop that it needs."""
    return text if text.endswith("?") else f"{text}."


def list_faults(
    error: ValidationError, model: type[BaseModel] | None = None, section: str = "", skip: Collection[str] = ()
) -> list[str]:
    """Every fault of a validation, with the key in full and the value.

    Args:
        model: as for `faults_of`, like `section`.
        skip: sections of the model whose faults are left out.
    """
    found = []
    for fault in error.errors(include_url=False):
        if fault["loc"] and fault["loc"][0] in skip:
            continue
        *sections, last = fault["loc"] or ("",)
        where = f"{section}{'.'.join(map(_name, fault['loc']))}".rstrip(".")
        if fault["type"] == EXTRA:
            known = _keys(model, sections)
            near = suggest(str(last), known or [])
            listed = f" (known: {', '.join(known) or 'none'})" if known is not None and not near else ""
            found.append(f"unknown key '{where}'{near}{listed}")
        else:
            whole = fault["type"] == "missing" or isinstance(fault["input"], dict)  # all of it, not what is at fault
            got = "" if whole else f", got {_short(fault['input'])}"
            colon = ": " if where else ""  # a fault of the whole has no key
            found.append(f"{where}{colon}{fault['msg'].removeprefix('Value error, ')}{got}")
    return found


def _keys(model: type[BaseModel] | None, sections: Sequence[int | str]) -> list[str] | None:
    """Keys of a model, or of one of its sections; None if that has no fixed form."""
    for section in sections:
        field = model.model_fields.get(str(section)) if model else None
        inner = field.annotation if field else None
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
    return [field.alias or name for name, field in model.model_fields.items()] if model else None


def _name(part: int | str) -> str:
    """Part of a key as it stands, unless it would break the line or fill it."""
    text = str(part)
    return text if text.isprintable() and len(text) <= WIDEST else _short(text)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
