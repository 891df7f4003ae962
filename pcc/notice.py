"""What a notice says: a mail for people, JSON for a program.

An administrator may read the mail at night on a telephone, and may never have
heard of pcc: what happened comes first, then the evidence, then the commands to
paste.  Nothing but a command is wider than a terminal.  Pure: no clock, and no
I/O but to see how pcc_admin.py is called here.  Logins and host names are chosen
by strangers: in headers and text they are escaped, and in a command they are one
word that no shell takes apart.
"""

from __future__ import annotations

import textwrap
import unicodedata
from datetime import datetime, timezone
from email.header import Header
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, NamedTuple

from pcc import address as addresses
from pcc import evidence
from pcc.escaping import escaped
from pcc.invocation import about_account, command_line, program_by_path
from pcc.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pcc.config import Config
    from pcc.evidence import Leg, Origin
    from pcc.store.incidents import IncidentRow, SightingRow
    from pcc.store.outbox import Earlier

MOST_SIGHTINGS = 50
"""Lines of the table; the rest is only counted."""

MOST_COUNTRIES = 12
"""Countries in a subject; the rest is only counted."""

MOST_LEGS = 5
"""Ways between two places that are told of, the fastest ones."""

WIDTH = 78
"""Columns of a line at most, but for a command, which must stay in one piece."""

LATE_SECONDS = 900
"""A notice that was sent so long after the event says that it is late."""

_LONGEST_IN_SUBJECT = 80
_LONGEST_CLIENT_NAME = 40
_LONGEST_PLAIN_LINE = 900  # RFC 5322 allows 998


class Notice(NamedTuple):
    """One event that administrators are told of.

    `what`: "blocked", "observed" or "unblocked".  `at`: UTC seconds.  `sightings`: what had
    counted, latest first, as far as it is shown; `sighting_count`: how many there are.  `by` and
    `reason`: who did it and why, `by` being "pcc" for the program itself.  `earlier`: what was
    seen before and did not count.  `origins`: where the addresses of the sightings are, if that
    can be looked up.
    """

    what: str
    at: float
    incident: IncidentRow
    sightings: Sequence[SightingRow]
    sighting_count: int
    by: str = "pcc"
    reason: str = ""
    released: int = 0
    deleted: int = 0
    earlier: Sequence[Earlier] = ()
    origins: Mapping[str, Origin] | None = None


def as_data(notice: Notice) -> dict[str, Any]:
    """Return what notify.command reads as JSON; times are RFC 3339 in UTC."""
    incident = notice.incident
    return {
        "what": notice.what,
        "account": incident.account,
        "rule": incident.rule,
        "countries": incident.countries.split(",") if incident.countries else [],
        "country": incident.country or None,
        "client_address": incident.client_address or None,
        "client_name": incident.client_name or None,
        "action": incident.action,
        "at": rfc3339(notice.at),
        "queue_id": incident.queue_id or None,
        "sightings": [
            {
                "country": seen.country,
                "address": seen.address,
                "client_name": seen.client_name,
                "mails": seen.mails,
                "first_seen": rfc3339(seen.first_seen),
                "last_seen": rfc3339(seen.last_seen),
                **_origin_data(notice, seen.address),
            }
            for seen in notice.sightings
        ],
        **_travel_data(notice),
        "earlier": [
            {
                "country": seen.country,
                "addresses": seen.addresses,
                "mails": seen.mails,
                "first_seen": rfc3339(seen.first_seen),
            }
            for seen in notice.earlier
        ],
        "by": notice.by,
        "reason": notice.reason or None,
        "released": notice.released,
        "deleted": notice.deleted,
    }


def _origin_data(notice: Notice, address: str) -> dict[str, Any]:
    if not notice.origins:
        return {}
    return evidence.origin_data(notice.origins.get(address, evidence.Origin()))


def _travel_data(notice: Notice) -> dict[str, Any]:
    if not notice.origins:
        return {}
    return {"travel": [evidence.leg_data(leg) for leg in _legs(notice)]}


def _legs(notice: Notice) -> list[Leg]:
    return evidence.legs(evidence.visits(notice.sightings, notice.origins or {}))


