"""The policy protocol once more, written from SMTPD_POLICY_README, not from pcc/protocol.py.

Deliberately the slow and simple way: the whole stream at once.
"""

from __future__ import annotations

import re

LONGEST = 65536
LOOKED_AT = (
    "client_address",
    "client_name",
    "instance",
    "queue_id",
    "sasl_username",
    "sender",
)


def requests(stream: bytes) -> tuple[list[dict[str, str]], bool]:
    """Return the requests in a stream, and whether something malformed ended them."""
    found: list[dict[str, str]] = []
    while stream:
        end = re.search(rb"\n\n", stream)
        length = end.end() if end else len(stream) + 1
        if stream.startswith(b"\n") or length > LONGEST:
            return found, True
        if end is None:
            # Lines that end in CR LF are refused at once; anything else that is missing may yet
            # come.
            return found, b"\n\r\n" in stream
        request = _attributes(stream[: end.start()])
        if request is None:
            return found, True
        found.append(request)
        stream = stream[end.end() :]
    return found, False


def _attributes(block: bytes) -> dict[str, str] | None:
    attributes = {}
    if b"\0" in block:
        return None
    for line in re.split(rb"\n", block):
        match = re.fullmatch(rb"([^=]*)=(.*)", line, re.DOTALL)
        if match is None:
            return None
        name, value = (part.decode("utf-8", "backslashreplace") for part in match.groups())
        attributes[name] = value
    if attributes.get("request") != "smtpd_access_policy":
        return None
    return {name: attributes.get(name, "") for name in LOOKED_AT}
