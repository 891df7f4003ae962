"""The policy delegation protocol of Postfix: bytes in, requests out; no I/O.

A request is a block of `name=value` lines ended by an empty line; the reply is
one `action=` line and an empty line (SMTPD_POLICY_README).  Unknown attributes
are skipped, order does not matter, of a repeated attribute the last one counts.
A value may contain `=`.  Bytes that are not UTF-8 are kept as backslash escapes.

A request is malformed when a line has no `=`, when it contains a NUL, when it
is longer than LONGEST_REQUEST, or when `request` is not `smtpd_access_policy`.
Postfix sends none of these: the caller disconnects without a reply.
"""

from __future__ import annotations

from pcc.errors import ProtocolError

LONGEST_REQUEST = 65536
"""Bytes, the empty line included; Postfix's own requests have about a thousand."""


class PolicyRequest:
    """The attributes of one request that pcc looks at, named as Postfix names them.

    Attributes that were not sent are empty.  `instance` is the same for all
    requests about one mail.  `queue_id` is empty for the first recipient.
    """

    __slots__ = (
        "client_address",
        "client_name",
        "instance",
        "queue_id",
        "sasl_username",
        "sender",
    )

    def __init__(self, attributes: dict[str, str]) -> None:
        get = attributes.get
        self.client_address = get("client_address", "")
        self.client_name = get("client_name", "")
        self.instance = get("instance", "")
        self.queue_id = get("queue_id", "")
        self.sasl_username = get("sasl_username", "")
        self.sender = get("sender", "")


class RequestReader:
    """Turns the bytes of one policy connection into requests.

    Feed it with `receive()` as bytes arrive, in pieces of any size, and take
    complete requests out with `next_request()` until that returns None.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._searched = 0  # up to here the buffer holds no end of a request

    def receive(self, data: bytes) -> None:
        """Append what was read from the connection."""
        self._buffer += data

    @property
    def unfinished(self) -> bool:
        """Whether a request has begun that is not complete."""
        return bool(self._buffer)

    def next_request(self) -> PolicyRequest | None:
        """Return the next complete request, or None when more bytes are needed.

        Raises ProtocolError for a malformed one; the connection is of no use then.
        """
        end = self._buffer.find(b"\n\n", self._searched)
        if self._buffer[:1] == b"\n":
            raise ProtocolError("malformed policy request: it has no attributes")
        # The same whether it came at once or in pieces, of which the last is missing.
        length = len(self._buffer) + 1 if end < 0 else end + 2
        if length > LONGEST_REQUEST:
            raise ProtocolError(
                f"malformed policy request: it is longer than {LONGEST_REQUEST} bytes"
            )
        if end < 0:
            # The end of a request whose lines end in CR LF would be waited for in vain.
            if self._buffer.find(b"\n\r\n", self._searched) >= 0:
                raise _without_equals_sign("\r")
            self._searched = max(0, len(self._buffer) - 2)
            return None
        block = self._buffer[:end]
        self._buffer = self._buffer[end + 2 :]
        self._searched = 0
        if b"\0" in block:
            raise ProtocolError("malformed policy request: it contains a NUL character")
        lines = block.decode("utf-8", "backslashreplace").split("\n")
        try:
            attributes = dict([line.split("=", 1) for line in lines])
        except ValueError:
            raise _without_equals_sign(next(line for line in lines if "=" not in line)) from None
        kind = attributes.get("request", "")
        if kind != "smtpd_access_policy":
            raise ProtocolError(
                f'malformed policy request: request must be smtpd_access_policy, got "{kind}"'
            )
        return PolicyRequest(attributes)


def _without_equals_sign(line: str) -> ProtocolError:
    return ProtocolError(f'malformed policy request: no "=" in the line "{line}"')


def usual_request(data: bytes) -> tuple[str, ...] | None:
    """Return what most requests are judged by, if the bytes are one request as Postfix sends it.

    That is login, client address, instance, client name and queue id.  None where anything is
    unusual: then RequestReader takes the bytes.  All attributes of a request are 29, and 64
    processes on two cores have no room for these in their caches.
    """
    if (
        not data.startswith(b"request=smtpd_access_policy\n")
        or data.find(b"\n\n") != len(data) - 2
        or data.count(b"=") != data.count(b"\n") - 1  # a line may have none, or a value one
        or data.find(b"\nrequest=") >= 0
        or not data.isascii()
        or b"\0" in data
    ):
        return None
    text = data.decode()
    values = []
    for name in _USUAL:
        start = text.rfind(name) + len(name)
        value = text[start : text.index("\n", start)]
        if start < len(name) or not (value or name == _QUEUE_ID):
            return None
        values.append(value)
    return tuple(values)


_QUEUE_ID = "\nqueue_id="
_USUAL = ("\nsasl_username=", "\nclient_address=", "\ninstance=", "\nclient_name=", _QUEUE_ID)


def reply(action: str) -> bytes:
    """Return the reply with `action`, an access(5) action on one line."""
    if "\n" in action:
        raise ValueError(f"an action is one line, got {action!r}")
    return f"action={action}\n\n".encode()
