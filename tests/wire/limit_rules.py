"""How a field's limit is written down for `test_every_limit.py`: what passes, what does not, and with which code."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st

LETTERS = string.ascii_letters + string.digits
CHINESE = "".join(map(chr, range(0x4E00, 0xA000)))
NAME = LETTERS + "_-" + CHINESE
UUID = "fca063f6-b942-42a8-9004-e5545f58d6a2"
#: one character of each length in UTF-8
WIDE = "aé手𝄞"
ANY = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


class Refused(NamedTuple):
    """Values that are refused with this code."""

    code: str
    values: st.SearchStrategy[Any]


class Limit(NamedTuple):
    """A field. `edges` are tried always, `good` and `refused` by examples; `missing` is the code of a body without the field."""

    edges: tuple[Any, ...]
    good: st.SearchStrategy[Any]
    refused: tuple[Refused, ...]
    missing: str = ""


def _few(code: str, *values: Any) -> Refused:
    return Refused(code, st.sampled_from(values))


def _no_text(code: str) -> Refused:
    return _few(code, 7, 1.5, True, ["a"], {"a": "b"})


def _no_number(code: str) -> Refused:
    return _few(code, "1", 1.5, True, [1], {"a": 1})


def text(
    code: str,
    most: int | None = None,
    *,
    unit: str = "bytes",
    only: str = "",
    empty: str | None = None,
    optional: bool = False,
    refused: tuple[str, ...] = (),
    typed: bool = True,
) -> Limit:
    """Text of at most `most` bytes or characters, `only` of these. `empty` is the code of an empty one, "" that it passes,
    and stands for a missing one too unless that is `optional`. `refused` are further words of its code. Not `typed`: of a query."""
    empty = code if empty is None else empty
    character = st.sampled_from(only) if only else ANY
    size = (lambda value: len(value.encode())) if unit == "bytes" else len
    good = st.text(character, min_size=1, max_size=20)
    if refused:
        good = good.filter(lambda value: value.lower() not in refused)
    edges: list[str] = []
    bad = [_no_text(code)] if typed else []
    if most is not None:
        good = good.filter(lambda value: size(value) <= most)
        for wide in WIDE if not only else only[0] + only[-1]:
            count = most // (len(wide.encode()) if unit == "bytes" else 1)
            edges.append(wide * count + only[:1] * (most - size(wide * count)) if only else wide * count)
            bad.append(_few(code, wide * count + (only or "a")[0] * (most - size(wide * count) + 1)))
    if only:
        bad.append(Refused(code, st.tuples(good, ANY.filter(lambda one: one not in only)).map("".join)))
    bad += [_few(code, word) for word in (*refused, "a\0b")]
    if empty:
        bad.append(_few(empty, ""))
    else:
        edges.append("")
    return Limit(tuple(edges), good, tuple(bad), "" if optional else empty or code)


def made(
    code: str,
    most: int,
    good: st.SearchStrategy[str],
    pad: Callable[[int], str],
    refused: tuple[str, ...],
    foreign: str = "",
    missing: str | None = None,
    typed: bool = True,
) -> Limit:
    """A text with a form. `pad` makes a right one of so many bytes; `foreign` are characters that make any one wrong."""
    bad = [_few(code, *refused, pad(most + 1)), *([_no_text(code)] if typed else [])]
    if foreign:
        bad.append(Refused(code, st.tuples(good, st.sampled_from(foreign)).map(lambda both: both[0][:-5] + both[1] + both[0][-5:])))
    return Limit((pad(most),), good, tuple(bad), code if missing is None else missing)


def number(code: str, low: int, high: int, *, optional: bool = False, step: int = 1) -> Limit:
    """A whole number."""
    outside = Refused(code, st.integers(max_value=low - 1) | st.integers(min_value=high + 1))
    refused = (_few(code, low - 1, high + 1), outside, _no_number(code))
    return Limit((low, high), st.integers(low, high).filter(lambda one: one % step == 0), refused, "" if optional else code)


def choice(code: str, *values: int, optional: bool = False) -> Limit:
    """A number out of a few."""
    other = Refused(code, st.integers().filter(lambda one: one not in values))
    return Limit(values, st.sampled_from(values), (other, _no_number(code)), "" if optional else code)


def word(code: str, *values: str, empty: str | None = None, optional: bool = False) -> Limit:
    """A text out of a few, in this case."""
    other = Refused(code, st.text(ANY, min_size=1).filter(lambda one: one not in values))
    swapped = _few(code, *(one.swapcase() for one in values))
    bad = (other, swapped, _no_text(code), _few(code if empty is None else empty, ""))
    return Limit(values, st.sampled_from(values), bad, "" if optional else code)


def flag(code: str) -> Limit:
    """A boolean that may be left out."""
    return Limit((True, False), st.booleans(), (_few(code, 0, 1, "true", [], {}),))


def uuid(code: str, *, empty: str | None = None, optional: bool = False) -> Limit:
    """A UUID in any case."""
    bad = [_no_text(code), _few(code, UUID[:-1], UUID + "0", UUID.replace("-", ""), UUID[:-1] + "g", UUID.replace("f", "é"))]
    if empty != "":
        bad.append(_few(empty or code, ""))
    return Limit((UUID, UUID.upper()), st.uuids().map(str), tuple(bad), "" if optional else empty or code)


def nested(code: str, *, optional: bool = False, also: tuple[Any, ...] = ()) -> Limit:
    """An object; its fields have limits of their own. `also` are objects with that code."""
    return Limit((), st.nothing(), (_few(code, 7, True, "a", [], *also),), "" if optional else code)


def several(
    most: int, over: str, item: Callable[[int], Any], *, typed: str, empty: str | None = None, missing: str | None = None
) -> Limit:
    """An array of at most `most`. `over` is the code of one more, `typed` of a wrong type, `empty` of an empty array."""
    full = [item(number) for number in range(most + 1)]
    wrong: list[Any] = [7, True, "a", {"a": "b"}, [7], [None], [[]], *(() if isinstance(full[0], dict) else ([{}],))]
    bad = [_few(over, full), _few(typed, *wrong)]
    edges: list[Any] = [full[:1], full[:most]] if most else [[]]
    if empty:
        bad.append(_few(empty, []))
    else:
        edges.append([])
    missing = (empty or typed) if missing is None else missing
    good = st.integers(1, min(most, 6)).map(lambda count: full[:count]) if most else st.nothing()
    return Limit(tuple(edges), good, tuple(bad), missing)


# --- queries: all is text ----------------------------------------


def asked(code: str, low: int, high: int | None = None) -> Limit:
    """A number in a query; None: without an upper limit."""
    words = ("x", "1.5", " 1", "1 ", "+1", "0x1", "٣")
    bad = [_few(code, str(low - 1), *words), *([] if high is None else [_few(code, str(high + 1))])]
    top = low + 10**6 if high is None else high
    return Limit((str(low), str(top)), st.integers(low, top).map(str), tuple(bad))


def asked_choice(code: str, *values: int) -> Limit:
    """A number out of a few, in a query."""
    other = Refused(code, st.integers(-(10**9), 10**9).filter(lambda one: one not in values).map(str))
    return Limit(tuple(map(str, values)), st.sampled_from(values).map(str), (other, _few(code, "x", "1.5", "")))


def asked_word(code: str, *values: str, any_case: bool = False) -> Limit:
    """A text out of a few, in a query; an empty one counts as left out."""
    refused = st.text(ANY, min_size=1).filter(lambda one: one.lower() not in values)
    return Limit(
        (*values, "", *((one.upper() for one in values) if any_case else ())), st.sampled_from(values), (Refused(code, refused),)
    )


def asked_id(code: str) -> Limit:
    """An id of 32 hexadecimal characters, in a query."""
    good = st.text("0123456789abcdefABCDEF", min_size=32, max_size=32)
    return Limit(("a" * 32, ""), good, (_few(code, "a" * 31, "a" * 33, "g" * 32, "a" * 31 + "\n"),))


# --- texts with a form ----------------------------------------


def paths(code: str, root: str, only: str, missing: str) -> Limit:
    """An array of 1 to 1,000 paths below `root`, each of at most 4,096 bytes of these characters, none with '..'."""
    good = st.lists(
        st.text("".join(one for one in only if one not in ".*"), min_size=1, max_size=20).map(lambda rest: f"{root}/x{rest}"),
        min_size=1,
        max_size=4,
    )
    foreign = ANY.filter(lambda one: one not in only)
    longest = root + "/" + "a" * (4096 - len(root) - 1)
    bad = [
        _few(code, [longest + "a"], [f"{root}/x"] * 1001, ["x"], ["x/y"], [f"{root}/../x"], [7], 7, "x", [""], [f"{root}/a\0"]),
        Refused(code, foreign.map(lambda one: [f"{root}/a{one}b"])),
    ]
    if missing:
        bad.append(_few(missing, []))
    return Limit(([longest], [f"{root}/x"] * 1000), good, tuple(bad), missing)


def bucket() -> Limit:
    """A bucket's name: 3 to 63 of a few characters (OBS)."""
    middle = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20)
    refused = ("ab", "-ab", "ab-", ".ab", "ab.", "a..b", "a.-b", "a-.b", "Abc", "a_b", "127.0.0.1", "a/b", "abé", "v2.0", "")
    limit = made("CPS.0134", 63, middle.map("a{}b".format), lambda size: "a" * size, refused)
    return limit._replace(edges=(*limit.edges, "abc", "a.b", "a-b"))


