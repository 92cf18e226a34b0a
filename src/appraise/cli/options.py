"""Arguments and options that several verbs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from appraise.registry.version import Version as ModelVersion

Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A preset (california, homes, garden, housets, bayside) or the path of a spec (.toml).",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="CSV or Parquet file, folder of Parquet files, or s3:// address to read in place of the spec's source.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="Print one JSON object to stdout, and nothing else there.")
]
Version = Annotated[
    str | None, typer.Option("--version", metavar="X.Y.Z", help="The model's version.", show_default=False)
]
Alias = Annotated[str, typer.Option("--alias", help="The alias of the model, where no version is given.")]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed of everything that is random.", show_default=False)
]
Quality = Annotated[
    str | None,
    typer.Option(
        "--quality",
        metavar="fast|best",
        help="fast takes the cheapest model within the row-time budget whose error is within 1% of the least, "
        "best the best of all.",
        show_default=False,
    ),
]
RowBudget = Annotated[
    float | None,
    typer.Option(
        "--row-budget-us",
        metavar="N",
        help="Microseconds that one estimate may take; 250 where nothing else was set.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", help="Threads for training; all processors where not given.", show_default=False
    ),
]


def parse_version(text: str | None) -> ModelVersion | None:
    """The version that `--version` gave, if it gave one; a wrong one is a usage error."""
    from appraise.registry.version import Version as Parsed

    if text is None:
        return None
    try:
        return Parsed.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--version") from error
