"""`appraise serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from appraise.cli.options import AsJson
from appraise.cli.session import Session
from appraise.cli.terminal import show

if TYPE_CHECKING:
    from rich.console import Console

    from appraise.jobs.serving.plan import Serving

EXAMPLES = """\
appraise serve
appraise serve --model california --workers 2
appraise serve --host 0.0.0.0 --port 80
"""


Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="A model to serve, again for each; the first is that of /predict. Every registered one if not given.",
        show_default=False,
    ),
]
Default = Annotated[
    str | None,
    typer.Option(
        "--default",
        metavar="NAME",
        help="The model of /predict; the first --model, or else the only one, if not given.",
        show_default=False,
    ),
]
Host = Annotated[
    str | None,
    typer.Option("--host", metavar="ADDRESS", help="Where to listen; 127.0.0.1 if not set.", show_default=False),
]
Port = Annotated[
    int | None,
    typer.Option("--port", metavar="N", help="The port, 0 for a free one; 8000 if not set.", show_default=False),
]
Workers = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Processes; 1 if not set.", show_default=False)
]
Insecure = Annotated[bool, typer.Option("--insecure", metavar="", help="Serve other machines without any API key.")]


def serve(
    context: typer.Context,
    model: Models = None,
    default: Default = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Serve the champions of the registered models over HTTP.

    The page /docs shows every route. A cached model is served at once, and the registry asked while it is; SIGTERM and
    Ctrl-C let requests that have begun finish.
    """
    from appraise.serving.rest.footprint import uncollected

    with uncollected():
        from appraise.bootstrap import build_serve_plan
        from appraise.jobs.serving.serve import serve as job

        session: Session = context.obj
        settings = session.settings({"serve.host": host, "serve.port": port, "serve.workers": workers})
        plan = build_serve_plan(settings, names=served_names(model, default), default=default, insecure=insecure)
        job(plan, announce=lambda serving: show(serving, _render, as_json=as_json))


def served_names(model: list[str] | None, default: str | None) -> tuple[str, ...]:
    """The models that `--model` gave; a usage error where the default is none of them."""
    names = tuple(model or ())
    if names and default is not None and default not in names:
        raise typer.BadParameter(
            f"{default!r} is not among the models that are served: {', '.join(names)}", param_hint="--default"
        )
    return names


def _render(console: Console, serving: Serving) -> None:
    for name, version in serving.models.items():
        console.print(f"Serving {name} {version} at {serving.url}/models/{name}/predict", markup=False, soft_wrap=True)
    console.print(f"Documentation: {serving.url}/docs", markup=False, soft_wrap=True)
    if not serving.keys:
        console.print("Nobody is asked for a key.", markup=False)
