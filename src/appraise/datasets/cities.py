"""One spelling for each name of a city."""

from __future__ import annotations

import re
import unicodedata

_SAINT = {"saint": "St", "st": "St", "sainte": "Ste", "ste": "Ste"}


def normalise_city(name: str) -> str:
    """The name without its accents, case, punctuation and extra white space, and with "Saint" as "St".

    >>> normalise_city("  SAINT-Étienne ")
    'St Etienne'
    >>> normalise_city("st. etienne")
    'St Etienne'
    """
    plain = "".join(each for each in unicodedata.normalize("NFKD", name) if not unicodedata.combining(each))
    words = re.sub(r"[\W_]+", " ", re.sub(r"['’`´]", "", plain)).split()
    return " ".join(_SAINT.get(word.casefold()) or word.capitalize() for word in words)
