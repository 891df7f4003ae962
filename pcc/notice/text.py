"""A notice in words: its subject, and what happened, by the kind of event.

Its evidence is in pcc/notice/tables.py, its commands are in pcc/notice/advice.py.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pcc.escaping import escaped
from pcc.invocation import command_line, program_by_path
from pcc.notice import others
from pcc.notice.advice import advice
from pcc.notice.layout import columns, cut, filled, listed, moment, short_time
from pcc.notice.notice import MOST_COUNTRIES
from pcc.notice.tables import earlier_table, table, travel
from pcc.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.config import Config
    from pcc.notice.notice import Notice
    from pcc.store.incidents import IncidentRow

LATE_SECONDS = 900
"""A notice that was sent later than this after the event says that it is late."""

_LONGEST_IN_SUBJECT = 80
_LONGEST_OF_SEVERAL = 40
_LONGEST_IN_TABLE = 36

MOST_LISTED = 50
"""Accounts of one `unblock`, or incidents, that a mail names; the rest is only counted."""

MOST_ACCOUNTS = 5
"""Accounts in the subject of a mail about several incidents; the rest is only counted."""

_PLACES = {
    "max_countries": ("country", "countries", "familiar ones together count as one"),
    "max_networks": ("network", "networks", "familiar ones don't count"),
    "max_addresses": ("address", "addresses", "familiar ones don't count"),
}
"""Limits on places: the unit, one and many, and the effect of familiarity."""

_MAILS = {
    "max_hosting_mails": "unfamiliar hosting networks",
    "max_foreign_mails": "unfamiliar countries",
}
"""Limits on mails, and where these come from."""


def subject(notices: Sequence[Notice]) -> str:
    """Return the subject of a mail, on one line of printable characters."""
    notice = notices[0]
    accounts = list(dict.fromkeys([notice.incident.account for notice in notices]))
    if len(notices) > 1:
        named = [escaped(cut(account, _LONGEST_OF_SEVERAL)) for account in accounts]
        if notice.what == "unblocked":
            by = escaped(cut(notice.by, _LONGEST_OF_SEVERAL))
            number = quantity(len(accounts), "account")
            return f"[pcc] {number} unblocked by {by}: {_some(named, MOST_ACCOUNTS)}"
        counts = Counter(notice.what for notice in notices)
        whats = [f"{counts[what]} {what}" for what in ("blocked", "observed") if counts[what]]
        return f"[pcc] {', '.join(whats)}: {_some(named, MOST_ACCOUNTS)}"
    if notice.what == "unblocked":
        by = escaped(cut(notice.by, _LONGEST_IN_SUBJECT))
        outcome = f"unblocked by {by}{_held_mails(notice)}"
    else:
        outcome = f"{notice.what}: mail from {_places(notice.incident)}"
    return f"[pcc] {escaped(cut(accounts[0], _LONGEST_IN_SUBJECT))} {outcome}"


def body(notices: Sequence[Notice], config: Config, host: str, now: float) -> str:
    """Return the text of a mail.

    Several incidents stand one by one below a list of them all.
    """
    noun = "incident" if len(notices) == 1 else "incidents"
    numbers = _some([str(notice.incident.id) for notice in notices], MOST_LISTED)
    footer = f"\n\n-- \npcc on {host}, {noun} {numbers}\n"
    if len(notices) > 1 and notices[0].what == "unblocked":
        return "\n\n".join(_unblocked_together(notices, config, host)) + footer
    parts = []
    if len(notices) > 1:
        parts.append("\n".join([filled(_first(notice), "", "  ") for notice in notices]))
    for number, notice in enumerate(notices, 1):
        if len(notices) > 1:
            account = escaped(notice.incident.account)
            parts.append(f"==== {number} of {len(notices)}: {account} ====")
        own = _unblock_parts(notice) if notice.what == "unblocked" else _block_parts(notice, config)
        if now - notice.at > LATE_SECONDS + config.notify.digest:
            own.insert(1, "This notice comes late: it could not be sent before.")
        parts += [*own, *advice(notice, config, host)]
    return "\n\n".join(parts) + footer


def _first(notice: Notice) -> str:
    """Return the first sentence about an incident."""
    state = "is blocked" if notice.what == "blocked" else "would be blocked"
    account = escaped(notice.incident.account)
    return f"{account} {state}: mail came from {_places(notice.incident)}."


def _block_parts(notice: Notice, config: Config) -> list[str]:
    incident = notice.incident
    passed = notice.what == "observed"
    queue_id = f", queue id {escaped(incident.queue_id)}" if incident.queue_id else ""
    name = escaped(incident.client_name)
    client = escaped(incident.client_address) + ("" if name == "unknown" else f" ({name})")
    done = "passed" if passed else _done_with(incident.action)
    facts = [
        ("When", moment(notice.at)),
        ("Limit", _limit(incident, config)),
        ("Crossed by", f"mail from {client}, {incident.country}{queue_id}: {done}"),
        ("Now", _consequence(notice, config)),
    ]
    name = incident.rule.partition(" ")[0]
    how = f"from so many {_PLACES[name][1]}" if name in _PLACES else "so much mail from there"
    return [
        filled(_first(notice)),
        filled(
            # The reader may never have had such a mail before.
            f"An account that sends {how} is often stolen.  But a journey, a VPN, or an app that"
            " sends from its maker's machines can look the same.  Ask the owner, and not by mail:"
            " a thief reads that."
        ),
        listed(facts),
        table(notice),
        *travel(notice),
        *[filled(text) for text in [others.sentence(notice.others)] if text],
        *earlier_table(notice),
    ]


def _unblock_parts(notice: Notice) -> list[str]:
    incident = notice.incident
    account, by = escaped(incident.account), escaped(notice.by)
    before = "blocked by hand"
    if incident.client_address:
        done = "blocked" if incident.mode == "enforce" else "observed"
        before = f"{done} for mail from {_places(incident)},"
    stopped = _mails(incident.tries) if incident.tries else "no mail"
    if incident.tries and incident.held:
        stopped += f", {incident.held} of them held{_held_mails(notice).replace(':', ';', 1)}"
    facts = [
        ("When", moment(notice.at)),
        ("Reason", escaped(notice.reason) or "none given"),
        ("Before", f"{before} {moment(incident.began)}"),
        ("Stopped", stopped),
    ]
    first = f"{by} has unblocked {account}."
    if incident.mode == "observe":
        first = f"{by} has cleared the observed incident of {account}."
        del facts[-1]
    return [filled(first), listed(facts), "Only mail from now on counts for this account."]


def _unblocked_together(notices: Sequence[Notice], config: Config, host: str) -> list[str]:
    """Return the paragraphs about the accounts that one `unblock` has unblocked."""
    notice = notices[0]
    count = quantity(len(notices), "account")
    facts = [
        ("When", moment(notice.at)),
        ("Reason", escaped(notice.reason) or "none given"),
    ]
    lines = [("ACCOUNT", "SINCE", "STOPPED", "RELEASED", "DELETED")]
    lines += [
        (
            cut(escaped(one.incident.account), _LONGEST_IN_TABLE),
            short_time(one.incident.began),
            *(str(one.incident.tries), str(one.released), str(one.deleted)),
        )
        for one in notices[:MOST_LISTED]
    ]
    table = columns(lines)
    if len(notices) > MOST_LISTED:
        table.append(f"and {len(notices) - MOST_LISTED} more accounts")
    history = command_line(config.path, "list", "--history", program=program_by_path())
    return [
        filled(f"{escaped(notice.by)} has unblocked {count}."),
        listed(facts),
        "\n".join(table),
        "Only mail from now on counts for these accounts.",
        f"See why each was blocked, as root on {escaped(host)}:\n  {history}",
    ]


def _places(incident: IncidentRow) -> str:
    """Return where mail came from, and within which window: `ES, FR within 2d`."""
    limit, _, window = incident.rule.rpartition(" in ")
    name, _, most = limit.partition(" ")
    if name in ("max_networks", "max_addresses"):  # the mail that makes one more crosses it
        return f"{int(most) + 1} {_PLACES[name][1]} within {window}"
    if name in _MAILS:
        return f"{_MAILS[name]}, {int(most) + 1} within {window}"
    return f"{_some(incident.countries.split(','), MOST_COUNTRIES)} within {window}"


def _some(names: Sequence[str], most: int) -> str:
    """Return names, and how many more there are than `most`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _limit(incident: IncidentRow, config: Config) -> str:
    """Return the limit as in lists, and in words."""
    limit, _, window = incident.rule.rpartition(" in ")
    name, _, most = limit.partition(" ")
    if name not in _PLACES and name not in _MAILS:
        return incident.rule
    units = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}
    number, unit = window[:-1], units.get(window[-1:].lower(), "")
    if unit and number.isdigit():
        window = f"{int(number)} {unit}{'' if int(number) == 1 else 's'}"
    if name in _MAILS:
        mails = "mail" if most == "1" else "mails"
        return f"{incident.rule}: at most {most} {mails} within {window} from {_MAILS[name]}"
    one, many, familiar = _PLACES[name]
    limit = f"{incident.rule}: at most {most} {one if most == '1' else many} within {window}"
    return f"{limit}; {familiar}" if config.policy_for(incident.account).familiar_after else limit


