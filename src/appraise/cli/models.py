"""`appraise models list` and `appraise models show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import Alias, AsJson, Version, parse_version
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.models import ModelDetails, ModelList

LIST_EXAMPLES = """\
appraise models list
appraise models list california --json
"""
SHOW_EXAMPLES = """\
appraise models show california
appraise models show california --version 1.2.0
"""


def list_models(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only the models of this name.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the registered models, newest first."""
    from appraise.jobs.models import list_models as job

    session: Session = context.obj
    show(job(name, workspace=session.open()), _render_list, as_json=as_json)


def show_model(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model's name.", show_default=False)],
    version: Version = None,
    alias: Alias = "champion",
    as_json: AsJson = False,
) -> None:
    """Show what is known of one model, and where its bundle is."""
    from appraise.jobs.models import show_model as job

    session: Session = context.obj
    details = job(name, workspace=session.open(), version=parse_version(version), alias=alias)
    show(details, _render_details, as_json=as_json)


def _render_list(console: Console, models: ModelList) -> None:
    from rich.table import Table
    from rich.text import Text

    if not models.entries:
        console.print("No models yet. Train one: appraise train bayside", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("name", "version", "alias", "kind"):
        table.add_column(header, no_wrap=True)
    table.add_column("validation error", justify="right", no_wrap=True)
    table.add_column("registered (UTC)", no_wrap=True)
    for entry in models.entries:
        row = (
            entry.name,
            str(entry.version),
            ", ".join(entry.aliases),
            entry.kind,
            f"{entry.metric} {entry.error:.5g}",
            f"{entry.created_at:%Y-%m-%d %H:%M}",
        )
        table.add_row(*map(Text, row))
    console.print(table)


def _render_details(console: Console, details: ModelDetails) -> None:
    from rich.table import Table
    from rich.text import Text

    from appraise.evaluation.display import size

    entry, manifest = details.entry, details.manifest
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "name": entry.name,
        "version": str(entry.version),
        "alias": ", ".join(entry.aliases) or "none",
        "kind": entry.kind,
        "validation error": f"{entry.metric} {entry.error:.5g}",
        "trained": f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
        **({} if manifest.git_commit is None else {"commit": manifest.git_commit}),
        "MLflow run": entry.run_id,
        "digest": entry.digest,
        "bundle size": f"{size(details.size_bytes)} in {len(manifest.files)} files: the model and its known sales",
        "bundle": str(details.folder),
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.libraries.items()),
    }
    for label, value in rows.items():
        table.add_row(label, Text(value))
    console.print(table)
