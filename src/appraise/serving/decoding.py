"""From bytes to plain JSON values, or what is wrong with them: one strictness for requests and messages.

A compiled decoder does the work. It keeps the last of two equal keys without a word, so quotes are counted: a text
without escapes whose every quote belongs to a key or a text that came out has no key twice. Where the count differs,
Python's own parser looks again, with a hook for keys.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from appraise.datasets.constraints import FINITE, shown
from appraise.errors import Problem

_decoder = msgspec.json.Decoder()
_NESTED: frozenset[type] = frozenset((dict, list))


class UndecodableError(Exception):
    """What came is not JSON, or is JSON that nothing can hold.

    Args:
        detail: one clause that says what is wrong.
        problems: the fields at fault; none where it is not JSON at all.
    """

    def __init__(self, detail: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = problems

    @property
    def malformed(self) -> bool:
        """Whether it is not JSON at all."""
        return not self.problems


def decode_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object that bytes hold, without a key twice in it or below.

    Args:
        data: the bytes.
        what: what they are ("the body").

    Raises:
        UndecodableError: they hold none.
    """
    value = decode(data, what)
    if type(value) is not dict:
        kind = _kind(value)
        raise UndecodableError(
            f"{what} must be a JSON object, received {kind}", (Problem(0, None, "must be a JSON object", kind),)
        )
    return value


def decode(data: bytes, what: str) -> Any:
    """The JSON value that bytes hold; arguments and errors are those of `decode_object`."""
    if not data:
        raise UndecodableError(f"{what} is empty")
    try:
        value = _decoder.decode(data)
    except UnicodeDecodeError as error:
        raise UndecodableError(f"{what} is not UTF-8") from error
    except RecursionError as error:
        raise UndecodableError(f"{what} is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise _out_of_range(data, what) from error
    except msgspec.DecodeError as error:
        raise UndecodableError(f"{what} is not JSON: {_reason(data, error)}") from error
    # The count says nothing of texts with escapes.
    if b"\\" in data or data.count(b'"') != _quotes(value):
        _refuse_repeated_keys(data, what)
    return value


def _quotes(value: Any) -> int:
    """Quotes that a value is written with where nothing is escaped."""
    kind = type(value)
    if kind is dict:
        kinds = list(map(type, value.values()))
        if _NESTED.isdisjoint(kinds):
            return 2 * (len(kinds) + kinds.count(str))
        return 2 * len(kinds) + sum(map(_quotes, value.values()))
    if kind is list:
        return sum(map(_quotes, value))
    return 2 if kind is str else 0


def _refuse_repeated_keys(data: bytes, what: str) -> None:
    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            for key, value in pairs:
                if key in seen:
                    raise UndecodableError(
                        f"the field {shown(key)} is there more than once",
                        (Problem(0, key, "must be there once", shown(value)),),
                    )
                seen.add(key)
        return found

    try:
        json.loads(data, object_pairs_hook=hook)
    except RecursionError as error:
        raise UndecodableError(f"{what} is nested too deeply") from error


def _out_of_range(data: bytes, what: str) -> UndecodableError:
    """1e400 and its like: JSON's grammar has them, no float does. Python's parser reads them as infinity."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    infinite = (float("inf"), float("-inf"))
    fields = [name for name, one in value.items() if one in infinite] if isinstance(value, dict) else []
    named = f"the field {fields[0]}" if fields else f"a number in {what}"
    places: list[str | None] = [*fields] if fields else [None]
    return UndecodableError(
        f"{named} is too large: {FINITE}",
        tuple(Problem(0, name, FINITE, "a number beyond 1.8e308") for name in places),
    )


def _reason(data: bytes, error: msgspec.DecodeError) -> str:
    text = str(error).removeprefix("JSON is malformed: ")
    for constant in (b"NaN", b"Infinity"):
        if constant in data:
            return f"{constant.decode()} is not a JSON number ({text})"
    return text[:1].lower() + text[1:]


def _kind(value: Any) -> str:
    match value:
        case list():
            return "an array"
        case str():
            return "a string"
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case dict():
            return "an object"
        case _:
            return f"the number {shown(value)}"
