"""The OpenAPI schemas of rows that name a user, and of rows whose values come by position."""

from __future__ import annotations

from typing import Any

from appraise.datasets.spec import DatasetSpec
from appraise.serving.stored import POSITIONAL, USER

Json = dict[str, Any]

_USER: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": 200,
    "pattern": "^[^\\u0000]*$",
    "description": "Whose stored features fill what the request leaves out.",
    "examples": ["user2"],
}


def stored_endings(spec: DatasetSpec) -> tuple[str, ...]:
    """What the names of the schemas end in; a dataset with a column `user_id` has no users."""
    return ("row_by_position",) if _has_own_user(spec) else ("row_of_user", "row_by_position")


def stored_schemas(spec: DatasetSpec, row: Json) -> dict[str, Json]:
    """Schemas beside the one of a whole row, by what their names end in.

    Args:
        spec: the dataset.
        row: the schema of its whole rows.
    """
    names = [column.name for column in spec.inputs]
    user = {} if _has_own_user(spec) else {USER: _USER}
    order = f"The values of {', '.join(names)}, in this order."
    positional: Json = {
        "type": "object",
        "title": f"{row['title']}: values by position",
        "description": f"{order} With {USER} a null is filled from what is stored." if user else order,
        "properties": {
            **user,
            POSITIONAL: {
                "type": "array",
                "prefixItems": [row["properties"][name] for name in names],
                "minItems": len(names),
                "maxItems": len(names),
                "x-fields": names,
            },
        },
        "required": [POSITIONAL],
        "additionalProperties": False,
    }
    if not user:
        return {"row_by_position": positional}
    # What must be sent depends on what is stored, which no schema can say.
    of_user: Json = {
        **{key: value for key, value in row.items() if key not in ("required", "examples")},
        "title": f"{row['title']}: a user's home",
        "description": "What is left out comes from the stored features of the user. " + row["description"],
        "properties": {USER: _USER, **row["properties"]},
        "required": [USER],
        "x-stored": row.get("required", []),
    }
    return {"row_of_user": of_user, "row_by_position": positional}


def _has_own_user(spec: DatasetSpec) -> bool:
    return any(column.name == USER for column in spec.columns)
