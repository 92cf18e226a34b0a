"""The verbs of the program."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from appraise import __version__
from appraise.cli import (
    data,
    db,
    dead_letters,
    demo,
    evaluate,
    features,
    init,
    kafka,
    keys,
    log,
    models,
    outcomes,
    predict,
    serve,
    simulate,
    stream,
    stream_workers,
    topics,
    train,
    tune,
    up,
)
from appraise.cli.session import Session

app = typer.Typer(
    name="appraise",
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings come from flags, APPRAISE_ variables and appraise.toml, in this order.",
)
_models = typer.Typer(invoke_without_command=True, help="See the registered models.")
_keys = typer.Typer(invoke_without_command=True, help="Make, list and revoke API keys.")


def _add(group: typer.Typer, name: str, verb: Callable[..., None], examples: str) -> None:
    """Add a verb whose help is its docstring, each paragraph in one line for the terminal to wrap."""
    paragraphs = inspect.cleandoc(verb.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    epilog = "\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in examples.splitlines())])
    group.command(name, help=text, epilog=epilog)(verb)


def _group(parent: typer.Typer, name: str, help_text: str) -> typer.Typer:
    """Add a group of verbs, which shows its help where no verb is given."""
    group = typer.Typer(invoke_without_command=True, help=help_text)

    @group.callback()
    def root(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    parent.add_typer(group, name=name)
    return group


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"appraise {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="FOLDER",
            help="The one folder that holds all state; APPRAISE_HOME or .appraise where not given.",
            show_default=False,
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.", show_default=False),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", metavar="", help="Log everything, and show the traceback of an unexpected error.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_print_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """House-price estimates in production: trained, compared, explained and kept right."""
    context.obj = Session({"home": home, "log.level": "debug" if debug else log_level})
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@_models.callback()
def _models_root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@_keys.callback()
def _keys_root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


_add(app, "init", init.init, init.EXAMPLES)
_add(app, "simulate", simulate.simulate, simulate.EXAMPLES)
_add(app, "data", data.data, data.EXAMPLES)
_add(app, "train", train.train, train.EXAMPLES)
_add(app, "tune", tune.tune, tune.EXAMPLES)
_add(app, "evaluate", evaluate.evaluate, evaluate.EXAMPLES)
_add(app, "predict", predict.predict, predict.EXAMPLES)
_add(app, "serve", serve.serve, serve.EXAMPLES)
_add(app, "up", up.up, up.UP_EXAMPLES)
_add(app, "down", up.down, up.DOWN_EXAMPLES)
app.add_typer(_models, name="models")
_add(_models, "list", models.list_models, models.LIST_EXAMPLES)
_add(_models, "show", models.show_model, models.SHOW_EXAMPLES)
app.add_typer(_keys, name="keys")
_add(_keys, "create", keys.create, keys.CREATE_EXAMPLES)
_add(_keys, "list", keys.list_keys, keys.LIST_EXAMPLES)
_add(_keys, "revoke", keys.revoke, keys.REVOKE_EXAMPLES)
_db = _group(app, "db", "The database: bring it up to date, look at it, stop it.")
_add(_db, "upgrade", db.upgrade, db.UPGRADE_EXAMPLES)
_add(_db, "status", db.status, db.STATUS_EXAMPLES)
_add(_db, "psql", db.psql, db.PSQL_EXAMPLES)
_add(_db, "audit", db.audit, db.AUDIT_EXAMPLES)
_add(_db, "stop", db.stop, db.STOP_EXAMPLES)
_features = _group(app, "features", "Store features of users by hand, and see them.")
_add(_features, "put", features.put, features.PUT_EXAMPLES)
_add(_features, "show", features.show_features, features.SHOW_EXAMPLES)
_log = _group(app, "log", "The prediction log: verify it, export it, see how it stands.")
_add(_log, "verify", log.verify, log.VERIFY_EXAMPLES)
_add(_log, "export", log.export, log.EXPORT_EXAMPLES)
_add(_log, "load", log.load, log.LOAD_EXAMPLES)
_add(_log, "status", log.status, log.STATUS_EXAMPLES)
_outcomes = _group(app, "outcomes", "What homes were sold for, and how right their estimates were.")
_add(_outcomes, "add", outcomes.add, outcomes.ADD_EXAMPLES)
_add(_outcomes, "accuracy", outcomes.accuracy, outcomes.ACCURACY_EXAMPLES)
_kafka = _group(app, "kafka", "Run a real Apache Kafka on this machine.")
_add(_kafka, "start", kafka.start, kafka.START_EXAMPLES)
_add(_kafka, "stop", kafka.stop, kafka.STOP_EXAMPLES)
_add(_kafka, "status", kafka.status, kafka.STATUS_EXAMPLES)
_stream = _group(app, "stream", "Price requests, predictions and feature events in Kafka.")
_add(_stream, "produce", stream.produce, stream.PRODUCE_EXAMPLES)
_add(_stream, "view", stream.view, stream.VIEW_EXAMPLES)
_add(_stream, "score", stream_workers.score, stream_workers.SCORE_EXAMPLES)
_add(_stream, "ingest", stream_workers.ingest, stream_workers.INGEST_EXAMPLES)
_add(_stream, "lag", stream.lag, stream.LAG_EXAMPLES)
_topics = _group(_stream, "topics", "Make, list, describe and delete the topics.")
_add(_topics, "create", topics.create, topics.CREATE_EXAMPLES)
_add(_topics, "list", topics.list_, topics.LIST_EXAMPLES)
_add(_topics, "describe", topics.describe, topics.DESCRIBE_EXAMPLES)
_add(_topics, "delete", topics.delete, topics.DELETE_EXAMPLES)
_dead_letters = _group(_stream, "dead-letters", "List refused messages, and send them back.")
_add(_dead_letters, "list", dead_letters.list_, dead_letters.LIST_EXAMPLES)
_add(_dead_letters, "replay", dead_letters.replay, dead_letters.REPLAY_EXAMPLES)
_add(_stream, "demo", demo.demo, demo.EXAMPLES)
