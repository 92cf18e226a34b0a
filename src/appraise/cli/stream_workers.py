"""`appraise stream score` and `appraise stream ingest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.ingesting import Ingesting
    from appraise.jobs.scoring import Scoring

SCORE_EXAMPLES = """\
appraise stream score
appraise stream score --partition 0 --dataset california
appraise stream score --slot appraise-scorer-0 --health-port 9100
"""
INGEST_EXAMPLES = """\
appraise stream ingest
appraise stream ingest --dataset california
"""

Partition = Annotated[
    int | None,
    typer.Option(
        "--partition",
        metavar="N",
        min=0,
        help="Work on this partition alone; if not given, the workers of the group share them out.",
        show_default=False,
    ),
]
Group = Annotated[
    str | None,
    typer.Option("--group", metavar="NAME", help="The consumer group; one for each verb if not given."),
]
HealthPort = Annotated[
    int | None,
    typer.Option(
        "--health-port",
        metavar="N",
        help="Where /health/live, /health/ready and /metrics are; a free port if not set.",
        show_default=False,
    ),
]


def score(
    context: typer.Context,
    partition: Partition = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="The model of requests that name none; the only one registered if not given.",
            show_default=False,
        ),
    ] = None,
    group: Group = None,
    slot: Annotated[
        str | None,
        typer.Option(
            "--slot",
            metavar="NAME",
            help="This worker's name in the group, the same at each start; the machine's next free one if not given.",
            show_default=False,
        ),
    ] = None,
    health_port: HealthPort = None,
    as_json: AsJson = False,
) -> None:
    """Answer price requests in Kafka, each exactly once.

    A prediction goes to the partition number of its request; what cannot be answered goes to the dead letters.

    SIGTERM and Ctrl-C let the worker commit what it has taken and leave its group; SIGHUP has the registry asked for
    new models.
    """
    from appraise.bootstrap import build_scoring_plan
    from appraise.jobs.scoring import score as job

    session: Session = context.obj
    settings = session.settings({"stream.health_port": health_port})
    plan = build_scoring_plan(settings, partition=partition, dataset=dataset, group=group, slot=slot)
    job(plan, announce=lambda scoring: show(scoring, _render_scoring, as_json=as_json))


def ingest(
    context: typer.Context,
    partition: Partition = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="DATASET",
            help="A preset or spec (.toml) whose columns the events must be about; any name is taken if not given.",
            show_default=False,
        ),
    ] = None,
    group: Group = None,
    health_port: HealthPort = None,
    as_json: AsJson = False,
) -> None:
    """Write feature events from Kafka into the database, each once.

    How far each partition is written is kept in the transaction that writes it: a worker that was killed goes on
    where the database is. While the database is away the worker waits, and stays in its group.
    """
    from appraise.bootstrap import build_ingesting_plan
    from appraise.jobs.ingesting import ingest as job

    session: Session = context.obj
    settings = session.settings({"stream.health_port": health_port})
    plan = build_ingesting_plan(settings, partition=partition, dataset=dataset, group=group)
    job(plan, announce=lambda ingesting: show(ingesting, _render_ingesting, as_json=as_json))


def _render_scoring(console: Console, scoring: Scoring) -> None:
    models = ", ".join(f"{name} {version}" for name, version in scoring.models.items())
    where = "" if scoring.partition is None else f", partition {scoring.partition}"
    console.print(
        f"Answering {scoring.source}{where} with {models} into {scoring.target}", markup=False, soft_wrap=True
    )
    console.print(f"Health and metrics: {scoring.health}/health/ready, {scoring.health}/metrics", markup=False)


def _render_ingesting(console: Console, ingesting: Ingesting) -> None:
    where = "" if ingesting.partition is None else f", partition {ingesting.partition}"
    console.print(
        f"Writing {ingesting.source}{where} into user_features of the database {ingesting.database}",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"Health and metrics: {ingesting.health}/health/ready, {ingesting.health}/metrics", markup=False)