def as_mail(
    notice: Notice, config: Config, host: str, recipients: Sequence[str], now: float
) -> EmailMessage:
    """Return the mail to `recipients`, sent at `now` (UTC seconds) from `host`."""
    message = EmailMessage(_Folding())
    message["From"] = config.notify.sender or _own_address(config, host)
    message["To"] = ", ".join(recipients)
    # A header's value may hold encoded words, which are decoded, newlines and all.
    message["Subject"] = subject(notice).replace("=?", "=\\x3f")
    message["Date"] = formatdate(now, localtime=True)
    # The same whenever it is sent: so that a mail system can tell one that was sent twice, and a
    # mail program shows block and unblock together.
    message["Message-ID"] = _message_id(notice.incident, notice.what, notice.at, host)
    if notice.what == "unblocked":
        incident = notice.incident
        what = "blocked" if incident.mode == "enforce" else "observed"
        message["In-Reply-To"] = _message_id(incident, what, incident.began, host)
    message["Auto-Submitted"] = "auto-generated"
    text = body(notice, config, host, now)
    plain = text.isascii() and max(map(len, text.splitlines())) <= _LONGEST_PLAIN_LINE
    message.set_content(text, cte="7bit" if plain else "quoted-printable")
    return message


def _own_address(config: Config, host: str) -> str:
    """Return whom a notice is from where pcc.toml does not tell.

    To a name without a domain sendmail(1) adds nothing, to no name at all what is right here:
    Postfix its $myorigin.
    """
    if "." not in host and config.notify.transport == "sendmail":
        return "pcc"
    return f"pcc@{host}"


class _Folding(EmailPolicy):
    """Headers as Python folds them, but for the subject.

    Python would leave its first line empty where all of it has room on the second.
    """

    def fold(self, name: str, value: Any) -> str:
        if name != "Subject":
            folded: str = super().fold(name, value)
            return folded
        text = str(value)
        header = Header(text, "us-ascii" if text.isascii() else "utf-8", header_name=name)
        return f"{name}: {header.encode(linesep=self.linesep)}{self.linesep}"

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self.fold(name, value).encode("ascii")


def subject(notice: Notice) -> str:
    """Return the subject, on one line of printable characters."""
    account = escaped(_cut(notice.incident.account, _LONGEST_IN_SUBJECT))
    return f"[pcc] {account} {_outcome(notice)}"


def body(notice: Notice, config: Config, host: str, now: float) -> str:
    """Return the text of the mail."""
    parts = _unblock_parts(notice) if notice.what == "unblocked" else _block_parts(notice, config)
    if now - notice.at > LATE_SECONDS:
        parts.insert(1, "This notice comes late: it could not be sent before.")
    parts += _advice(notice, config, host)
    return "\n\n".join(parts) + f"\n\n-- \npcc on {host}, incident {notice.incident.id}\n"


def _message_id(incident: IncidentRow, what: str, at: float, host: str) -> str:
    return f"<pcc.{incident.id}.{what}.{int(at * 1000)}@{host}>"


def _outcome(notice: Notice) -> str:
    if notice.what == "unblocked":
        by = escaped(_cut(notice.by, _LONGEST_IN_SUBJECT))
        return f"unblocked by {by}{_held_mails(notice)}"
    return f"{notice.what}: mail from {_places(notice.incident)}"


def _held_mails(notice: Notice) -> str:
    counts = [(notice.released, "released"), (notice.deleted, "deleted")]
    told = [f"{_mails(count, 'held')} {done}" for count, done in counts if count]
    return f": {' and '.join(told)}" if told else ""


def _places(incident: IncidentRow) -> str:
    """Return from where mail came within which window: `ES, FR within 2d`."""
    limit, _, window = incident.rule.rpartition(" in ")
    name, _, most = limit.partition(" ")
    if name == "max_addresses" and most.isdigit():  # the mail that makes one more crosses it
        return f"{int(most) + 1} addresses within {window}"
    countries = incident.countries.split(",")
    more = len(countries) - MOST_COUNTRIES
    listed = ", ".join(countries[:MOST_COUNTRIES])
    return f"{listed}{f' and {more} more' if more > 0 else ''} within {window}"


def _block_parts(notice: Notice, config: Config) -> list[str]:
    incident = notice.incident
    state = "is blocked" if notice.what == "blocked" else "would be blocked"
    first = f"{escaped(incident.account)} {state}: mail came from {_places(incident)}."
    facts = [
        ("When", _moment(notice.at)),
        ("Limit", _limit(incident, config)),
        ("Crossed by", _crossing_mail(notice)),
        ("Now", _consequence(notice, config)),
    ]
    return [
        _filled(first),
        _filled(_meaning(incident)),
        _listed(facts),
        _table(notice),
        *_travel(notice),
        *_earlier_table(notice),
    ]


def _meaning(incident: IncidentRow) -> str:
    """Return what that means, for somebody who has never had such a mail."""
    kind = "addresses" if incident.rule.startswith("max_addresses") else "countries"
    return (
        f"An account that sends from so many {kind} is often a stolen one.  But it can be its"
        " owner, too: on a journey, behind a VPN, or with an app that sends from its maker's"
        " machines.  Ask the owner, but not by mail: whoever stole the account can read it."
    )