def object_path(end: str = "") -> Limit:
    """A key of at most 1,024 characters, ending with `end`."""
    only = LETTERS + "./-_+#="
    good = st.text(only, max_size=30).map(lambda rest: f"a{rest}{end}")
    foreign = "".join(one for one in map(chr, range(1, 256)) if one not in only) + "手𝄞"
    ends = ("a.zip", "a.tar.gz", "atar") if end else ()
    return made("CPS.0135", 1024, good, lambda size: "a" * (size - len(end)) + end, ("", "/", "//", *ends), foreign)


def package(*, typed: bool = True) -> Limit:
    """The name of a package: parts that dots separate, at most 128 bytes (cph-api.md 10.10)."""
    part = st.text(LETTERS + "_", min_size=1, max_size=8)
    good = st.lists(part, min_size=1, max_size=4).map(lambda parts: ".".join(("com", *parts)))
    foreign = "".join(one for one in map(chr, range(1, 256)) if one not in LETTERS + "_.") + "手"
    refused = ("com", ".com.a", "com.", "com..a", "1com.a", "_com.a", "")
    return made("CPS.0173", 128, good, lambda size: "com." + "a" * (size - 4), refused, foreign, typed=typed)


def content(
    good: st.SearchStrategy[str], pad: Callable[[int], str], most: int, *refused: str, foreign: str = "!$`'\"\n手;"
) -> Limit:
    """What a command works on."""
    return made("CPS.0118", most, good, pad, ("", " ", *refused), foreign)


