"""A broker that speaks TLS: who knows its authority talks to it, everybody else is told why not."""

import datetime as dt
import ipaddress
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from appraise.errors import BrokerUnavailableError, SettingsError
from appraise.jobs.kafka.broker import LocalBroker
from appraise.serving.streaming.clients import KafkaConfig
from appraise.serving.streaming.producing import Outgoing, send
from appraise.serving.streaming.topics import create_topics, list_topics


@dataclass(frozen=True)
class Authority:
    """Signs certificates of this machine."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def made(cls, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def write(self, path: Path) -> str:
        """The certificate that clients trust."""
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)

    def write_server(self, path: Path) -> Path:
        """A key and its certificate for the loopback address."""
        key = ec.generate_private_key(ec.SECP256R1())
        loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        issuer = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        signed = _builder("broker", str(issuer), key).add_extension(loopback, critical=False)
        certificate = signed.sign(self.key, hashes.SHA256())
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, *form) + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@pytest.fixture(scope="module")
def encrypted(broker, free_port, tmp_path_factory):
    """The address of a broker that speaks TLS alone, and the file of its authority; a plain one runs here already."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority.made("the right authority")
    server = authority.write_server(folder / "server.pem")
    local = LocalBroker(folder / "kafka")
    tls, plain, controller = (free_port() for _ in range(3))
    local.start(
        port=plain,
        heap_mb=256,
        properties={
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},TLS://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},TLS://127.0.0.1:{tls}",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TLS:SSL",
            "listener.name.tls.ssl.keystore.type": "PEM",
            "listener.name.tls.ssl.keystore.location": str(server),
        },
    )
    try:
        yield f"127.0.0.1:{tls}", authority.write(folder / "authority.pem")
    finally:
        local.stop()


def test_who_knows_the_authority_sends_and_others_are_told_why_not(encrypted, broker, tmp_path):
    address, authority = encrypted
    right = KafkaConfig(address, {"security.protocol": "SSL", "ssl.ca.location": authority})
    create_topics(right, ["sealed"], partitions=1)
    (sent,) = send(right, "sealed", [Outgoing(b"under seal")])
    assert (sent.partition, sent.offset) == (0, 0)

    other = Authority.made("another authority").write(tmp_path / "other.pem")
    began = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="certificate verify failed") as caught:
        list_topics(KafkaConfig(address, {"security.protocol": "SSL", "ssl.ca.location": other}))
    assert "ssl.ca.location" in caught.value.hint
    assert time.monotonic() - began < 8
    # The plain broker resets the connection or closes it, as it happens, and librdkafka says which.
    with pytest.raises(BrokerUnavailableError, match=r"no safe .*(PLAINTEXT broker|closed by peer)") as caught:
        list_topics(KafkaConfig(broker.bootstrap_servers, {"security.protocol": "SSL", "ssl.ca.location": authority}))
    assert "security.protocol" in caught.value.hint
    assert "that this port is the one for TLS" in caught.value.hint
    with pytest.raises(BrokerUnavailableError, match="no Kafka broker answers"):
        list_topics(KafkaConfig(address, seconds=3.0))


def test_a_certificate_file_that_is_not_there_is_named(tmp_path):
    missing = str(tmp_path / "none.pem")
    with pytest.raises(SettingsError, match=r"none\.pem"):
        KafkaConfig("127.0.0.1:9", {"security.protocol": "SSL", "ssl.ca.location": missing}).producer()
