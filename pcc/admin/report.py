"""The command `report`: incidents, accounts and countries over time, as text, JSON or a page."""

from __future__ import annotations

import argparse
import io
from contextlib import closing, redirect_stdout
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from pcc.admin import DONE, NOT_DONE, PARTLY, USAGE
from pcc.admin.commands import add_command
from pcc.admin.output import Output, local_time, rfc3339
from pcc.config.checks import duration_seconds
from pcc.errors import NoticeError
from pcc.escaping import printable
from pcc.history import DAY
from pcc.host.files import replace_file
from pcc.places import travel as evidence
from pcc.wording import date, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.report.activity import PlaceRow
    from pcc.report.alarms import Alarm
    from pcc.report.gathering import Report
    from pcc.store.incidents import IncidentRow

    _Table = tuple[str, list[str], list[list[Any]], int, tuple[str, ...]]

MOST_BARS = 31
"""The most rows of a chart on a terminal; more days become weeks."""

MOST_ROWS = 15
"""Rows of a table for people; --json and --html have more."""

_PERMISSIONS = 0o640

_ABOUT = """\
Shows incidents, accounts and countries by day (UTC), mails and accounts by country and by
network, and the accounts nearest to a limit at this moment.  It also lists blocks that an
administrator lifted within a day, with settings that would have prevented each: these are likely
false alarms.  Incidents of observe mode are included.

An account is over a limit without an incident if its history was imported, or the limit was
tightened.  The watch list has the accounts with the most unfamiliar countries and networks in
the last thirty days: a patient thief is there whom no limit may block.

--since takes a time, or a date (UTC); the first day is included as a whole.  Accounts and
countries are known by day for the last 31 days.  Mails are a sum since the account was first
seen in a country.

--mail sends the text to notify.to, for a weekly line in a crontab.

--html writes one page that needs nothing from elsewhere.  It holds accounts and addresses, so
only its owner and group may read it; a file that is yours keeps the permissions it has.

--json has the keys since, until, blocked, observed (incidents that began), blocked_now,
observed_now (accounts), accounts, mails, days, countries, networks, network_count, incidents,
over, over_count, near, near_count, watch, lifted_soon.

In days: day, blocked, observed, accounts, countries (the last two null where not known any more).

In countries: country, name, accounts, mails.

In networks: network, name, hosting (null where no database has it), accounts, mails.

In incidents: account, mode, since, ended, lifted_by, reason, rule, countries, country,
client_address, client_name, action, held, tries.

In over and near: account, rule, mode (observe where the limit blocks nobody), counted, allowed,
countries, networks.

In watch: account, countries, networks (the unfamiliar ones), mails (from these countries).

In lifted_soon: account, mode, since, ended, lifted_by, reason, rule, countries, client_address,
again (countries where it was seen later), travel (the fastest ways, as in show), prevented_by
(kind, text, because)."""


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "report",
        report,
        "show incidents and mail over some weeks, also as a page",
        _ABOUT,
    )
    parser.add_argument(
        "--since",
        type=beginning,
        metavar="TIME",
        help="a time ago, e.g. 30d, or a date such as 2026-11-01 (default: store.keep_sightings)",
    )
    parser.add_argument("--html", metavar="FILE", help="write a page to FILE")
    parser.add_argument("--mail", action="store_true", help="mail the report to notify.to")