def property_text(*, empty: bool = True) -> Limit:
    """Properties as JSON in a text of at most 8,192 characters."""

    def white(size: int) -> str:
        return '{"com.cph.mainkeys":"1"' + " " * (size - 24) + "}"

    refused = (white(8193), "[]", "7", "{", "x", '{"com.cph.mainkeys":1', '{"ro.board.platform": "' + "é" * 20 + '"')
    bad = [
        _few("CPS.0078", *refused, *(() if empty else ("",))),
        _no_text("CPS.0078"),
        _few("CPS.0163", '{"no.such.key":"1"}'),
        _few("CPS.0164", '{"com.cph.mainkeys":"2"}', '{"com.cph.mainkeys":true}', '{"com.cph.mainkeys":null}'),
    ]
    good = st.sampled_from([0, 1]).map(lambda one: json.dumps({"com.cph.mainkeys": one}))
    return Limit(("{}", white(8192), *(("",) if empty else ())), good, tuple(bad))


def item_id(code: str) -> Limit:
    """An id of one element of a batch: any text passes, for what is wrong with it stands in its own item of the answer."""
    return Limit(("", " ", "zz", "a\0b", UUID), st.text(ANY), (_no_text(code),), code)


def free(code: str, *, empty: str | None = None, optional: bool = False) -> Limit:
    """A text without a limit but U+0000: what it names is looked for."""
    return text(code, empty=empty, optional=optional)
