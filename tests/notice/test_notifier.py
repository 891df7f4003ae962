"""The process that sends notices: no reply waits for it, and one at a time does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import PolicyProcess, Site, address, is_pass, is_refusal
from notices import (
    Place,
    admin,
)
from postfix import wait_until

from pcc.notice.notifier import Turn
from pcc.store import outbox

started = pytest.mark.subprocess


@started
def test_notifiers_at_once_send_each_of_fifty_notices_once(place: Place) -> None:
    for number in range(50):
        place.notice(f"user{number}@example.org")
    processes = [
        subprocess.Popen(admin(place, "--json", "notify"), stdout=subprocess.PIPE) for _ in range(2)
    ]
    counts = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(count["sent"] for count in counts) == 50
    assert [count["failed"] for count in counts] == [0, 0]
    subjects = Counter(str(message["Subject"]).split()[1] for message in place.received())
    assert subjects == {f"user{number}@example.org": 1 for number in range(50)}
    assert place.waiting() == []


@started
def test_notifier_that_is_killed_loses_nothing(place: Place) -> None:
    place.program("sendmail", f'echo "$$" >{place.folder}/child; exec sleep 97')
    place.notice()
    notifier = subprocess.Popen(admin(place, "notify"))
    child = place.folder / "child"
    wait_until(lambda: child.exists() and child.read_text(), "start")
    notifier.kill()
    notifier.wait()
    os.kill(int(child.read_text()), signal.SIGKILL)
    place.program("sendmail", place.recording)
    assert place.send() == (0, [])  # it still has the notice, for two minutes
    assert [row[1] for row in place.waiting()] == [0]
    with place.database:
        place.database.write("UPDATE outbox SET taken = taken - ?", (outbox.LEASE_SECONDS,))
    assert place.send() == (1, [])
    assert len(place.received()) == 1


WAITING_SENDMAIL = """\
for process in $PPID $$; do ls -l /proc/$process/fd; done >{folder}/descriptors.new
mv {folder}/descriptors.new {folder}/descriptors
while [ ! -e {folder}/gate ]; do sleep 0.05; done
cat >{folder}/mail
"""


@started
def test_notifier_has_no_socket_and_no_reply_waits_for_it(
    tmp_path: Path,
) -> None:
    sendmail = tmp_path / "sendmail"
    sendmail.write_text("#!/bin/sh\n" + WAITING_SENDMAIL.format(folder=tmp_path))
    sendmail.chmod(0o755)
    notify = f'[notify]\nto = ["postmaster"]\nsendmail = "{sendmail}"\n'
    site = Site(tmp_path, f"max_countries = 3\n{notify}")
    policy = site.policy()
    try:
        for country in ("ES", "FR", "BR"):
            assert is_pass(policy.ask("joe@example.org", address(country)))
        begin = time.monotonic()
        assert is_refusal(policy.ask("joe@example.org", address("VN")))
        assert is_refusal(policy.ask("joe@example.org", address("ES")))
        assert time.monotonic() - begin < 1
        ours = os.readlink(f"/proc/{policy.process.pid}/fd/0")
        wait_until((tmp_path / "descriptors").exists, "sendmail")
        descriptors = (tmp_path / "descriptors").read_text()
        assert ours.startswith("socket:")
        assert ours not in descriptors
        assert descriptors.count("/dev/null") >= 3
        # Postfix sees at once that the policy process has gone, though its notifier goes on.
        policy.process.kill()
        policy.socket.settimeout(1)
        assert policy.socket.recv(1) == b""
        assert not (tmp_path / "mail").exists()
    finally:
        (tmp_path / "gate").touch()
        site.close()
    wait_until(lambda: not _outbox(site), "notice")
    assert "Subject: [pcc] joe@example.org blocked: mail from ES, FR, BR, VN within 2d" in (
        (tmp_path / "mail").read_text()
    )


def _outbox(site: Site) -> int:
    return int(site.data("stats")["outbox"])


@started
def test_turn_keeps_others_from_sending_unless_a_person_asks(
    place: Place,
) -> None:
    place.notice()
    turn = Turn(place.database.name)
    assert turn.take()
    assert place.send_due() == (0, [])
    assert place.send() == (1, [])
    place.notice("other@example.org")
    turn.close()
    assert place.send_due() == (1, [])


@started
def test_turn_that_cannot_be_taken_keeps_no_notice_back(place: Place) -> None:
    place.notice()
    (place.folder / "pcc.db.notify").mkdir()
    assert place.send_due() == (1, [])


class Watch:
    """Counts the notifiers of a site that run at the same time."""

    def __init__(self, site: Site) -> None:
        self.most = 0
        self._words = {str(site.config), "notify"}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def count(self) -> int:
        """How many there are."""
        return len(self.processes())

    def processes(self) -> list[int]:
        """Their process ids."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = set((folder / "cmdline").read_text().split("\0"))
            except OSError:
                continue
            if self._words <= words:
                found.append(int(folder.name))
        return found

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, self.count())


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Site]:
    """A site where the second country is one too many; its sendmail waits for the gate."""
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(
        f"#!/bin/sh\nwhile [ ! -e {tmp_path}/gate ]; do sleep 0.02; done\n"
        f"grep ^Subject: >>{tmp_path}/subjects\necho $PPID >>{tmp_path}/notifiers\n"
    )
    sendmail.chmod(0o755)
    site = Site(
        tmp_path,
        "max_countries = 1\nfamiliar_after = 0\n"
        f'[notify]\nto = ["postmaster"]\nsendmail = "{sendmail}"\ndigest = ""\n',
    )
    yield site
    (tmp_path / "gate").touch()
    site.close()
    watch = Watch(site)
    wait_until(lambda: not watch.count(), "end of the notifiers")


