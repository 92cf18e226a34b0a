"""Structured logs: an event and its fields, through the standard library's loggers.

A module says `_log = get_logger(__name__)` and then `_log.info("model loaded", model=name)`. In a program that uses
appraise as a library the events go wherever its logging sends them; the command line calls `configure`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]

_FIELDS = "appraise_fields"


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module. It does nothing until it is first used."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, structlog.contextvars.merge_contextvars, _to_record],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def configure(*, level: Level, format: Format) -> None:  # noqa: A002
    """Send the logs of this process, those of other libraries among them, to stderr.

    Args:
        level: the least level of our own events; other libraries are held to warnings at the least.
        format: `json` writes one object a line; `auto` is `text` on a terminal and `json` elsewhere.
    """
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    handler = _StderrHandler()
    handler.setFormatter(_formatter(as_json=as_json))
    handler.setLevel(_number(level))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _StderrHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, _number(level)))
    logging.getLogger("appraise").setLevel(_number(level))
    # Deprecations within libraries are no news to who runs the program.
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.DEBUG if level == "debug" else logging.ERROR)


class _StderrHandler(logging.Handler):
    """Writes to what `sys.stderr` is at the time, which a progress bar replaces while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")
        sys.stderr.flush()


def _formatter(*, as_json: bool) -> logging.Formatter:
    processors: list[Callable[[Any, str, EventDict], Any]] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
        structlog.stdlib.add_log_level,
    ]
    if as_json:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        # The tracebacks that are drawn by default show the values of local variables, passwords among them.
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain))
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, _add_fields],
        processors=processors,
    )


def _to_record(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """Turn an event into the arguments of a standard logger, the fields in one attribute of the record."""
    fields: MutableMapping[str, Any] = dict(event)
    text = str(fields.pop("event"))
    passed = {key: fields.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in fields}
    return (text,), {**passed, "extra": {_FIELDS: fields}}


def _add_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.update(getattr(event["_record"], _FIELDS, {}))
    return event


def _number(level: Level) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