def report(context: Context, options: argparse.Namespace) -> int:
    """Print the report, or write the page."""
    from pcc.invocation import command_line
    from pcc.places.origins import Origins
    from pcc.report.gathering import gather  # 40 ms, for this command alone

    seconds, is_moment = options.since or (context.config.keep_sightings, False)
    since = seconds if is_moment else context.now - seconds
    if since > context.now:
        context.complain("--since must not be in the future")
        return USAGE
    command = partial(command_line, context.config_path)
    config, database = context.config, context.database
    with closing(Origins(*config.files_of_places, context.complain)) as origins:
        found = gather(config, database, origins, command, since // DAY * DAY, context.now)
        if options.html:
            from pcc.report.page import page  # Jinja2, for this option alone

            text = page(config, database, origins, found)
            replace_file(options.html, text, _PERMISSIONS, keep_rights=True)
            context.output.say(f"{printable(options.html)}: written.")
    context.output.data(as_data(found))
    if options.mail:
        return _mail(context, found)
    if not options.html:
        _show(context.output, found)
    return DONE


def _mail(context: Context, found: Report) -> int:
    """Send the text of the report to notify.to."""
    from pcc.host.timelimit import within
    from pcc.notice import delivery  # expensive: the modules of mail and SMTP
    from pcc.notice.mail import plain_mail
    from pcc.notice.outbox import HANGING_SECONDS, SENDING_SECONDS

    config, recipients = context.config, context.config.notify.to
    if not recipients:
        context.complain("notify.to is empty: nobody gets the report")
        return NOT_DONE
    text = io.StringIO()
    with redirect_stdout(text):
        _show(Output(json=False), found)
    host = delivery.host_name()
    blocks, near = quantity(found.count("enforce"), "block"), len(found.over) + len(found.near)
    message = plain_mail(
        config,
        host,
        recipients,
        context.now,
        f"[pcc] report of {host}: {blocks}, {len(found.blocked_now)} blocked now,"
        f" {near} near a limit",
        text.getvalue(),
        f"<pcc.report.{int(context.now * 1000)}@{host}>",
    )
    last = SENDING_SECONDS + HANGING_SECONDS
    try:
        done = within(
            SENDING_SECONDS, last, lambda: delivery.by_mail(config, host, message, recipients)
        )
    except NoticeError as error:
        context.complain(f"the report was not sent: {error}")
        return NOT_DONE
    if done.error:
        context.complain(f"the report did not reach everybody: {done.error}")
        return PARTLY
    if context.output.is_terminal:  # cron need not mail what went well
        context.output.say(f"Sent to {', '.join(recipients)}.")
    return DONE


def beginning(text: str) -> tuple[float, bool]:
    """Return seconds for argparse, and whether they are a UTC time and no time ago."""
    try:
        if "-" in text:
            day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc)
            return day.timestamp(), True
        if seconds := duration_seconds(text):
            return seconds, False
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f'must be a time such as 30d, or a date such as 2026-11-01, got "{text}"'
    )


# For programs.


def as_data(found: Report) -> dict[str, Any]:
    """Return the report as JSON has it."""
    from pcc.report.world import world

    return {
        "since": rfc3339(found.since),
        "until": rfc3339(found.until),
        "blocked": found.count("enforce"),
        "observed": found.count("observe"),
        "blocked_now": found.blocked_now,
        "observed_now": found.observed_now,
        "accounts": found.accounts,
        "mails": found.mails,
        "days": [
            {
                "day": date(day.day),
                "blocked": day.blocked,
                "observed": day.observed,
                "accounts": day.accounts,
                "countries": day.countries,
            }
            for day in found.days
        ],
        "countries": [
            {
                "country": row.name,
                "name": world().name(row.name),
                "accounts": row.accounts,
                "mails": row.mails,
            }
            for row in found.countries
        ],
        "networks": [_network(found, row) for row in found.networks],
        "network_count": found.network_count,
        "incidents": [_incident(found, row) for row in found.incidents],
        "over": [near._asdict() for near in found.over],
        "over_count": found.over_count,
        "near": [near._asdict() for near in found.near],
        "near_count": found.near_count,
        "watch": [watched._asdict() for watched in found.watch],
        "lifted_soon": [_alarm(found, alarm) for alarm in found.alarms],
    }


def _network(found: Report, row: PlaceRow) -> dict[str, Any]:
    origin = found.origins.get(row.name)
    return {
        "network": row.name,
        "name": (origin and origin.operator) or None,
        "hosting": origin.is_hosting if origin and origin.as_number else None,
        "accounts": row.accounts,
        "mails": row.mails,
    }


def _incident(found: Report, row: IncidentRow) -> dict[str, Any]:
    lift = found.lifts.get(row.id)
    return {
        "account": row.account,
        "mode": row.mode,
        "since": rfc3339(row.began),
        "ended": rfc3339(row.ended),
        "lifted_by": lift.by if lift else None,
        "reason": lift.detail if lift else None,
        "rule": row.rule,
        "countries": row.countries.split(",") if row.countries else [],
        "country": row.country or None,
        "client_address": row.client_address or None,
        "client_name": row.client_name or None,
        "action": row.action,
        "held": row.held,
        "tries": row.tries,
    }


def _alarm(found: Report, alarm: Alarm) -> dict[str, Any]:
    names = ("account", "mode", "since", "ended", "lifted_by", "reason", "rule", "countries")
    incident = _incident(found, alarm.incident)
    return {
        **{name: incident[name] for name in (*names, "client_address")},
        "again": alarm.again,
        "travel": [evidence.leg_data(leg) for leg in alarm.legs],
        "prevented_by": [
            {"kind": cure.kind, "text": cure.text, "because": cure.because} for cure in alarm.cures
        ],
    }


# For people.


def _show(output: Output, found: Report) -> None:
    """Show the report as text of 80 columns, if nothing is very long."""
    say = output.say
    period = f"From {date(int(found.since // DAY))} to {date(int(found.until // DAY))}"
    if found.is_empty:
        say(f"{period} nothing was seen and nothing happened.")
        return
    say(
        f"{period}: {quantity(found.accounts, 'account')}"
        f" in {quantity(len(found.countries), 'country', 'countries')}."
    )
    say(
        f"{quantity(found.count('enforce'), 'block')},"
        f" {quantity(found.count('observe'), 'observed incident')};"
        f" now {len(found.blocked_now)} blocked and {len(found.observed_now)} observed."
    )
    for heading, columns, rows, count, nouns in _tables(output, found):
        if rows:
            _heading(output, heading)
            output.table(columns, rows)
            _say_rest(output, count - len(rows), *nouns)
    _show_alarms(output, found)


