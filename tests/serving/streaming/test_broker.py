"""The broker of this machine: started, found, killed, started again, and what its errors say."""

import json
import os
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from appraise.errors import (
    BrokerUnavailableError,
    MissingProgramError,
    ServiceError,
    SettingsError,
    StreamError,
    UnknownTopicError,
)
from appraise.jobs.kafka import jars
from appraise.jobs.kafka.broker import LocalBroker
from appraise.jobs.kafka.control import start_broker
from appraise.jobs.progress import SilentProgress
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.producing import Outgoing, send
from appraise.serving.streaming.topics import create_topics, list_topics
from appraise.serving.streaming.viewing import view


@pytest.fixture
def secured(broker, free_port, tmp_path):
    """A broker that asks for a password on a second listener, where that is, and where none is asked for."""
    local = LocalBroker(tmp_path / "kafka")
    plain, guarded, controller = free_port(), free_port(), free_port()
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required user_appraise=right;"
    running = local.start(
        port=plain,
        properties={
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},GUARDED://127.0.0.1:{guarded},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},GUARDED://127.0.0.1:{guarded}",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT",
            "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.guarded.plain.sasl.jaas.config": login,
        },
    )
    try:
        yield local, f"127.0.0.1:{guarded}", running.bootstrap_servers
    finally:
        local.stop()


def test_a_broker_lives_through_passwords_death_and_restart(secured, tmp_path):
    local, guarded, plain = secured
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "appraise"}
    right = KafkaConfig(guarded, {**login, "sasl.password": "right"})
    create_topics(right, ["kept"], partitions=1)
    send(right, "kept", [Outgoing(b"before")])

    wrong = KafkaConfig(guarded, {**login, "sasl.password": "wrong-secret"})
    with pytest.raises(StreamError, match="refuses the credentials") as caught:
        list_topics(wrong)
    assert "wrong-secret" not in f"{caught.value} {caught.value.hint} {wrong!r}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APPRAISE_")}
    environment |= {
        "APPRAISE_KAFKA__BOOTSTRAP_SERVERS": guarded,
        "APPRAISE_KAFKA__OPTIONS": json.dumps({**login, "sasl.password": "wrong-secret"}),
    }
    worker = [sys.executable, "-m", "appraise", "stream", "score"]
    ended = subprocess.run(
        worker, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=90, check=False
    )
    assert ended.returncode == 10
    assert f"error: the Kafka broker at {guarded} refuses the credentials" in ended.stderr
    assert "wrong-secret" not in ended.stderr

    with pytest.raises(ServiceError, match="runs already"):
        local.start()
    before = local.running()
    local.kill()
    assert local.running() is None
    with pytest.raises(BrokerUnavailableError, match="no Kafka broker answers"):
        list_topics(KafkaConfig(plain, seconds=1))
    again = local.start()
    assert again.bootstrap_servers == before.bootstrap_servers == plain
    assert again.pid != before.pid
    with closing(view(KafkaConfig(plain), "kept", to_end=True)) as messages:
        assert [one.value for one in messages] == [b"before"]


def test_what_was_asked_of_a_broker_that_runs_already_is_said_to_have_no_effect(broker):
    class Running(LocalBroker):
        def running(self):
            return broker

    def start(**asked):
        given = {"port": None, "heap_mb": None, "properties": {}, **asked}
        return start_broker(Running(broker.log.parent), progress=SilentProgress(), **given).ignored

    port = int(broker.bootstrap_servers.rpartition(":")[2])
    assert start() == start(port=port) == ()
    assert start(port=1, heap_mb=300, properties={"log.retention.hours": "1"}) == ("--port", "--heap", "--set")


def test_a_broker_that_cannot_start_says_why_in_its_own_words(broker, tmp_path):
    local = LocalBroker(tmp_path / "kafka")
    with pytest.raises(ServiceError, match=r"offsets\.topic\.num\.partitions") as caught:
        local.start(port=0, properties={"offsets.topic.num.partitions": "none"})
    assert "Exception" in str(caught.value)
    assert local.running() is None
    assert local.stop() is False


