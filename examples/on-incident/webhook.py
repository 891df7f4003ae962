#!/usr/bin/python3
"""Posts a line about a block, or its end, to a chat or a pager.

    webhook.py slack URL_FILE            an incoming webhook of Slack
    webhook.py mattermost URL_FILE       an incoming webhook of Mattermost
    webhook.py ntfy URL_FILE             a topic of ntfy: https://ntfy.example.org/mail
    webhook.py telegram URL_FILE CHAT    https://api.telegram.org/bot.../sendMessage; a chat's id
    webhook.py generic URL_FILE          the incident as JSON, as pcc wrote it

URL_FILE has the address in its first line.  It is a secret: only pcc may read that file.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

import incident


def line(event: dict[str, Any]) -> str:
    """Return the incident as one line of plain text."""
    if event["what"] == "unblocked":
        return f"{event['account']} was unblocked by {event['by']}"
    places = ", ".join(event["countries"]) or "-"
    address = event["client_address"] or "-"
    return f"{event['account']} was blocked: {event['rule']}, {places}, last from {address}"


def body(kind: str, event: dict[str, Any], chat: str) -> tuple[bytes, dict[str, str]]:
    """Return a request's body and headers, with the account's name harmless in either."""
    text = line(event)
    if kind == "ntfy":
        priority = "high" if event["what"] == "blocked" else "default"
        return text.encode(), {
            "Title": f"pcc: an account was {event['what']}",
            "Priority": priority,
        }
    if kind == "slack":
        for old, new in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(old, new)
    data: dict[str, Any] = {"text": text}
    if kind == "mattermost":  # in a code span nothing is a mention or a link
        data = {"text": "`" + text.replace("`", "'") + "`"}
    elif kind == "telegram":
        data = {"chat_id": chat, "text": text, "disable_web_page_preview": True}
    elif kind == "generic":
        data = event
    return json.dumps(data).encode(), {"Content-Type": "application/json"}


def main(kind: str, url_file: str, chat: str = "") -> None:
    """Post the incident on stdin."""
    event = incident.read()
    try:
        with open(url_file, encoding="utf-8") as file:
            url = file.readline().strip()
    except OSError as error:
        incident.fail(f"{url_file}: {error.strerror}")
    if not url.startswith(("https://", "http://")):
        incident.fail(f"{url_file}: the first line must be a URL of http or https")
    data, headers = body(kind, event, chat)
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=10):
            pass
    except OSError as error:  # whose text does not have the URL, which is a secret
        incident.fail(f"{kind}: {error}")


if __name__ == "__main__":
    kinds = ("slack", "mattermost", "ntfy", "telegram", "generic")
    if len(sys.argv) != (4 if sys.argv[1:2] == ["telegram"] else 3) or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    main(*sys.argv[1:])
