"""What `serving.py` holds the service against: each with what it needs, made in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _report import say
from serving_load import Server

from appraise.models.trees import CatBoost

_UVICORN = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning", "--port", "{port}")


@dataclass(frozen=True, slots=True)
class Bench:
    """What the peers share.

    Attributes:
        folder: for their files.
        names: the input columns.
        rows: (n, p) homes to ask for.
        X, y: training rows.
        trees: of the booster.
        threads: to train it with.
    """

    folder: Path
    names: tuple[str, ...]
    rows: np.ndarray
    X: np.ndarray
    y: np.ndarray
    trees: int
    threads: int

    def objects(self) -> list[str]:
        """Bodies of one JSON object each."""
        return [json.dumps(dict(zip(self.names, row, strict=True))) for row in self.rows.tolist()]

    def booster(self) -> Path:
        """A CatBoost model on the bare input columns, with the parameters of ours, trained once.

        Ours also has known sales and ratios for features, and two more models beside it; a server without them is given
        what it can take.
        """
        path = self.folder / "booster.cbm"
        if not path.exists():
            import catboost

            say(f"training the peers' booster: CatBoost, {self.trees} trees, {len(self.names)} columns")
            parameters = {**CatBoost.defaults, "iterations": self.trees, "thread_count": self.threads}
            model = catboost.CatBoostRegressor(**parameters, allow_writing_files=False, verbose=False)
            model.fit(self.X, self.y).save_model(str(path))
        return path


def echo(bench: Bench) -> Server:
    """FastAPI on uvicorn: eight fields in, ten out, checked by pydantic, and no model."""
    return Server([sys.executable, "-m", "uvicorn", "serving_echo:app", *_UVICORN], "/predict", bench.objects())


def sklearn(bench: Bench) -> Server:
    """The same, with a pandas frame and a scikit-learn pipeline."""
    rows = bench.folder / "rows.json"
    rows.write_text(json.dumps([dict(zip(bench.names, row, strict=True)) for row in bench.X[:1000].tolist()]))
    return Server(
        [sys.executable, "-m", "uvicorn", "serving_sklearn:app", *_UVICORN],
        "/predict",
        bench.objects(),
        {"BOOSTER": str(bench.booster()), "ROWS": str(rows)},
    )


def mlserver(bench: Bench) -> Server:
    """MLServer as it comes, in an environment of its own: one process listens, another predicts."""
    return _mlserver(bench, "mlserver", {})


def mlserver_lean(bench: Bench) -> Server:
    """MLServer at its quickest on one processor: one process, no log, no metrics."""
    quiet = {"version": 1, "root": {"level": "WARNING"}}
    return _mlserver(
        bench,
        "mlserver-lean",
        {"debug": False, "parallel_workers": 0, "metrics_endpoint": None, "logging_settings": quiet},
    )


def _mlserver(bench: Bench, name: str, settings: dict[str, Any]) -> Server:
    # Its worker asks for an event loop in a way that uvloop 0.22 no longer answers.
    python = _environment("mlserver", ("mlserver==1.7.1", "uvloop<0.22", "catboost"))
    folder = bench.folder / name
    folder.mkdir(exist_ok=True)
    model = {
        "name": "california",
        "implementation": "serving_mlserver.Regressor",
        "parameters": {"uri": str(bench.booster())},
    }
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", **settings}))
    (folder / "model-settings.json").write_text(json.dumps(model))
    shape = [1, len(bench.names)]
    bodies = [
        json.dumps({"inputs": [{"name": "predict", "shape": shape, "datatype": "FP64", "data": row}]})
        for row in bench.rows.tolist()
    ]
    ports = ("MLSERVER_HTTP_PORT={port}", "MLSERVER_GRPC_PORT=0", "MLSERVER_METRICS_PORT=0")
    return Server(
        ["env", *ports, str(python.parent / "mlserver"), "start", str(folder)],
        "/v2/models/california/infer",
        bodies,
        {"PYTHONPATH": str(Path(__file__).parent)},
    )


def mlflow(bench: Bench) -> Server:
    """`mlflow models serve` in this environment."""
    folder = bench.folder / "mlflow"
    if not folder.exists():
        import catboost
        from mlflow.catboost import save_model

        save_model(catboost.CatBoostRegressor().load_model(str(bench.booster())), folder)
    columns = list(bench.names)
    bodies = [json.dumps({"dataframe_split": {"columns": columns, "data": [row]}}) for row in bench.rows.tolist()]
    # It starts uvicorn by a shell.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    return Server([*command, "-h", "127.0.0.1", "-p", "{port}"], "/invocations", bodies, {"PATH": path})


#: By the names that `--peers` takes.
PEERS: dict[str, Callable[[Bench], Server]] = {
    "echo": echo,
    "sklearn": sklearn,
    "mlserver": mlserver,
    "mlserver-lean": mlserver_lean,
    "mlflow": mlflow,
}


def _environment(name: str, packages: Sequence[str]) -> Path:
    """The interpreter of a virtual environment with these packages, made once and kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "appraise" / "benchmarks" / name
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        say(f"installing {', '.join(packages)} into {folder}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "complete").touch()
    return python
