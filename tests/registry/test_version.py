import pytest

from appraise.registry.version import Version


@pytest.mark.parametrize(
    ("change", "expected"), [("spec", "2.0.0"), ("model", "1.5.0"), ("calibration", "1.4.3")], ids=str
)
def test_what_changed_decides_which_number_rises(change, expected):
    assert str(Version.parse("1.4.2").bump(change)) == expected


def test_versions_are_ordered_by_number_and_not_as_text():
    texts = ["1.10.0", "1.9.3", "2.0.0", "1.9.12"]
    assert [str(version) for version in sorted(map(Version.parse, texts))] == ["1.9.3", "1.9.12", "1.10.0", "2.0.0"]


@pytest.mark.parametrize("text", ["", "1", "1.2", "1.2.3.4", "v1.2.3", "1.2.x", "01.2.3", "-1.0.0", "1.2.3 ", "١.٢.٣"])
def test_other_texts_are_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"such as 1\.4\.0"):
        Version.parse(text)
