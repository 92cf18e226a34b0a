"""`serve` and `keys` as a person sees them."""

import pytest


def test_a_key_is_shown_once_and_listed_without_itself(appraise, folder):
    made = appraise("keys", "create", "--name", "web", "--scopes", "predict, read", "--rate", "20")
    assert made.code == 0
    key = made.out.strip()
    assert key.startswith("appraise_")
    assert "not shown again" in made.err
    assert "From now on the service asks for a key on every route but /, /health and /docs." in made.err
    listed = appraise("keys", "list")
    assert "web" in listed.out
    assert "predict, read" in listed.out
    assert key not in listed.out
    revoked = appraise("keys", "revoke", "web")
    assert revoked.out.startswith("web (")
    assert "No valid key is left" in revoked.err
    assert "appraise keys create --name NAME" in revoked.err
    again = appraise("keys", "revoke", "web")
    assert again.code == 3
    assert "there is no valid key 'web'" in again.err


def test_only_the_first_key_closes_and_only_the_last_locks_out(appraise, folder):
    first = appraise("keys", "create", "--name", "web", "--json")
    second = appraise("keys", "create", "--name", "web", "--json")
    assert "From now on" in first.err
    assert second.err == ""
    both = appraise("keys", "revoke", "web")
    assert both.code == 3
    assert "2 keys have the name 'web'" in both.err
    assert "give the id instead" in both.err
    assert all(made.json["id"] in both.err for made in (first, second))
    assert "No valid key" not in appraise("keys", "revoke", first.json["id"]).err
    assert "No valid key is left" in appraise("keys", "revoke", second.json["id"], "--json").err


def test_without_keys_the_list_says_what_to_do(appraise, folder):
    assert "appraise keys create" in appraise("keys", "list").out
    assert appraise("keys", "list", "--json").json == {"keys": []}
    assert list(folder.iterdir()) == []


def test_a_wrong_scope_makes_no_key(appraise, folder):
    ended = appraise("keys", "create", "--name", "web", "--scopes", "write")
    assert ended.code == 3
    assert "among predict, read, produce, admin" in ended.err
    assert not (folder / ".appraise" / "keys.json").exists()


@pytest.mark.parametrize("options", [(), ("--model", "nothing"), ("--model", "nothing", "--workers", "2")])
def test_serving_without_a_model_says_what_to_do_and_starts_nothing(appraise_process, folder, options):
    ended = appraise_process("serve", "--port", "0", *options)
    assert ended.code == 7
    assert "appraise train" in ended.err
    assert not (folder / ".appraise" / "postgres").exists()
    assert not (folder / ".appraise" / "run").exists()


def test_an_address_for_others_needs_a_key(appraise, folder):
    ended = appraise("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert ended.code == 3
    assert "--insecure" in ended.err


@pytest.mark.parametrize("verb", ["serve", "up"])
def test_other_machines_are_not_served_where_every_key_is_revoked(appraise, verb):
    assert appraise("keys", "create", "--name", "web").code == 0
    assert appraise("keys", "revoke", "web").code == 0
    ended = appraise(verb, "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert ended.code == 3
    assert "0.0.0.0 can be reached from other machines, and every API key is revoked" in ended.err
    assert "hint: make one with appraise keys create --name web" in ended.err
    assert "--insecure" not in ended.err, "it would let nobody in"
