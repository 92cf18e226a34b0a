"""Models in memory, and how they are replaced."""

import dataclasses
import threading

import pytest

from appraise.bootstrap import build_registry
from appraise.errors import BundleError, UnknownModelError
from appraise.registry.bundle import write_bundle
from appraise.registry.version import Version
from appraise.serving.batching import value_rows
from appraise.serving.models import LoadedModel, Shelf, example_row
from appraise.serving.predictor import Predictor
from appraise.serving.versions import KnownVersion
from appraise.settings import Settings


class _Source:
    """A registry that says what a test wants."""

    def __init__(self, *known: KnownVersion) -> None:
        self.known = known

    def remembered(self, names):
        return ()

    def ask(self, names):
        return tuple(known for known in self.known if not names or known.name in names)

    def fetch(self, known):
        return known.folder

    def close(self):
        return None


@pytest.fixture(scope="module")
def versions(home, tmp_path_factory) -> tuple[KnownVersion, KnownVersion]:
    """Two versions that can be told apart by their intervals."""
    folder = tmp_path_factory.mktemp("bundles")
    predictor = Predictor.load(build_registry(Settings(home=home)).resolve("california"))
    made = []
    for number, width in (("1.0.0", 1.0), ("2.0.0", 2.0)):
        intervals = type(predictor.intervals)(
            predictor.intervals.scale_model, predictor.intervals.scores * width, predictor.intervals.stale_scores
        )
        manifest = dataclasses.replace(predictor.manifest, version=Version.parse(number), files={})
        parts = dataclasses.replace(predictor, intervals=intervals).parts()
        write_bundle(folder / number, manifest=manifest, parts=parts)
        digest = (folder / number / "manifest.sha256").read_text().split()[0]
        made.append(KnownVersion("california", number, ("champion",), digest, folder / number))
    return tuple(made)


def _width(model: LoadedModel) -> float:
    estimates = value_rows(model, [example_row(model.spec)], 0.9)
    return float(estimates.upper[0] - estimates.lower[0])


def test_swaps_fail_no_request_and_no_answer_names_another_version(versions):
    source = _Source(versions[0])
    shelf = Shelf(source)
    shelf.open()
    narrow = _width(shelf.lineup.champions()[0])
    widths = {"1.0.0": narrow, "2.0.0": 2 * narrow}
    wrong, stop, count = [], threading.Event(), [0, 0]

    def ask(position: int) -> None:
        while not stop.is_set():
            model = shelf.lineup.find("california", version=None, alias=None)
            if _width(model) != pytest.approx(widths[model.version]):
                wrong.append(model.version)
            count[position] += 1

    threads = [threading.Thread(target=ask, args=(position,)) for position in range(2)]
    for thread in threads:
        thread.start()
    for swap in range(20):
        source.known = (versions[(swap + 1) % 2],)
        assert shelf.refresh()[1].champions()[0].version == versions[(swap + 1) % 2].version
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(count) > 0
    assert len(shelf.lineup.loaded) == 1


def test_what_cannot_be_loaded_changes_nothing(versions, tmp_path):
    source = _Source(versions[0])
    shelf = Shelf(source)
    shelf.open()
    before = shelf.lineup
    for broken in (
        dataclasses.replace(versions[1], digest="0" * 64),
        dataclasses.replace(versions[1], folder=tmp_path / "nothing"),
        dataclasses.replace(versions[1], name="homes"),
    ):
        source.known = (broken,)
        with pytest.raises(BundleError):
            shelf.refresh()
        assert shelf.lineup is before
    source.known = ()
    with pytest.raises(UnknownModelError, match="no model is registered"):
        shelf.refresh()
    assert shelf.lineup is before


def test_a_version_without_an_alias_is_loaded_when_it_is_asked_for(versions):
    plain = dataclasses.replace(versions[1], aliases=())
    shelf = Shelf(_Source(plain, versions[0]), ("california",))
    shelf.open()
    known = shelf.lineup.find("california", version="2.0.0", alias=None)
    assert known == plain
    model = shelf.load(known)
    assert shelf.lineup.find("california", version="2.0.0", alias=None) is model
    assert shelf.lineup.champions()[0].version == "1.0.0"
    assert shelf.refresh()[1].find("california", version="2.0.0", alias=None) is model
    with pytest.raises(UnknownModelError, match="is not version"):
        shelf.lineup.find("california", version="2.0.0", alias="champion")


def test_a_home_that_was_sold_is_shown_where_the_spec_has_no_examples(versions, tmp_path):
    predictor = Predictor.load(versions[0].folder)
    columns = [
        {key: value for key, value in one.items() if key != "example"} for one in predictor.manifest.spec["columns"]
    ]
    manifest = dataclasses.replace(predictor.manifest, spec={**predictor.manifest.spec, "columns": columns}, files={})
    write_bundle(tmp_path / "bundle", manifest=manifest, parts=predictor.parts())
    digest = (tmp_path / "bundle" / "manifest.sha256").read_text().split()[0]
    plain = dataclasses.replace(versions[0], digest=digest, folder=tmp_path / "bundle")
    shown = {}
    for known in (versions[0], plain):
        shelf = Shelf(_Source(known))
        shelf.open()
        (model,) = shelf.lineup.champions()
        shown[known.digest] = dict(model.example)
        assert model.predictor.checker.problems([model.example]) == []
        assert model.predictor.predict([model.example]).warnings == ((),)
    assert shown[versions[0].digest] == example_row(predictor.spec)
    sold = [sale.attributes for sale in predictor.comparables(shown[plain.digest], count=1)]
    assert sold == [shown[plain.digest]]
