"""Which commands and sub-commands there are, with their options and one sentence each: run, shown as help and as documentation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from opencph.handset.commands.options import FAILED, Given, Refusal, Spec, shown

if TYPE_CHECKING:
    from opencph.handset.commands import Context

Run = Callable[["Context", Given], Awaitable[int]]


class Entry(NamedTuple):
    """A command ("logcat") or a sub-command ("pm grant")."""

    name: str
    spec: Spec
    run: Run
    does: str  # the words that follow it, and what it does; or why not
    refused: bool = False

    @property
    def said(self) -> str:
        """What it does, and which of its options are refused and why."""
        whys: dict[str, list[str]] = {}
        for name, why in self.spec.refused.items():
            whys.setdefault(why, []).append(name)
        return "; ".join([self.does, *(f"{', '.join(names)} refused: {why}" for why, names in whys.items())])


TABLE: dict[str, dict[str, Entry]] = {}  # command -> sub-command ("" is the command itself) -> entry


def entry(
    names: str,
    options: str | None = "",
    *,
    does: str,
    bundled: bool = False,
    first_word_ends: bool = False,
    refused: Mapping[str, str] | None = None,
) -> Callable[[Run], Run]:
    """Enter a function under one or more names, "pm grant|revoke". options=None leaves the words to the function;
    `refused` are options that are known, and why they are not done."""

    def enter(run: Run) -> Run:
        command, _, subs = names.partition(" ")
        for sub in subs.split("|"):
            spec = Spec(options, bundled=bundled, first_word_ends=first_word_ends, refused=refused)
            TABLE.setdefault(command, {})[sub] = Entry(f"{command} {sub}".strip(), spec, run, does)
        return run

    return enter


def refuse(names: str, why: str, *, code: int = 1) -> None:
    """Enter commands that Android has and a handset has not: they say why."""

    async def run(context: Context, _: Given) -> int:
        raise Refusal(f"{context.argv[0]}: {why}", code)

    command, _, subs = names.partition(" ")
    for sub in subs.split("|"):
        TABLE.setdefault(command, {})[sub] = Entry(f"{command} {sub}".strip(), Spec(None), run, why, refused=True)


async def run_entry(context: Context, command: str, words: list[str]) -> int:
    """Run `command` with these words. Raises Refusal."""
    subs = TABLE[command]
    plain = subs.get("")
    if plain is not None:
        if words == ["--help"] and not plain.refused:
            context.out(
                f"usage: {command} {plain.said}\n\nOptions: {plain.spec}".rstrip()
                if str(plain.spec)
                else f"usage: {command} {plain.said}"
            )
            return 0
        return await plain.run(context, plain.spec.parse(command, words))
    if not words or words[0] in ("help", "-h", "--help"):
        context.out(usage(command))
        return FAILED
    found = subs.get(words[0])
    if found is None:
        context.out(f"Unknown command: {shown(words[0])}")
        return FAILED
    return await found.run(context, found.spec.parse(found.name, words[1:]))


def usage(command: str) -> str:
    """The help of a command with sub-commands."""
    lines = [f"{command} commands of an OpenCPH handset, which is not Android:", "  help", "    Print this help text."]
    for name, one in sorted(TABLE[command].items()):
        lines += [f"  {name} {one.spec}".rstrip(), f"    {'Refused: ' if one.refused else ''}{one.said}"]
    return "\n".join(lines)
