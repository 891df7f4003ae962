"""The evidence of an incident: what had counted when it began, and what had not."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from checkout import Site, address
from notices import (
    DAY,
    HOST,
    USER,
    Place,
)
from postfix import wait_until

from pcc.notice.notice import Notice
from pcc.notice.text import body
from pcc.store import incidents, outbox


def test_evidence_is_what_counted_when_the_incident_began(place: Place) -> None:
    now = time.time()
    place.saw("ES", "192.0.2.1", now - 9 * DAY, now - DAY)
    place.saw("FR", "192.0.2.2", now - 3 * DAY, now - 2 * DAY - 60)  # out of the window
    place.saw("DE", "192.0.2.3", now - DAY, now - DAY)  # did not count
    place.saw("BR", "192.0.2.4", now - 2 * 3600, now - 2 * 3600)
    place.saw("VN", "203.0.113.9", now, now)
    place.saw("VN", "203.0.113.10", now + 60, now + 60)  # afterwards
    number = place.incident(began=now)

    def evidence() -> list[str]:
        row = incidents.incident(place.database, USER, number)
        assert row is not None
        found, count = outbox.evidence(place.database, row, 50)
        assert count == len(found)
        return [seen.address for seen in found]

    assert evidence() == ["203.0.113.9", "192.0.2.4", "192.0.2.1"]
    before = place.incident(began=now - 20 * DAY)
    with place.database:
        place.database.write("UPDATE incident SET ended = ? WHERE id = ?", (now - 4000, before))
    assert evidence() == ["203.0.113.9"]  # nothing from before the earlier incident ended
    row = incidents.incident(place.database, USER, number)
    assert row is not None
    earlier = outbox.seen_earlier(place.database, row)
    assert [(seen.country, seen.addresses, seen.mails) for seen in earlier] == [
        ("BR", 1, 2),
        ("DE", 1, 2),
        ("ES", 1, 2),
        ("FR", 1, 2),
    ]


def test_evidence_begins_after_the_last_unblock(tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\ncat >>{tmp_path}/told\n")
    command.chmod(0o755)
    site = Site(
        tmp_path,
        f'max_countries = 1\nfamiliar_after = 0\n[notify]\nto = []\ncommand = ["{command}"]\n',
    )

    def told() -> dict[str, Any]:
        wait_until(lambda: not site.data("stats")["outbox"], "notice")
        data: dict[str, Any] = json.loads((tmp_path / "told").read_text().splitlines()[-1])
        return data

    def mails(data: dict[str, Any]) -> dict[str, int]:
        return {seen["address"]: seen["mails"] for seen in data["sightings"]}

    try:
        site.ask("ann@example.org", address("FR"))
        for country in ("ES", "ES", "ES", "FR"):
            site.ask("joe@example.org", address(country))
        first = told()
        assert mails(first) == {address("ES"): 3, address("FR"): 1}
        assert first["earlier"] == []
        (other,) = first["also_seen"]
        assert list(other.values()) == ["ann@example.org", [address("FR")], False]
        site.admin("unblock", "joe@example.org")
        time.sleep(1.1)  # times are in whole seconds
        for country in ("ES", "ES", "BR"):
            site.ask("joe@example.org", address(country))
        second = told()
        assert mails(second) == {address("ES"): 2, address("BR"): 1}
        assert min(seen["first_seen"] for seen in second["sightings"]) > first["at"]
        earlier = {seen["country"]: seen["mails"] for seen in second["earlier"]}
        assert earlier == {"ES": 3, "FR": 1}
        assert second["also_seen"] == []
        # `show` has all that was ever seen.
        assert site.mails("joe@example.org")[address("ES")] == 5
    finally:
        site.close()


def test_evidence_that_is_cut_keeps_the_latest_of_every_country(place: Place) -> None:
    now = time.time()
    place.saw("ES", "192.0.2.1", now - DAY, now - DAY)
    for number in range(200):
        place.saw("BR", f"198.51.100.{number}", now - 9000 + number, now - 9000 + number)
    place.saw("VN", "203.0.113.9", now, now)
    row = incidents.incident(place.database, USER, place.incident(began=now))
    assert row is not None
    found, count = outbox.evidence(place.database, row, 50)
    assert (len(found), count) == (50, 202)
    assert Counter(seen.country for seen in found) == {"BR": 48, "ES": 1, "VN": 1}
    assert found[0].address == "203.0.113.9"
    text = body([Notice("blocked", now, row, found, count)], place.config, HOST, now)
    assert "\nand 152 more addresses\n" in text
