"""The bytes of a file about places from a file or a URL, unpacked where they are gzipped.

It speaks http and https only, and follows a redirect to https alone.  A server,
or somebody in front of it, must not make root read local files or ask services of
the local network by other protocols.  Nothing is fetched for ever, and nothing
grows without bounds (LARGEST), packed or not.
A proxy is taken from the environment, as everywhere.
"""

from __future__ import annotations

import http.client
import os
import stat
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from pcc import VERSION
from pcc.errors import CountryError
from pcc.escaping import escaped

LARGEST = 1 << 29
"""Bytes; several times the size of the largest database there is."""

SILENCE_SECONDS = 30
"""How long a server may say nothing."""

DEADLINE_SECONDS = 1800
"""How long a download may take at all."""

_CHUNK = 1 << 18

Progress = Callable[[int, int], None]
"""Called with the bytes read so far, and how many there are, 0 if unknown."""


def is_url(source: str) -> bool:
    """Whether `source` is meant as a URL, and not as a file."""
    return "://" in source


def check_url(url: str) -> None:
    """Raise CountryError for a URL that is not fetched from."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise CountryError(f"{escaped(url)}: is no URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise CountryError(f"{_shown(url)}: must be an http or https URL")
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise CountryError(f"{_shown(url)}: is no URL")
    if parts.username is not None or parts.password is not None:
        raise CountryError(f"{_shown(url)}: must not contain a login: other users see it in ps(1)")


def read(source: str, progress: Progress) -> Iterator[bytes]:
    """Yield the bytes of a file or URL, unpacked.  Raises CountryError."""
    name = _shown(source) if is_url(source) else escaped(source)
    packed = _read_url(source, name, progress) if is_url(source) else _read_file(source, progress)
    size = 0
    for chunk in _unpacked(packed, name):
        size += len(chunk)
        if size > LARGEST:
            raise CountryError(f"{name}: has more than {LARGEST >> 20} MB")
        yield chunk


def _read_file(path: str, progress: Progress) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CountryError(f"{escaped(path)}: is not a plain file")
            yield from _read(file, escaped(path), status.st_size, progress)
    except OSError as error:
        raise CountryError(f"{escaped(path)}: can't be read: {error.strerror}") from None


def _read_url(url: str, name: str, progress: Progress) -> Iterator[bytes]:
    check_url(url)
    # One without the protocols that urllib speaks besides: file, ftp, data.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", f"pcc/{VERSION}")]
    try:
        with opener.open(url, timeout=SILENCE_SECONDS) as response:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isascii() and length.isdigit() else 0
            done = 0
            for chunk in _read(response, name, total, progress):
                done += len(chunk)
                yield chunk
            if total and done != total:
                raise CountryError(f"{name}: broke off after {done} of {total} bytes")
    except urllib.error.HTTPError as error:
        error.close()
        raise CountryError(
            f"{name}: the server answers {error.code} {escaped(str(error.reason))}"
        ) from None
    except urllib.error.URLError as error:
        cause = getattr(error.reason, "strerror", None) or str(error.reason)
        raise CountryError(f"{name}: can't be fetched: {escaped(cause)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = escaped(str(error)) or type(error).__name__
        raise CountryError(f"{name}: {cause}") from None


def _read(file: Any, name: str, total: int, progress: Progress) -> Iterator[bytes]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    done = 0
    while chunk := file.read1(_CHUNK):
        done += len(chunk)
        if max(done, total) > LARGEST:
            raise CountryError(f"{name}: has more than {LARGEST >> 20} MB")
        if time.monotonic() > deadline:
            raise CountryError(f"{name}: was not complete after {DEADLINE_SECONDS // 60} minutes")
        progress(done, total)
        yield chunk


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https alone."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return what to ask next; CountryError where that is not https."""
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise CountryError(
                f"{_shown(req.full_url)}: is redirected to {_shown(newurl)}: only https is followed"
            )
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _unpacked(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield gzipped bytes unpacked, in pieces whatever they grow to, and others as they are."""
    head = b""
    while len(head) < 2 and (chunk := next(chunks, b"")):
        head += chunk
    if head[:2] != b"\x1f\x8b":
        yield head
        yield from chunks
        return
    try:
        while head:  # a member of the file
            stream = zlib.decompressobj(wbits=31)
            while not stream.eof:
                if not head:
                    raise CountryError(f"{name}: ends in the middle of what is gzipped")
                yield stream.decompress(head, _CHUNK)
                rest = stream.unused_data if stream.eof else stream.unconsumed_tail
                head = rest or next(chunks, b"")
    except zlib.error:
        raise CountryError(f"{name}: is damaged where it is gzipped") from None


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it: the login and the query."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    path = rest.partition("/")[2].partition("?")[0].partition("#")[0]
    return escaped(f"{scheme}://{host}/{path}")
