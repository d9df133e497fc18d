"""Letters on the screen: each is written in a font that has it, as broad as the layout takes it; a box where none has it."""

from __future__ import annotations

import asyncio
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PIL import Image, ImageDraw, ImageFont

from handset.one_phone import dial, running
from opencph import doctor
from opencph.handset import drawing, fonts
from opencph.handset.screen_layout import Item, breadth, fit, layout, size
from opencph.handset.screen_state import App
from opencph.settings import Settings

BOX = "\U0010fffe"  # no letter: no font will ever have it
PIXELS = 40


@pytest.fixture
def letters_font() -> str:
    """The machine's font with accents."""
    if not (path := fonts.letters_font()):
        pytest.skip("no font with accents: `sudo apt-get install fonts-dejavu-core`")
    return path


@pytest.fixture
def fresh_runs() -> Iterator[None]:
    """What was found out with the machine's fonts is forgotten, before and after."""
    drawing._runs.cache_clear()
    yield
    drawing._runs.cache_clear()


def _written(text: str, anchor: str = "lm", x: int = 20) -> Image.Image:
    image = Image.new("L", (1200, 2 * PIXELS))
    drawing._write(ImageDraw.Draw(image), x, PIXELS, Item("text", (0, 0, 1, 1), text, "white", PIXELS, anchor))
    return image


def test_letters_with_accents_and_of_other_alphabets_are_no_boxes(letters_font: str) -> None:
    text = "éÜïßÄöñłąęśćżřőșğıŐệữảđПриветЩѓґΩλνηά€—„№"
    shapes = {letter: _written(letter).tobytes() for letter in text}
    box = _written(BOX).tobytes()
    assert [letter for letter, shape in shapes.items() if shape == box] == []
    assert len(set(shapes.values())) == len(set(text))


def test_a_phone_shows_what_was_typed_and_how_it_and_its_apps_are_called(home: Path, letters_font: str) -> None:
    async def main() -> None:
        async with running(home / "p", name="Ünïcode") as phone, await dial(phone) as adb:

            async def shown() -> bytes:
                image = Image.open(io.BytesIO((await adb.shell("screencap -p")).stdout))
                fresh = drawing._paint(layout(phone), (0, 0, *size(phone)))
                assert image.tobytes() == fresh.tobytes()  # what was there before is gone
                return image.tobytes()

            phone.running_screen.apps = (App("com.example.cafe", "Über Café", "com.example.cafe.Main", "1", ""),)
            pictures = [await shown()]
            phone.reconfigure(msgspec.structs.replace(phone.config, name="Ônïcode"))
            phone.running_screen.version += 1
            pictures.append(await shown())
            phone.running_screen.apps = (App("com.example.cafe", "Öber Cafè", "com.example.cafe.Main", "1", ""),)
            phone.running_screen.version += 1
            pictures.append(await shown())
            for typed in ("Привет", "Аркадя", "ñ ł ßä", "ü ø Ææ"):  # as boxes they would be the same
                assert (await adb.shell(f"input tap 360 360; input text '{typed}'")).code == 0
                assert phone.running_screen.text == typed
                pictures.append(await shown())
                assert (await adb.shell("input keyevent DEL DEL DEL DEL DEL DEL")).code == 0
            assert len(set(pictures)) == len(pictures)

    asyncio.run(main())


def test_no_letter_is_broader_than_the_layout_takes_it(letters_font: str) -> None:
    font = ImageFont.truetype(letters_font, 100, layout_engine=ImageFont.Layout.BASIC)
    there = [
        chr(number)
        for number in (*range(0x20, 0x530), *range(0x1E00, 0x2070))
        if unicodedata.normalize("NFC", chr(number)) == chr(number).strip()  # what is another letter in disguise is drawn as that
        and not unicodedata.combining(chr(number))
        and drawing._has(letters_font, chr(number))
    ]
    others = [letter for letter in there if not drawing._has("", letter)]
    assert len(others) > 1000
    assert [letter for letter in others if font.getlength(letter) > 100 * breadth(letter)] == []
    own = ImageFont.load_default(100)
    assert [letter for letter in map(chr, range(0x20, 0x7F)) if own.getlength(letter) > 100 * breadth(letter)] == []


def test_common_words_are_not_cut_where_there_is_room(letters_font: str) -> None:
    for word in ("Настройки", "Über Café", "Tiếng Việt", "Ελληνικά", "Ustawienia"):
        assert fit(word, 7.5) == word
    cut = fit("Настройки телефона", 7.5)
    assert cut.endswith("…") and breadth(cut) <= 7.5


def test_marks_of_their_own_stand_on_their_letter(letters_font: str) -> None:
    assert _written("Cafe\u0301").tobytes() == _written("Café").tobytes()
    assert breadth("Cafe\u0301") == breadth("Café")
    assert drawing._runs("x\u0304y") == ((letters_font, "x\u0304"), ("", "y"))


@pytest.mark.parametrize("anchor", ["lm", "mm", "rm"])
def test_letters_of_several_fonts_stand_on_one_line_at_their_anchor(letters_font: str, anchor: str) -> None:
    both = _written("HÜH", anchor, 600).getbbox()
    one = _written("HUH", anchor, 600).getbbox()
    assert both is not None and one is not None
    assert abs(both[3] - one[3]) <= 1  # their feet
    middle = {"l": both[0], "m": (both[0] + both[2]) / 2, "r": both[2]}[anchor[0]]
    assert abs(middle - 600) <= PIXELS / 5


def test_what_no_font_has_is_a_box(monkeypatch: pytest.MonkeyPatch, fresh_runs: None) -> None:
    box = _written(BOX).tobytes()
    assert sum(_written(BOX).tobytes()) > 0
    monkeypatch.setattr(drawing, "letters_font", lambda: "")
    monkeypatch.setattr(drawing, "chinese_font", lambda: "")
    for letter in "éПệ名":
        assert _written(letter).tobytes() == box
    assert _written("e").tobytes() != box
    assert drawing._runs("é名 e\u0301") == (("", "é名 é"),)


def test_characters_that_cannot_be_written_do_not_end_the_picture() -> None:
    assert _written("a\nПривет\t名\x00\ud800\u200d").getbbox() is not None


def test_doctor_names_the_fonts_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._letters in doctor.CHECKS
    monkeypatch.setattr(fonts, "letters_font", lambda: "/fonts/DejaVuSans.ttf")
    monkeypatch.setattr(fonts, "chinese_font", lambda: "/fonts/Droid.ttf")
    found = doctor._letters(Settings())
    assert (found.state, found.found) == ("ok", "accents, Greek and Cyrillic: DejaVuSans.ttf, Chinese: Droid.ttf")
    monkeypatch.setattr(fonts, "letters_font", lambda: "")
    found = doctor._letters(Settings())
    assert (found.state, found.fix) == ("note", "sudo apt-get install fonts-dejavu-core")
    assert found.found == "no font for accents, Greek and Cyrillic: a box stands for each letter on phones' screens"
    monkeypatch.setattr(fonts, "chinese_font", lambda: "")
    assert doctor._letters(Settings()).fix == "sudo apt-get install fonts-dejavu-core fonts-droid-fallback"
