"""The part of HDF5 that Keras uses, read by the format's specification.

The HDF5 library may hang, crash or take all memory over a broken file, so it gets none to read.
What h5py makes, unless told otherwise, needs little of the format: groups as symbol tables, arrays
in one piece, everything else in the headers of these objects. Any other way is refused.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import h5py
import numpy as np

from multiattn.weights.files.common import BFLOAT16, DTYPES, MAX_NAME, Budget, FileError

START = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0])  # versions, sizes of addresses
# The messages that the header of an object may hold: no filters, links or other files.
SHAPE, TYPE, LAYOUT, ATTRIBUTE, CONTINUATION, TABLE = 1, 3, 8, 12, 16, 17
MESSAGES = {SHAPE, TYPE, LAYOUT, ATTRIBUTE, CONTINUATION, TABLE, 0, 4, 5, 18}  # fill values, time
IN_ONE_PIECE = b"\3\1"
SOFT_LINK = 2
# How the attribute "name" begins that Keras gives to groups, before its value: a text in UTF-8.
LABEL = bytes.fromhex(
    "0100 0500 1400 0800 6e616d65 00000000"  # version, lengths of what follows, the name
    "19010100 10000000 10000000 01000000 00000800 00000000"  # type
    "01000000 00000000"  # shape
)
STEP_BYTES = 100  # what the least thing in a file takes once it is read


def _types() -> Iterator[tuple[bytes, np.dtype]]:
    for dtype in {*DTYPES, np.dtype("V2")} - {BFLOAT16}:
        for order in "<>":
            ordered = dtype.newbyteorder(order)
            code = h5py.h5t.py_create(ordered, logical=True).encode()[2:]
            yield code + bytes(-len(code) % 8), ordered


TYPES = dict(_types())


class Dataset(NamedTuple):
    """Where an array lies in the file."""

    path: str
    dtype: np.dtype
    shape: tuple[int, ...]
    address: int
    size: int


@dataclass
class Group:
    """A group; `label` is its attribute "name", `marked` whether it has the reader's mark."""

    label: str | None = None
    marked: bool = False
    groups: dict[str, "Group"] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)


class Reader:
    """Reads the groups and the arrays in a file.

    Args:
        data: the file's content.
        mark: an attribute that groups may have.
        budget: the memory that all this may take.
    """

    def __init__(self, data: bytes, mark: str, budget: Budget):
        if not data.startswith(START):
            raise FileError("is no HDF5 file, or none of the kind that Keras writes")
        self.data, self.mark, self.budget = data, mark.encode() + b"\0", budget
        self.seen: set[int | str] = set()
        if self._unpack("<Q", 40)[0] > len(data):
            raise FileError("is cut off")

    def root(self) -> Group:
        """Returns the root group, with all that is in it."""
        top = Group()
        self._add(top, "", "", self._unpack("<Q", 64)[0])
        return top.groups[""]

    def array(self, dataset: Dataset) -> np.ndarray:
        """Returns the array of a dataset."""
        content = self.data[dataset.address : dataset.address + dataset.size]
        if math.prod(dataset.shape) * dataset.dtype.itemsize != len(content):
            raise FileError(f"has not the bytes for {dataset.shape} in {dataset.path:.80}")
        self.budget.spend(dataset.size)
        return np.frombuffer(bytearray(content), dataset.dtype).reshape(dataset.shape)

    def _unpack(self, layout: str, address: int) -> tuple[Any, ...]:
        self.budget.spend(STEP_BYTES)
        return struct.unpack_from(layout, self.data, address)

    def _arrive(self, path: str, *places: int | str) -> None:
        self.budget.spend(len(path))
        if not self.seen.isdisjoint(places):
            raise FileError(f"has {path:.80} in two places, or two of it")
        self.seen.update(places)

    def _add(self, parent: Group, name: str, path: str, address: int) -> None:
        """Adds the object at an address to the group that holds it."""
        self._arrive(path, address, path)
        group, found = Group(), {}
        for kind, body in self._messages(path, address):
            found[kind] = body
            if kind == ATTRIBUTE and body.startswith(LABEL):
                group.label = self._text(*struct.unpack_from("<IQI", body, len(LABEL)))
            elif kind == ATTRIBUTE and b"name\0" in body[:16]:
                raise FileError(f"has no usable name for {path:.80}")
            elif kind == ATTRIBUTE:
                group.marked |= self.mark in body[:24]
        if TABLE in found:
            parent.groups[name] = group
            for inner, at in self._members(path, *struct.unpack_from("<QQ", found[TABLE])):
                self._add(group, inner, f"{path}/{inner}", at)
        else:
            shape, layout = found.get(SHAPE, b"\0"), found.get(LAYOUT, b"")
            dtype = TYPES.get(found.get(TYPE, b""))
            if shape[0] != 1 or dtype is None or not layout.startswith(IN_ONE_PIECE):
                raise FileError(f"has no plain array of numbers in {path:.80}")
            sizes = struct.unpack_from(f"<{shape[1]}Q", shape, 8)
            place = struct.unpack_from("<QQ", layout, len(IN_ONE_PIECE))
            parent.datasets[name] = Dataset(path, dtype, sizes, *place)

    def _messages(self, path: str, address: int) -> Iterator[tuple[int, bytes]]:
        """Yields the kinds and the contents of the messages in an object's header."""
        version, count, size = self._unpack("<BxH4xI", address)
        blocks = [(address + 16, size)]
        for at, size in blocks:
            end = at + size
            while count and at + 8 <= end:
                count -= 1
                kind, length, flags = self._unpack("<HHB", at)
                self.budget.spend(length)
                body = self.data[at + 8 : at + 8 + length]
                at += 8 + length
                shared = flags & 2
                if version != 1 or kind not in MESSAGES or shared:
                    raise FileError(f"has {path:.80} stored in a way that Keras never uses")
                if kind == CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", body))
                yield kind, body

    def _members(self, path: str, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        """Yields the names and the addresses of a group's members."""
        (names,) = self._unpack("<Q", heap + 24)
        nodes = [tree]
        for node in nodes:
            self._arrive(path, node)
            kind, count = self._unpack("<4s2xH", node)
            if kind == b"TREE":
                nodes += [self._unpack("<Q", node + 32 + 16 * i)[0] for i in range(count)]
                continue
            if kind != b"SNOD":
                raise FileError(f"has a broken group {path:.80}")
            for i in range(count):
                start, address, way = self._unpack("<QQI", node + 8 + 40 * i)
                end = self.data.index(b"\0", names + start, names + start + MAX_NAME + 1)
                name = self.data[names + start : end].decode()
                if way == SOFT_LINK:
                    raise FileError(f"has a link to elsewhere in {path:.80}: {name[:80]!r}")
                yield name, address

    def _text(self, length: int, heap: int, number: int) -> str:
        """Returns a text in a heap, by its number there."""
        at, end = heap + 16, heap + self._unpack("<8xQ", heap)[0]
        while at + 16 <= end:
            found, size = self._unpack("<H6xQ", at)
            if found == number and length <= min(size, MAX_NAME):
                return self.data[at + 16 : at + 16 + length].decode()
            at += 16 + -(-size // 8) * 8
        raise FileError("has a group whose name is missing")
