"""Accounts that are another spelling of one: `init` joins what is remembered of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from checkout import Site, address, is_pass, is_refusal

PLAIN = 'account = "sender"\nfamiliar_after = 0\nmax_countries = 3\n'
APART = PLAIN + 'recipient_delimiter = ""\n'
JOE = "joe@example.org"


@pytest.fixture
def limits() -> str:
    """As version 1.0.0 was: joe+1@ and joe+2@ are two accounts."""
    return APART


def spelt(extension: object) -> str:
    return f"joe+{extension}@example.org"


def rows(site: Site, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(site.database)) as database:
        return database.execute(query).fetchall()


def join(site: Site, toml: str = PLAIN) -> str:
    """Take them for one from now on; return what `init` says of it."""
    site.configure(toml)
    done = site.admin("init")
    assert (done.returncode, done.stderr) == (0, "")
    return "\n".join(line for line in done.stdout.splitlines() if ": joined with " in line)


def test_joined_account_has_the_countries_of_all_its_names(site: Site) -> None:
    for number, country in enumerate(("ES", "FR", "BR")):
        assert is_pass(site.ask(spelt(number), address(country)))
    names = ", ".join([spelt(number) for number in range(3)])
    assert join(site) == f"{JOE}: joined with what is remembered of {names}"
    assert site.mails(JOE) == {address(country): 1 for country in ("ES", "FR", "BR")}
    assert is_refusal(site.ask(spelt(9), address("VN")))
    assert site.blocked() == [JOE]
    [event] = [event for event in site.data("show", JOE)["events"] if event["what"] == "joined"]
    assert event["detail"] == names


def test_joined_account_has_the_sum_of_what_was_seen_at_one_address(site: Site) -> None:
    for name in (JOE, spelt(1), spelt(1), spelt(2)):
        assert is_pass(site.ask(name, address("ES")))
    first, last = rows(site, "SELECT min(first_seen), max(last_seen) FROM sighting")[0]
    join(site)
    assert site.mails(JOE) == {address("ES"): 4}
    for table in ("sighting", "place WHERE kind = 'country'"):
        [row] = rows(
            site, f"SELECT first_seen, last_seen, mails FROM {table.replace('WHERE', ' WHERE')}"
        )
        assert row == (first, last, 4)


def test_joined_account_that_never_had_an_incident_learns_from_a_log(
    site: Site, tmp_path: Path
) -> None:
    for number in (1, 2):
        assert is_pass(site.ask(spelt(number), address("ES")))
    join(site)
    log = tmp_path / "mail.log"
    log.write_text(
        f"2025-11-20T09:00:00+00:00 mx1 postfix/smtpd[7]: 4F2AB: client=unknown[{address('FR')}],"
        f" sasl_method=PLAIN, sasl_username={JOE}\n"
    )
    assert site.data("replay", "--import", str(log))["imported"]["left_alone"] == 0
    assert site.mails(JOE) == {address("ES"): 2, address("FR"): 1}
    assert not is_refusal(site.ask(JOE, address("BR")))


def test_joined_account_stays_blocked_by_the_block_of_one_of_its_names(site: Site) -> None:
    for country in ("ES", "FR", "BR", "VN"):
        site.ask(spelt(1), address(country))
    site.ask(spelt(2), address("ES"))
    assert site.blocked() == [spelt(1)]
    assert join(site).endswith("; it is blocked")
    assert site.blocked() == [JOE]
    assert is_refusal(site.ask(JOE, address("ES")))
    assert site.admin("unblock", spelt(2)).returncode == 0  # any spelling names it
    assert is_pass(site.ask(JOE, address("ES")))


def test_joined_account_keeps_one_block_and_the_held_mail_of_all(site: Site) -> None:
    hold = 'action = "HOLD"\nhold_limit = 5\n'
    site.configure(APART + hold + 'block_for = "1h"\n')
    for number in (1, 2):
        for country in ("ES", "FR", "BR", "VN", "DE"):
            site.ask(spelt(number), address(country), queue_id=f"4F2ABC{number}{country}")
    site.configure(APART + hold)
    for country in ("ES", "FR", "BR", "VN"):
        site.ask(spelt(3), address(country), queue_id=f"4F2ABC3{country}")
    join(site, PLAIN + hold)
    [block] = site.data("list")
    assert (block["account"], block["held"], block["tries"]) == (JOE, 5, 5)
    assert block["expires"] is None  # an administrator must lift it
    assert rows(
        site,
        "SELECT DISTINCT incident.account, held.account FROM held"
        " JOIN incident ON id = held.incident AND ended IS NULL",
    ) == [(JOE, JOE)]
    assert rows(site, "SELECT count(*) FROM held") == [(5,)]
    assert site.ask(JOE, address("ES"), queue_id="4F2ABD") != "HOLD"  # five are held


def test_joined_account_has_the_attempts_on_all_blocks_in_one(site: Site) -> None:
    for number in (1, 2):
        for country in ("ES", "FR", "BR", "VN"):
            site.ask(spelt(number), address(country))
    with closing(sqlite3.connect(site.database)) as database, database:
        database.execute("DELETE FROM attempt")
        for number, place, mails, first, last in (
            (1, address("DE"), 2, 10, 20),
            (2, address("DE"), 3, 5, 15),
            (2, address("PT"), 1, 6, 6),
        ):
            database.execute(
                "INSERT INTO attempt"
                " SELECT account, id, ?, ?, ?, ? FROM incident WHERE account = ?",
                (place, mails, first, last, spelt(number)),
            )
    join(site)
    assert rows(
        site, "SELECT account, address, mails, first_try, last_try FROM attempt ORDER BY mails"
    ) == [(JOE, address("PT"), 1, 6, 6), (JOE, address("DE"), 5, 5, 20)]


def test_joining_counts_nothing_that_did_not_count_any_more(site: Site) -> None:
    for country in ("ES", "FR", "BR", "VN"):
        site.ask(spelt(1), address(country))
    assert site.admin("unblock", spelt(1)).returncode == 0
    site.ask(spelt(2), address("DE"))
    join(site)
    for country in ("PT", "US"):
        assert is_pass(site.ask(JOE, address(country))), country
    assert is_refusal(site.ask(JOE, address("IN")))


def test_joining_twice_changes_nothing(site: Site) -> None:
    for name in (spelt(1), spelt(2)):
        site.ask(name, address("ES"))
    assert join(site)
    before = [rows(site, f"SELECT * FROM {table}") for table in ("sighting", "place", "account")]
    assert join(site) == ""
    after = [rows(site, f"SELECT * FROM {table}") for table in ("sighting", "place", "account")]
    assert after == before


def test_joining_removes_an_exemption_of_one_name_and_says_so(site: Site) -> None:
    site.admin("exempt", "add", "account", spelt(1))
    site.configure(PLAIN)
    done = site.admin("init")
    assert done.returncode == 0
    assert (
        f"the exemption of {spelt(1)} is removed, because its mail counts for {JOE}" in done.stderr
    )
    assert f"exempt add account {JOE}" in done.stderr
    assert site.data("exempt", "list") == []
    assert site.admin("init").stderr == ""


def test_spellings_of_logins_are_joined_by_choice(site: Site) -> None:
    site.configure(PLAIN.replace("sender", "sasl_username"))
    for name in ("EXAMPLE.ORG\\joe", "joe%example.org", JOE, spelt(1)):
        site.ask(name, address("ES"))
    spellings = 'login_spellings = ["domain\\\\user", "user%domain"]\n'
    assert join(site, PLAIN.replace("sender", "sasl_username") + spellings).startswith(f"{JOE}: ")
    assert site.mails(JOE) == {address("ES"): 3}
    assert site.mails(spelt(1)) == {address("ES"): 1}
