"""How a text file is written: its encoding, separator and quote character."""

from __future__ import annotations

import codecs
import csv as stdlib_csv
import io
from pathlib import Path

from appraise.datasets.csvread import check_is_text
from appraise.datasets.infer.journal import Journal
from appraise.datasets.spec import CsvFormat

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_CHUNK = 1 << 20
_RECORDS = 500
#: Bytes that Windows-1252 leaves undefined.
_UNDEFINED_1252 = bytes([0x81, 0x8D, 0x8F, 0x90, 0x9D])


def sniff(path: Path, journal: Journal | None = None) -> CsvFormat:
    """The encoding, separator and quote of a file; raises DataError where it cannot be text."""
    journal = journal or Journal()
    encoding = _encoding(path, journal)
    head = check_is_text(path, encoding)
    sample = head.decode(encoding, errors="ignore").lstrip("\ufeff")
    if len(head) == 65_536:
        sample = sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1] or sample
    quote = _quote(sample)
    separator = _separator(sample, quote)
    if separator != ",":
        journal.say("[csv]", f"fields are separated by a {_SEPARATORS[separator]}", "the lines agree on it")
    if quote != '"':
        journal.say("[csv]", f"fields are quoted with {quote}", "most lines have fields between two of them")
    return CsvFormat(separator=separator, quote=quote, encoding=encoding)


def _encoding(path: Path, journal: Journal) -> str:
    wide = _wide_encoding(path)
    if wide is not None:
        journal.say("[csv]", f"the text is {wide}", "two bytes a character")
        return wide
    check_is_text(path)
    decoder = codecs.getincrementaldecoder("utf-8")()
    undefined = False
    valid = True
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            undefined = undefined or any(byte in chunk for byte in _UNDEFINED_1252)
            if valid:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    valid = False
    if valid:
        return "utf-8"
    encoding = "latin-1" if undefined else "cp1252"
    journal.say(
        "[csv]", f"the text is read as {encoding}", "it is not UTF-8; correct this if accents look wrong", check=True
    )
    return encoding


def _wide_encoding(path: Path) -> str | None:
    """UTF-16 and UTF-32, with a byte-order mark or, where most characters are ASCII, without."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[0::2], head[1::2]
    if len(head) < 8:
        return None
    if odd.count(0) > 0.8 * len(odd) and even.count(0) == 0:
        return "utf-16-le"
    if even.count(0) > 0.8 * len(even) and odd.count(0) == 0:
        return "utf-16-be"
    return None


def _quote(sample: str) -> str:
    lines = sample.splitlines()[:_RECORDS]
    if '"' in sample or not lines:
        return '"'
    pairs = [any(f"'{separator}'" in line for separator in _SEPARATORS) for line in lines]
    return "'" if sum(pairs) > len(lines) / 2 else '"'


def _separator(sample: str, quote: str) -> str:
    best, best_score = ",", (0.0, 0)
    for separator in _SEPARATORS:
        records = _records(sample, separator, quote)
        fields = len(records[0]) if records else 0
        if fields < 2:
            continue
        score = (round(sum(len(record) == fields for record in records) / len(records), 1), fields)
        if score > best_score:
            best, best_score = separator, score
    return best


def _records(sample: str, separator: str, quote: str) -> list[list[str]]:
    reader = stdlib_csv.reader(io.StringIO(sample, newline=""), delimiter=separator, quotechar=quote)
    records: list[list[str]] = []
    try:
        for record in reader:
            if record:
                records.append(record)
            if len(records) >= _RECORDS:
                break
    except stdlib_csv.Error:
        return records
    return records
