"""What the names of columns say: words of several languages for areas, counts, places, prices and dates."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher


def vocabulary(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


AREA = vocabulary("""
    area size sqft sqm sqmt m2 ft2 sf footage feet acre acres acreage hectares landsize lot lotsize living gla
    surface superficie flaeche wohnflaeche grundstueck
""")
COUNT = vocabulary("""
    room rooms bed beds bedroom bedrooms bedrms bath baths bathroom bathrooms toilet toilets wc car cars garage garages
    carport parking floor floors storey storeys stories story level levels unit units fireplace fireplaces balcony
    balconies kitchen kitchens count nb nombre num zimmer chambres pieces habitaciones banos camere locali quartos
""")
YEAR = vocabulary("year yr yearbuilt baujahr annee anno ano")
DISTANCE = vocabulary("distance dist entfernung")
AMOUNT = vocabulary("age days population income households")
POSTAL = vocabulary("zip zipcode postcode postalcode postal plz pincode postnummer cep")
CODE = vocabulary("code cd id")
IDENTIFIER = vocabulary("""
    id uuid guid key index idx unnamed pin apn parcel parcelid ref reference mls listingid propertyid houseid saleid
    recordid rowid serial no number nr
""")
ADDRESS = vocabulary("address addr street strasse adresse direccion indirizzo")
APARTMENT = vocabulary("apartment apt suite")
FREE_TEXT = ADDRESS + vocabulary("description desc remarks comment comments title headline url link note notes text")
#: From the most to the least telling, as the name of a region.
PLACES = vocabulary("""
    region district borough county council municipality province state department prefecture city town metro zone
    suburb neighbourhood neighborhood neighbour neighbor locality quarter ward market location subdivision area
    stadt ort bezirk gemeinde kreis ville commune ciudad barrio citta comune bairro cidade village township
""")
#: Places that are often given as numbers.
ZONES = vocabulary("region district borough county council municipality province state zone suburb quarter ward tract")
CITIES = vocabulary("""
    city town suburb village locality municipality neighbourhood neighborhood metro
    stadt ort ville ciudad citta comune commune cidade
""")
SALE = vocabulary("""
    sale sales sold sell close closed closing settle settled settlement transaction transfer contract deed purchase
    mutation     verkauf kaufdatum vente venta vendita
""")
NO_SALE_DATE = vocabulary("""
    built build construction constructed birth update updated modified created crawl crawled scraped extract renovated
    renovation expiry expire expires available valid load inserted
""")
LISTED = vocabulary("list listed listing posted published")
PRICE = vocabulary("""
    price prices pricing ppsf psf ppsqm cost worth saleprice sellingprice soldprice listprice askingprice amount hammer
    bid prix preis kaufpreis precio prezzo preco
""")
PER = vocabulary("per psf ppsf ppsqm sqm sqft m2 ft2 sf meter metre foot")
ASSESSED = vocabulary(
    "assessed assessment assessor appraised appraisal valuation valued zestimate estimate estimated avm"
)
MARKET_VALUE = vocabulary("taxvalue marketvalue homevalue housevalue propertyvalue landvalue totalvalue")
MONEY = vocabulary("value val values tax rent fee income wealth")
EARLIER = vocabulary("last prev previous prior earlier former past lag lagged")

_LATITUDE = ("lat", "latitude", "breite", "breitengrad", "northdegrees")
_LONGITUDE = ("lon", "lng", "long", "longitude", "laenge", "lange", "laengengrad", "langengrad")
_NEAR = 0.8


def words(name: str) -> list[str]:
    """The words of a name: `saleDate_USD` is sale, date and usd. Accents are dropped."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss").replace("²", "2"))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    plain = re.sub(r"([a-z])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3 \2\4", plain)
    plain = re.sub(r"(?i)([a-z]{3,})(\d)", r"\1 \2", plain)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", plain) if word]


def says(name: str, vocabulary: Iterable[str]) -> bool:
    """Whether a word of the name is one of the vocabulary, or begins or ends with a long one (`Landsize`)."""
    own = words(name)
    joined = "".join(own)
    for word in vocabulary:
        if word in own or word == joined:
            return True
        if len(word) >= 4 and any(token.startswith(word) or token.endswith(word) for token in own):
            return True
    return False


def says_latitude(name: str) -> bool:
    """Whether the name spells latitude in any usual way, misspelt ones included (`Lattitude`, `geo_lat`)."""
    return _spells(name, _LATITUDE)


def says_longitude(name: str) -> bool:
    """Whether the name spells longitude in any usual way, misspelt ones included (`Longtitude`, `LON_DD`)."""
    return _spells(name, _LONGITUDE)


def says_axis(name: str, axis: str) -> bool:
    """Whether the name speaks of the coordinate x or y: `x`, `y_coord`, `coordX`, `POINT_Y`."""
    own = words(name)
    return (
        own == [axis]
        or (axis in own and says(name, ["coord", "coordinate", "coordinates", "point", "geo", "gps"]))
        or ("".join(own) in {f"{axis}coord", f"coord{axis}", f"{axis}coordinate", f"geo{axis}"})
    )


def slug(text: str) -> str:
    """A dataset's name made of a file's: lower-case letters, digits, - and _."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "_", plain).strip("_-") or "dataset"


def _spells(name: str, spellings: Iterable[str]) -> bool:
    own = words(name)
    for spelling in spellings:
        if spelling in own:
            return True
        if len(spelling) > 5 and any(SequenceMatcher(None, word, spelling).ratio() >= _NEAR for word in own):
            return True
    return False
