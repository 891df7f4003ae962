"""The page's sections about single cases: likely false alarms, who is near a limit, incidents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcc.report.markup import Markup, element, joined, sentence, table
from pcc.report.pieces import codes, limit, link, of_more, time, travel

if TYPE_CHECKING:
    from pcc.report.alarms import Alarm, Cure
    from pcc.report.gathering import Report
    from pcc.store.incidents import IncidentRow

MOST_INCIDENTS = 300
MOST_ALARMS = 50


def alarms(found: Report, anchors: dict[str, str]) -> Markup:
    """Return the section about blocks that were lifted soon; `anchors`: see account_sections()."""
    shown = found.alarms[: -MOST_ALARMS - 1 : -1]
    if not shown:
        return Markup("")
    return element(
        "section",
        element("h2", "Likely false alarms"),
        element(
            "p",
            "Blocks, or observed incidents, that an administrator lifted within a day, with what"
            " would have prevented each.",
            of_more(len(shown), found.alarm_count, "the latest"),
        ),
        *[_alarm(alarm, anchors) for alarm in shown],
    )


def _alarm(alarm: Alarm, anchors: dict[str, str]) -> Markup:
    row = alarm.incident
    minutes = round(((row.ended or 0) - row.began) / 60)
    lasted = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    what = "Blocked" if row.mode == "enforce" else "Observed"
    story = f"{what} for {lasted} by {row.rule}: {row.countries}. Lifted by {alarm.by}"
    story += f', who said "{alarm.reason}".' if alarm.reason else "."
    if alarm.again:
        story += f" Seen later again in {', '.join(alarm.again)}."
    return element(
        "article",
        element("h3", link(row.account, anchors)),
        element("p", time(row.began), " ", sentence(story)),
        travel(alarm.legs),
        element("ol", *[_cure(cure) for cure in alarm.cures]),
        class_="alarm",
    )


def _cure(cure: Cure) -> Markup:
    where = "In pcc.toml: " if cure.is_setting else ""
    # To be copied: backslashes and angle brackets stay what they are.
    lines = joined([sentence(line) for line in cure.text.splitlines()])
    return element("li", f"{where}{cure.because}", element("pre", lines))


def near_limits(found: Report, anchors: dict[str, str]) -> Markup:
    """Return the section about accounts near a limit."""
    if not found.near:
        return Markup("")
    rows = [
        [
            link(near.account, anchors),
            f"{near.counted} of {near.allowed}",
            limit(near.rule),
            Markup(codes(near.countries)),
        ]
        for near in found.near
    ]
    return element(
        "section",
        element("h2", "Nearest to their limit"),
        element(
            "p",
            "Accounts that have used half of what a limit allows, or more, when this page was made."
            " Familiar countries and each group count as one.",
            of_more(len(rows), found.near_count, "the nearest"),
        ),
        table(
            "Accounts near a limit",
            ["Account", "Count", "Limit", "Countries"],
            rows,
            is_stacked=True,
        ),
    )


def incidents(found: Report, anchors: dict[str, str]) -> Markup:
    """Return the section with the latest incidents."""
    shown = found.incidents[: -MOST_INCIDENTS - 1 : -1]
    if not shown:
        return Markup("")
    rows = [
        [
            link(row.account, anchors),
            _state(row, found.until),
            time(row.began),
            limit(row.rule),
            Markup(codes(row.countries.split(","))),
            row.client_address,
            row.tries,
        ]
        for row in shown
    ]
    return element(
        "section",
        element("h2", "Incidents"),
        element("p", "The latest first.", of_more(len(rows), len(found.incidents), "the latest")),
        table(
            "Incidents",
            ["Account", "State", "Since", "Limit", "Countries", "Crossed from", "Mails stopped"],
            rows,
            is_stacked=True,
        ),
    )


def _state(row: IncidentRow, now: float) -> Markup:
    word = row.state(now)
    if word == "lifted" and row.mode == "observe":
        return element("span", "observed, ended", class_="state lifted")
    return element("span", word.lower(), class_=f"state {word}")
