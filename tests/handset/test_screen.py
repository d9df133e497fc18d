"""The screen reacts: what fingers, keys and commands change is what the next picture and the next dumpsys show."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handset.one_phone import dial, running
from opencph.handset import drawing
from opencph.handset.screen_layout import hit, layout, size
from opencph.handset.screen_state import App

GAME = App("com.example.game", "Game", "com.example.game.Main", "1.2", "It would need Android")
STEPS = [
    "input tap 360 360",
    "input text ab%sc",
    "input keyevent DEL 66",
    "input keyevent SETTINGS",
    "input keyevent APP_SWITCH",
    "input keyevent HOME",
    "input swipe 300 5 300 900",
    "input keyevent BACK",
    "input keyevent POWER",
    "input keyevent POWER",
    "input swipe 300 1200 300 200 100",
    "settings put system user_rotation 1",
    "wm user-rotation lock 0",
    "wm size 480x800",
    "wm size reset",
    "cmd statusbar expand-notifications",
    "cmd statusbar collapse",
    "am start -a android.settings.SETTINGS",
]


def test_every_step_shows_and_repainting_equals_painting(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            before = (await adb.shell("screencap -p")).stdout
            for step in STEPS:
                done = await adb.shell(step)
                assert (done.code, done.stderr) == (0, b""), step
                after = (await adb.shell("screencap -p")).stdout
                assert after != before, step
                image = Image.open(io.BytesIO(after))
                image.load()
                fresh = drawing._paint(layout(phone), (0, 0, *size(phone)))
                assert image.tobytes() == fresh.tobytes(), step
                before = after
            assert (await adb.shell("screencap -p")).stdout == before

    asyncio.run(main())


def test_a_finger_finds_what_is_drawn(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone:
            screen = phone.running_screen
            screen.apps = (GAME,)
            for wanted in ("page:settings", "page:files", "focus:", "app:com.example.game", "key:3"):
                item = next(item for item in layout(phone) if item.action == wanted)
                x, y = (item.box[0] + item.box[2]) // 2, (item.box[1] + item.box[3]) // 2
                assert hit(phone, x, y) == wanted
            screen.act("app:com.example.game")
            assert screen.app == GAME
            texts = " ".join(item.text for item in layout(phone))
            assert "Game is installed" in texts and "not Android" in texts
            screen.close_app("com.example.game")
            assert (screen.page, screen.recent) == ("home", [])

    asyncio.run(main())


def test_the_drawn_keyboard_types(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            await adb.shell("input tap 360 360")
            assert b"mInputShown=true" in (await adb.shell("dumpsys input_method")).stdout
            for letter in "go":
                item = next(item for item in layout(phone) if item.action == f"type:{letter}")
                await adb.shell(f"input tap {(item.box[0] + item.box[2]) // 2} {(item.box[1] + item.box[3]) // 2}")
            assert phone.running_screen.text == "go"
            await adb.shell("input keyevent BACK")
            assert b"mInputShown=false" in (await adb.shell("dumpsys input_method")).stdout

    asyncio.run(main())


def test_sleep_locks_and_a_swipe_unlocks(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            await adb.shell("input keyevent 26")
            assert b"mWakefulness=Asleep" in (await adb.shell("dumpsys power")).stdout
            await adb.shell("input keyevent 26")
            assert b"mShowingLockscreen=true" in (await adb.shell("dumpsys window")).stdout
            await adb.shell("input text ignored")
            assert phone.running_screen.text == ""
            await adb.shell("input swipe 300 1000 300 200")
            assert b"mShowingLockscreen=false" in (await adb.shell("dumpsys window")).stdout

    asyncio.run(main())


def test_a_turned_screen_has_its_sides_changed(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            await adb.shell("wm user-rotation lock 1")
            assert Image.open(io.BytesIO((await adb.shell("screencap -p")).stdout)).size == (1280, 720)
            assert b"ROTATION_90" in (await adb.shell("dumpsys window")).stdout
            assert (await adb.shell("wm user-rotation")).stdout == b"lock 1\n"

    asyncio.run(main())


def test_what_is_not_there_cannot_be_started(home: Path) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            done = await adb.shell("am start -n com.none/.Main")
            assert done.code == 1
            assert b"Activity class {com.none/com.none.Main} does not exist" in done.stderr
            done = await adb.shell("am start -a android.intent.action.VIEW -d https://example.com")
            assert done.code == 1 and b"unable to resolve Intent { act=android.intent.action.VIEW" in done.stderr
            done = await adb.shell("monkey -p com.none -c android.intent.category.LAUNCHER 1")
            assert (done.code, done.stdout) == (252, b"** No activities found to run, monkey aborted.\n")
            done = await adb.shell("am start -W com.android.settings/.Settings")
            assert done.code == 0 and b"Status: ok" in done.stdout
            front = b"com.android.settings/.Settings"
            assert front in (await adb.shell("dumpsys activity activities")).stdout
            assert not (home / "p" / "data").exists()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("input tap nan 1", 255),
        ("input tap 1e9 1", 255),
        ("input tap a b", 255),
        ("input keyevent NONE", 255),
        ("input keyevent KEYCODE_NOPE", 255),
        ("input swipe 1 2 3", 255),
        ("monkey 99999999", 255),
    ],
)
def test_nonsense_is_refused(home: Path, line: str, code: int) -> None:
    async def main() -> None:
        async with running(home / "p") as phone, await dial(phone) as adb:
            done = await adb.shell(line)
            assert (done.code, done.stdout) == (code, b"") and done.stderr

    asyncio.run(main())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(200, 2000), height=st.integers(200, 2000))
def test_a_monkey_never_breaks_the_screen(tmp_path_factory: pytest.TempPathFactory, seed: int, width: int, height: int) -> None:
    async def main() -> None:
        async with running(tmp_path_factory.mktemp("m") / "p", width=width, height=height) as phone, await dial(phone) as adb:
            assert (await adb.shell(f"monkey -s {seed} 60")).code == 0
            image = Image.open(io.BytesIO((await adb.shell("screencap -p")).stdout))
            image.load()
            assert image.size == (width, height)

    asyncio.run(main())
