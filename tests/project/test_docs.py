"""The documentation says what there is: links, commands, options, settings and JSON keys."""

import re
import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import typer

from appraise.cli.app import app
from appraise.settings import OTHER_NAMES, all_settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_COMMAND = typer.main.get_command(app)


def _commands(command=_COMMAND, path=("appraise",)) -> Iterator[tuple[str, object]]:
    """Every command that does something, by the words that call it."""
    if not hasattr(command, "commands") or command is _COMMAND:
        yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*path, name))


def _options(command) -> set[str]:
    found = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return {option for option in found if option.startswith("-")}


COMMANDS = dict(_commands())


def _headed(page: str) -> dict[str, str]:
    """The parts of a page under headings that name a command."""
    parts = re.split(r"^## `(appraise[^`]*)`$", (ROOT / "docs" / page).read_text(), flags=re.MULTILINE)
    return {
        " ".join(word for word in heading.split() if word.islower()): text
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else page.parent / path
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name} links to {target}"


def _shown_commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for block in re.findall(r"^```(?:\w*)\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True) if line.count("'") % 2 == 0 else []
                if words and words[0] in ("appraise", "make"):
                    yield f"{page.name}: {line}", words


@pytest.mark.parametrize(("where", "words"), [pytest.param(*shown, id=shown[0]) for shown in _shown_commands()])
def test_commands_that_are_shown_exist(where, words):
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
        assert {word for word in words[1:] if "=" not in word} <= targets, where
        return
    command = _COMMAND
    for word in words[1:]:
        inner = getattr(command, "commands", {})
        if word in inner:
            command = inner[word]
        elif word.startswith("-"):
            assert word.partition("=")[0] in _options(command) | {"--help"}, where
        elif inner:
            assert words[words.index(word) - 1].startswith("-"), f"{where}: there is no command {word}"


def test_every_command_has_a_part_in_cli_md():
    assert set(_headed("cli.md")) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_cli_md_and_no_other(name):
    rows = [line.split("|")[1] for line in _headed("cli.md")[name].splitlines() if line.startswith("| `-")]
    documented = {option for row in rows for option in re.findall(r"`(-[-a-z]+)", row)}
    assert documented == _options(COMMANDS[name]) - {"--help", "-h"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_a_help_text(name):
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        assert parameter.name == "help" or parameter.help, f"{name} {parameter.name}"


def test_every_verb_takes_json():
    for name, command in COMMANDS.items():
        assert name == "appraise" or "--json" in _options(command), name


def test_every_verb_has_its_keys_in_json_md():
    assert set(_headed("json.md")) == set(COMMANDS) - {"appraise"}


@pytest.mark.parametrize("setting", all_settings(), ids=lambda setting: setting.key)
def test_every_setting_is_documented_with_its_default(setting):
    rows = [line.split("|") for line in (ROOT / "docs" / "settings.md").read_text().splitlines()]
    row = next((row for row in rows if len(row) > 4 and row[1].strip() == f"`{setting.key}`"), None)
    assert row is not None, f"{setting.key} is not documented"
    assert row[2].strip() == f"`{setting.variable}`"
    assert row[3].strip() == ("not set" if setting.default is None else f"`{setting.default}`")
    assert setting.description


def test_only_settings_that_exist_are_documented():
    known = {setting.variable for setting in all_settings()} | set(chain(*OTHER_NAMES.values()))
    examples = {"APPRAISE_", "APPRAISE_TRAIN__QALITY", "APPRAISE_SERVICE_HOST"}
    for page in PAGES:
        found = set(re.findall(r"APPRAISE_[A-Z0-9_]*", page.read_text()))
        assert found <= known | examples, page.name


def test_decisions_are_numbered_once_and_say_what_would_change_them():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [page.name[:4] for page in pages]
    assert len(set(numbers)) == len(numbers), numbers
    for page in pages:
        assert page.read_text().startswith(f"# {int(page.name[:4])}. "), page.name
        assert re.search(r"^## What would change", page.read_text(), flags=re.MULTILINE), page.name


def test_decisions_that_the_code_names_exist():
    for path in (ROOT / "src").rglob("*.py"):
        for name in re.findall(r"docs/[\w/-]+\.md", path.read_text()):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_the_changelog_knows_this_version():
    from appraise import __version__

    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text or f"## [{__version__}]" in text
