"""media and `dumpsys audio`: volumes, which are settings, for a handset plays nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opencph.handset.commands import Context
from opencph.handset.commands import settings as stored
from opencph.handset.commands.options import FAILED, Given, Refusal, shown, whole
from opencph.handset.commands.table import entry, refuse

if TYPE_CHECKING:
    from opencph.handset.phone import Phone


class Stream(NamedTuple):
    """A kind of sound with the limits of its volume."""

    name: str
    setting: str
    low: int
    high: int


STREAMS = (
    Stream("STREAM_VOICE_CALL", "volume_voice", 1, 5),
    Stream("STREAM_SYSTEM", "volume_system", 0, 7),
    Stream("STREAM_RING", "volume_ring", 0, 7),
    Stream("STREAM_MUSIC", "volume_music", 0, 15),
    Stream("STREAM_ALARM", "volume_alarm", 1, 7),
    Stream("STREAM_NOTIFICATION", "volume_notification", 0, 7),
)  # by number
MUSIC = 3
KEYS = ["play", "pause", "play-pause", "mute", "headsethook", "stop", "next", "previous", "rewind", "record", "fast-forward"]
USAGE = (
    "usage: media [subcommand] [options]\n"
    "       media dispatch KEY\n"
    "       media list-sessions\n"
    "       media volume [options]\n"
    f"media dispatch: {' '.join(KEYS)}\n"
    "media volume: --stream STREAM, --set INDEX, --adj raise|same|lower, --get, --show: streams 0 to 5, 3 is music"
)


def volume(phone: Phone, stream: Stream) -> int:
    """Its index."""
    found = whole(stored.every(phone, "system").get(stream.setting, ""), stream.low, stream.high)
    return stream.low if found is None else found


@entry("media volume", "--stream= --set= --adj= --get --show", does="the volume of a stream, a setting: a handset plays nothing")
async def media_volume(context: Context, given: Given) -> int:
    """In the words of Android's."""
    number = whole(given.value("--stream", default=str(MUSIC)), 0, len(STREAMS) - 1)
    if number is None:
        raise Refusal(f"Error: Invalid stream {shown(given.value('--stream'))}: 0 to {len(STREAMS) - 1}", 1)
    stream = STREAMS[number]
    context.out(f"[v] will control stream={number} ({stream.name})")
    index = None
    if given.has("--set"):
        index = whole(given.value("--set"), stream.low, stream.high)
        if index is None:
            raise Refusal(f"Error: {shown(given.value('--set'))} is not in the range [{stream.low}..{stream.high}]", 1)
        context.out(f"[v] will set volume to index={index}")
    elif given.has("--adj"):
        step = {"raise": 1, "same": 0, "lower": -1}.get(given.value("--adj"))
        if step is None:
            raise Refusal(f"Error: Invalid adjustment '{shown(given.value('--adj'))}': raise, same or lower", 1)
        context.out(f"[v] will adjust volume {given.value('--adj')}")
        index = max(stream.low, min(stream.high, volume(context.phone, stream) + step))
    if index is not None:
        stored.put(context.phone, "system", stream.setting, str(index))
    if given.has("--get"):
        context.out("[v] will get volume\n[v] Connecting to AudioService")
        context.out(f"[v] volume is {volume(context.phone, stream)} in range [{stream.low}..{stream.high}]")
    return 0


@entry("media dispatch", does=f"KEY ({', '.join(KEYS)}): no session hears it")
async def media_dispatch(context: Context, given: Given) -> int:
    """Silent, as where nothing plays."""
    if given.words[:1] and given.words[0] in KEYS:
        return 0
    raise Refusal(f"Error: unknown dispatch code '{shown(' '.join(given.words[:1]))}'\n{USAGE}", FAILED)


@entry("media list-sessions", does="none")
async def media_sessions(context: Context, _: Given) -> int:
    """Nothing plays."""
    context.out("Sessions:")
    return 0


refuse("media monitor", "nothing plays on a handset that could be watched")


async def audio(context: Context, _: list[str]) -> list[str]:
    """dumpsys audio."""
    made = [
        "MediaFocusControl dump:",
        "",
        "Audio Focus stack entries (last is top of stack):",
        "",
        "Stream volumes (device: index)",
    ]
    for stream in STREAMS:
        index = volume(context.phone, stream)
        made += [
            f"- {stream.name}:",
            f"   Muted: {str(not index).lower()}",
            "   Muted Internally: false",
            f"   Min: {stream.low}",
            f"   Max: {stream.high}",
            f"   streamVolume:{index}",
            f"   Current: 40000000 (default): {index}",
            "   Devices: none: a handset plays nothing",
        ]
    mode = {"0": "SILENT", "1": "VIBRATE"}.get(stored.every(context.phone, "global").get("mode_ringer", ""), "NORMAL")
    return [*made, "", "Ringer mode:", f"- mode (internal) = {mode}", f"- mode (external) = {mode}", "", "Audio routes:", "  none"]


async def sessions(_: Context, __: list[str]) -> list[str]:
    """dumpsys media_session."""
    return ["MEDIA SESSION SERVICE (dumpsys media_session)", "", "0 sessions listeners.", "Sessions Stack - have 0 sessions:"]
