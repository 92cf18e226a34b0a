"""Storing features by hand: a name that no model has as an input is told, for it would never be used."""

from appraise.bootstrap import build_database
from appraise.jobs.features import put_features
from appraise.settings import Settings


def test_a_name_that_no_model_has_is_told_with_the_one_that_is_near(homes, database_url, tmp_path):
    registry = homes.workspace.registry
    registry.resolve("homes")
    settings = Settings(home=tmp_path, database_url=database_url)
    with build_database(settings) as database:
        database.upgrade(actor="test")
    put = put_features(build_database(settings), "u", ["square_feets=900", "square_feet=900"], registry=registry)
    assert put.unknown == ("no model here has an input 'square_feets'; did you mean 'square_feet'?",)
    assert put.to_dict()["values"] == {"square_feets": 900, "square_feet": 900}
    assert put_features(build_database(settings), "u", ["square_feet=901"], registry=registry).unknown == ()
