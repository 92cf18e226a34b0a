"""Exit codes: what a script can tell from how the program ended."""

from __future__ import annotations

from collections.abc import Mapping

from appraise.errors import (
    AppraiseError,
    BatchError,
    BundleError,
    DataError,
    FitError,
    LogError,
    OutputError,
    RegistryError,
    RowError,
    ServiceError,
    SettingsError,
    SpecError,
    StoreError,
    StreamError,
)

CRASHED = 1
USAGE = 2
INTERRUPTED = 130
TERMINATED = 143


class Interrupted(Exception):  # noqa: N818  nothing went wrong
    """Ctrl-C in a verb that has something of its own to say of it.

    Args:
        message: what was kept.
        hint: how to go on.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


#: The code of each kind of error; a subclass has its base's.
CODES: Mapping[type[AppraiseError], int] = {
    SettingsError: 3,
    SpecError: 4,
    DataError: 5,
    RowError: 5,
    FitError: 6,
    BundleError: 6,
    RegistryError: 7,
    OutputError: 8,
    StoreError: 9,
    LogError: 9,
    ServiceError: 9,
    StreamError: 10,
    BatchError: 11,
}


def exit_code(error: AppraiseError) -> int:
    """The exit code of an error."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), CRASHED)
