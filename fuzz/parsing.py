"""Bytes through the RequestReader: at once, byte by byte, and in pieces."""

from __future__ import annotations

import random
from typing import NamedTuple

from fuzz import generate, protocol_model
from pcc.errors import ProtocolError
from pcc.protocol import RequestReader, usual_request

USUAL = ("sasl_username", "client_address", "instance", "client_name", "queue_id")


class Parsed(NamedTuple):
    """The counts of a run: streams, requests in them, streams that are malformed."""

    streams: int
    requests: int
    malformed: int


def run(streams: int, seed: int = 1) -> Parsed:
    """Parse so many streams; raise AssertionError where the model has another opinion."""
    choice = random.Random(seed)
    requests = malformed = 0
    for number in range(streams):
        stream = a_stream(choice)
        expected, is_malformed = protocol_model.requests(stream)
        got, failed = read(pieces(stream, choice))
        assert failed == is_malformed, (seed, number, stream[:500])
        assert got == expected, (seed, number, stream[:500])
        if (usual := usual_request(stream)) is not None and not is_malformed:
            found = {name: expected[0][name] for name in USUAL}
            assert [*found.values()] == [*usual], (seed, number, stream[:500])
        requests += len(expected)
        malformed += is_malformed
    return Parsed(streams, requests, malformed)


def a_stream(choice: random.Random) -> bytes:
    """A few requests, some of them mutated, or mere rubbish."""
    if choice.random() < 0.02:
        return choice.randbytes(choice.randrange(300))
    stream = b""
    for _ in range(choice.choice([1, 1, 1, 2, 3])):
        values: dict[str, str | bytes] = {
            "sasl_username": choice.choice(generate.HOSTILE + generate.RAW),
            "client_address": generate.client_address(choice)[0],
            "client_name": choice.choice(generate.NAMES),
            "instance": generate.instance(choice),
        }
        data = generate.request(values, choice)
        stream += generate.mutated(data, choice) if choice.random() < 0.6 else data
    return stream


def pieces(stream: bytes, choice: random.Random) -> list[bytes]:
    """The stream as it may arrive."""
    how = choice.random()
    if how < 0.5 or len(stream) > 3000:
        size = max(1, len(stream))
    else:
        size = 1 if how < 0.6 else choice.randrange(1, 200)
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def read(parts: list[bytes]) -> tuple[list[dict[str, str]], bool]:
    """Return the reader's requests, and whether something malformed ended them."""
    reader = RequestReader()
    found = []
    try:
        for part in parts:
            reader.receive(part)
            while (request := reader.next_request()) is not None:
                found.append({name: getattr(request, name) for name in protocol_model.LOOKED_AT})
    except ProtocolError as error:
        failure = str(error)
    else:
        return found, False
    assert "\n" not in failure, failure
    return found, True
