"""Manual pages and completions are what the programs make them, and say what the programs do."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, Site, address

from manual import build, settings
from manual.commands import every_command, marked
from pcc import admin, errors, service
from pcc.admin.program import command_line
from pcc.admin.stats import FIGURES
from pcc.config import options

COMMANDS = {command.name: command for command in every_command(command_line())}
PAGES = sorted(build.PAGES)


def text_of(name: str) -> str:
    """Return a page of the reference, which the man page of this name is made from."""
    return (ROOT / "docs" / "reference" / f"{name[:-2]}.md").read_text(encoding="utf-8")


def displays_of(name: str) -> list[str]:
    """Return what a page shows line by line: examples and messages."""
    shown = re.findall(r"^```text\n(.*?)^```$", text_of(name), flags=re.MULTILINE | re.DOTALL)
    return [line for block in shown for line in block.splitlines()]


def test_manual_is_what_the_programs_make() -> None:
    assert list(build.outdated()) == [], "run `make manual`"


def test_man_page_is_fresh_by_its_digest_where_its_pandoc_is_not_there() -> None:
    page = (ROOT / "man" / "pcc_admin.8").read_text(encoding="utf-8")
    for pandoc in ("", "0.1"):
        assert build.man_page("pcc_admin.8", text_of("pcc_admin.8"), pandoc, page) == page
    with pytest.raises(SystemExit) as error:
        build.man_page("pcc_admin.8", text_of("pcc_admin.8") + "More.\n", "", page)
    assert str(error.value).endswith("there is no pandoc: apt install pandoc")


@pytest.mark.subprocess
def test_manual_is_the_same_in_every_terminal_and_language() -> None:
    for terminal in (
        {"COLUMNS": "30", "LC_ALL": "C"},
        {"COLUMNS": "300", "LANG": "de_DE.UTF-8"},
    ):
        done = subprocess.run(
            [sys.executable, "-m", "manual.build", "--check"],
            env={"PATH": "/usr/bin:/bin", "NO_COLOR": "1", "PYTHONHASHSEED": "7", **terminal},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_manual_and_completions_have_every_command_and_option() -> None:
    page = text_of("pcc_admin.8")
    bash, zsh = (
        (ROOT / "completions" / name).read_text(encoding="utf-8")
        for name in ("pcc_admin.bash", "_pcc_admin")
    )
    for name, _, parser in COMMANDS.values():
        assert f"\n### {name}\n" in page
        place = f"_shtab_pcc_admin_py_{name.replace(' ', '_')}"
        in_zsh = zsh.partition(f"{place}_options=(")[2].partition("\n)")[0]
        in_bash = bash.partition(f"{place}_option_strings=(")[2].partition(")")[0]
        for flag in parser._option_string_actions:
            assert flag in page and flag in in_zsh and flag in in_bash.split(), (name, flag)


def test_readme_has_every_command_and_key() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert " " in name or f"| `{name}" in readme
    for table in settings.TABLES:
        for key in settings.keys(table):
            assert f"`{key.name}`" in readme, f"{table}.{key.name}"


def test_map_of_the_house_has_every_module() -> None:
    house = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for module in ROOT.glob("pcc/**/*.py"):
        name = module.relative_to(ROOT / "pcc").with_suffix("").as_posix()
        if name.partition("/")[0] in ("admin", "doctor", "replay", "report"):
            name = name.partition("/")[0] + "/…"
        assert module.stem == "__init__" or f"`{name}`" in house, name


def test_commands_and_options_tell_what_they_are_for() -> None:
    for name, summary, parser in COMMANDS.values():
        assert summary, name
        for flag, action in parser._option_string_actions.items():
            assert action.help, f"{name} {flag}"


def test_manual_has_every_key_with_its_default_and_range() -> None:
    page, parameters = text_of("pcc.toml.5"), text_of("pcc_policy.8")
    for table in settings.TABLES:
        for key in settings.keys(table):
            assert f"\n- `{key.name}` (default: `{key.default}`)\\\n" in page
            assert f"\n- `{table}.{key.name}` (`{key.default}`)\\\n" in parameters
            assert f"  Value: {marked(key.range)}." in page


def test_shipped_file_has_every_key_with_a_comment_and_no_other() -> None:
    told = {place: comment for place, comment in settings.comments().items() if place[1]}
    known = {(table, key) for table, keys in settings.TABLES.items() for key in keys}
    assert set(told) <= known
    for table in ("policy", *options.SECTIONS):
        for key in settings.keys(table):
            assert told[table, key.name], f"{table}.{key.name} has no comment"


def test_further_text_is_about_keys_that_are_there() -> None:
    names = {f"{key.table}.{key.name}" for table in settings.TABLES for key in settings.keys(table)}
    assert set(settings.further_texts()) <= names


@pytest.mark.parametrize("name", PAGES)
def test_man_page_has_nothing_left_of_the_markup(name: str) -> None:
    page = (ROOT / "man" / name).read_text(encoding="utf-8")
    assert not re.search(r"\*\*|^#|\{\{|<!--|\\\[ga\]", page, flags=re.MULTILINE)


@pytest.mark.subprocess
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    "command",
    [
        ["groff", "-man", "-ww", "-z", "-Tutf8"],
        ["man", "--warnings", "-E", "UTF-8", "-l"],
        ["mandoc", "-T", "lint", "-W", "warning"],  # "style" counts the bytes of a line,
    ],
    ids=lambda command: str(command[0]),
)
def test_formatters_have_nothing_to_complain_about(command: list[str], name: str) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"there is no {command[0]}")
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MANWIDTH": "80"}
    done = subprocess.run(
        [*command, str(ROOT / "man" / name)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = done.stderr + (done.stdout if command[0] == "mandoc" else "")
    # A page is of a version, not of a day, so that it is made the same at any time.
    told = [line for line in complaints.splitlines() if "missing date, using" not in line]
    assert told == []


@pytest.mark.subprocess
def test_man_page_shows_what_is_to_be_typed() -> None:
    if not shutil.which("man"):
        pytest.skip("there is no man")
    done = subprocess.run(
        ["man", "-E", "UTF-8", "-l", str(ROOT / "man" / "pcc_admin.8")],
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MANWIDTH": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    for line in ("--exempt-for TIME", "--reason 'password changed'", "$(date +%Y-%m).mmdb.gz"):
        assert line in done.stdout


def examples() -> list[str]:
    """Return the command lines of pcc_admin.py that the manual shows."""
    lines = "\n".join(line for name in PAGES for line in displays_of(name)).replace("\\\n", " ")
    lines = re.sub(r"\$\([^)]*\)", "today", lines)
    found = re.findall(r"(pcc_admin\.py [^;|\n]+)", lines)
    return [line for line in found if not line.startswith("pcc_admin.py: ")]


def test_command_line_takes_every_example() -> None:
    assert len(examples()) > 8
    for line in examples():
        command_line().parse_args(shlex.split(line)[1:])


def test_configuration_takes_every_example() -> None:
    import tomli

    lines = "\n".join(displays_of("pcc.toml.5"))
    documents = re.split(r"(?=^\[policy\])", lines, flags=re.MULTILINE)[1:]
    assert len(documents) == 2
    for document in documents:
        assert options.checked_values("pcc.toml", tomli.loads(document))


MISTAKES: list[dict[str, Any]] = [
    {"policy": {"window": "2 days"}},
    {"override": [{"max_countries": 5}]},
    {"policy": {"ignore_countries": ["UK"]}},
    {"policy": {"max_country": 3}},
    {"policy": {"max_countries": -1}},
]


def test_messages_shown_are_those_of_the_program() -> None:
    shown = [line for name in PAGES for line in displays_of(name) if ".toml: " in line]
    assert len(shown) == len(MISTAKES)
    for document in MISTAKES:
        with pytest.raises(errors.ConfigError) as error:
            options.checked_values("/etc/pcc/pcc.toml", document)
        assert any(line.endswith(str(error.value)) for line in shown), str(error.value)


def test_log_lines_are_explained() -> None:
    source = (ROOT / "pcc" / "maillog.py").read_text(encoding="utf-8")
    logged = set(re.findall(r'f"(\w+) (?:account|incident|kind|\{details\}|\{_held_mail)', source))
    assert len(logged) > 11
    page = text_of("pcc_policy.8")
    for event in logged:
        assert re.search(rf"^- `{event} ", page, flags=re.MULTILINE), event


def test_exit_statuses_are_explained() -> None:
    page = text_of("pcc_admin.8")
    for status in (admin.DONE, admin.NOT_DONE, admin.USAGE, admin.PARTLY, admin.TROUBLE):
        assert f"\n- `{status}`\\\n" in page
    page = text_of("pcc_policy.8")
    for status in (64, 70, 74, 75, 76, 78):
        assert f"\n- `{status}` (EX_" in page
    assert f"{service.DECISION_SECONDS} seconds" in page


INCIDENT = "account since rule countries client_address action held tries last_try expires"
KEYS = {
    "block joe@example.org": "blocked",
    "list": INCIDENT,
    "list --history": f"{INCIDENT} ended lifted_by reason",
    "show joe@example.org": "account blocked exempt_until sightings events attempts places"
    " also_seen",
    "check ann@example.org 11.1.0.1": "account client_address country action would_block rule"
    " countries because",
    "seen 11.1.0.1": "account address country network first_seen last_seen mails blocked",
    "exempt add domain example.net": "kind value until by reason",
    "exempt list": "kind value until by reason",
    "exempt remove domain example.net": "kind value until by reason",
    "places show": "file path type built age problem",
    "places update country --force": "installed path type built age",
    "country show": "path type built age",
    "country update --force": "installed path type built age",
    "stats": " ".join(figure.name for figure in FIGURES),
    "notify": "sent failed",
    "cleanup": "sightings incidents",
    "doctor": "check result fix",
    "replay LOG": "parsed unparsed settings accounts heights mails_without_country"
    " mails_without_network",
    "unblock joe@example.org": "unblocked released deleted missing unsure",
    "release ID": "released deleted missing unsure",
    "delete ID": "released deleted missing unsure",
    "forget joe@example.org": "account removed",
}
"""The keys of --json, in their order, of commands that are given one after the other."""


@pytest.mark.subprocess
def test_json_has_exactly_the_keys_that_the_manual_tells(tmp_path: Path) -> None:
    site = Site(tmp_path, "max_countries = 0")
    site.ask("joe@example.org", "11.1.0.1")
    log = tmp_path / "mail.log"
    log.write_text("")
    page = text_of("pcc_admin.8")
    for command, keys in KEYS.items():
        data = site.data(*command.replace("LOG", str(log)).replace("ID", "4F2ABC").split())
        first = data[0] if isinstance(data, list) else data
        assert list(first) == keys.split(), command
        name = " ".join(word for word in command.split() if word.isalpha() and word.islower())
        told = re.search(rf"^- `{name}`\\\n(.*)$", page, flags=re.MULTILINE)
        if name.startswith(("exempt", "country", "places")):  # listed with another action of theirs
            continue
        assert told, name
        help_text = re.search(rf"^### {name}$(.*?)^##", page, re.MULTILINE | re.DOTALL)
        assert help_text
        for key in first:
            assert re.search(rf"\b{key}\b", told[1] + help_text[1]), f"{name}: {key}"


@pytest.mark.subprocess
def test_json_tells_each_sighting_event_and_setting_by_the_contract(tmp_path: Path) -> None:
    site = Site(tmp_path, "max_countries = 1\nfamiliar_after = 0")
    lines = []
    for number, country in enumerate(("ES", "FR")):
        site.ask("joe@example.org", address(country))
        lines.append(
            f"2026-11-0{number + 1}T09:00:00+00:00 mx postfix/smtpd[1]: 4F2ABC{number}:"
            f" client=unknown[{address(country)}], sasl_method=PLAIN,"
            " sasl_username=joe@example.org\n"
        )
    log = tmp_path / "mail.log"
    log.write_text("".join(lines))
    shown = site.data("show", "joe@example.org")
    sighting = "country address client_name mails first_seen last_seen"
    assert list(shown["sightings"][0]) == sighting.split()
    assert list(shown["events"][0]) == "at what by detail".split()
    replayed = site.data("replay", str(log))
    setting = "max_countries window accounts_blocked mails_stopped"
    assert list(replayed["settings"][0])[:4] == setting.split()
    account = "account max_countries window at countries client_address mails_stopped"
    assert list(replayed["accounts"][0])[:7] == account.split()
