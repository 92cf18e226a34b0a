"""How a process was started, as the kernel knows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Origin:
    """How a process was started.

    Attributes:
        command: the program and its arguments.
        environment: its variables; they may hold secrets, and are written nowhere.
        folder: its working folder.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path


def origin_of(pid: int) -> Origin | None:
    """How a process was started; None where the system does not tell."""
    process = Path(f"/proc/{pid}")
    try:
        command = _strings(process / "cmdline")
        variables = (variable.partition("=") for variable in _strings(process / "environ"))
        environment = {name: value for name, _, value in variables if name}
        return Origin(command, environment, (process / "cwd").readlink())
    except OSError:
        return None


def _strings(file: Path) -> tuple[str, ...]:
    """The strings of a file of the kernel's, each of which ends with a zero byte."""
    return tuple(os.fsdecode(one) for one in file.read_bytes().split(b"\0")[:-1])
