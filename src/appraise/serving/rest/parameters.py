"""Query parameters, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl

from appraise.errors import did_you_mean
from appraise.serving.predictor import DEFAULT_LEVEL
from appraise.serving.rest.http import Scope
from appraise.serving.rest.messages import FieldError
from appraise.serving.rest.problems import Refusal, refused_parameter

#: The most comparable sales that one answer shows.
MOST_COMPARABLES = 50

_LONGEST_QUERY = 2048


@dataclass(frozen=True, slots=True)
class Options:
    """What a request may say beside its rows.

    Attributes:
        model: the model, where the path does not name it.
        version, alias: which of its versions; the champion where neither is given.
        level: nominal level of the interval.
        comparables: how many comparable sales to show.
        explain: whether to show what the estimate is made of.
        check: whether it is asked to see that the service works, and no home is meant.
    """

    model: str | None = None
    version: str | None = None
    alias: str | None = None
    level: float = DEFAULT_LEVEL
    comparables: int = 0
    explain: bool = False
    check: bool = False


_DEFAULTS = Options()
_WHICH = ("model", "model_version", "alias")
SINGLE = (*_WHICH, "level", "comparables", "explain", "check")
BATCH = (*_WHICH, "level")
INFO = _WHICH


def options_of(query: bytes, allowed: tuple[str, ...]) -> Options:
    """The options of a query string.

    Raises:
        Refusal: 422 for an unknown, repeated or wrong parameter.
    """
    return _parsed(query, allowed) if query else _DEFAULTS


@lru_cache(maxsize=512)
def _parsed(query: bytes, allowed: tuple[str, ...]) -> Options:
    if len(query) > _LONGEST_QUERY:
        detail = f"the query has {len(query):,} bytes, at most {_LONGEST_QUERY:,} are read"
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, detail, hint="leave out what is no parameter")
    given: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in allowed:
            raise _unknown(name, allowed)
        if name in given:
            raise refused_parameter(name, "must be given once", repr(value))
        given[name] = value
    return Options(
        model=given.get("model"),
        version=given.get("model_version"),
        alias=given.get("alias"),
        level=_level(given.get("level")),
        comparables=_count(given.get("comparables")),
        explain=_flag("explain", given.get("explain")),
        check=_flag("check", given.get("check")),
    )


def _unknown(name: str, allowed: Iterable[str]) -> Refusal:
    names = ", ".join(allowed)
    return Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{name!r} is not a parameter here",
        hint=did_you_mean(name, allowed) or f"there are {names}",
        errors=[FieldError(name, f"must be one of {names}", repr(name))],
    )


def _level(text: str | None) -> float:
    if text is None:
        return DEFAULT_LEVEL
    try:
        level = float(text)
    except ValueError:
        level = math.nan
    if not 0.0 < level < 1.0:
        raise refused_parameter("level", "must be a number above 0 and below 1", repr(text))
    return level


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "true", "false"):
        raise refused_parameter(name, "must be true or false", repr(text))
    return text == "true"


def _count(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 4 or int(text) > MOST_COMPARABLES:
        raise refused_parameter("comparables", f"must be a whole number from 0 to {MOST_COMPARABLES}", repr(text))
    return int(text)


def query_of(scope: Scope, allowed: tuple[str, ...]) -> dict[str, str]:
    """The query parameters of a request by name, each given once.

    Raises:
        Refusal: 422 for one that is not taken, is there twice, or has a NUL.
    """
    given: dict[str, str] = {}
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name not in allowed:
            takes = f"must be one of {', '.join(allowed)}" if allowed else "is not taken here"
            raise refused_parameter(name, takes, repr(value))
        if name in given:
            raise refused_parameter(name, "must be given once", repr(value))
        if "\0" in value:
            raise refused_parameter(name, "must not contain NUL", repr(value))
        given[name] = value
    return given


def whole_number(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number among query parameters; raises a Refusal for any other text."""
    text = given.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not least <= int(text) <= most:
        raise refused_parameter(name, f"must be a whole number from {least} to {most:,}", repr(text))
    return int(text)
