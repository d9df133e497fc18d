"""What the words after a command mean: one parser for all commands, one form of saying no. Which commands there are: `table.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

WORD_SHOWN = 64  # characters of somebody's words that an answer repeats
FAILED = 255  # exit code of Android's service commands that threw or returned -1


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """The command does not do it. `text` goes to stderr, and `code` is the exit code."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        self.text = text
        self.code = code
        super().__init__(text)


def threw(what: str, kind: str, message: str) -> Refusal:
    """As Android's services answer when they throw: `what` is the word after the service, `kind` Java's class below java.lang."""
    return Refusal(f"\nException occurred while executing '{shown(what)}':\njava.lang.{kind}: {message}")


def shown(word: str) -> str:
    """Somebody's word as an answer may repeat it: printable, of bounded length."""
    text = "".join(c if c.isprintable() else "?" for c in word[:WORD_SHOWN])
    return text if len(word) <= WORD_SHOWN else f"{text}..."


def text(word: str) -> str:
    """Somebody's word as text, which a file's name need not be: what is no UTF-8 in it becomes "?"."""
    return word.encode("utf-8", "replace").decode()


class Given(NamedTuple):
    """The words of one call."""

    flags: frozenset[str]
    values: dict[str, str]  # of options that take one; the last of several counts
    words: list[str]  # what is no option

    def has(self, *names: str) -> bool:
        """Whether one of these options is there."""
        return any(name in self.flags or name in self.values for name in names)

    def value(self, *names: str, default: str = "") -> str:
        """The value of an option under any of its names."""
        return next((self.values[name] for name in names if name in self.values), default)

    def first(self, what: str) -> str:
        """The first word, which is a `what`. Raises Refusal when there is none."""
        if not self.words:
            raise Refusal(f"Error: no {what} specified", FAILED)
        return self.words[0]


class Spec:
    """The options of a command, written as "-d -e --user=": a "=" at the end means that a value follows.

    `bundled` ones may be written together, with their value attached, as getopt takes them (`-dt5`, `--pid=1`); the others stand
    alone, as Android's services want them. A "," at the end is a value that may come several times: they are joined by commas.
    `first_word_ends` leaves everything from the first word on as it is. `refused` ones are known, with why they are not done.
    """

    __slots__ = ("bundled", "first_word_ends", "flags", "raw", "refused", "several", "values")

    def __init__(
        self,
        options: str | None,
        *,
        bundled: bool = False,
        first_word_ends: bool = False,
        refused: Mapping[str, str] | None = None,
    ) -> None:
        names = (options or "").split()
        self.several = frozenset(name[:-2] for name in names if name.endswith("=,"))
        names = [name.removesuffix(",") for name in names]
        self.raw = options is None
        self.flags = frozenset(name for name in names if not name.endswith("="))
        self.values = frozenset(name[:-1] for name in names if name.endswith("="))
        self.bundled = bundled
        self.first_word_ends = first_word_ends
        self.refused = dict(refused or {})

    def parse(self, command: str, words: list[str]) -> Given:
        """Take them apart. Raises Refusal in the words of the command's kind."""
        given = self._parse(command, words)
        for name in sorted(given.flags | given.values.keys()):
            if why := self.refused.get(name):
                raise Refusal(why if why.startswith("Failure") else f"{command}: {name}: {why}", 1)
        return given

    def _parse(self, command: str, words: list[str]) -> Given:
        if self.raw:
            return Given(frozenset(), {}, list(words))
        flags: set[str] = set()
        values: dict[str, str] = {}
        rest: list[str] = []
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            if word == "--":
                rest += words[at:]
                break
            if not word.startswith("-") or word == "-":
                rest.append(word)
                if self.first_word_ends:
                    rest += words[at:]
                    break
            elif word in self.flags:
                flags.add(word)
            elif word in self.values:
                if at == len(words):
                    raise self._lacks(command, word)
                self._keep(values, word, words[at])
                at += 1
            elif self.bundled:
                at = self._bundle(command, word, words, at, flags, values)
            else:
                raise self._unknown(command, word)
        return Given(frozenset(flags), values, rest)

    def _bundle(self, command: str, word: str, words: list[str], at: int, flags: set[str], values: dict[str, str]) -> int:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            if not equals or name not in self.values:
                raise self._unknown(command, word)
            self._keep(values, name, value)
            return at
        for position, letter in enumerate(word[1:], start=2):
            option = f"-{letter}"
            if option in self.flags:
                flags.add(option)
            elif option in self.values:
                if word[position:]:
                    self._keep(values, option, word[position:])
                    return at
                if at == len(words):
                    raise self._lacks(command, option)
                self._keep(values, option, words[at])
                return at + 1
            else:
                raise self._unknown(command, option)
        return at

    def _keep(self, values: dict[str, str], name: str, value: str) -> None:
        values[name] = f"{values[name]},{value}" if name in self.several and name in values else value

    def _unknown(self, command: str, word: str) -> Refusal:
        if self.bundled:
            return Refusal(f"{command}: Unknown option '{shown(word.lstrip('-'))}' (see \"{command} --help\")", 1)
        return Refusal(f"Error: Unknown option: {shown(word)}")

    def _lacks(self, command: str, word: str) -> Refusal:
        if self.bundled:
            return Refusal(f"{command}: Missing argument to {word}", 1)
        return threw(command.rpartition(" ")[2], "IllegalArgumentException", f'Argument expected after "{word}"')

    def __str__(self) -> str:
        names = {name for name in self.flags | {f"{name}=" for name in self.values} if name.removesuffix("=") not in self.refused}
        return " ".join(sorted(names, key=lambda name: (name.lower(), name)))


def whole(text: str, low: int, high: int) -> int | None:
    """A whole number in decimal digits between two limits; None for everything else."""
    digits = text[1:] if text[:1] == "-" else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        return None
    return int(text) if low <= int(text) <= high else None


def only_owner(what: str, given: Given) -> None:
    """`--user` may name the phone's one user. Raises Refusal."""
    check_user(what, given.value("--user", default="0"))


def check_user(what: str, user: str) -> None:
    """It may be the phone's one user, in any of Android's ways. Raises Refusal."""
    if user not in ("0", "current", "cur", "all", "-1", "-2"):
        if whole(user, -(10**9), 10**9) is None:
            raise threw(what, "IllegalArgumentException", f"Bad user number: {shown(user)}")
        raise threw(what, "IllegalArgumentException", f"Unknown user {user}: this phone has user 0 only")
