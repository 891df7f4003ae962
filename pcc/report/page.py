"""The report as one HTML page: for a browser of any width, light or dark, or for paper.

It asks nothing of anybody: style and pictures are in it, there is no script, and a
Content-Security-Policy forbids all but its own style.  All times in it are UTC, as the days are.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from typing import TYPE_CHECKING

from pcc import VERSION
from pcc.errors import CountryError
from pcc.report.accounts import account_sections, chosen_accounts
from pcc.report.cases import alarms, incidents, near_limits
from pcc.report.markup import Markup, element, joined
from pcc.report.overview import countries, timeline
from pcc.report.pieces import moment
from pcc.rule import DAY
from pcc.wording import date

if TYPE_CHECKING:
    from pcc.config import Config
    from pcc.places.origins import Origins
    from pcc.report.gathering import Report
    from pcc.store.engine.interface import Database

_STYLE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    "data",
    "report.css",
)

_END = "</body>\n</html>\n"


def page(config: Config, database: Database, origins: Origins, found: Report) -> str:
    """Return the whole page."""
    with open(_STYLE, encoding="utf-8") as file:
        style = file.read()
    chosen = chosen_accounts(found)
    anchors = {account: f"account-{number}" for number, account in enumerate(chosen, 1)}
    body = [
        _introduction(found),
        *([] if found.is_empty else _sections(found, anchors)),
        *account_sections(database, origins, found, anchors),
        _footer(config),
    ]
    return "\n".join(["<!DOCTYPE html>", '<html lang="en">', _head(style), "<body>", *body, _END])


_END = "</body>\n</html>\n"


def _sections(found: Report, anchors: dict[str, str]) -> list[Markup]:
    return [
        timeline(found),
        countries(found),
        alarms(found, anchors),
        near_limits(found, anchors),
        incidents(found, anchors),
    ]


def _head(style: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return joined(
        [
            Markup('<head>\n<meta charset="utf-8">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup('<meta name="color-scheme" content="light dark">'),
            Markup('<meta name="referrer" content="no-referrer">'),
            Markup('<meta name="robots" content="noindex, nofollow">'),
            element("title", f"Mail accounts by country, {socket.gethostname()}"),
            Markup(f"<style>{style}</style>\n</head>"),
        ]
    )


def _introduction(found: Report) -> Markup:
    begin, end = date(int(found.since // DAY)), moment(found.until)
    nothing = element("p", "Nothing was seen and nothing happened.")
    return element(
        "header",
        element("h1", f"Mail accounts by country: {socket.gethostname()}"),
        element("p", Markup(f"From {begin} to {end}. All times are UTC."), class_="quiet"),
        nothing if found.is_empty else _figures(found),
    )


def _figures(found: Report) -> Markup:
    figures = [
        ("blocked now", len(found.blocked_now), "bad"),
        ("blocks in this time", found.count("enforce"), ""),
        ("observed incidents", found.count("observe"), "warn"),
        ("blocks lifted within a day", found.alarm_count, ""),
        ("accounts seen", found.accounts, ""),
        ("countries", len(found.countries), ""),
    ]
    return element(
        "dl",
        *[
            element(
                "div",
                element("dt", name),
                element("dd", count),
                class_=kind if kind and count else None,
            )
            for name, count, kind in figures
        ],
        class_="figures",
    )


def _footer(config: Config) -> Markup:
    from pcc.places.country import describe

    try:
        is_dbip = describe(config.country_database).type.startswith("DBIP")
    except CountryError:
        is_dbip = True  # it may have been, and asks to be named
    link = Markup('<a href="https://db-ip.com" rel="noreferrer">IP Geolocation by DB-IP</a>. ')
    return element(
        "footer",
        element(
            "p",
            f"Made by pcc {VERSION}. ",
            link if is_dbip else Markup(""),
            "Map: Natural Earth (public domain), Equal Earth projection, without Antarctica.",
        ),
    )
