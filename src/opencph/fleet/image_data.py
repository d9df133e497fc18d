"""Custom images in phones: the files of an image are laid down over ADB when a phone is made or reset, with whatever runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from opencph.adb.client import AdbError, connect
from opencph.fleet import Fleet, images, phone_files
from opencph.fleet.archives import ArchiveError
from opencph.runtimes import PhoneSpec

PHONES_AT_ONCE = 8
LAY_SECONDS = 3600.0


async def lay_down(fleet: Fleet, phones: Sequence[PhoneSpec]) -> dict[str, str]:
    """Put the files of their images into running phones: {phone_id: cause} of those that do not have them all.

    Phones of public images have nothing to be laid down. Doing it again changes nothing.
    """
    bound = asyncio.Semaphore(PHONES_AT_ONCE)
    causes: dict[str, str] = {}

    async def one(phone: PhoneSpec) -> None:
        async with bound:
            try:
                with await asyncio.to_thread(images.archive(fleet, phone.image_id).open, "rb") as file:
                    async with asyncio.timeout(LAY_SECONDS), await connect(phone.ip) as connection:
                        await phone_files.unpack(connection, file)
            except FileNotFoundError:
                causes[phone.phone_id] = f"the files of image {phone.image_id} are gone; give another image_id"
            except (AdbError, ArchiveError, OSError) as error:
                causes[phone.phone_id] = f"the files of image {phone.image_id} cannot be laid down: {error or 'it took too long'}"

    custom = [phone for phone in phones if phone.image_id not in fleet.catalogue.images]
    await asyncio.gather(*(one(phone) for phone in custom))
    return causes
