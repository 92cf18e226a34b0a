"""Artifacts in S3, on a real service on loopback."""

import pytest

from appraise.errors import BundleError, RegistryError
from appraise.registry.bundle import read_bundle
from appraise.registry.mlflow_registry import Registry


@pytest.fixture
def s3_registry(registry: Registry, bucket, tmp_path, monkeypatch) -> Registry:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "")
    return Registry(
        registry.tracking_uri, f"s3://{bucket.name}/appraise", tmp_path / "cache", s3_endpoint=bucket.endpoint
    )


def test_a_model_goes_to_s3_and_comes_back(s3_registry, make_bundle, bucket):
    with s3_registry.run("homes", name="training") as run:
        s3_registry.register(make_bundle(), run=run, metric="rmse", error=0.4)
    assert any(key.endswith("/bundle/manifest.json") for key in bucket.keys("appraise/homes/"))
    assert read_bundle(s3_registry.resolve("homes")).natives == {"catboost.cbm": b"CBM1 trees"}


def test_a_bundle_that_somebody_changed_in_the_bucket_is_refused(s3_registry, make_bundle, bucket):
    with s3_registry.run("homes", name="training") as run:
        s3_registry.register(make_bundle(), run=run, metric="rmse", error=0.4)
    (key,) = [key for key in bucket.keys("appraise/homes/") if key.endswith("catboost.cbm")]
    bucket.put(key, b"CBM1 other")
    with pytest.raises(BundleError, match=r"catboost\.cbm"):
        s3_registry.resolve("homes")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [("bucket", "NoSuchBucket"), ("secret", "SignatureDoesNotMatch"), ("service", "Could not connect")],
)
def test_a_bucket_secret_or_service_that_is_wrong_is_said_so(
    s3_registry, registry, make_bundle, bucket, tmp_path, monkeypatch, spoil, message
):
    name = "no-such-bucket" if spoil == "bucket" else bucket.name
    endpoint = "http://127.0.0.1:1" if spoil == "service" else bucket.endpoint
    if spoil == "secret":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
        # MLflow and boto3 keep clients and credentials for as long as a process lives.
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
        endpoint = endpoint.replace("127.0.0.1", "localhost")
    elsewhere = Registry(registry.tracking_uri, f"s3://{name}", tmp_path / "cache", s3_endpoint=endpoint)
    with pytest.raises(RegistryError, match=message), elsewhere.run("homes", name="training") as run:
        elsewhere.register(make_bundle(), run=run, metric="rmse", error=0.4)
    assert elsewhere.list_models() == ()
