"""Reads the directories of a TIFF, of which EXIF is one, without making an object for every number.

Nothing here knows what a tag means. The constants are those of TIFF 6.0 and BigTIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from crop_core.errors import ImageError
from crop_core.photo.limits import limits

# How many directories are looked at. A scan may have thousands of pages, and only the first counts.
MOST_DIRECTORIES = 64
SUB_DIRECTORIES = 330

# The bytes of one value of each kind, and struct's letter for the kinds that are unsigned whole numbers.
_LENGTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_FRACTIONS, _PLAIN_BYTES = (5, 10), (1, 2, 7)


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag's values.

    Attributes:
        kind: TIFF's number of the kind of values.
        count: How many values there are.
        at: Where the values begin in the file.
    """

    kind: int
    count: int
    at: int

    @property
    def length(self) -> int:
        """Return the bytes of one value."""
        return _LENGTHS.get(self.kind, 1)


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of a file.

    Attributes:
        data: The file.
        order: The byte order, ``<`` or ``>`` as in `struct`.
        big: Whether the file is a BigTIFF.
        at: Where the directory begins.
        following: Where the next one begins, 0 for none.
        entries: By the tag's number.
    """

    data: bytes = field(repr=False)
    order: str
    big: bool
    at: int
    following: int
    entries: dict[int, Entry] = field(repr=False)

    def numbers(self, tag: int, most: int = 100_000) -> tuple[int, ...]:
        """Return a tag's whole numbers; none if the tag is absent, of another kind, too long or cut off."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _WHOLE or entry.count > most:
            return ()
        try:
            return struct.unpack_from(f"{self.order}{entry.count}{_WHOLE[entry.kind]}", self.data, entry.at)
        except struct.error:
            return ()

    def number(self, tag: int, default: int) -> int:
        """Return a tag's first whole number."""
        return (self.numbers(tag) or (default,))[0]

    def one_number(self, tag: int) -> int | None:
        """Return a tag's only whole number; none if it does not have exactly one."""
        found = self.numbers(tag, most=1)
        return found[0] if found else None

    def part(self, tag: int, first: int, count: int) -> tuple[int, ...]:
        """Return `count` of a tag's whole numbers, from `first` on.

        Raises:
            ValueError: The tag has fewer, or its values are not whole numbers.
            struct.error: The numbers lie beyond the end of the file.
        """
        entry = self.entries[tag]
        if entry.kind not in _WHOLE or entry.count < first + count:
            raise ValueError("a tag has fewer numbers than are needed")
        return struct.unpack_from(
            f"{self.order}{count}{_WHOLE[entry.kind]}", self.data, entry.at + first * entry.length
        )

    def raw(self, tag: int) -> bytes:
        """Return a tag's bytes."""
        entry = self.entries.get(tag)
        return b"" if entry is None else self.data[entry.at : entry.at + entry.count * entry.length]


def first_directory(data: bytes) -> Directory:
    """Return a file's first directory.

    Raises:
        ImageError: It has more tags or numbers than the limits allow.
        struct.error: The directory lies beyond the end of the file.
    """
    order, big = _form_of(data)
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    return directory_at(data, at)


def directory_at(data: bytes, at: int) -> Directory:
    """Return the directory that begins at `at`; raises as `first_directory`."""
    order, big = _form_of(data)
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    place, inline = ("Q", 8) if big else ("I", 4)
    if at >= len(data):
        raise struct.error("the directory lies behind the end")
    (tags,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    _check_tags(tags)
    begin = at + (8 if big else 2)
    entries: dict[int, Entry] = {}
    for start in range(begin, begin + tags * entry.size, entry.size):
        if start + entry.size > len(data):
            break
        tag, kind, count, value = entry.unpack_from(data, start)
        short = count * _LENGTHS.get(kind, 1) <= inline
        (behind,) = struct.unpack(order + place, value)
        entries.setdefault(tag, Entry(kind, count, start + entry.size - inline if short else behind))
    end = begin + tags * entry.size
    following = struct.unpack_from(order + place, data, end)[0] if end + inline <= len(data) else 0
    _check_values(entries, len(data))
    return Directory(data, order, big, at, following, entries)


def directories(first: Directory) -> Iterator[Directory]:
    """Yield a file's directories, each before those below it; damaged ones are skipped, and their number is limited."""
    waiting, met = [first.at], set[int]()
    while waiting and len(met) < MOST_DIRECTORIES:
        at = waiting.pop(0)
        if at in met or at == 0:
            continue
        met.add(at)
        try:
            one = directory_at(first.data, at)
        except struct.error:
            continue
        yield one
        waiting = [*one.numbers(SUB_DIRECTORIES, MOST_DIRECTORIES), *waiting, one.following]


def beginning_at(data: bytes, directory: Directory) -> bytes:
    """Return the file with that directory as its first."""
    at, place = (8, "Q") if directory.big else (4, "I")
    start = struct.pack(directory.order + place, directory.at)
    return data if data[at : at + len(start)] == start else data[:at] + start + data[at + len(start) :]


def _form_of(data: bytes) -> tuple[str, bool]:
    return "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")


def _check_tags(tags: int) -> None:
    if tags > limits().max_tags:
        raise _absurd(f"{tags} tags")


def _check_values(entries: dict[int, Entry], length: int) -> None:
    """Refuse a directory for which a decoder would make too many objects: one for each number, more for a fraction."""
    values = 0
    for entry in entries.values():
        weight = 0 if entry.kind in _PLAIN_BYTES else 8 if entry.kind in _FRACTIONS else 1
        values += entry.count * weight if entry.count * entry.length <= length else 0
    if values > limits().max_tag_values:
        raise _absurd(f"{values} numbers in its tags")


def _absurd(what: str) -> ImageError:
    most = limits()
    return ImageError(
        f"The TIFF has {what}; at most {most.max_tags} tags with {most.max_tag_values} numbers are accepted. "
        "Save it again."
    )