_COUNTED = {
    "max_countries": ("country", "countries", "familiar ones together count as one"),
    "max_addresses": ("address", "addresses", "familiar ones don't count"),
}


def _limit(incident: IncidentRow, config: Config) -> str:
    """Return the limit as in lists, and in words."""
    limit, _, window = incident.rule.rpartition(" in ")
    name, _, most = limit.partition(" ")
    if name not in _COUNTED:
        return incident.rule
    one, many, familiar = _COUNTED[name]
    kind = one if most == "1" else many
    told = f"{incident.rule}: at most {most} {kind} within {_in_words(window)}"
    return f"{told}; {familiar}" if config.policy_for(incident.account).familiar_after else told


def _in_words(window: str) -> str:
    """Return a Postfix time in words: `2 days`."""
    units = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}
    number, unit = window[:-1], units.get(window[-1:].lower(), "")
    if not unit or not number.isdigit():
        return window
    return f"{int(number)} {unit}{'' if int(number) == 1 else 's'}"


def _crossing_mail(notice: Notice) -> str:
    incident = notice.incident
    done = "passed" if notice.what == "observed" else _done_with(incident.action)
    queue_id = f", queue id {escaped(incident.queue_id)}" if incident.queue_id else ""
    name = escaped(incident.client_name)
    client = escaped(incident.client_address) + ("" if name == "unknown" else f" ({name})")
    return f"mail from {client}, {incident.country}{queue_id}: {done}"


def _done_with(action: str) -> str:
    return {"REJECT": "refused", "HOLD": "put on hold"}.get(action, f"answered with {action}")


def _consequence(notice: Notice, config: Config) -> str:
    """Return what is done with the account's mail from now on."""
    incident = notice.incident
    policy = config.policy_for(incident.account)
    if incident.ended is not None:
        return f"over: it ended {_moment(incident.ended)}"
    if notice.what == "observed" or policy.observes:
        return "its mail passes: policy.mode is observe"
    stopped = f"its mail is {_done_with(incident.action)}"
    if incident.action == "HOLD" and policy.hold_limit:
        stopped = f"up to {policy.hold_limit} of its mails are put on hold, further ones refused,"
    if incident.expires:
        return f"{stopped} until {_moment(incident.expires)}, or until you unblock it"
    return f"{stopped} until you unblock it"


def _unblock_parts(notice: Notice) -> list[str]:
    incident = notice.incident
    account, by = escaped(incident.account), escaped(notice.by)
    facts = [
        ("When", _moment(notice.at)),
        ("Reason", escaped(notice.reason) or "none given"),
        ("Before", f"{_before(incident)} {_moment(incident.began)}"),
        ("Stopped", _stopped(notice)),
    ]
    first = f"{by} has unblocked {account}."
    if incident.mode == "observe":
        first = f"{by} has cleared the observed incident of {account}."
        del facts[-1]
    return [_filled(first), _listed(facts), "Only mail from now on counts for this account."]


def _before(incident: IncidentRow) -> str:
    if not incident.client_address:
        return "blocked by hand"
    done = "blocked" if incident.mode == "enforce" else "observed"
    return f"{done} for mail from {_places(incident)},"


def _stopped(notice: Notice) -> str:
    held, stopped = notice.incident.held, notice.incident.tries
    if not stopped:
        return "no mail"
    told = f"{_mails(stopped)}, {held} of them held"
    return f"{told}{_held_mails(notice).replace(':', ';', 1)}" if held else f"{_mails(stopped)}"


def _mails(count: int, kind: str = "") -> str:
    return f"{count} {f'{kind} ' if kind else ''}mail{'' if count == 1 else 's'}"


def _table(notice: Notice) -> str:
    """Return the sightings as columns, the crossing one marked.

    Under each is what else is known of its address, which would make the table too wide.
    """
    incident = notice.incident
    packed = addresses.packed_address(incident.client_address)
    crossing = addresses.recorded_address(packed) if packed else ""
    lines = [("", "COUNTRY", "ADDRESS", "FIRST", "LAST", "MAILS")]
    lines += [
        (
            "*" if seen.address == crossing else "",
            seen.country,
            escaped(seen.address),
            _short_time(seen.first_seen),
            _short_time(seen.last_seen),
            str(seen.mails),
        )
        for seen in notice.sightings
    ]
    header, *rows = _columns(lines)
    text = [header]
    for row, seen in zip(rows, notice.sightings, strict=True):
        text += [row, *_what_else(notice, seen)]
    more = notice.sighting_count - len(notice.sightings)
    if more > 0:
        text.append(f"and {more} more addresses")
    zone = datetime.fromtimestamp(incident.began).astimezone().strftime("%Z")
    return f"What counted (times in {zone}; * crossed the limit):\n\n" + "\n".join(text)


