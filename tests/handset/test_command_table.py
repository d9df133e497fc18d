"""Every command, with hostile words: an answer in the command's own form, never a traceback; and the table of them in the docs."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handset.one_phone import dial, running
from opencph.handset.commands import COMMANDS, Context, preload, run_command
from opencph.handset.commands.table import TABLE
from opencph.handset.phone import Phone

ROOT = Path(__file__).parent.parent.parent
HOSTILE = (
    "", "-", "--", "-x", "--nope", "--user", "-1", "0", "²", "9" * 40,
    "a/b", "/", "..", "\udcff", "\ud800", "\0", "%s%n", "[", "(?", "x" * 5000,
    "-S", "-n", "com.none.app", "content://x", "1e400", "nan", "\n", "--user=7", "-p", "-e",
)  # fmt: skip
FOLLOWS = frozenset(("watchprops", "reboot"))  # these never end, or end the phone
TROUBLE = re.compile(rb"Traceback|File \"|a fault of the handset|Error: 'NoneType|object has no attribute")


class _Streams:
    """Keeps what a command prints; stdin is empty."""

    def __init__(self) -> None:
        self.printed = b""

    def put(self, fd: int, data: bytes) -> None:
        self.printed += data

    async def drain(self) -> None:
        pass

    async def read(self) -> bytes:
        return b""


async def _answer(phone: Phone, *argv: str) -> bytes:
    streams = _Streams()
    try:
        async with asyncio.timeout(5):
            code = await run_command(Context(phone, list(argv), streams))
    except TimeoutError:
        assert argv[0] == "logcat", argv  # it follows
        return b""
    assert 0 <= code <= 255, (argv, code)
    return streams.printed


def _calls() -> list[list[str]]:
    preload()
    names = {"package": ["pm"], "activity": ["am"], "package-list": ["pm", "list"]}
    made = []
    for command, subs in TABLE.items():
        for sub in subs:
            if command in FOLLOWS or (command, sub) == ("svc", "power"):
                continue
            made.append([*names.get(command, [command]), *([sub] if sub else [])])
    return made


def test_no_word_makes_a_command_fail_in_its_own_words(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(home / "p") as phone:
            for call in _calls():
                for word in HOSTILE:
                    for words in ([word], ["--user", word, word]):
                        printed = await _answer(phone, *call, *(["-d"] if call == ["logcat"] else []), *words)
                        assert TROUBLE.search(printed) is None, (call, words, printed, caplog.text)

    asyncio.run(main())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_nor_do_made_up_lines(home: Path, data: st.DataObject) -> None:
    call = data.draw(st.sampled_from(_calls()))
    entry = TABLE[call[0]].get("") or next(iter(TABLE[call[0]].values()))
    known = [*entry.spec.flags, *entry.spec.values]
    word = st.sampled_from(HOSTILE) | st.text(max_size=12) | st.sampled_from(known or ["-d"]) | st.integers().map(str)
    words = data.draw(st.lists(word, max_size=6))

    async def main() -> None:
        async with running(home / f"p{abs(hash(tuple(words)))}") as phone:
            printed = await _answer(phone, *call, *(["-d"] if call == ["logcat"] else []), *words)
            assert TROUBLE.search(printed) is None, (call, words, printed)

    asyncio.run(main())


def test_services_refuse_in_androids_words(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            for line, code, said in (
                ("pm list packages -z", 255, "Error: Unknown option: -z"),
                ("pm nope", 255, "Unknown command: nope"),
                ("am nope", 255, "Unknown command: nope"),
                ("cmd nope", 20, "cmd: Can't find service: nope"),
                ("pm grant --user", 255, 'java.lang.IllegalArgumentException: Argument expected after "--user"'),
                ("pm disable-user com.none.app", 255, "java.lang.IllegalArgumentException: Unknown package: com.none.app"),
                ("am start --nope", 255, "java.lang.IllegalArgumentException: Unknown option: --nope"),
                ("am broadcast", 255, "java.lang.IllegalArgumentException: No intent supplied"),
                ("df -Q", 1, "df: Unknown option 'Q' (see \"df --help\")"),
                ("ps -o nope", 1, "ps: bad -o 'nope'"),
                ("logcat --nope -d", 1, "logcat: Unknown option 'nope'"),
                ("logcat -b nope -d", 1, "logcat: Unknown buffer 'nope'"),
                ("logcat -v nope -d", 1, 'logcat: Invalid parameter "nope" to -v'),
                ("settings get nope a", 255, "Invalid namespace 'nope'"),
                ("run-as com.none.app id", 1, "run-as: unknown package: com.none.app"),
                ("service check nope", 0, "Service nope: not found"),
                ("ime set a/.B", 255, "Unknown input method a/.B cannot be selected for user #0"),
            ):
                done = await adb.shell(line)
                printed = (done.stdout + done.stderr).decode()
                assert (done.code, said in printed) == (code, True), (line, done)

    asyncio.run(main())


def test_every_command_has_an_entry_and_a_help() -> None:
    preload()
    assert {name for name in COMMANDS if name not in TABLE} == set()
    assert set(TABLE) - set(COMMANDS) == {"package", "package-list", "activity"}
    assert all(one.does for subs in TABLE.values() for one in subs.values())


def test_the_table_in_the_docs_is_what_there_is() -> None:
    done = subprocess.run(
        [sys.executable, "docs/handset_commands.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


VALUES = {
    "--user": "0", "-b": "main", "--buffer": "main", "-f": "/sdcard/log.txt", "--file": "/sdcard/log.txt", "-v": "brief",
    "--format": "brief", "-G": "64K", "--buffer-size": "64K", "-k": "PID", "-o": "PID", "-O": "PID", "-d": "0", "--adj": "same",
}  # fmt: skip
NEEDED = {"-r": ["-f", "/sdcard/log.txt"], "--rotate-kbytes": ["-f", "/sdcard/log.txt"]}
NOT_DONE = re.compile(rb"Unknown option|Missing argument|Argument expected|refused|is not there on|a handset (has|takes|writes) no")


def test_every_option_that_is_listed_is_taken_and_every_refused_one_says_why(home: Path) -> None:
    async def main() -> None:
        preload()
        async with running(home / "p") as phone:
            phone.files.ensure()
            tried = 0
            for call in _calls():
                command = {"pm": "package", "am": "activity"}.get(call[0], call[0])
                key = ("package-list", call[2]) if call[:2] == ["pm", "list"] and len(call) > 2 else (command, *call[1:2])
                entry = TABLE[key[0]].get(key[1] if len(key) > 1 else "")
                if entry is None or entry.refused:
                    continue
                for option in str(entry.spec).split():
                    name = option.removesuffix("=")
                    words = [name, *([VALUES.get(name, "1")] if option.endswith("=") else [])]
                    words += {"logcat": ["-d"], "dumpsys": ["battery"]}.get(call[0], [])
                    words += NEEDED.get(name, []) if call == ["logcat"] else []
                    printed = await _answer(phone, *call, *words)
                    assert NOT_DONE.search(printed) is None, (call, words, printed)
                    tried += 1
                for name in entry.spec.refused:
                    words = [name, *(["1"] if name in entry.spec.values else [])]
                    assert entry.spec.refused[name].encode() in await _answer(phone, *call, *words), (call, words)
            assert tried > 200

    asyncio.run(main())
