"""What Android's shell has and a handset has only in words: each answers as Android does, or says why it does not."""

from __future__ import annotations

from opencph.handset import package_states, packages
from opencph.handset.commands import Context
from opencph.handset.commands.options import Given, Refusal, shown
from opencph.handset.commands.system import mounts
from opencph.handset.commands.table import entry, refuse
from opencph.handset.sandbox import outgoing

refuse("bugreport", "a handset has no Android to report on; `logcat -d` and `dumpsys` say what it knows")
refuse("bugreportz", "a handset has no Android to report on; `logcat -d` and `dumpsys` say what it knows")


@entry("getenforce", does="Disabled: the sandbox is not SELinux's")
async def getenforce(context: Context, _: Given) -> int:
    """As where SELinux is off."""
    context.out("Disabled")
    return 0


refuse("setenforce", "SELinux is disabled")


@entry("mount", None, does="what is mounted where; mounting is refused")
async def mount(context: Context, given: Given) -> int:
    """A line each."""
    words = list(given.words)
    kind = words[1] if len(words) == 2 and words[0] == "-t" else ""
    if words and not kind:
        raise Refusal(f"mount: {shown(words[-1])}: Operation not permitted", 1)
    for one in mounts(context):
        if kind in ("", one.kind):
            context.out(f"{one.device} on {one.path} type {one.kind} ({one.options})")
    return 0


@entry("su", None, does="refused: root is the API's ro.com.cph.non_root=0, and then the shell is root already")
async def su(context: Context, _: Given) -> int:
    """Nobody becomes what they are not."""
    if context.phone.adb_root:
        raise Refusal("su: this shell is root already: run the command itself", 1)
    allowed = context.phone.running_properties.get("ro.com.cph.non_root") == "0"
    why = "adbd is not root: `adb root`" if allowed else "ro.com.cph.non_root is 1"
    raise Refusal(f"su: uid 2000 not allowed to su: {why}", 1)


@entry("run-as", None, does="refused, with Android's reasons: no app runs, so nobody can be it")
async def run_as(context: Context, given: Given) -> int:
    """Unknown, not debuggable, or not runnable."""
    if not given.words:
        raise Refusal("run-as: usage: run-as <package-name> [--user <uid>] <command> [<args>]", 1)
    name = given.words[0]
    package = (await packages.installed(context.phone)).get(name)
    if package is None:
        raise Refusal(
            f"run-as: {'package not an application' if name in package_states.SYSTEM else 'unknown package'}: {shown(name)}", 1
        )
    if not package.debuggable:
        raise Refusal(f"run-as: package not debuggable: {name}", 1)
    raise Refusal(f"run-as: a handset runs no apps; the data of {name} is in /data/data/{name}, open to the shell", 1)


@entry("start", None, does="refused: root's in Android, and a handset has no services of init")
async def start(context: Context, given: Given) -> int:
    """Android wants root first."""
    if not context.phone.adb_root:
        raise Refusal("Must be root", 1)
    what = f"service {shown(given.words[0])}" if given.words else "Android framework"
    raise Refusal(f"{context.argv[0]}: a handset has no {what}; `reboot` restarts it", 1)


entry("stop", None, does="refused: root's in Android, and a handset has no services of init")(start)


_IP_LINK = {
    "lo": "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000\n"
    "    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00",
    outgoing.DEVICE: f"2: {outgoing.DEVICE}: <BROADCAST,UP,LOWER_UP> mtu {outgoing.MTU_BYTES} qdisc fq_codel state UNKNOWN "
    f"group default qlen 1000\n    link/ether {outgoing.MAC} brd ff:ff:ff:ff:ff:ff",
}
_FOREVER = "       valid_lft forever preferred_lft forever"
_IP_ADDRESS = {
    "lo": f"    inet 127.0.0.1/8 scope host lo\n{_FOREVER}\n    inet6 ::1/128 scope host\n{_FOREVER}",
    outgoing.DEVICE: f"    inet {outgoing.ADDRESS}/24 brd 10.0.2.255 scope global {outgoing.DEVICE}\n{_FOREVER}",
}


_OBJECTS = ("address", "link", "route", "rule", "neighbour", "neighbor")  # any beginning of these names means them
_CHANGES = ("add", "append", "change", "replace", "delete", "set", "flush")
_OPTIONS = ("-4", "-6", "-o", "-oneline", "-s", "-d", "-br", "-f", "inet", "inet6")


def _begins(word: str, names: tuple[str, ...]) -> str:
    """The first of these names that begins with a word, as iproute2 takes them; empty when none does."""
    return next((name for name in names if word and name.startswith(word)), "")


@entry(
    "ip",
    None,
    does="[-o] addr|link|route [show] [dev DEV]: the loopback, and eth0 where there is a way out; changing is refused",
)
async def ip(context: Context, given: Given) -> int:
    """What iproute2 says where there is a loopback, and what slirp4netns makes."""
    online = context.phone.config.network == "internet" and not outgoing.missing()
    words = [word for word in given.words if word not in _OPTIONS]
    one_line = not {"-o", "-oneline"}.isdisjoint(given.words)
    kind = _begins(words[0], _OBJECTS) if words else ""
    if not kind:
        raise Refusal(f'Object "{shown(words[0]) if words else ""}" is unknown, try "ip addr".', 1)
    rest = words[1:]
    if rest and _begins(rest[0], ("show", "list", "lst")):
        del rest[0]
    elif rest and rest[0] not in ("dev", outgoing.DEVICE) and _begins(rest[0], _CHANGES):
        raise Refusal("RTNETLINK answers: Operation not permitted", 2)
    if "dev" in rest[:-1]:
        rest = [rest[rest.index("dev") + 1]]
    device = rest[0] if rest and rest[0] not in ("dev", "table", "up", "scope", "all") else ""
    devices = ("lo", outgoing.DEVICE) if online else ("lo",)
    if device not in ("", *devices):
        raise Refusal(f'Device "{shown(device)}" does not exist.', 1)
    if kind in ("address", "link"):
        for each in devices:
            if device in ("", each):
                _ip_device(context, each, kind, one_line)
    if kind == "route" and online and device in ("", outgoing.DEVICE):
        context.out(f"default via {outgoing.GATEWAY} dev {outgoing.DEVICE}")
        context.out(f"10.0.2.0/24 dev {outgoing.DEVICE} proto kernel scope link src {outgoing.ADDRESS}")
    return 0


def _ip_device(context: Context, device: str, kind: str, one_line: bool) -> None:
    """A device as `ip addr` or `ip link` shows it; with -o each address, or the link, in a line."""
    if not one_line:
        context.out(_IP_LINK[device] + (f"\n{_IP_ADDRESS[device]}" if kind == "address" else ""))
    elif kind == "link":
        context.out("\\".join(_IP_LINK[device].splitlines()))
    else:
        number, _, _ = _IP_LINK[device].partition(":")
        lines = _IP_ADDRESS[device].splitlines()
        for address, forever in zip(lines[::2], lines[1::2], strict=True):
            context.out(f"{number}: {device}    {address.strip()}\\{forever}")
