"""Where members of a backup may lie, what may be there, and in which order: all that a restore refuses before it touches a disk.

A directory is written by walking it, so names come in one order: what is in a directory in the order of its names, then itself. A
member that is not behind the one before it is there twice, or lies below a file or a link. It needs eight bytes for every file.
"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from fnmatch import fnmatchcase

from opencph.backup import FILES, SECRETS, BackupError
from opencph.backup.members import Member
from opencph.handset.control import HOST_FILE

MEMBER_BYTES_MAX = 256 << 20  # of what is read as a whole: a page of rows, the manifest, the description of a host
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_STANDING = ("images", "shared")
_WALKED = ("share-filesystems", "objects", "builtin")
_LINKS = ("share-filesystems", "builtin")  # what phones write: links and fifos may be there


def is_host_file(places: list[str]) -> bool:
    """Whether it describes a host of phones."""
    return places[0] == "builtin" and places[2:] == [HOST_FILE]


class Places:
    """The members so far, as far as the next ones depend on them."""

    def __init__(self) -> None:
        self._standing: set[str] = set()
        self._above: set[str] = set()
        self._trees: set[str] = set()
        self._tree = ""
        self._last: list[str] = []
        self._secret = os.urandom(16)  # nobody makes two names that are one number
        self._files = array("Q")
        self._links: dict[int, str] = {}

    def check(self, member: Member, places: list[str]) -> None:
        """Raises BackupError for a member that lies where none belongs, is what none is there, or comes when none does."""
        if not _belongs(member, places):
            raise BackupError(f"the backup has a {member.kind} {member.name!r}, where no backup has one; nothing was restored")
        if member.xattrs and member.kind not in ("file", "directory"):
            raise BackupError(f"the backup has attributes of the {member.kind} {member.name!r}: no backup is made so")
        for key in member.xattrs:
            if not key.startswith("user.") or len(key) == len("user.") or "\0" in key:
                raise BackupError(f"the backup has an attribute {key!r} of {member.name!r}: no backup is made so")
        if is_host_file(places) and (member.kind != "file" or member.segments is not None or member.size > MEMBER_BYTES_MAX):
            raise BackupError(f"the backup is damaged: {member.name!r} describes no host")
        if places[0] in _WALKED:
            self._walked(member, places)
        else:
            self._stands(member, places)

    def finish(self) -> None:
        """No more members. Raises BackupError for other names of what did not come."""
        for number in self._files:
            self._links.pop(number, None)
        if self._links:
            raise names_no_file(next(iter(self._links.values())))
        del self._files[:]

    def _stands(self, member: Member, places: list[str]) -> None:
        above = {"/".join(places[:depth]) for depth in range(1, len(places))}
        name = "/".join(places)
        if name in self._standing:
            raise twice(member.name)
        if name in self._above or above & self._standing:
            raise below(name if name in self._above else next(iter(above & self._standing)))
        self._standing.add(name)
        self._above |= above

    def _walked(self, member: Member, places: list[str]) -> None:
        tree = "/".join(places[: 2 if places[0] == "builtin" else 1])
        if tree != self._tree:
            if tree in self._trees:
                raise twice(tree)
            self.finish()
            self._trees.add(tree)
            self._tree, self._last = tree, []
        last = self._last
        if last == places:
            raise twice(member.name)
        if last and places[: len(last)] == last:
            raise below("/".join(last))
        if last and not _comes_before(last, places):
            raise BackupError(f"the backup is damaged: {member.name!r} comes behind {'/'.join(last)!r}, twice or not in its order")
        if last[: len(places)] == places and member.kind != "directory":
            raise below(member.name)
        self._last = places
        if member.kind == "file":
            self._files.append(self._number(member.name))
        elif member.kind == "hardlink":
            if not _comes_before(member.link.split("/")[1:], places):
                raise names_no_file(member.name)
            self._links.setdefault(self._number(member.link), member.name)

    def _number(self, name: str) -> int:
        digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, key=self._secret)
        return int.from_bytes(digest.digest())


def twice(name: str) -> BackupError:
    """Of a member, or a tree, that is not the first at its place."""
    return BackupError(f"the backup is damaged: it has {name!r} twice")


def names_no_file(name: str) -> BackupError:
    """Of a hard link whose first name is none of a file."""
    return BackupError(f"the backup has {name!r} as another name of what is no file in it")


def below(name: str) -> BackupError:
    """Of a member that lies below a member that is no directory."""
    return BackupError(f"the backup has a member below {name!r}, which is a link or a file in it: no backup is made so")


def _comes_before(one: list[str], other: list[str]) -> bool:
    for first, second in zip(one, other, strict=False):
        if first != second:
            return first < second
    return len(one) > len(other)


def _belongs(member: Member, places: list[str]) -> bool:
    if not places or not all(map(_is_name, places)):
        return False
    top = places[0]
    if len(places) == 1:
        secret = member.kind == "file" and any(fnmatchcase(top, pattern) for pattern in SECRETS)
        return secret or (member.kind == "directory" and top in ("share-filesystems", "objects"))
    if top in _STANDING:
        return member.kind == "file"
    if top not in _WALKED or (top == "builtin" and not _ID.fullmatch(places[1])):
        return False
    if top == "builtin" and len(places) == 2:
        return member.kind == "directory"
    if member.kind in ("symlink", "hardlink", "fifo") and (top not in _LINKS or len(places) < 3):
        return False
    if member.kind == "symlink":
        return 0 < len(member.link.encode("utf-8", "surrogateescape")) < 4096 and "\0" not in member.link
    if member.kind == "hardlink":
        first = member.link.split("/")
        return first[0] == FILES and first[1:3] == places[:2] and len(first) > 3 and all(map(_is_name, first))
    return True


def _is_name(place: str) -> bool:
    return place not in ("", ".", "..") and "\0" not in place and len(place.encode("utf-8", "surrogateescape")) <= 255
