"""The policy delegation protocol: each case fed whole, byte by byte, in pieces, and with a tail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from checkout import request_text
from hypothesis import given
from hypothesis import strategies as st

from pcc.errors import ProtocolError
from pcc.protocol import LONGEST_REQUEST, PolicyRequest, RequestReader, reply, usual_request

READ = 65536
"""The most that comes at once, as the policy process reads."""

RECORDED = """\
request=smtpd_access_policy
protocol_state={state}
protocol_name=ESMTP
client_address={address}
client_name=unknown
client_port=43006
reverse_client_name=unknown
server_address=192.0.2.25
server_port=587
helo_name=client.example
sender=sender@example.org
recipient={recipient}
recipient_count={count}
queue_id={queue_id}
instance=552e.6b030154.6eaa1.0
size={size}
etrn_domain=
stress=
sasl_method=PLAIN
sasl_username=alice@example.org
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=

"""
"""The requests of Postfix 3.7 for a mail to two recipients, with their 29 attributes."""

SESSION = [
    RECORDED.format(state=state, address="2001:db8::1", recipient=recipient, count=count, **rest)
    for state, recipient, count, rest in (
        ("RCPT", "one@example.net", 0, {"queue_id": "", "size": 0}),
        ("RCPT", "two@example.net", 0, {"queue_id": "7339D22C4ED", "size": 0}),
        ("DATA", "", 2, {"queue_id": "7339D22C4ED", "size": 0}),
        ("END-OF-MESSAGE", "", 2, {"queue_id": "7339D22C4ED", "size": 27}),
    )
]
HEAD = b"request=smtpd_access_policy\n"
TAIL = HEAD + b"sasl_username=tail\n\n"


def attributes(request: PolicyRequest) -> dict[str, str]:
    """Return what is not empty of a request."""
    values = {name: getattr(request, name) for name in PolicyRequest.__slots__}
    return {name: value for name, value in values.items() if value}


def read(pieces: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """Feed a reader as the policy process does: read only when it has no request."""
    reader = RequestReader()
    for piece in pieces:
        reader.receive(piece)
        while request := reader.next_request():
            yield attributes(request)


def split(data: bytes, size: int) -> list[bytes]:
    """Return `data` in pieces of `size` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def requests(data: bytes) -> list[dict[str, str]]:
    """Return the requests in `data`, which are the same in whatever pieces it comes."""
    whole = list(read([data]))
    for size in (1, 2, 7, READ):
        assert list(read(split(data, size))) == whole
    assert list(read([data + TAIL])) == [*whole, {"sasl_username": "tail"}]
    return whole


def error(data: bytes, sizes: Iterable[int] = (1, 2, 7, READ)) -> str:
    """Return the error of `data`, which is the same in whatever pieces it comes."""
    texts = set()
    for pieces in ([data], [data + TAIL], *(split(data, size) for size in sizes)):
        with pytest.raises(ProtocolError) as caught:
            list(read(pieces))
        texts.add(str(caught.value))
    [text] = texts
    return text.removeprefix("malformed policy request: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            SESSION[0],
            {
                "client_address": "2001:db8::1",
                "client_name": "unknown",
                "instance": "552e.6b030154.6eaa1.0",
                "sasl_username": "alice@example.org",
                "sender": "sender@example.org",
            },
        ),
        ("sasl_username=joe\nrequest=smtpd_access_policy\n\n", {"sasl_username": "joe"}),
        ("request=smtpd_access_policy\n\n", {}),
        ("request=smtpd_access_policy\nfuture=1\nsender=a\n=\n\n", {"sender": "a"}),
        ("request=smtpd_access_policy\nsender=a\nsender=b\n\n", {"sender": "b"}),
        ("request=smtpd_access_policy\nsender=a\nsender=\n\n", {}),
        ("request=other\nrequest=smtpd_access_policy\nsender=a\n\n", {"sender": "a"}),
        (
            "request=smtpd_access_policy\nsender=a=b==c@example.org\nsasl_username==\n\n",
            {"sender": "a=b==c@example.org", "sasl_username": "="},
        ),
        ("request=smtpd_access_policy\nSENDER=a\nSasl_Username=b\n\n", {}),
        ("request=smtpd_access_policy\nsasl_username= Joe \t\n\n", {"sasl_username": " Joe \t"}),
        (
            "request=smtpd_access_policy\nsasl_username=gr\u00fcn\n\n",
            {"sasl_username": "gr\u00fcn"},
        ),
        ("request=smtpd_access_policy\nsender=a\r\n\n", {"sender": "a\r"}),
        (
            "request=smtpd_access_policy\nsender=a\u2028b\x0bc\x85d\n\n",
            {"sender": "a\u2028b\x0bc\x85d"},
        ),
    ],
    ids=[
        "as Postfix sends it",
        "request last",
        "no attributes",
        "unknown attributes",
        "the last of repeated ones counts",
        "even if it is empty",
        "request repeated",
        "values with =",
        "names in other case are unknown",
        "blanks are kept",
        "UTF-8",
        "carriage return in a value",
        "what is no end of a line",
    ],
)
def test_request_is_read(text: str, expected: dict[str, str]) -> None:
    assert requests(text.encode()) == [expected]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\xff", r"\xff"),
        (b"gr\xfcn", r"gr\xfcn"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
        (b"\xc0\xaf", r"\xc0\xaf"),
        (b"cut \xe2\x82", r"cut \xe2\x82"),
    ],
)
def test_bytes_that_are_not_utf_8_are_kept_as_escapes(value: bytes, text: str) -> None:
    assert requests(HEAD + b"sender=" + value + b"\n\n") == [{"sender": text}]


