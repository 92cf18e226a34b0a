"""Kafka clients: made from one set of settings, with their errors in words that name no secret."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from appraise.errors import BrokerUnavailableError, SettingsError, StreamError, UnknownTopicError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
    from confluent_kafka.admin import AdminClient, ClusterMetadata

C = TypeVar("C")

Option = str | int | float | bool

#: Settings of librdkafka that Appraise decides, because what it promises rests on them.
RESERVED: Mapping[str, str] = {
    "bootstrap.servers": "set kafka.bootstrap_servers in its place",
    "metadata.broker.list": "set kafka.bootstrap_servers in its place",
    "group.id": "each kind of worker has a group of its own",
    "transactional.id": "each worker has one of its own",
    "enable.idempotence": "messages are always produced idempotently",
    "enable.auto.commit": "offsets are committed with the results",
    "enable.auto.offset.store": "offsets are committed with the results",
    "isolation.level": "only what was committed is read",
    "auto.offset.reset": "each command begins where it says",
}
_SECRET = re.compile(r"password|secret|pem|\.key|token|jaas|userinfo", re.IGNORECASE)
_CONFIGURATION = "librdkafka's CONFIGURATION.md lists its settings and what they may be"
_PROPERTY = re.compile(r'property[: ]+"([^"]+)"')

_FILES = (
    "ssl.ca.location",
    "ssl.crl.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
)

#: What librdkafka and Kafka call the errors that are told apart.
_UNAUTHENTICATED = ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM")
_UNREACHABLE = (
    "_ALL_BROKERS_DOWN",
    "_TRANSPORT",
    "_TIMED_OUT",
    "_MSG_TIMED_OUT",
    "_RESOLVE",
    "_SSL",
    "REQUEST_TIMED_OUT",
)
_UNKNOWN = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION")
_HINTS = {
    "TOPIC_AUTHORIZATION_FAILED": "give this user rights on the topic",
    "GROUP_AUTHORIZATION_FAILED": "give this user rights on the consumer group",
    "CLUSTER_AUTHORIZATION_FAILED": "give this user rights on the cluster",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "give this user rights on the transactional id",
    "MSG_SIZE_TOO_LARGE": "raise message.max.bytes in kafka.options and max.message.bytes of the topic",
    "INVALID_REPLICATION_FACTOR": "the cluster has fewer brokers than that: --replication 1",
}
_ATTEMPT_SECONDS = 1.0
#: How long to go on when no broker at all can be reached: one that restarts is away for longer, a wrong port for good.
_DOWN_SECONDS = 3.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Heard:
    """What the clients of a cluster heard last in the background: the reason behind a timeout.

    Attributes:
        error: the last error, None without one.
        all_down: whether no broker could be reached since `error` was last empty.
    """

    error: KafkaError | None = None
    all_down: bool = False

    def hear(self, error: KafkaError) -> None:
        """Take note of an error; that all brokers are down is told too, and says less than the reason before it."""
        if error.name() == "_ALL_BROKERS_DOWN":
            self.all_down = True
        else:
            self.error = error


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """A Kafka cluster, and how to talk to it.

    Attributes:
        bootstrap_servers: `host:port` of one broker or several, with commas between.
        options: further settings of librdkafka by its own names (`security.protocol`); they may hold secrets.
        seconds: how long one question to the cluster may take.
    """

    bootstrap_servers: str
    options: Mapping[str, Option] = field(default_factory=dict, repr=False)
    seconds: float = 10.0
    heard: Heard = field(default_factory=Heard, repr=False, compare=False)

    def producer(self, options: Mapping[str, Any] | None = None) -> Producer:
        """A producer that is idempotent.

        Args:
            options: settings of librdkafka that beat those of the user.

        Raises:
            SettingsError: one of the user's options cannot be used.
        """
        from confluent_kafka import Producer

        return _made(Producer, self._settings({"enable.idempotence": True, **(options or {})}))

    def consumer(self, group: str, options: Mapping[str, Any] | None = None) -> Consumer:
        """A consumer that reads what was committed, and commits nothing by itself.

        Args:
            group: its consumer group.
            options: settings of librdkafka that beat those of the user.

        Raises:
            SettingsError: one of the user's options cannot be used.
        """
        from confluent_kafka import Consumer

        settings = {
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
        return _made(Consumer, self._settings({**settings, **(options or {})}))

    def admin(self) -> AdminClient:
        """A client that looks after topics; raises as `producer` does."""
        from confluent_kafka.admin import AdminClient

        return _made(AdminClient, self._settings({}))

    def _settings(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        for name, value in self.options.items():
            if name in RESERVED:
                raise SettingsError(f"kafka.options has {name}, which is not free to choose", hint=RESERVED[name])
            # librdkafka says of such a file only that its library could not read it.
            if name in _FILES and value != "probe" and not Path(str(value)).exists():
                raise SettingsError(f"{name} of kafka.options names a file that is not there: {value}")
        return {
            "client.id": "appraise",
            "log.connection.close": False,
            "error_cb": self.heard.hear,
            **self.options,
            "bootstrap.servers": self.bootstrap_servers,
            **ours,
        }


class _OnlyWhenDebugging(logging.Filter):
    """Keeps librdkafka's own log for those who log everything: its errors reach the caller anyway."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        return _log.isEnabledFor(logging.DEBUG)


