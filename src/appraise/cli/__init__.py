"""The command line: parse, call a job, show its result.

Nothing heavy is imported before a verb needs it, so that `appraise --help` answers at once.
"""

from appraise.cli.program import main

__all__ = ["main"]
