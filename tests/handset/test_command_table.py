"""Every command, with hostile words: an answer in the command's own form, never a traceback; and the table of them in the docs."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handset.one_phone import dial, running
from opencph.handset.commands import COMMANDS, Context, preload, run_command
from opencph.handset.commands.table import TABLE
from opencph.handset.phone import Phone
from opencph.handset.state import FILE_NAME, copy, load

ROOT = Path(__file__).parent.parent.parent
HOSTILE = (
    "", "-", "--", "-x", "--nope", "--user", "-1", "0", "²", "9" * 40,
    "a/b", "/", "..", "\udcff", "\ud800", "\0", "%s%n", "[", "(?", "x" * 5000,
    "-S", "-n", "com.none.app", "content://x", "1e400", "nan", "\n", "--user=7", "-p", "-e",
)  # fmt: skip
FOLLOWS = frozenset(("watchprops", "reboot"))  # these never end, or end the phone
#: lines of every command that finds its way by its words: a hostile one is in each place in turn, and the command gets that far
LINES = """
am start|start-activity|startservice|start-service|start-foreground-service|startforegroundservice|stopservice|stop-service -n X
am broadcast|to-uri|to-intent-uri|to-app-uri|start -a X -d X -t X -c X --es X X --ei X 1
am instrument -w -e X X X
am stack|task X 1
am stack|task list X
am idle-maintenance|clear-debug-app|set-debug-app|set-inactive|set-standby-bucket|send-trim-memory|make-uid-idle|write X X
appctrl install|start|uninstall|applyConfig X
appctrl X com.a.b
appops|cmd_appops get|set X X
cmd X X
cmd -w X
cmd statusbar|connectivity|wifi|uimode|power|notification|display|overlay X
cmd connectivity airplane-mode X
cmd wifi set-wifi-enabled X
cmd uimode night X
cmd power set-mode X
cmd display set-brightness X
cmd overlay enable X
cmd battery set X 1
cmd battery set level X
cmd battery get X
cmd deviceidle whitelist +X -X =X X
cmd deviceidle get|step|force-idle X
cmd clipboard|phone|jobscheduler|netpolicy|shortcut|role|font|bluetooth_manager|webviewupdate|lock_settings|backup X
cmd device_policy|procstats|netstats|usagestats X
content insert|update|query|delete|call|read|write|gettype --uri content://settings/system --bind name:s:X --bind value:s:X
content insert --uri content://settings/X --bind name:s:a --bind value:X:1
content query|update|delete --uri content://settings/global/X --bind value:s:1
content query|delete --uri content://settings/secure --where name='X' --projection X
device_config get|delete X X
device_config list|reset X
device_config put X a 1
device_config put a X 1
device_config put a a X
input tap X 1
input swipe 1 1 X X X
input text|keyevent X
input motionevent DOWN X X
input -d X tap 1 1
ip addr|link|route show dev X
ip X
media volume --stream X --set X
monkey -p X -c X -s X --throttle X 1
monkey --pct-touch X X
monkey --pkg-whitelist-file X 1
mount -t X
pm list packages|features|instrumentation|libraries|permissions|permission-groups|users X
pm resolve-activity|query-activities|query-services|query-receivers -a X -d X
pm set-install-location X
pm grant|revoke com.android.settings X
pm disable-user|enable|suspend|hide X/X
run-as X id
settings get|delete|reset|list system|secure|global X
settings put system|secure|global X 1
settings put system|secure|global a X
settings --user X put system a 1
setprop X 1
setprop persist.X 1
setprop persist.a X
setprop a X
start|stop|su X X
svc power stayon X
svc wifi|data|bluetooth|nfc X
svc usb setFunctions X
wm size|density X
wm user-rotation lock X
wm user-rotation|set-fix-to-user-rotation|X X
wm -d X size 480x800
"""
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


def _lines() -> Iterator[list[str]]:
    """LINES with every choice made; a "_" joins the words of one."""
    for line in LINES.split("\n"):
        if line:
            for words in product(*(word.split("|") for word in line.split(" "))):
                yield [part for word in words for part in (word.split("_") if word.startswith("cmd_") else [word])]


def test_every_command_that_finds_its_way_by_its_words_has_lines_for_hostile_ones() -> None:
    preload()
    known = {("pm", *line[1:2]) if line[0] == "pm" else tuple(line[:2]) for line in _lines()}
    known |= {line[:1] for line in known}
    lacking = []
    for command, subs in TABLE.items():
        name = {"package": "pm", "activity": "am", "package-list": "pm"}.get(command, command)
        lacking += [
            (name, sub)
            for sub, one in subs.items()
            if one.spec.raw and not one.refused and tuple(filter(None, (name, sub))) not in known
        ]
    assert lacking == []


def test_hostile_words_get_where_they_are_kept_and_what_is_kept_is_text(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(home / "p") as phone:
            for line in _lines():
                for hostile in HOSTILE:
                    words = [word.replace("X", hostile) for word in line]
                    printed = await _answer(phone, *words)
                    assert TROUBLE.search(printed) is None, (words, printed, caplog.text)
                    on_disk = load(phone.config.directory)
                    assert phone.running_state == on_disk and phone.running_properties.persistent == on_disk.properties, words
            kept = phone.running_state
            assert kept.settings["system"]["?"] == "1" and kept.settings["config"]["?/a"] == "1" and kept.settings["global"]["a"]

    asyncio.run(main())


def test_what_cannot_be_kept_leaves_everything_as_it_was(home: Path) -> None:
    changes = (
        "settings put system a 2", "settings delete system a", "settings reset global x", "setprop persist.a 2", "wm size 480x800",
        "wm reset", "wm user-rotation free", "pm disable-user com.android.settings", "cmd uimode night yes", "svc power stayon ac",
        "device_config put a b 2", "pm set-install-location 2",
    )  # fmt: skip

    async def main() -> None:
        async with running(home / "p") as phone:
            for line in ("settings put system a 1", "settings put global a 1", "setprop persist.a 1", "wm size 400x700"):
                assert await _answer(phone, *line.split()) == b""
            before = copy(phone.running_state)
            (phone.config.directory / FILE_NAME).rename(home / "kept")
            (phone.config.directory / FILE_NAME).mkdir()  # no file takes the place of a directory
            for line in changes:
                assert b"cannot write" in await _answer(phone, *line.split()), line
                assert phone.running_state == before and phone.running_properties.get("persist.a") == "1", line
            (phone.config.directory / FILE_NAME).rmdir()
            for line in changes:
                assert b"cannot write" not in await _answer(phone, *line.split()), line
            assert phone.running_state == load(phone.config.directory) != before

    asyncio.run(main())


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