def _heading(output: Output, text: str) -> None:
    output.say("")
    output.heading(text)


def _tables(output: Output, found: Report) -> Iterator[_Table]:
    from pcc.report.activity import bucketed
    from pcc.report.world import world

    days = bucketed(found.days, MOST_BARS)
    are_days = all(day.is_one_day for day in days)
    bars = output.bars([day.blocked + day.observed for day in days], 10)
    others = output.bars([day.accounts or 0 for day in days], 16)
    yield (
        "By day" if are_days else "By time (accounts, countries: most on one day)",
        ["DAY" if are_days else "FROM", "BLOCKED", "OBSERVED", "", "ACCOUNTS", "", "COUNTRIES"],
        [
            [date(day.day), day.blocked, day.observed, bar, day.accounts, other, day.countries]
            for day, bar, other in zip(days, bars, others, strict=True)
        ],
        len(days),
        ("day",),
    )
    places = found.countries[:MOST_ROWS]
    bars = output.bars([row.mails for row in places], 24) if places else []
    yield (
        "By country (mails since the account was first seen there)",
        ["COUNTRY", "", "ACCOUNTS", "MAILS", ""],
        [
            [row.name, world().name(row.name), row.accounts, row.mails, bar]
            for row, bar in zip(places, bars, strict=True)
        ],
        len(found.countries),
        ("country", "countries"),
    )
    yield (
        "By network (mails since the account was first seen there)",
        ["NETWORK", "ACCOUNTS", "MAILS", "NAME"],
        [
            [row.name, row.accounts, row.mails, found.network_name(row.name)]
            for row in found.networks[:MOST_ROWS]
        ],
        found.network_count,
        ("network",),
    )
    yield from _account_tables(found)


def _account_tables(found: Report) -> Iterator[_Table]:
    yield (
        "Incidents, the latest first",
        ["STATE", "ACCOUNT", "SINCE", "RULE", "COUNTRIES"],
        [
            [
                row.state(found.until),
                row.account,
                local_time(row.began)[:10],
                row.rule,
                row.countries,
            ]
            for row in found.incidents[: -MOST_ROWS - 1 : -1]
        ],
        len(found.incidents),
        ("incident",),
    )
    for heading, near, count in (
        ("Over a limit by what is remembered", found.over, found.over_count),
        ("Nearest to their limit, at this moment", found.near, found.near_count),
    ):
        yield (
            heading,
            ["ACCOUNT", "COUNT", "LIMIT", "COUNTRIES"],
            [
                [row.account, f"{row.counted} of {row.allowed}", row.limit, ",".join(row.countries)]
                for row in near[:MOST_ROWS]
            ],
            count,
            ("account",),
        )
    yield (
        "Watch list: most unfamiliar countries and networks in 30 days",
        ["ACCOUNT", "NETWORKS", "MAILS", "COUNTRIES"],
        [
            [row.account, len(row.networks), row.mails, ",".join(row.countries)]
            for row in found.watch[:MOST_ROWS]
        ],
        len(found.watch),
        ("account",),
    )


def _show_alarms(output: Output, found: Report) -> None:
    alarms = found.alarms[: -MOST_ROWS - 1 : -1]
    if not alarms:
        return
    _heading(output, "Lifted again within a day, likely false alarms, the latest first")
    for alarm in alarms:
        row = alarm.incident
        output.title(f"{row.account}: {row.rule}: {row.countries}")
        minutes = int(((row.ended or 0) - row.began) // 60)
        said = f", who said: {alarm.reason}" if alarm.reason else ""
        what = "Blocked" if row.mode == "enforce" else "Observed"
        output.title(f"  {what} for {minutes} min, lifted by {alarm.by}{said}")
        if alarm.again:
            output.title(f"  Seen later again in {', '.join(alarm.again)}.")
        for leg in alarm.legs:
            output.title(f"  {evidence.sentence(leg)}.")
        for number, cure in enumerate(alarm.cures):
            output.say(f"  {'Or' if number else 'Prevented by'}: {cure.because}")
            for line in cure.text.splitlines():
                output.say(f"      {printable(line)}")
        output.say("")
    _say_rest(output, found.alarm_count - len(alarms), "block")


def _say_rest(output: Output, count: int, one: str, many: str = "") -> None:
    if count > 0:
        output.say(f"And {quantity(count, one, many)} more: see --html or --json.")
