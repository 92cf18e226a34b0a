"""What the service answers, as types: the codec writes them and the OpenAPI document describes them."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from appraise.serving.estimates import Grade

Currency = Annotated[str | None, Meta(description="ISO 4217 code of all prices in the answer; null where unknown.")]
PriceUnit = Annotated[
    float,
    Meta(
        gt=0,
        description="Units of the currency in 1 of every price in the answer: with 100000 and USD, 4.5 is 450,000 USD.",
    ),
]


ConfidenceGrade = Annotated[
    Grade,
    Meta(
        description="`high` from a score of 0.85, `medium` from 0.70, `low` below; `none` where the score is 0: the "
        "home is too far from known sales, or too little of it is known, for the estimate to be used. `warnings` say "
        "why."
    ),
]


class Interval(msgspec.Struct, gc=False):
    """A prediction interval, in the unit of the prediction."""

    lower: float
    upper: float
    level: Annotated[float, Meta(gt=0, lt=1, description="The share of prices that such intervals hold.")]


class Comparable(msgspec.Struct):
    """A known sale near the valued home in place and attributes."""

    price: Annotated[float, Meta(description="What it fetched, in the unit of the prediction.")]
    date: dt.date | None
    distance_km: float | None
    difference: Annotated[
        float,
        Meta(
            ge=0, description="How far it is in place and attributes together; 0 is an equal home, the nearest first."
        ),
    ]
    attributes: dict[str, Any]


class Contribution(msgspec.Struct):
    """What one source adds to an estimate."""

    name: Annotated[str, Meta(description="An input column, or such as `location` and `comparable sales`.")]
    columns: Annotated[tuple[str, ...], Meta(description="The input columns that it is made of.")]
    money: Annotated[
        float,
        Meta(description="In the unit of the prediction (`price_unit` of `currency`), negative where it lowers it."),
    ]


FeatureSources = Annotated[
    dict[str, Literal["request", "store", "nowhere"]],
    Meta(description="Where each input came from; said where the request names a user or gives values by position."),
]
FeatureTimes = Annotated[dict[str, dt.datetime], Meta(description="Since when each stored value holds.")]


class Prediction(msgspec.Struct, gc=False):
    """The estimate of one home."""

    prediction: Annotated[float, Meta(description="The estimate, in the unit that `price_unit` and `currency` say.")]
    currency: Currency
    price_unit: PriceUnit
    prediction_id: Annotated[str, Meta(description="Names this estimate, and no other.")]
    model_name: str
    model_version: str
    timestamp: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    prediction_interval: Interval
    confidence_score: Annotated[
        float, Meta(ge=0, le=1, description="1 - FSD: about 68% of sales lie within estimate x (1 +- FSD).")
    ]
    confidence_grade: ConfidenceGrade
    warnings: Annotated[
        tuple[str, ...],
        Meta(description="Such as a value outside all that was seen in training, or known sales too far away."),
    ]
    input_features: dict[str, Any]
    processing_time_ms: float
    user_id: (
        Annotated[str, Meta(description="Whose stored features counted, where the request named somebody.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    feature_sources: FeatureSources | msgspec.UnsetType = msgspec.UNSET
    feature_times: FeatureTimes | msgspec.UnsetType = msgspec.UNSET
    base: (
        Annotated[
            float,
            Meta(description="What the model says of a home that it knows nothing of, in the unit of the prediction."),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    contributions: (
        Annotated[tuple[Contribution, ...], Meta(description="Added to `base` in their order they give `prediction`.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    comparables: tuple[Comparable, ...] | msgspec.UnsetType = msgspec.UNSET


class FieldError(msgspec.Struct, omit_defaults=True):
    """One refused field."""

    field: Annotated[str | None, Meta(description="Null where the row or request as a whole is at fault.")]
    constraint: Annotated[str, Meta(description="What is asked of it.")]
    received: Annotated[str, Meta(description="What came instead, shortened.")]
    row: Annotated[int | None, Meta(description="The row's position in a batch, from 0.")] = None


class Valued(msgspec.Struct, tag="valued", tag_field="status"):
    """The estimate of one row of a batch."""

    row: int
    prediction: Annotated[float, Meta(description="In the unit that is said once for the whole batch.")]
    prediction_id: str
    prediction_interval: Interval
    confidence_score: float
    confidence_grade: ConfidenceGrade
    warnings: tuple[str, ...]
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    feature_sources: FeatureSources | msgspec.UnsetType = msgspec.UNSET
    feature_times: FeatureTimes | msgspec.UnsetType = msgspec.UNSET


class Refused(msgspec.Struct, tag="refused", tag_field="status"):
    """A row of a batch that was not valued."""

    row: int
    errors: tuple[FieldError, ...]


class BatchPrediction(msgspec.Struct):
    """The rows of a batch, each valued or refused, in their order."""

    batch_id: str
    batch_name: str | None
    model_name: str
    model_version: str
    currency: Currency
    price_unit: PriceUnit
    timestamp: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    rows: int
    valued: int
    refused: int
    results: list[Valued | Refused]
    processing_time_ms: float


class Problem(msgspec.Struct, omit_defaults=True):
    """What went wrong (RFC 9457)."""

    title: str
    status: int
    detail: Annotated[str, Meta(description="One sentence: what was received, and why it cannot be used.")]
    type: str = "about:blank"
    hint: Annotated[str | None, Meta(description="What to do about it.")] = None
    errors: Annotated[tuple[FieldError, ...], Meta(description="Every refused field.")] = ()


class Health(msgspec.Struct, omit_defaults=True):
    """Whether the service can be used."""

    status: str
    models: dict[str, str] | None = None
    reason: str | None = None


class Dependency(msgspec.Struct):
    """How something that the service leans on answered."""

    status: str
    latency_ms: float
    detail: str


class DetailedHealth(msgspec.Struct):
    """How everything that the service leans on answered, and whether it is fit to serve."""

    status: str
    version: str
    uptime_seconds: float
    workers: int
    models: dict[str, str]
    dependencies: dict[str, Dependency]


class ServedVersion(msgspec.Struct):
    """A version that can be asked for."""

    version: str
    aliases: tuple[str, ...]
    loaded: bool


class ServedModel(msgspec.Struct):
    """A model that is served."""

    name: str
    title: str | None
    default: bool
    versions: tuple[ServedVersion, ...]


class ServedModels(msgspec.Struct):
    """Everything that is served."""

    models: tuple[ServedModel, ...]


class ModelInfo(msgspec.Struct):
    """What is known of one model."""

    model_name: str
    model_version: str
    model_type: str
    aliases: tuple[str, ...]
    title: str | None
    target: str
    unit: str | None
    currency: Currency
    price_unit: PriceUnit
    features: tuple[str, ...]
    created_at: dt.datetime
    loaded_at: dt.datetime
    metrics: dict[str, Any]
    feature_importances: dict[str, float]
    training_ranges: dict[str, Any]
    calibration: dict[str, Any]
    training_rows: dict[str, int]
    libraries: dict[str, str]
    git_commit: str | None
    data_hash: str | None
    spec_hash: str
    digest: str


class Reloaded(msgspec.Struct):
    """What a reload changed."""

    models: dict[str, str]
    changed: tuple[str, ...]
    workers: int
    seconds: float


class Service(msgspec.Struct):
    """The service in short."""

    name: str
    version: str
    models: dict[str, str]
    documentation: str
    health: str
