"""The read-only part of a phone's file tree as ADB's file service shows it: /system, and what of /proc scripts fetch.

Processes see these through the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from opencph.handset.nodes import Blob, Disk, HostFile, Link, Made, Node, layout

if TYPE_CHECKING:
    from opencph.handset.phone import Phone


def build_prop(phone: Phone) -> bytes:
    """/system/build.prop: the `ro.` properties."""
    values = phone.running_properties.all()
    return "".join(f"{name}={value}\n" for name, value in values.items() if name.startswith("ro.")).encode()


def _etc(phone: Phone) -> Mapping[str, Node]:
    """/system/etc as its processes have it."""
    from opencph.handset.sandbox.layout import etc

    return {name: Blob(partial(bytes, data)) for name, data in etc(phone).items()}


def phone_root(phone: Phone) -> Mapping[str, Node]:
    """The root directory of a phone."""
    from opencph.handset.sandbox import facts
    from opencph.handset.sandbox.image import system_image

    image = system_image()
    programs: dict[str, Node] = {}
    for name, target in image.programs.items():
        programs[name] = HostFile(target)
    for name, link in image.links.items():
        programs[name] = Link(link)
    system: dict[str, Node] = {"bin": programs, "build.prop": Blob(lambda: build_prop(phone)), "etc": Made(partial(_etc, phone))}
    proc: dict[str, Node] = {name: Blob(partial(facts.read, phone, name)) for name in facts.listed()}
    shares: dict[str, Node] = {name: Disk(directory) for name, directory in phone.config.real_shares().items()}
    return layout(system, shares, proc)