def test_recorded_session_is_read_in_one_packet_or_many() -> None:
    assert all(text.count("\n") == 29 + 1 for text in SESSION)
    read_back = requests("".join(SESSION).encode())
    assert read_back == [request for text in SESSION for request in requests(text.encode())]
    assert len(read_back) == 4
    assert [request.get("queue_id", "") for request in read_back] == ["", *["7339D22C4ED"] * 3]


def test_thousand_requests_in_one_packet_are_a_thousand() -> None:
    data = b"".join(HEAD + b"instance=%d\n\n" % number for number in range(1000))
    assert [request["instance"] for request in read([data])] == [str(n) for n in range(1000)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n" + HEAD + b"\n", "it has no attributes"),
        (b"\n\n", "it has no attributes"),
        (HEAD + b"\n\n\n", "it has no attributes"),
        (HEAD + b"sender\n\n", 'no "=" in the line "sender"'),
        (b"hello\n\n", 'no "=" in the line "hello"'),
        (HEAD + b" \n\n", 'no "=" in the line " "'),
        (HEAD + b"sender=a\r\n\r\n", 'no "=" in the line "\r"'),
        (b"request=smtpd_access_policy\r\nsender=a\r\n\r\n", 'no "=" in the line "\r"'),
        (HEAD + b"\r\n\n", 'no "=" in the line "\r"'),
        (HEAD + b"sender=a\0b\n\n", "it contains a NUL character"),
        (HEAD + b"\0\n\n", "it contains a NUL character"),
        (b"sender=a\n\n", 'request must be smtpd_access_policy, got ""'),
        (b"request=\n\n", 'request must be smtpd_access_policy, got ""'),
        (b"request=smtpd \n\n", 'request must be smtpd_access_policy, got "smtpd "'),
        (
            b"request=SMTPD_ACCESS_POLICY\n\n",
            'request must be smtpd_access_policy, got "SMTPD_ACCESS_POLICY"',
        ),
        (b"REQUEST=smtpd_access_policy\n\n", 'request must be smtpd_access_policy, got ""'),
        (b"request=junk\xff\n\n", r'request must be smtpd_access_policy, got "junk\xff"'),
        (HEAD + b"request=scache\n\n", 'request must be smtpd_access_policy, got "scache"'),
        (
            b"request=smtpd_access_policy\r\n\n",
            'request must be smtpd_access_policy, got "smtpd_access_policy\r"',
        ),
    ],
)
def test_malformed_request_is_refused(data: bytes, message: str) -> None:
    assert error(data) == message


def test_request_before_a_malformed_one_is_read() -> None:
    reader = RequestReader()
    reader.receive(SESSION[0].encode() + b"junk\n\n")
    assert reader.next_request()
    with pytest.raises(ProtocolError):
        reader.next_request()


# Length.


def of_length(length: int) -> bytes:
    """Return a request of `length` bytes, the empty line included."""
    return HEAD + b"sender=" + b"x" * (length - len(HEAD) - len("sender=\n\n")) + b"\n\n"


