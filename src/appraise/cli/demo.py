"""`appraise stream demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.progress import make_progress
from appraise.cli.session import Session
from appraise.cli.stream import printable
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.demo import DemoResult

EXAMPLES = """\
appraise stream demo
appraise stream demo 20 --dataset california
"""


def demo(
    context: typer.Context,
    count: Annotated[int, typer.Argument(metavar="[N]", min=1, max=1000, help="How many homes to value.")] = 5,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", metavar="NAME", help="The model; the one that is registered if not given.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show producer, scorer, ingester and viewer once, without a broker.

    It plays on the mock cluster that is built into Kafka's client, and in a database that is removed again: nothing of
    it is kept, and it is no evidence for what a real broker does.
    """
    from appraise.bootstrap import build_registry
    from appraise.jobs.demo import demo as job

    session: Session = context.obj
    settings = session.settings()
    result = job(build_registry(settings), dataset=dataset, count=count, seed=settings.seed, progress=make_progress())
    show(result, _render, as_json=as_json)


def _render(console: Console, result: DemoResult) -> None:
    from rich.table import Table
    from rich.text import Text

    from appraise.evaluation.display import price
    from appraise.jobs.demo import estimate_of

    last = result.sent[-1]
    unit = f" ({result.unit})" if result.unit else ""
    console.print(
        f"Produced  {len(result.sent)} messages to price_requests: {len(result.sent) - 1} homes, and one that is no "
        f"request, on partition {last.partition}.\n"
        f"Scored    by {result.model}, each on the partition of its request{unit}:\n",
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("partition", "offset", "request"):
        table.add_column(header, justify="left" if header == "request" else "right")
    for header in ("estimate", "lower", "upper"):
        table.add_column(header, justify="right")
    for message in result.predictions:
        estimate = estimate_of(message)
        interval = estimate["prediction_interval"]
        numbers = estimate["prediction"], interval["lower"], interval["upper"]
        place = str(message.partition), str(message.offset)
        table.add_row(*place, Text(str(estimate["request_id"])), *map(price, numbers))
    console.print(table)
    lines = ["", *(f"Refused   {printable(one.seen.key or b'')}: {one.origin.message}" for one in result.refused)]
    features = ", ".join(f"{name} {value}" for name, value in list(result.features.items())[:4])
    lines += [
        f"Ingested  {len(result.features)} features of user2, one of them delivered twice: {features}, ...",
        "",
        "Nothing of it was kept: the cluster was a mock within this process, the database a temporary one.",
        "With a real broker: appraise kafka start, then appraise stream topics create",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
