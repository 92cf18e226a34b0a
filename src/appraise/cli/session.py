"""One run of the program: from flags to settings, logs and a workspace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appraise.jobs.workspace import Workspace
    from appraise.settings import Settings


@dataclass(frozen=True, slots=True)
class Session:
    """What was said before the verb.

    Attributes:
        flags: settings by key, None where not given.
    """

    flags: Mapping[str, object] = field(default_factory=dict)

    def open(self, flags: Mapping[str, object] | None = None) -> Workspace:
        """Read the settings, begin to log, and make the workspace.

        Args:
            flags: settings that the verb's own flags gave, by key.

        Raises:
            SettingsError: a setting that cannot be used.
        """
        from appraise import bootstrap

        return bootstrap.build_workspace(self.settings(flags))

    def settings(self, flags: Mapping[str, object] | None = None) -> Settings:
        """Read the settings and begin to log; arguments and errors are those of `open`."""
        from appraise import logs
        from appraise.settings import load_settings, unknown_variables

        settings = load_settings({**self.flags, **(flags or {})})
        logs.configure(level=settings.log.level, format=settings.log.format)
        log = logs.get_logger(__name__)
        for name, meant in unknown_variables():
            log.warning("this environment variable is not a setting", variable=name, did_you_mean=meant)
        return settings


def user_name() -> str:
    """Who runs the program, for the audit trail."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that no account has.
        return f"user {os.getuid()}"