_librdkafka_log = logging.getLogger(f"{__name__}.librdkafka")
_librdkafka_log.addFilter(_OnlyWhenDebugging())


def _made(kind: type[C], settings: dict[str, Any]) -> C:
    from confluent_kafka import KafkaException

    try:
        return kind(settings, logger=_librdkafka_log)  # type: ignore[call-arg]
    except KafkaException as error:
        raise _refused_setting(error.args[0].str()) from error


def _refused_setting(reason: str) -> SettingsError:
    """What librdkafka says of a setting, without the value where it may be a secret."""
    name = _PROPERTY.search(reason)
    if name is not None and reason.startswith("No such configuration property"):
        return SettingsError(f"kafka.options has {name[1]}, which is not a setting of librdkafka", hint=_CONFIGURATION)
    if name is not None and is_secret(name[1]):
        reason = f"{name[1]} has a value that it cannot have"
    reason = re.sub(r"^Failed to create [a-z ]+: ", "", reason.strip())
    return SettingsError(f"the Kafka client cannot be made: {reason}", hint=_CONFIGURATION)


def is_secret(option: str) -> bool:
    """Whether the value of a setting must not be shown."""
    return _SECRET.search(option) is not None


def metadata_of(config: KafkaConfig, client: AdminClient | Producer) -> ClusterMetadata:
    """Brokers and topics of the cluster; what shows whether it answers at all.

    Raises:
        BrokerUnavailableError: it does not, within the configured time; at once where it refuses the credentials.
        StreamError: it refuses.
    """
    from confluent_kafka import KafkaException

    started = time.monotonic()
    config.heard.error, config.heard.all_down = None, False
    while True:
        try:
            found: ClusterMetadata = client.list_topics(timeout=min(_ATTEMPT_SECONDS, config.seconds))
        except KafkaException as error:
            client.poll(0)
            waited = time.monotonic() - started
            patience = min(config.seconds, _DOWN_SECONDS) if config.heard.all_down else config.seconds
            if reason_of(config, error.args[0])[0] in _UNAUTHENTICATED or waited >= patience:
                raise translated(error, config, "the cluster cannot be asked") from error
        else:
            return found


def translated(error: KafkaException | KafkaError, config: KafkaConfig, what: str) -> StreamError:
    """An error of Kafka's in our words.

    Args:
        error: what the client raised or told.
        config: the cluster.
        what: what could not be done ("the message cannot be sent").
    """
    from confluent_kafka import KafkaException

    cause = error.args[0] if isinstance(error, KafkaException) else error
    name, reason = reason_of(config, cause)
    if name in _UNAUTHENTICATED:
        return StreamError(
            f"the Kafka broker at {config.bootstrap_servers} refuses the credentials: {reason}",
            hint="check sasl.mechanism, sasl.username and sasl.password in kafka.options",
        )
    if name in _UNREACHABLE and "SSL" in reason:
        return BrokerUnavailableError(
            f"no safe connection to the Kafka broker at {config.bootstrap_servers}: {reason}",
            hint="check security.protocol and ssl.ca.location in kafka.options, and that this port is the one for TLS",
        )
    if name in _UNREACHABLE:
        return BrokerUnavailableError(
            f"no Kafka broker answers at {config.bootstrap_servers}: {reason}",
            hint="see that it runs and that kafka.bootstrap_servers is right; appraise kafka start runs one here",
        )
    if name in _UNKNOWN:
        return UnknownTopicError(
            f"{what}: {reason}", hint="see appraise stream topics list; appraise stream topics create makes them"
        )
    return StreamError(f"{what}: {reason}", hint=_HINTS.get(name, "see the broker's log"))


def reason_of(config: KafkaConfig, error: KafkaError) -> tuple[str, str]:
    """The name and text of an error, or of what was heard in the background where the error is but a timeout."""
    if (
        error.name() in ("_TRANSPORT", "_TIMED_OUT", "_MSG_TIMED_OUT", "_ALL_BROKERS_DOWN")
        and config.heard.error is not None
    ):
        error = config.heard.error
    text = error.str()
    # librdkafka begins with the thread, and ends with how long a connection was in which state.
    text = re.sub(r"^\[thrd:[^\]]*\]: ", "", text)
    text = re.sub(r"^(?:\S+: )?(Connect to|Failed to resolve|SASL|SSL|Disconnected)", r"\1", text)
    text = re.sub(r"\s*\(after \d+ms in state .*$", "", text, flags=re.DOTALL)
    text = re.sub(r"^(?:Failed to get metadata|Unable to produce message): (?:Local: |Broker: )?", "", text)
    return error.name(), text.strip()
