"""Print the counts of a JUnit report as one line: `tests: 812 passed, 0 failed, 3 skipped in 241 s`."""

import sys
from xml.etree import ElementTree as ET


def main(path: str) -> None:
    """Print the counts of the report at `path`, which pytest wrote."""
    suites = ET.parse(path).getroot().iter("testsuite")  # noqa: S314 - made by our own pytest
    total = failed = skipped = 0
    seconds = 0.0
    for suite in suites:
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
        seconds += float(suite.get("time", 0))
    passed = total - failed - skipped
    print(f"tests: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1])
