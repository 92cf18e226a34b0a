"""What columns are for: the date of sale, identifiers, the region of reports."""

from __future__ import annotations

from collections.abc import Sequence

from appraise.datasets.infer import naming
from appraise.datasets.infer.journal import Journal
from appraise.datasets.infer.profile import Profile

#: A date of sale may be missing in this share of rows, which are then refused.
_MISSING_DATES = 0.10
_FEW_REGIONS, _MANY_REGIONS = 4, 20
_MISSING_REGIONS = 0.20
#: A date is set after the sale if it is later in this share of rows.
_MOSTLY = 0.5


def mark_identifiers(profiles: Sequence[Profile], journal: Journal) -> list[Profile]:
    """The profiles, with the role id for columns that name rows."""
    marked = []
    for profile in profiles:
        if profile.column.kind == "identifier":
            journal.say(profile.name, "an identifier", f"{profile.distinct:,} values in {profile.present:,} rows")
            profile = profile.having(role="id")  # noqa: PLW2901
        marked.append(profile)
    return marked


def find_sale_date(profiles: Sequence[Profile], journal: Journal) -> list[Profile]:
    """The profiles, with the role sale_date for the one date that is most likely the day of the sale."""
    rows = profiles[0].text.len()
    dates = [profile for profile in profiles if profile.column.kind == "date"]
    eligible = [
        profile
        for profile in dates
        if profile.values.null_count() <= _MISSING_DATES * rows and not naming.says(profile.name, naming.NO_SALE_DATE)
    ]
    if not eligible:
        return list(profiles)
    chosen = max(eligible, key=_sale_likelihood)
    missing = chosen.values.null_count()
    reason = "its name" if _sale_likelihood(chosen) > 1 else "the only date that it can be"
    journal.say(chosen.name, "the date of sale", reason)
    if missing:
        journal.say(chosen.name, f"{missing:,} rows will be refused", "they have no date of sale that can be read")
    return [_with_date_role(profile, chosen, journal) if profile in dates else profile for profile in profiles]


def find_region(profiles: Sequence[Profile], journal: Journal) -> str | None:
    """The category of 4 to 20 places by which reports are cut; None where there is none."""
    ranked: list[tuple[int, str, int]] = []
    for profile in profiles:
        usable = (
            profile.column.kind == "category"
            and profile.column.role == "feature"
            and _FEW_REGIONS <= profile.distinct <= _MANY_REGIONS
            and profile.present >= (1 - _MISSING_REGIONS) * profile.text.len()
        )
        rank = next((n for n, word in enumerate(naming.PLACES) if naming.says(profile.name, [word])), None)
        if usable and rank is not None:
            ranked.append((rank, profile.name, profile.distinct))
    if not ranked:
        return None
    _, name, levels = min(ranked)
    journal.say(name, "the region of reports", f"a place with {levels} levels")
    return name


def city_columns(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """Categories that hold names of cities and the like, whose spelling is worth unifying."""
    return tuple(
        profile.name
        for profile in profiles
        if profile.column.kind == "category"
        and profile.column.role == "feature"
        and naming.says(profile.name, naming.CITIES)
        and profile.text.drop_nulls().head(1000).str.contains(r"[^\W\d_]{3}").any()
    )


def near_duplicate_columns(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """Columns that, equal in two rows, make one sale of them: the home, by its address or number, and the date."""
    dates = [profile.name for profile in profiles if profile.column.role == "sale_date"]
    homes = [
        profile.name
        for profile in profiles
        if (profile.column.kind == "text" and naming.says(profile.name, naming.ADDRESS))
        or (profile.column.kind == "identifier" and profile.distinct < profile.present)
    ]
    apartments = [
        profile.name
        for profile in profiles
        if profile.column.kind == "category" and naming.says(profile.name, naming.APARTMENT)
    ]
    return (*city_columns(profiles), *homes, *apartments, *dates) if homes and dates else ()


def _sale_likelihood(profile: Profile) -> int:
    if naming.says(profile.name, naming.SALE):
        return 3
    if naming.says(profile.name, naming.LISTED):
        return 0
    return 2 if naming.words(profile.name) in (["date"], ["datum"], ["fecha"], ["data"], ["month"], ["period"]) else 1


def _with_date_role(profile: Profile, chosen: Profile, journal: Journal) -> Profile:
    if profile is chosen:
        return profile.having(role="sale_date", optional=False)
    later = (profile.values > chosen.values).mean()
    if isinstance(later, float) and later > _MOSTLY:
        reason = f"mostly later than {chosen.name}: not known on the day of the sale"
        journal.say(profile.name, "ignored", reason)
        return profile.having(role="ignored", reason=reason)
    return profile
