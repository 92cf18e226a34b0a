"""Write a made-up market to a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appraise.datasets.simulate import DEFAULT_ROWS, SOURCE_NOTE, parse_shock, simulate_market, simulate_table
from appraise.errors import SettingsError
from appraise.jobs.outputs import check_table_path, write_table
from appraise.jobs.workspace import Workspace

#: The market that shocks can happen to; the other tables have no calendar of prices behind them.
_SHOCKED = "bayside"


@dataclass(frozen=True, slots=True)
class SimulateResult:
    """What was simulated.

    Attributes:
        name: the simulator's name.
        path: the file.
        rows: rows written.
        columns: their names.
        seed: what it was made from.
        shocks: what was made to go wrong, as text.
    """

    name: str
    path: Path
    rows: int
    columns: tuple[str, ...]
    seed: int
    shocks: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The result as JSON."""
        return {
            "name": self.name,
            "path": str(self.path),
            "rows": self.rows,
            "columns": list(self.columns),
            "seed": self.seed,
            "shocks": list(self.shocks),
            "note": SOURCE_NOTE,
        }


def simulate(
    name: str,
    *,
    workspace: Workspace,
    rows: int | None = None,
    shocks: Sequence[str] = (),
    output: Path | None = None,
) -> SimulateResult:
    """Simulate a table and write it, to the workspace where no file is given: the dataset is read from there then.

    Args:
        name: `bayside`, `homes`, `garden` or `housets`.
        workspace: its seed is the table's.
        rows: how many; each simulator has a default.
        shocks: what goes wrong, each as text (`level:2022-09-01:-15%`); bayside only.
        output: the file.

    Raises:
        SettingsError: an unknown name or shock, or a number that makes no sense.
        OutputError: the file cannot be written.
    """
    path = output if output is not None else workspace.simulated(name)
    check_table_path(path)
    parsed = [parse_shock(text) for text in shocks]
    if parsed and name != _SHOCKED:
        raise SettingsError(f"the simulator {name!r} knows no shocks", hint=f"{_SHOCKED} does")
    if parsed:
        n = DEFAULT_ROWS[name] if rows is None else rows
        frame = simulate_market(n, seed=workspace.seed, shocks=parsed)
    else:
        frame = simulate_table(name, rows=rows, seed=workspace.seed)
    write_table(frame, path)
    return SimulateResult(
        name, path, frame.height, tuple(frame.columns), workspace.seed, tuple(str(shock) for shock in parsed)
    )
