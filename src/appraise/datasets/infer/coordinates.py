"""Which two columns are the place of a home, checked by their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from appraise.datasets.infer import naming
from appraise.datasets.infer.journal import Journal
from appraise.datasets.infer.profile import Profile

#: A column holds degrees if this share of its values lies in their range.
_ENOUGH = 0.95
_POLE = 90.0
_DATE_LINE = 180.0
#: Degrees around the sane rows within which the others of a file with insane ones must lie.
_MARGIN = 5.0
_FRACTIONS = 0.8


def find_coordinates(profiles: Sequence[Profile], target: str, journal: Journal) -> list[Profile]:
    """The profiles, with the roles latitude and longitude given where a pair of columns deserves them."""
    numeric = [profile for profile in profiles if profile.is_numeric and profile.name != target]
    pair = _named_pair(numeric) or _axes(numeric)
    if pair is None:
        _explain_single(numeric, journal)
        return list(profiles)
    latitude, longitude = pair
    if not (_in_range(latitude, _POLE) and _in_range(longitude, _DATE_LINE)):
        if not (_in_range(longitude, _POLE) and _in_range(latitude, _DATE_LINE)):
            journal.say(latitude.name, "kept as a number", f"its values and those of {longitude.name} are not degrees")
            return list(profiles)
        latitude, longitude = longitude, latitude
        journal.say(
            latitude.name, "the latitude, in spite of its name", f"the values of {longitude.name} go beyond 90 degrees"
        )
    else:
        journal.say(latitude.name, "the latitude", "its name, and values between -90 and 90 degrees")
        journal.say(longitude.name, "the longitude", "its name, and values between -180 and 180 degrees")
    placed = _bounded(latitude, longitude, journal)
    return [placed.get(profile.name, profile) for profile in profiles]


def _named_pair(numeric: Sequence[Profile]) -> tuple[Profile, Profile] | None:
    latitudes = [profile for profile in numeric if naming.says_latitude(profile.name)]
    longitudes = [profile for profile in numeric if naming.says_longitude(profile.name)]
    if not latitudes or not longitudes:
        return None
    return max(latitudes, key=_quality), max(longitudes, key=_quality)


def _quality(profile: Profile) -> tuple[bool, int]:
    return _in_range(profile, _DATE_LINE), profile.present


def _axes(numeric: Sequence[Profile]) -> tuple[Profile, Profile] | None:
    """Columns named x and y, which are degrees only if their values look like it: in range, and not whole."""
    ys = [profile for profile in numeric if naming.says_axis(profile.name, "y") and _looks_like_degrees(profile)]
    xs = [profile for profile in numeric if naming.says_axis(profile.name, "x") and _looks_like_degrees(profile)]
    return (ys[0], xs[0]) if ys and xs else None


def _looks_like_degrees(profile: Profile) -> bool:
    fractions = profile.text.drop_nulls().str.contains(r"[.,]\d{3,}$").mean()
    return _in_range(profile, _DATE_LINE) and isinstance(fractions, float) and fractions >= _FRACTIONS


def _in_range(profile: Profile, limit: float) -> bool:
    share = (profile.values.drop_nulls().cast(pl.Float64).abs() <= limit).mean()
    return isinstance(share, float) and share >= _ENOUGH


def _bounded(latitude: Profile, longitude: Profile, journal: Journal) -> dict[str, Profile]:
    """The pair with its roles and bounds; where rows lie at 0 degrees or swapped, bounds that keep those out."""
    lat, lon = pl.col("lat"), pl.col("lon")
    frame = pl.DataFrame({"lat": latitude.values.cast(pl.Float64), "lon": longitude.values.cast(pl.Float64)})
    inside = frame.drop_nulls().filter((lat.abs() <= _POLE) & (lon.abs() <= _DATE_LINE))
    centre = inside.median().row(0)
    at_zero = _far(lat, centre[0]) & (lat == 0) | _far(lon, centre[1]) & (lon == 0)
    swapped = ~_far(lat, centre[1]) & ~_far(lon, centre[0]) & _far(lat, centre[0])
    sane = inside.filter(~at_zero & ~swapped)
    limits = {"lat": (-_POLE, _POLE), "lon": (-_DATE_LINE, _DATE_LINE)}
    if sane.height and frame.select((at_zero | swapped).any()).item():
        limits = {key: _box(sane[key], limits[key]) for key in limits}
    refused = ~(lat.is_between(*limits["lat"]) & lon.is_between(*limits["lon"]))
    for mistake, what in (
        (refused & at_zero, "they lie at 0 degrees, far from the others"),
        (refused & swapped, "their latitude and longitude are swapped"),
        (refused & ~at_zero & ~swapped, "their coordinates do not exist, or are far from all others"),
    ):
        count = frame.select(mistake.sum()).item()
        if count:
            journal.say(latitude.name, f"{count:,} {'row' if count == 1 else 'rows'} will be refused", what)
    placed = {}
    for profile, role, key in ((latitude, "latitude", "lat"), (longitude, "longitude", "lon")):
        low, high = limits[key]
        draft = profile.having(kind="number", role=role, unit="degrees", minimum=low, maximum=high)
        placed[profile.name] = replace(draft, values=frame[key].alias(profile.name))
    return placed


def _far(degrees: pl.Expr, centre: float) -> pl.Expr:
    return (degrees - centre).abs() > _MARGIN


def _box(degrees: pl.Series, limits: tuple[float, float]) -> tuple[float, float]:
    """The range of the sane rows, a margin around it, in whole degrees."""
    low, high = degrees.to_numpy().min(), degrees.to_numpy().max()
    return max(limits[0], float(np.floor(low - _MARGIN))), min(limits[1], float(np.ceil(high + _MARGIN)))


def _explain_single(numeric: Sequence[Profile], journal: Journal) -> None:
    for profile in numeric:
        if naming.says_latitude(profile.name) or naming.says_longitude(profile.name):
            journal.say(profile.name, "kept as a number", "the other coordinate is not in the file")
