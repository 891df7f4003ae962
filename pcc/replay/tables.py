"""The output of a replay: its tables, each as columns and rows, and the data for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcc.escaping import escaped
from pcc.replay.heights import heights, limit_stops
from pcc.wording import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pcc.replay.judging import Replay, Stop
    from pcc.replay.outcomes import Outcome, Pattern
    from pcc.replay.submissions import Tally

    Table = tuple[list[str], list[list[Any]]]

MOST_SHOWN = 4
"""Addresses, and networks, that are shown of an account."""


def as_data(tally: Tally, judge: Replay, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what programs get: the keys of the contract first."""
    return {
        "parsed": tally.parsed,
        "unparsed": tally.unparsed,
        "settings": [
            {
                "max_countries": outcome.setting.most["max_countries"],
                "window": outcome.setting.window,
                "accounts_blocked": len(outcome.stops),
                "mails_stopped": outcome.mails_stopped,
                **outcome.setting.most,
                "accounts_look_stolen": len(outcome.stolen),
                "limits": [row._asdict() for row in limit_stops(judge, number)],
                "missed": [
                    {"account": found.account.name, "countries": found.countries}
                    for found in outcome.missed
                ],
            }
            for number, outcome in enumerate(outcomes)
        ],
        "accounts": [
            {
                "account": stop.account.name,
                "max_countries": outcome.setting.most["max_countries"],
                "window": outcome.setting.window,
                "at": rfc3339(stop.at),
                "countries": stop.crossing.countries,
                "client_address": stop.client.address,
                "mails_stopped": stop.mails_stopped,
                **outcome.setting.most,
                "rule": stop.crossing.rule,
                "networks": stop.networks,
                "mails": stop.mails,
                "looks_stolen": found.looks_stolen,
            }
            for outcome in outcomes
            for stop, found in outcome.pairs
        ],
        "heights": [
            {
                **row._asdict(),
                "accounts": [{"account": name, "height": height} for name, height in row.accounts],
            }
            for row in heights(judge, _stolen(outcomes))
        ],
        "mails_without_country": judge.unlocated.total(),
        "mails_without_network": judge.without_network,
    }


def _stolen(outcomes: Sequence[Outcome]) -> set[str]:
    """Return the accounts that look stolen, whether any setting would have stopped them or not."""
    names = {stop.account.name for outcome in outcomes for stop in outcome.stolen}
    return names | {found.account.name for outcome in outcomes for found in outcome.missed}


def settings_table(outcomes: Sequence[Outcome], tried: Sequence[str]) -> Table:
    """Return the grid; `tried`: the keys of which numbers were tried."""
    first, *further = ["max_countries", *[key for key in tried if key != "max_countries"]]
    heads = [key.upper().replace("_", " ") for key in (first, "window", *further)]
    rows = [
        [
            outcome.setting.most[first],
            outcome.setting.window,
            *[outcome.setting.most[key] for key in further],
            len(outcome.stops),
            len(outcome.stolen),
            outcome.mails_stopped,
        ]
        for outcome in outcomes
    ]
    return [*heads, "ACCOUNTS BLOCKED", "LOOK STOLEN", "MAILS STOPPED"], rows


def stops_table(outcomes: Sequence[Outcome], local_time: Callable[[float], Any]) -> Table:
    """Return a line for each mail that blocked an account, with all settings that it did."""
    columns = ["ACCOUNT", "BLOCKED AT", "BY", "COUNTRIES", "NETWORKS", "CLIENT ADDRESS"]
    columns += ["ALL ADDRESSES", "MAILS BEFORE", "MAILS STOPPED", "LOOKS"]
    alike: dict[tuple[str, float, int], list[tuple[Stop, Pattern]]] = {}
    for outcome in outcomes:
        for stop, found in outcome.pairs:
            key = (stop.account.name, stop.at, stop.mails_stopped)
            alike.setdefault(key, []).append((stop, found))
    lines = []
    for (account, at, mails), same in sorted(alike.items(), key=lambda item: item[0]):
        stop, found = same[0]
        lines.append(
            [
                account,
                local_time(at),
                ", ".join(dict.fromkeys(other.crossing.rule for other, _ in same)),
                ",".join(stop.crossing.countries),
                _some(stop.networks, len(stop.networks)),
                f"{stop.client.address} ({stop.country})",
                _some(stop.addresses, stop.address_count),
                stop.mails - 1,
                mails,
                "stolen" if found.looks_stolen else "not stolen",
            ]
        )
    return columns, lines


def _some(names: list[str], count: int) -> str:
    shown = names[:MOST_SHOWN]
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def limits_table(judge: Replay) -> Table:
    """Return what each limit of the first setting stops."""
    rows = [list(row) for row in limit_stops(judge, 0)]
    return ["LIMIT", "ACCOUNTS BLOCKED", "BY THIS ONE ALONE"], rows


def heights_table(judge: Replay, outcomes: Sequence[Outcome]) -> Table:
    """Return how high accounts got."""
    columns = ["HOW HIGH ACCOUNTS GOT", "MEDIAN", "P99", "P99.9", "HIGHEST", "NOT STOLEN"]
    rows = [
        [
            f"{row.key} in {row.window}, familiar_after {row.familiar_after}",
            *(row.median, row.p99, row.p999, row.highest, row.honest),
            ", ".join([f"{escaped(name)} {height}" for name, height in row.accounts]),
        ]
        for row in heights(judge, _stolen(outcomes))
    ]
    return [*columns, "ACCOUNTS"], rows