@pytest.mark.parametrize(("stated", "named"), [("", "4.3.0"), ("appraise.kafka.version=10.0.1\n", "10.0.1")])
def test_data_of_a_later_kafka_are_left_alone(broker, tmp_path, stated, named):
    local = LocalBroker(tmp_path / "kafka")
    (local.folder / "data").mkdir(parents=True)
    (local.folder / "data" / "meta.properties").write_text("version=1\n")
    (local.folder / "server.properties").write_text(f"appraise.port=9092\n{stated}")
    with pytest.raises(ServiceError, match=f"holds data of Apache Kafka {named}, which") as caught:
        local.start()
    assert "begins with no topics" in caught.value.hint
    assert (local.folder / "data" / "meta.properties").exists()


def test_a_port_that_is_taken_is_named(broker, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} of 127.0.0.1 cannot be listened on"):
            LocalBroker(tmp_path / "kafka").start(port=port)


def test_without_java_the_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(MissingProgramError, match="needs java") as caught:
        LocalBroker(tmp_path / "kafka").start(port=0)
    assert "apt-get install default-jre-headless maven" in caught.value.hint
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    with pytest.raises(MissingProgramError, match=r"Java 17 or later, and .* is version 11"):
        jars.find_java()


def test_jars_that_are_not_those_that_were_locked_are_not_used(tmp_path, monkeypatch):
    """A repository that brings something else, with Maven's consent."""
    maven = tmp_path / "mvn"
    maven.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case $word in -DoutputDirectory=*) folder=${word#*=};; esac; done\n'
        'mkdir -p "$folder" && echo other > "$folder/kafka-clients-4.2.1.jar"\n'
    )
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("MAVEN_HOME", raising=False)
    with pytest.raises(ServiceError, match="other jars than those of Apache Kafka"):
        jars.fetch_jars(tmp_path / "cache" / "kafka", SilentProgress())
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_altered_jar_is_noticed(broker, tmp_path):
    folder = tmp_path / "jars"
    folder.mkdir()
    for jar in jars.cache_folder().iterdir():
        (folder / jar.name).symlink_to(jar)
    locked = jars.locked_hashes()
    assert jars._differences(folder, locked) == set()
    (folder / "kafka-clients-4.2.1.jar").unlink()
    (folder / "kafka-clients-4.2.1.jar").write_bytes(b"other")
    (folder / "more.jar").write_bytes(b"")
    assert jars._differences(folder, locked) == {"kafka-clients-4.2.1.jar", "more.jar"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"no.such.setting": 1}, "no.such.setting, which is not a setting of librdkafka"),
        ({"security.protocol": "smoke"}, "security.protocol"),
        ({"sasl.mechanism": "PLAIN", "security.protocol": "SASL_SSL"}, "sasl.username and sasl.password must be set"),
        ({"transactional.id": "mine"}, "transactional.id, which is not free to choose"),
        ({"ssl.key.pem": "s3cret", "security.protocol": "SSL", "ssl.certificate.pem": "s3cret"}, "cannot be made"),
    ],
)
def test_a_wrong_option_is_named_without_its_secrets(options, message):
    with pytest.raises(SettingsError, match=message) as caught:
        KafkaConfig("127.0.0.1:9", options).producer()
    assert "s3cret" not in str(caught.value)


def test_a_wrong_partition_or_a_message_too_large_is_refused_with_the_reason(kafka, topics):
    with pytest.raises(UnknownTopicError, match="has no partition 2") as caught:
        send(kafka, topics.requests, [Outgoing(b"x", partition=2)])
    assert caught.value.hint == "its partitions are 0 to 1"
    with pytest.raises(StreamError, match=r"message 2 \(5,000,000 bytes\) was not sent: Message size too large"):
        send(kafka, topics.requests, [Outgoing(b"x", partition=0), Outgoing(b"x" * 5_000_000, partition=0)])
    with pytest.raises(UnknownTopicError, match="there is no topic"):
        send(kafka, f"{topics.prefix}none", [Outgoing(b"x")])
