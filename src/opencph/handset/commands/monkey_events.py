"""What a monkey does: random fingers and keys on the screen, the same ones for the same seed. Its command line is `monkey.py`.

Kinds of events, their usual shares and their lines are those of Android 11's `MonkeySourceRandom`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from opencph.handset import apps
from opencph.handset.commands.input import KEYS
from opencph.handset.commands.options import Refusal
from opencph.handset.screen_layout import TURNED, hit, size

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

SHARES = {
    "touch": 15.0, "motion": 10.0, "pinchzoom": 2.0, "trackball": 15.0, "rotation": 0.0, "permission": 0.0, "nav": 25.0,
    "majornav": 15.0, "syskeys": 2.0, "appswitch": 2.0, "flip": 1.0, "anyevent": 13.0,
}  # fmt: skip
SLOP = 24  # pixels that a finger may move in a tap
WEIGHTS_REFUSED = 251  # the exit code of Android's monkey for shares that make no whole
NAV, MAJOR_NAV = ("DPAD_UP", "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT"), ("MENU", "DPAD_CENTER")
SYSTEM_KEYS = ("HOME", "BACK", "CALL", "ENDCALL", "VOLUME_UP", "VOLUME_DOWN", "VOLUME_MUTE")
ANY_KEYS = tuple(name for name in KEYS if name not in ("POWER", "SLEEP", "ENDCALL"))

Point = tuple[float, float]


class Event(NamedTuple):
    """One event: what is printed from so many -v on, and what it does."""

    line: str
    verbose: int = 1
    act: Callable[[], None] | None = None
    last: bool = False  # of its gesture: --throttle waits after it
    dropped: str = ""  # the counter of what a handset has nothing for


def shares(wanted: Mapping[str, int]) -> dict[str, float]:
    """Percentages of each kind: those that were asked for, the others scaled to what is left. Raises Refusal."""
    asked = sum(wanted.values())
    if asked > 100:
        raise Refusal("** Event weights > 100%", WEIGHTS_REFUSED)
    rest = sum(share for name, share in SHARES.items() if name not in wanted)
    if not rest and asked != 100:
        raise Refusal("** Event weights != 100%", WEIGHTS_REFUSED)
    if wanted.get("permission"):
        raise Refusal("** Error: --pct-permission: a handset's monkey changes no permissions", WEIGHTS_REFUSED)
    scale = (100 - asked) / rest if rest else 0.0
    return {name: float(wanted[name]) if name in wanted else share * scale for name, share in SHARES.items()}


class Source:
    """Events without end for one phone."""

    def __init__(self, phone: Phone, seed: int, parts: Mapping[str, float], switch: Callable[[str], Event], matches: Sequence[str]):
        self._phone = phone
        self._chance = random.Random(seed)  # noqa: S311 - a monkey's
        self._parts = parts
        self._switch, self._matches = switch, matches

    def chance(self) -> float:
        """A number from 0 to 1."""
        return self._chance.random()

    def events(self) -> Iterator[Event]:
        """An app first, then whatever comes."""
        kinds: dict[str, Callable[[], Iterator[Event]]] = {
            "touch": lambda: self._pointer(0),
            "motion": lambda: self._pointer(self._chance.randrange(10)),
            "pinchzoom": self._pinch,
            "trackball": self._trackball,
            "rotation": self._rotation,
            "nav": lambda: self._key(NAV),
            "majornav": lambda: self._key(MAJOR_NAV),
            "syskeys": lambda: self._key(SYSTEM_KEYS),
            "appswitch": self._app,
            "flip": self._flip,
            "anyevent": lambda: self._key(ANY_KEYS),
        }
        names = [name for name in kinds if self._parts[name] > 0]
        weights = [self._parts[name] for name in names]
        yield from self._app()
        while True:
            yield from kinds[self._chance.choices(names, weights)[0]]()

    def _app(self) -> Iterator[Event]:
        yield self._switch(self._chance.choice(self._matches))

    def _point(self) -> Point:
        width, height = size(self._phone)
        return float(self._chance.randrange(width)), float(self._chance.randrange(height))

    def _walk(self, point: Point, way: Point) -> Point:
        return tuple(  # type: ignore[return-value]
            max(0.0, min(side - 1.0, at + self._chance.random() * step))
            for at, step, side in zip(point, way, size(self._phone), strict=True)
        )

    def _way(self) -> Point:
        return (self._chance.random() - 0.5) * 50, (self._chance.random() - 0.5) * 50

    def _pointer(self, moves: int) -> Iterator[Event]:
        """A tap, or a finger that wanders."""
        begun, way = self._point(), self._way()
        yield Event(f":Sending Touch (ACTION_DOWN): {_at(0, begun)}")
        point = begun
        for _ in range(moves):
            point = self._walk(point, way)
            yield Event(f":Sending Touch (ACTION_MOVE): {_at(0, point)}", 2)
        ended = self._walk(point, way)
        yield Event(f":Sending Touch (ACTION_UP): {_at(0, ended)}", act=lambda: self._lift(begun, ended), last=True)

    def _lift(self, begun: Point, ended: Point) -> None:
        start, end = (int(begun[0]), int(begun[1])), (int(ended[0]), int(ended[1]))
        screen = self._phone.running_screen
        if max(abs(start[0] - end[0]), abs(start[1] - end[1])) <= SLOP:
            screen.tap(*start, hit(self._phone, *start))
        else:
            screen.swipe(start, end, size(self._phone)[1])

    def _pinch(self) -> Iterator[Event]:
        """Two fingers, for which no page of a handset does anything."""
        one, other = self._point(), self._point()
        ways = self._way(), self._way()
        yield Event(f":Sending Touch (ACTION_DOWN): {_at(0, one)}")
        yield Event(f":Sending Touch (ACTION_POINTER_DOWN 1): {_at(0, one)} {_at(1, other)}", 2)
        for _ in range(self._chance.randrange(10)):
            one, other = self._walk(one, ways[0]), self._walk(other, ways[1])
            yield Event(f":Sending Touch (ACTION_MOVE): {_at(0, one)} {_at(1, other)}", 2)
        yield Event(f":Sending Touch (ACTION_POINTER_UP 1): {_at(0, one)} {_at(1, other)}", 2)
        yield Event(f":Sending Touch (ACTION_UP): {_at(0, one)}", last=True)

    def _trackball(self) -> Iterator[Event]:
        """A handset has none."""
        for number in range(10):
            moved = (float(self._chance.randrange(-5, 5)), float(self._chance.randrange(-5, 5)))
            line = f":Sending Trackball (ACTION_MOVE): {_at(0, moved)}"
            yield Event(line, 2 if number else 1, last=number == 9, dropped="trackballs")

    def _flip(self) -> Iterator[Event]:
        """A handset has no keyboard to slide out."""
        yield Event(f":Sending Flip keyboardOpen={str(self._chance.random() < 0.5).lower()}", last=True, dropped="flips")

    def _rotation(self) -> Iterator[Event]:
        degree = self._chance.randrange(4)
        line = f":Sending rotation degree={degree}, persist=false"
        yield Event(line, act=lambda: turn(self._phone, str(degree)), last=True)

    def _key(self, names: Sequence[str]) -> Iterator[Event]:
        name = self._chance.choice(names)
        code = KEYS[name]
        said = f": {code}    // KEYCODE_{name}"
        yield Event(f":Sending Key (ACTION_DOWN){said}", 2, lambda: self._phone.running_screen.key(code))
        yield Event(f":Sending Key (ACTION_UP){said}", 2, last=True)


def turn(phone: Phone, rotation: str | None) -> None:
    """Turn the screen until the next boot; None is how it was before."""
    if rotation is None:
        phone.until_reboot.pop(TURNED, None)
    else:
        phone.until_reboot[TURNED] = rotation
    phone.running_screen.version += 1


def _at(finger: int, point: Point) -> str:
    return f"{finger}:({round(point[0], 3)},{round(point[1], 3)})"


class Bounds:
    """The packages that a monkey may be in: those named, or all but those named."""

    def __init__(self, phone: Phone, only: frozenset[str], without: frozenset[str]) -> None:
        self._phone = phone
        self._only, self._without = only, without
        self.at = ""  # the component where it was last

    def allows(self, component: str) -> bool:
        """Whether it may be there."""
        package = component.partition("/")[0]
        return package not in self._without and (not self._only or package in self._only)

    def left(self) -> str:
        """The component that was opened although it may not be; then the one before is in front again."""
        front = apps.in_front(self._phone)
        if self.allows(front):
            self.at = front
            return ""
        apps.open_component(self._phone, self.at)
        return front