def _what_else(notice: Notice, seen: SightingRow) -> list[str]:
    """Return what is known of an address besides its country: host name, city, network."""
    origin = (notice.origins or {}).get(seen.address, evidence.Origin())
    name = "" if seen.client_name == "unknown" else escaped(seen.client_name)
    known = [
        _tail(name, _LONGEST_CLIENT_NAME),
        _plain(origin.city),
        _plain(evidence.network(origin)),
    ]
    told = ", ".join([text for text in known if text])
    return _filled(told, " " * 12).split("\n") if told else []


def _travel(notice: Notice) -> list[str]:
    """Return how fast somebody would have had to travel, where that can be told."""
    legs = evidence.fastest(_legs(notice), MOST_LEGS)
    told = [_filled(_plain(evidence.sentence(leg)), " " * 3, " " * 5) for leg in legs]
    if not told:
        return []
    return ["How fast one person would have had to travel:\n\n" + "\n".join(told)]


def _earlier_table(notice: Notice) -> list[str]:
    """Return what was seen earlier as columns, if there is any: a familiar home, say."""
    if not notice.earlier:
        return []
    lines = [("", "COUNTRY", "ADDRESSES", "SINCE", "MAILS")]
    lines += [
        ("", seen.country, str(seen.addresses), _day(seen.first_seen), str(seen.mails))
        for seen in notice.earlier[:MOST_COUNTRIES]
    ]
    text = _columns(lines)
    more = len(notice.earlier) - MOST_COUNTRIES
    if more > 0:
        text.append(f"and {more} more countries")
    return ["Seen earlier, which did not count:\n\n" + "\n".join(text)]


def _columns(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return ["  ".join(row).rstrip() for row in rows]


def _advice(notice: Notice, config: Config, host: str) -> list[str]:
    """Return what an administrator may want to do next, each with the exact command."""
    incident = notice.incident
    account = incident.account
    lift = command(config, "unblock", account)
    to_owner = command(config, "unblock", account, "--release", "--exempt-for", "7d")
    advice = [("See all that is known of it:", command(config, "show", account))]
    if notice.what == "unblocked":
        if incident.held > notice.released + notice.deleted:
            advice.append(("See what is still on hold:", command(config, "held", account)))
        advice.append(("Block it again:", command(config, "block", account)))
    elif notice.what == "observed":
        advice += [
            ("It was the owner: let it send from anywhere for a week:", to_owner),
            ("It was stolen: change its password.  Then start counting afresh:", lift),
        ]
    else:
        if incident.action == "HOLD":
            advice.append(("See its held mail:", command(config, "held", account)))
        advice += [
            (
                "It was the owner: unblock, release any held mail, and let it send from\n"
                "anywhere for a week:",
                to_owner,
            ),
            (
                "It was stolen: change its password first, or the thief goes on.  Then unblock,\n"
                "and delete any held mail:",
                command(config, "unblock", account, "--delete"),
            ),
            ("Only unblock:", lift),
        ]
    where = f"What you can do, as root on {escaped(host)}:"
    return [where, *[f"{purpose}\n  {text}" for purpose, text in advice]]


def command(config: Config, name: str, account: str, *options: str) -> str:
    """Return a command line of pcc_admin.py about an account, to be pasted into a shell."""
    words = about_account(name, account, *options)
    return command_line(config.path, *words, program=program_by_path())


def _listed(facts: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in facts) + 2
    return "\n".join(
        [_filled(f"{name + ':':{width}}{value}", "", " " * width) for name, value in facts]
    )


def _filled(text: str, indent: str = "", further: str | None = None) -> str:
    """Return a sentence in lines of WIDTH columns, the further ones with another indent."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if further is None else further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(name: str) -> str:
    """Return a name that a database gives, without accents if that makes it ASCII.

    A mail in ASCII can be read, and its commands pasted, even as it lies in a mailbox.
    """
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    letters = [c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)]
    return escaped(bare if len(bare) == len(letters) else name)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _tail(text: str, most: int) -> str:
    """Return the end of a host name, which tells whose it is."""
    return text if len(text) <= most else "..." + text[3 - most :]


def _moment(seconds: float) -> str:
    """Return a time for people: local, and in UTC where that differs."""
    local = datetime.fromtimestamp(seconds).astimezone()
    text = local.strftime("%Y-%m-%d %H:%M:%S %Z")
    if not local.utcoffset():
        return text
    return f"{text} ({local.astimezone(timezone.utc):%H:%M:%S} UTC)"


def _short_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%m-%d %H:%M")


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d")