def block(policy: PolicyProcess, *accounts: str) -> None:
    """Block accounts by mail from a second country."""
    for account in accounts:
        assert is_pass(policy.ask(account, address("ES")))
        assert is_refusal(policy.ask(account, address("FR")))


def noticed(site: Site) -> Counter[str]:
    """The accounts that sendmail was given a notice of, and how often."""
    path = site.folder / "subjects"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(line.split()[2] for line in lines)


@started
def test_notifier_is_one_however_many_accounts_are_blocked(
    busy: Site,
) -> None:
    (busy.folder / "gate").touch()
    crowd = [busy.policy() for _ in range(5)]
    accounts = [f"user{number}@example.org" for number in range(100)]
    threads = [
        threading.Thread(target=block, args=(policy, *accounts[number::5]))
        for number, policy in enumerate(crowd)
    ]
    with Watch(busy) as watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(noticed(busy)) == 100 and not watch.count(), "notices")
    assert watch.most <= 2  # one that ends, and the next
    assert noticed(busy) == dict.fromkeys(accounts, 1)
    assert _outbox(busy) == 0


@started
def test_notifier_also_sends_what_comes_while_it_sends(
    busy: Site,
) -> None:
    policy = busy.policy()
    watch = Watch(busy)
    block(policy, "ann@example.org")
    wait_until(watch.count, "notifier")
    block(policy, "bob@example.org", "eve@example.org")
    assert watch.count() == 1
    (busy.folder / "gate").touch()
    wait_until(lambda: len(noticed(busy)) == 3, "notices")
    assert len(set((busy.folder / "notifiers").read_text().split())) == 1


@started
def test_notifier_that_is_killed_gives_its_turn_to_the_next(busy: Site) -> None:
    policy = busy.policy()
    watch = Watch(busy)
    block(policy, "ann@example.org")
    (notifier,) = wait_until(watch.processes, "notifier")
    block(policy, "bob@example.org")
    # The work after a reply is over when the next has come: Bob's block has started no notifier.
    assert is_refusal(policy.ask("bob@example.org", address("ES")))
    os.kill(notifier, signal.SIGKILL)
    wait_until(lambda: not watch.count(), "end of the notifier")
    (busy.folder / "gate").touch()
    block(policy, "eve@example.org")
    # Ann's belongs to the killed process for two minutes.
    wait_until(lambda: {"bob@example.org", "eve@example.org"} <= set(noticed(busy)), "notices")


@started
def test_notice_is_sent_when_its_block_comes_as_a_notifier_ends(busy: Site) -> None:
    (busy.folder / "gate").touch()
    policy = busy.policy()
    for number in range(25):
        block(policy, f"user{number}@example.org")
        wait_until(lambda seen=number + 1: len(noticed(busy)) == seen, "notice")  # type: ignore[misc]
        time.sleep(number / 1000)
    assert _outbox(busy) == 0
    assert set(noticed(busy).values()) == {1}


@started
def test_notifier_waits_for_the_end_of_a_digest(busy: Site) -> None:
    busy.config.write_text(busy.config.read_text().replace('digest = ""', 'digest = "3s"'))
    (busy.folder / "gate").touch()
    policy = busy.policy()
    watch = Watch(busy)
    block(policy, "ann@example.org")
    wait_until(lambda: noticed(busy), "the first mail, at once")
    block(policy, "bob@example.org", "eve@example.org")
    time.sleep(0.5)
    assert watch.count() == 1
    wait_until(lambda: len((busy.folder / "subjects").read_text().splitlines()) > 1, "digest")
    first, second = (busy.folder / "subjects").read_text().splitlines()
    assert first.startswith("Subject: [pcc] ann@example.org blocked: mail from ES, FR within")
    assert second == "Subject: [pcc] 2 blocked: bob@example.org, eve@example.org"
    wait_until(lambda: not watch.count(), "end of the notifier")
    assert _outbox(busy) == 0
