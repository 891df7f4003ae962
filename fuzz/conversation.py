"""Bytes through real policy processes: nothing but replies comes back, and the right ones."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import NamedTuple

from checkout import NETWORKS, PolicyProcess, Site
from mmdb import write_country_database

from fuzz import generate, parsing, protocol_model
from fuzz.rule_model import DAY, Limit, Model, Origin, Settings

SETTINGS = Settings((Limit("max_countries", 3, 2 * DAY),))
REASON = "5.7.1 No."


class Talked(NamedTuple):
    """The counts of a run."""

    processes: int
    requests: int
    disconnected: int


def run(requests: int, seed: int = 1) -> Talked:
    """Send about so many requests to real processes; raise AssertionError for a wrong reply."""
    choice = random.Random(seed)
    processes = sent = disconnected = 0
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), f'max_countries = 3\nfamiliar_after = 0\nreason = "{REASON}"\n')
        write_country_database(site.countries, NETWORKS)
        model = Model(SETTINGS)
        try:
            while sent < requests:
                process = site.policy()
                processes += 1
                for _ in range(choice.choice([1, 20, 200, 2000])):
                    stream = _stream(choice, sent)
                    expected, is_malformed = protocol_model.requests(stream)
                    is_malformed |= not stream.endswith(b"\n\n")  # it ends within a request
                    _talk(process, stream, [_action(model, request) for request in expected])
                    sent += len(expected)
                    if is_malformed:
                        process.socket.shutdown(1)
                        rest = process.reply()
                        assert rest is None, rest
                        assert process.process.wait(10) == 76
                        disconnected += 1
                        break
                else:
                    assert process.end() == 0
        finally:
            site.close()
    return Talked(processes, sent, disconnected)


def _stream(choice: random.Random, number: int) -> bytes:
    text, _, _ = generate.client_address(choice)
    account = f"{number // 40}{choice.choice(generate.HOSTILE)}"
    values: dict[str, str | bytes] = {
        "sasl_username": choice.choice([account] * 9 + [""]),
        "client_address": text,
        "client_name": choice.choice(generate.HOSTILE),
        "sender": choice.choice(generate.HOSTILE),
        "instance": generate.instance(choice),
    }
    data = generate.request(values, choice)
    return generate.mutated(data, choice) if choice.random() < 0.01 else data


def _action(model: Model, request: dict[str, str]) -> str:
    account = request["sasl_username"].strip().lower()
    if "@" in account:
        account = account.rstrip("@.")
    if not account:
        return "DUNNO"
    country, recorded = _place(request["client_address"])
    origin = Origin(country, "", recorded)
    refused = model.refuses(account, origin, request["instance"], 0)
    return f"REJECT {REASON}" if refused else "DUNNO"


def _place(text: str) -> tuple[str, str]:
    """The country of an IPv4 address of the test networks; "" for all others."""
    parts = text.removeprefix("::ffff:").split(".")
    plain = [part for part in parts if part.isascii() and part.isdigit() and part == str(int(part))]
    if len(parts) != 4 or len(plain) != 4 or any(int(part) > 255 for part in parts):
        return "", ""
    return NETWORKS.get(f"{parts[0]}.{parts[1]}.0.0/16", ""), ".".join(parts)


def _talk(process: PolicyProcess, stream: bytes, expected: list[str]) -> None:
    for part in parsing.pieces(stream, random.Random(len(stream))):
        try:
            process.send(part)
        except (BrokenPipeError, ConnectionResetError):
            break  # it has disconnected in the middle, as it should
    for action in expected:
        got = process.reply()
        assert got == action, (stream[:500], got, action)
