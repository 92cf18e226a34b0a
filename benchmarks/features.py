"""How long stored features take to be looked up, in an embedded PostgreSQL that is made for it.

    python benchmarks/features.py
    python benchmarks/features.py --users 100000 --history 100

Each lookup asks for the latest value of eight features of one user, each of which has had `--history` values.
`appraise/lookup` is what a request waits for: handed to the thread that talks to the database and back. The rest is one
connection asked directly: by the same query, by the `DISTINCT ON` that one would write first, by that through
SQLAlchemy's pool, and by a bare `SELECT 1`, which is the least that any question takes.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _report import Figure, held_against, parser, say, show

from appraise.store.database import Database, DatabaseOptions
from appraise.store.features import latest_features
from appraise.store.lookup import FeatureLookup

NAMES = ("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude")
FILL = """
INSERT INTO user_features (user_id, event_type, feature_value, ingestion_timestamp)
SELECT 'user' || number, name, to_jsonb(random() * 10), now() - make_interval(hours => hour)
FROM generate_series(1, %s) AS number, unnest(%s::text[]) AS name, generate_series(1, %s) AS hour
"""
DISTINCT = """
SELECT DISTINCT ON (event_type) event_type, feature_value, ingestion_timestamp FROM user_features
WHERE user_id = %s AND event_type = ANY(%s) AND ingestion_timestamp <= %s
ORDER BY event_type, ingestion_timestamp DESC
"""


def main() -> None:
    """Run it."""
    arguments = parser(__doc__)
    arguments.add_argument("--users", type=int, default=10_000)
    arguments.add_argument("--history", type=int, default=10, help="values of each feature (default 10)")
    arguments.add_argument("--lookups", type=int, default=3_000, help="lookups of each kind (default 3000)")
    chosen = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="appraise-features-") as folder,
        Database(DatabaseOptions(None, Path(folder) / "postgres")) as database,
    ):
        database.upgrade(actor="benchmark")
        say(f"storing {chosen.users * len(NAMES) * chosen.history:,} values")
        with database.dedicated(autocommit=True) as connection:
            connection.execute("SET statement_timeout = 0")
            connection.execute(FILL, (chosen.users, list(NAMES), chosen.history))
            connection.execute("VACUUM ANALYZE user_features")
            show(measured(database, connection, chosen.users, chosen.lookups), as_json=chosen.json)


def measured(database: Database, connection: Any, users: int, lookups: int) -> list[Figure]:
    """Every figure."""
    now = dt.datetime.now(tz=dt.UTC)
    lookup = FeatureLookup(database)
    asks: dict[str, Callable[[str], Any]] = {
        "select-1": lambda _: connection.execute("SELECT 1", prepare=True).fetchone(),
        "appraise/lookup": lambda user: lookup.find([(user, NAMES)]),
        "appraise/query": lambda user: latest_features(connection, [(user, NAMES)], as_of=now),
        "distinct-on": lambda user: connection.execute(DISTINCT, (user, list(NAMES), now), prepare=True).fetchall(),
        "sqlalchemy-pool": lambda user: through_the_pool(database, user, now),
    }
    say("asking one at a time")
    times = {name: spread(ask, users, lookups) for name, ask in asks.items()}
    bare = Figure("select-1 p50", times["select-1"][0], "ms")
    figures = [bare]
    for name, (middle, slow) in times.items():
        if name != "select-1":
            figures += [held_against(f"{name} p50", middle, "ms", bare), held_against(f"{name} p99", slow, "ms", bare)]
    say("asking from 16 threads")
    figures.append(Figure("appraise/lookup 16 threads", together(lookup, users, lookups), "lookups/s"))
    lookup.close()
    return figures


def through_the_pool(database: Database, user: str, now: dt.datetime) -> list[Any]:
    """The first query that comes to mind, as applications usually ask it."""
    with database.connect() as connection:
        return list(connection.exec_driver_sql(DISTINCT, (user, list(NAMES), now)))


def spread(ask: Callable[[str], Any], users: int, lookups: int) -> tuple[float, float]:
    """Median and 99th percentile of the time of one question, in milliseconds."""
    taken = []
    for number in np.random.default_rng(0).integers(1, users + 1, lookups):
        user = f"user{number}"
        started = time.perf_counter()
        ask(user)
        taken.append((time.perf_counter() - started) * 1e3)
    taken = sorted(taken[lookups // 10 :])
    return taken[len(taken) // 2], taken[int(len(taken) * 0.99)]


def together(lookup: FeatureLookup, users: int, lookups: int) -> float:
    """Lookups a second of 16 threads."""

    def work(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(1, users + 1, lookups // 16):
            lookup.find([(f"user{number}", NAMES)])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lookups // 16 * 16 / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
