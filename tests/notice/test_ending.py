"""The notice that exemptions end within a day."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from notices import HOST, NASTY, NOW, USER, Place, admin, config_of

from pcc.notice.ending import MOST_LISTED, as_mail
from pcc.store import exemptions
from pcc.store.exemptions import ExemptionRow

pytestmark = pytest.mark.subprocess


def exempt(place: Place, kind: str, value: str, hours: float) -> float:
    """Exempt something for so many hours; return its end."""
    now = time.time()
    until = now + 3600 * hours
    exemptions.add(place.database, kind, value, until, "ann", "a fair", now)
    return until


def notify(place: Place, *options: str) -> None:
    done = subprocess.run(
        admin(place, "notify", *options), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_exemption_that_ends_within_a_day_is_told_once(place: Place) -> None:
    exempt(place, "account", USER, 23)
    exempt(place, "domain", "example.net", 25)
    exempt(place, "client", "192.0.2.0/24", -1)
    notify(place, "--due")
    assert place.received() == []
    notify(place)
    notify(place)
    (mail,) = place.received()
    assert mail["Subject"].startswith(f"[pcc] exemption of {USER} ends 20")
    text = mail.get_content()
    assert text.startswith(f"The exemption of the account {USER} ends soon.  From then on pcc\n")
    assert "Reason: a fair\n" in text
    assert f" exempt add account {USER} --for 7d\n" in text
    exempt(place, "account", USER, 22)  # another end
    notify(place)
    assert len(place.received()) == 2


def test_exemptions_that_end_together_are_in_one_mail(place: Place) -> None:
    for number in range(3):
        exempt(place, "account", f"joe{number}@example.org", number + 1)
    notify(place)
    (mail,) = place.received()
    assert mail["Subject"].startswith("[pcc] 3 exemptions end by 20")
    for number in range(3):
        assert f"Exempt: account joe{number}@example.org\n" in mail.get_content()


def test_ending_is_not_told_of_an_exemption_that_was_changed_meanwhile(place: Place) -> None:
    place.program("sendmail", "exit 1")
    until = exempt(place, "account", USER, 2)
    exemptions.leave_notices(place.database, ("mail", "command"), time.time())
    assert place.send()[0] == 0
    exempt(place, "account", USER, 200)
    place.program("sendmail", place.recording)
    assert place.send() == (0, [])
    assert place.waiting() == []
    assert not exemptions.is_as_told(
        place.database, ExemptionRow("account", USER, until, "ann", "a fair")
    )


def test_command_gets_the_exemption_as_json(place: Place) -> None:
    command = place.program("command", f"cat >>{place.folder}/told")
    place.configure(to=[], command=[str(command)])
    until = exempt(place, "client", ".example.net", 2)
    exempt(place, "account", USER, 3)
    place.incident()
    notify(place)
    lines = (place.folder / "told").read_text().splitlines()
    account, client = sorted(map(json.loads, lines), key=lambda told: str(told["kind"]))
    at = client.pop("at")
    assert at.startswith("20")
    assert client == {
        "what": "exemption_ends",
        "account": None,
        "blocked": False,
        "kind": "client",
        "value": ".example.net",
        "until": time.strftime("%FT%TZ", time.gmtime(until)),
        "by": "ann",
        "reason": "a fair",
    }
    assert (account["account"], account["blocked"]) == (USER, True)


def test_exemption_is_not_told_where_nobody_reads_notices(place: Place) -> None:
    place.configure(to=[])
    exempt(place, "account", USER, 2)
    notify(place)
    assert place.waiting() == []
    place.configure()
    notify(place)
    assert len(place.received()) == 1


@pytest.mark.parametrize("nasty", NASTY)
def test_mail_of_an_ending_is_one_whatever_a_login_holds(tmp_path: Path, nasty: str) -> None:
    config = config_of(tmp_path)
    rows = [ExemptionRow("account", nasty, NOW + 60, nasty, nasty)]
    mail = as_mail(rows, 7, config, HOST, [USER], NOW)
    assert mail["To"] == USER
    assert set(mail.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
        *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
    }


def test_mail_of_many_endings_counts_the_rest(tmp_path: Path) -> None:
    rows = [
        ExemptionRow("account", f"joe{number}@example.org", NOW + 60, "ann", "")
        for number in range(MOST_LISTED + 5)
    ]
    text = as_mail(rows, 7, config_of(tmp_path), HOST, [USER], NOW).get_content()
    assert text.count("Exempt:") == MOST_LISTED
    assert "and 5 more: see `pcc_admin.py exempt list`" in text
