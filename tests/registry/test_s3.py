"""Artifacts in S3. The server is moto's: it shows that the way works, not that S3 keeps what it is given."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from appraise.errors import RegistryError
from appraise.registry.bundle import read_bundle
from appraise.registry.mlflow_registry import Registry

BUCKET = "models"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


@pytest.fixture
def s3_registry(registry: Registry, endpoint: str, tmp_path: Path) -> Registry:
    return Registry(registry.tracking_uri, f"s3://{BUCKET}/appraise", tmp_path / "cache", s3_endpoint=endpoint)


def test_a_model_goes_to_s3_and_comes_back(s3_registry, make_bundle, endpoint):
    with s3_registry.run("homes", name="training") as run:
        s3_registry.register(make_bundle(), run=run, metric="rmse", error=0.4)
    kept = boto3.client("s3", endpoint_url=endpoint).list_objects_v2(Bucket=BUCKET, Prefix="appraise/homes/")
    assert any(item["Key"].endswith("/bundle/manifest.json") for item in kept["Contents"])
    assert read_bundle(s3_registry.resolve("homes")).natives == {"catboost.cbm": b"CBM1 trees"}


def test_a_bucket_that_is_not_there_is_said_so(s3_registry, registry, make_bundle, endpoint, tmp_path):
    elsewhere = Registry(registry.tracking_uri, "s3://no-such-bucket", tmp_path / "cache", s3_endpoint=endpoint)
    with pytest.raises(RegistryError, match="NoSuchBucket"), elsewhere.run("homes", name="training") as run:
        elsewhere.register(make_bundle(), run=run, metric="rmse", error=0.4)
    assert elsewhere.list_models() == ()