SIZES = (1, 4096, READ, READ - 1, READ + 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("less", [0, 1, 2])
def test_longest_request_is_read(size: int, less: int) -> None:
    data = of_length(LONGEST_REQUEST - less)
    assert len(list(read(split(data, size)))) == 1
    assert len(list(read(split(data + TAIL, size)))) == 2
    assert len(list(read(split(TAIL + data, size)))) == 2


@pytest.mark.parametrize("more", [1, 2, 1000, LONGEST_REQUEST, 3 * LONGEST_REQUEST])
def test_request_that_is_too_long_is_refused(more: int) -> None:
    expected = "it is longer than 65536 bytes"
    assert error(of_length(LONGEST_REQUEST + more), SIZES) == expected
    assert error(b"x" * (LONGEST_REQUEST + more), SIZES) == expected
    assert error(b"a=b\n" * (LONGEST_REQUEST + more), SIZES[1:]) == expected


@pytest.mark.parametrize("size", [1000, READ])
def test_reader_never_holds_more_than_the_limit_and_one_read(size: int) -> None:
    reader = RequestReader()
    held = 0

    def flood() -> None:
        nonlocal held
        while held < 10 * LONGEST_REQUEST:
            reader.receive(b"x" * size)
            held += size
            assert reader.next_request() is None

    with pytest.raises(ProtocolError):
        flood()
    assert held <= LONGEST_REQUEST + size


def test_reading_byte_by_byte_takes_no_longer_for_each_byte() -> None:
    """The end is searched for in new bytes only; otherwise this would take a minute."""
    data = of_length(LONGEST_REQUEST)
    assert len(list(read(split(data * 4, 1)))) == 4


# The end of input.


def test_connection_may_end_between_requests_only() -> None:
    data = SESSION[0].encode()
    for length in range(len(data) + 1):
        reader = RequestReader()
        reader.receive(data[:length])
        request = reader.next_request()
        assert (request is not None) == (length == len(data))
        assert reader.unfinished == (0 < length < len(data))


def test_empty_block_is_no_request() -> None:
    reader = RequestReader()
    reader.receive(b"")
    assert reader.next_request() is None
    assert not reader.unfinished


# Any bytes at all.


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\n\0"))


@given(
    st.lists(
        st.sampled_from([HEAD, b"\n", b"sender=", b"a", b"=", b"\0", b"\r", b"\xff", TAIL])
        | st.binary(max_size=5),
        max_size=12,
    ),
    st.integers(1, 9),
)
def test_pieces_never_change_what_is_read(parts: list[bytes], size: int) -> None:
    def outcome(pieces: list[bytes]) -> tuple[list[dict[str, str]], str]:
        found: list[dict[str, str]] = []
        try:
            found.extend(read(pieces))
        except ProtocolError as error:
            return found, str(error)
        return found, ""

    data = b"".join(parts)
    whole, pieces = outcome([data]), outcome(split(data, size))
    # The end of a request that is refused for its carriage returns need not be waited for.
    assert bool(whole[1]) == bool(pieces[1])


@given(st.dictionaries(st.sampled_from(PolicyRequest.__slots__), VALUES))
def test_request_that_postfix_may_send_comes_through(sent: dict[str, str]) -> None:
    data = HEAD + "".join(f"{name}={value}\n" for name, value in sent.items()).encode() + b"\n"
    [request] = read(split(data, 5))
    assert request == {name: value for name, value in sent.items() if value}


# Replies.


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("DUNNO", b"action=DUNNO\n\n"),
        ("REJECT 5.7.1 gr\u00fcn", b"action=REJECT 5.7.1 gr\xc3\xbcn\n\n"),
        ("550 a=b", b"action=550 a=b\n\n"),
    ],
)
def test_reply_is_one_action_and_an_empty_line(action: str, data: bytes) -> None:
    assert reply(action) == data


@pytest.mark.parametrize("action", ["REJECT\naction=OK", "\n", "DUNNO\n"])
def test_action_of_two_lines_is_a_bug(action: str) -> None:
    with pytest.raises(ValueError, match="an action is one line"):
        reply(action)


USUAL = request_text("joe@example.org", instance="1.2.0").encode()
USUAL_VALUES = ("joe@example.org", "11.1.0.1", "1.2.0", "unknown", "4F2ABC")


@pytest.mark.parametrize(
    "name", ["sasl_username", "client_address", "instance", "client_name", "queue_id"]
)
def test_usual_request_has_the_values_that_the_reader_finds(name: str) -> None:
    assert usual_request(USUAL) == USUAL_VALUES
    assert requests(USUAL)[0][name] in USUAL_VALUES


UNUSUAL = {
    "half of a request": USUAL[:-1],
    "two requests": USUAL * 2,
    "no login": USUAL.replace(b"sasl_username=joe@example.org\n", b""),
    "an empty login": USUAL.replace(b"sasl_username=joe@example.org", b"sasl_username="),
    "an empty instance": USUAL.replace(b"instance=1.2.0", b"instance="),
    "no client": USUAL.replace(b"client_address=11.1.0.1\n", b""),
    "a line without =": USUAL.replace(b"\n\n", b"\nmore\n\n"),
    "a value with =": USUAL.replace(b"helo_name=there", b"helo_name=a=b"),
    "a character that is not ASCII": USUAL.replace(b"sender=joe", "sender=joé".encode()),
    "a NUL": USUAL.replace(b"there", b"th\0re"),
    "another kind of request": USUAL.replace(b"smtpd_access_policy", b"something_else"),
    "a kind of request at its end": USUAL.replace(b"\n\n", b"\nrequest=junk\n\n"),
    "an order of its own": b"size=0\n" + USUAL.replace(b"size=0\n", b""),
    "lines that end in CR LF": USUAL.replace(b"\n", b"\r\n"),
    "nothing": b"",
}


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=list(UNUSUAL))
def test_usual_request_leaves_to_the_reader_what_has(data: bytes) -> None:
    assert usual_request(data) is None


def test_usual_request_takes_the_last_of_repeated_attributes() -> None:
    again = USUAL.replace(b"\n\n", b"\nsasl_username=ann@example.org\n\n")
    usual = usual_request(again)
    assert usual is not None
    assert usual[0] == requests(again)[0]["sasl_username"] == "ann@example.org"