def _consequence(notice: Notice, config: Config) -> str:
    """Return what happens to the account's mail from now on."""
    incident = notice.incident
    policy = config.policy_for(incident.account)
    if incident.ended is not None:
        return f"over: it ended {moment(incident.ended)}"
    if notice.what == "observed" or policy.observes:
        return "its mail passes: policy.mode is observe"
    stopped = f"its mail is {_done_with(incident.action)}"
    if incident.action == "HOLD" and policy.hold_limit:
        stopped = f"up to {policy.hold_limit} of its mails are put on hold, further ones refused,"
    if incident.expires:
        why = ""
        if incident.is_longer(policy.block_for):
            why = "; for longer than block_for, because its last block ended by itself"
        return f"{stopped} until {moment(incident.expires)}, or until you unblock it{why}"
    return f"{stopped} until you unblock it"


def _done_with(action: str) -> str:
    return {"REJECT": "refused", "HOLD": "put on hold"}.get(action, f"answered with {action}")


def _held_mails(notice: Notice) -> str:
    counts = [(notice.released, "released"), (notice.deleted, "deleted")]
    done = [f"{_mails(count, 'held ')} {what}" for count, what in counts if count]
    return f": {' and '.join(done)}" if done else ""


def _mails(count: int, kind: str = "") -> str:
    return f"{count} {kind}mail{'' if count == 1 else 's'}"
