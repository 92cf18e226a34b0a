"""The exception tree of Appraise.

Every error that a user can cause, or can do something about, is an `AppraiseError`: one sentence that says what
was received, and a hint that says what to do. Transports decide how to show it (exit code, HTTP status, dead
letter); nothing here knows of them.

    AppraiseError
    +-- SettingsError            a setting that cannot be used
    |   +-- UnknownKeyError      no API key of that id or name
    +-- SpecError                a dataset spec that is wrong, with its file and line
    +-- DataError                data that cannot be read, or that do not fit the spec
    |   +-- DownloadError        a public dataset that could not be fetched
    +-- RowError                 rows of a request that are refused, with one Problem for each refused field
    +-- FitError                 a model that cannot be trained on what it was given
    +-- BundleError              a model bundle that is damaged, altered or of another format
    +-- RegistryError            the model registry cannot be reached or refuses
    |   +-- UnknownModelError    no model of that name, version or alias
    +-- StoreError               the database refuses, or cannot be used as it is
    |   +-- StoreUnavailableError    it is away for now: unreachable, starting, full of connections, too slow
    |   +-- StoreRevisionError   its tables are not those that this version knows
    +-- LogError                 the prediction log cannot be written or read
    |   +-- LogFullError         it takes no more for now
    |   +-- UnknownPredictionError   it has no estimate of that id
    +-- StreamError              Kafka refuses, or cannot be used as it is
    |   +-- BrokerUnavailableError   no broker answers for now
    |   +-- UnknownTopicError    no topic of that name
    |   |   +-- UnknownPartitionError    no such partition in it
    |   +-- ForbiddenTopicError  a topic that clients do not write to
    |   +-- MessageError         a message that is refused, with one Problem for each refused field
    +-- OutputError              a result that cannot be written
    +-- BatchError               a batch run that cannot go on: its workers are lost, or cannot be reached
    |   +-- UnknownBatchError    no batch run of that id
    |   +-- ForbiddenInputError  an input that a service may not read
    +-- ServiceError             a service in the background that cannot be started, asked or ended
    |   +-- MissingProgramError  a program of the system that it needs is not installed
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class AppraiseError(Exception):
    """Base of all errors that are meant for a person.

    Args:
        message: one sentence that says what was received and why it cannot be used.
        hint: one sentence that says what to do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class SettingsError(AppraiseError):
    """A setting that cannot be used."""


class UnknownKeyError(SettingsError):
    """No API key of that id or name."""


class SpecError(AppraiseError):
    """A dataset spec that is wrong.

    Args:
        path: the spec's file, where it came from one.
        line: the line at fault, counted from 1.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, path: str | None = None, line: int | None = None
    ) -> None:
        place = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(place + message, hint=hint)
        self.path = path
        self.line = line


class DataError(AppraiseError):
    """Data that cannot be read, or that do not fit their spec."""


class DownloadError(DataError):
    """A public dataset that could not be fetched."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One refused field of one row.

    Attributes:
        row: the row's position in what was sent, from 0.
        field: the column's name, or None where the row as a whole is at fault.
        constraint: what is asked of the field, as a phrase ("must be at least 0").
        received: what came instead, shortened for display.
    """

    row: int
    field: str | None
    constraint: str
    received: str

    def __str__(self) -> str:
        where = f"row {self.row}" if self.field is None else f"row {self.row}, {self.field}"
        return f"{where}: {self.constraint}, received {self.received}"


class RowError(AppraiseError):
    """Rows that are refused; `problems` names every refused field."""

    def __init__(self, problems: tuple[Problem, ...], *, hint: str | None = None) -> None:
        if not problems:
            raise ValueError("a RowError needs at least one problem")
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}", hint=hint)
        self.problems = problems


class FitError(AppraiseError):
    """A model that cannot be trained on what it was given."""


class BundleError(AppraiseError):
    """A model bundle that is damaged, altered, incomplete or of another format."""


class RegistryError(AppraiseError):
    """The model registry cannot be reached, or refuses."""


class UnknownModelError(RegistryError):
    """No model of that name, version or alias."""


class StoreError(AppraiseError):
    """The database refuses, or cannot be used as it is."""


class StoreUnavailableError(StoreError):
    """The database is away for now; what was asked of it may succeed later."""


class StoreRevisionError(StoreError):
    """The database has other tables than this version of Appraise knows."""


class LogError(AppraiseError):
    """The prediction log cannot be written or read."""


class LogFullError(LogError):
    """The prediction log takes no more for now; what was asked of it may succeed later."""


class UnknownPredictionError(LogError):
    """The prediction log has no estimate of that id."""


class StreamError(AppraiseError):
    """Kafka refuses, or cannot be used as it is."""


class BrokerUnavailableError(StreamError):
    """No Kafka broker answers for now; what was asked of it may succeed later."""


class UnknownTopicError(StreamError):
    """No topic of that name, or no such partition in it."""


class UnknownPartitionError(UnknownTopicError):
    """The topic has no such partition."""


class ForbiddenTopicError(StreamError):
    """A topic that messages of clients do not go to."""


class MessageError(StreamError):
    """A message that is refused.

    Args:
        problems: every refused field where it could be read; none where it is not JSON.
    """

    def __init__(self, message: str, *, problems: tuple[Problem, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class OutputError(AppraiseError):
    """A result that cannot be written."""


class BatchError(AppraiseError):
    """A batch run that cannot go on: its workers are lost again and again, or cannot be reached."""


class UnknownBatchError(BatchError):
    """No batch run of that id."""


class ForbiddenInputError(BatchError):
    """An input that a service may not read."""


class ServiceError(AppraiseError):
    """A service in the background that cannot be started, asked or ended."""


class MissingProgramError(ServiceError):
    """A program of the system that a service needs is not installed."""


def did_you_mean(received: str, known: Iterable[str]) -> str | None:
    """The hint that names the known word nearest to what was received; None where none is near."""
    words = {word.casefold(): word for word in known}
    nearest = get_close_matches(received.casefold(), words, n=1, cutoff=0.6)
    return f"did you mean {words[nearest[0]]!r}?" if nearest else None
