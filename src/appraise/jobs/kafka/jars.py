"""Apache Kafka itself: fetched by Maven by version, each jar checked against the hash that `jars.lock` has for it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

from appraise.errors import MissingProgramError, ServiceError
from appraise.jobs.progress import Progress
from appraise.logs import get_logger

#: The latest that keeps the outcome of transactions when it is killed. 4.3.0, 4.3.1 and 4.4.0 take a partition without
#: a leader, as all are in a lone broker's first second, for one that was deleted, and never write the end of a
#: transaction there (KAFKA-20734, docs/decisions/0014). `benchmarks/chaos_broker.py` tells for any version.
KAFKA_VERSION = "4.2.1"

#: What writes the broker's log; the version is that of the log4j-core which Kafka brings.
_LOG4J_VERSION = "2.25.4"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_FETCH_SECONDS = 300.0
_JAVA_SECONDS = 60.0
_LEAST_JAVA = 17
#: Debian and Ubuntu packages.
PACKAGES = "default-jre-headless maven"

_log = get_logger(__name__)


def find_java() -> str:
    """The Java that runs Kafka.

    Raises:
        MissingProgramError: there is none, or it is too old.
    """
    java = _program("java", os.environ.get("JAVA_HOME"))
    command = [java, "-version"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_JAVA_SECONDS).stderr  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingProgramError(f"Apache Kafka needs Java, and {java} does not run: {error}", hint=_hint()) from error
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < _LEAST_JAVA:
        found = f"{java} is version {version[1]}" if version else f"{java} does not say its version"
        raise MissingProgramError(f"Apache Kafka needs Java {_LEAST_JAVA} or later, and {found}", hint=_hint())
    return java


def cache_folder() -> Path:
    """Where fetched jars are kept for every home of this user."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "appraise" / f"kafka-{KAFKA_VERSION}"


def fetch_jars(folder: Path, progress: Progress) -> Path:
    """The folder with Kafka's jars, every one of them checked; fetched where one is missing or altered.

    Raises:
        MissingProgramError: there is no Maven.
        ServiceError: it fails, or what it brought is not what was locked.
    """
    locked = locked_hashes()
    if not _differences(folder, locked):
        return folder
    maven = _program("mvn", os.environ.get("MAVEN_HOME"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kafka-") as scratch,
        progress.task(f"fetching Apache Kafka {KAFKA_VERSION} from Maven Central (45 MB, once)"),
    ):
        fetched = Path(scratch) / "jars"
        _run_maven(maven, Path(scratch), fetched)
        wrong = _differences(fetched, locked)
        if wrong:
            raise ServiceError(
                f"Maven brought other jars than those of Apache Kafka {KAFKA_VERSION}: {', '.join(sorted(wrong)[:5])}",
                hint="see which repository ~/.m2/settings.xml names; nothing of it was kept",
            )
        if folder.exists():
            _log.warning("jars in the cache were missing or altered, and are replaced", folder=str(folder))
            shutil.rmtree(folder)
        try:
            fetched.rename(folder)
        except OSError:
            # Another process may have brought the same meanwhile.
            if _differences(folder, locked):
                raise
    return folder


def locked_hashes() -> dict[str, str]:
    """SHA-256 of every jar by its name."""
    lines = (files(__package__) / "jars.lock").read_text(encoding="ascii").split()
    return dict(zip(lines[1::2], lines[::2], strict=True))


def _differences(folder: Path, locked: dict[str, str]) -> set[str]:
    """Jars that are missing, altered, or not asked for."""
    if not folder.is_dir():
        return set(locked)
    found = {path.name: _hash(path) for path in folder.iterdir()}
    return {name for name, _ in found.items() ^ locked.items()}


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _run_maven(maven: str, folder: Path, target: Path) -> None:
    pom = folder / "pom.xml"
    pom.write_text(_POM, encoding="utf-8")
    # -C fails where a checksum of the repository does not match.
    command = [
        maven,
        "-q",
        "-B",
        "-C",
        "-f",
        str(pom),
        _PLUGIN,
        f"-DoutputDirectory={target}",
        "-DincludeScope=runtime",
    ]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=_FETCH_SECONDS, cwd=folder
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(
            f"Maven was not done after {_FETCH_SECONDS:g} s", hint="see that Maven Central can be reached, then again"
        ) from error
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
        reason = lines[0].removeprefix("[ERROR]").strip() if lines else f"exit code {done.returncode}"
        raise ServiceError(
            f"Maven could not fetch Apache Kafka {KAFKA_VERSION}: {reason[:400]}",
            hint="see that Maven Central can be reached, or name a mirror in ~/.m2/settings.xml",
        )


def _program(name: str, home: str | None) -> str:
    """A program's path: of its own home variable, or on the PATH."""
    found = shutil.which(name, path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which(name)
    if found is None:
        raise MissingProgramError(f"Apache Kafka needs {name}, and there is none on the PATH", hint=_hint())
    return found


def _hint() -> str:
    return f"on Debian and Ubuntu: apt-get install {PACKAGES}; or use a broker that runs: KAFKA_BOOTSTRAP_SERVERS"


_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>appraise</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{_LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""
