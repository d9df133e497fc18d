"""uiautomator dump: what is on the screen, as the tree that test programs read. Running tests is refused."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from opencph.handset import apps
from opencph.handset.commands import Context
from opencph.handset.commands.options import Given, Refusal, shown
from opencph.handset.commands.screen import lacks_directory
from opencph.handset.commands.table import entry, refuse
from opencph.handset.packages import write_file
from opencph.handset.screen_layout import Item, layout, rotation, size

DEFAULT = "/sdcard/window_dump.xml"


def tree(context: Context) -> str:
    """The screen in uiautomator's XML."""
    phone = context.phone
    width, height = size(phone)
    package = apps.in_front(phone).partition("/")[0]
    items = layout(phone)
    nodes = [
        _node(number, one, items, package)
        for number, one in enumerate(item for item in items if item.kind != "fill" and not item.part and (item.text or item.action))
    ]
    head = "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>"
    root = _open(0, "", "", "android.widget.FrameLayout", package, "", False, (0, 0, width, height))
    return f'{head}<hierarchy rotation="{rotation(phone)}">{root}>{"".join(nodes)}</node></hierarchy>'


def _node(number: int, item: Item, items: list[Item], package: str) -> str:
    written = item.kind == "text" or (item.kind == "none" and bool(item.text))
    kind = "android.widget.TextView" if written else "android.widget.ImageView" if item.kind == "icon" else "android.view.View"
    if item.action == "focus:":
        kind = "android.widget.EditText"
    described = item.text if item.kind == "icon" or (item.kind == "none" and item.action) else ""
    text = item.text if written else ""
    action, _, target = item.action.partition(":")
    identity = f"{package}:id/{action}_{target}".rstrip("_") if item.action else ""
    return _open(number, text, identity, kind, package, described, bool(item.action), item.box) + " />"


def _open(
    number: int, text: str, identity: str, kind: str, package: str, described: str, taps: bool, box: tuple[int, int, int, int]
) -> str:
    values = {
        "index": str(number), "text": text, "resource-id": identity, "class": kind, "package": package, "content-desc": described,
        "checkable": "false", "checked": "false", "clickable": str(taps).lower(), "enabled": "true", "focusable": str(taps).lower(),
        "focused": "false", "scrollable": "false", "long-clickable": "false", "password": "false", "selected": "false",
        "bounds": f"[{box[0]},{box[1]}][{box[2]},{box[3]}]",
    }  # fmt: skip
    return "<node " + " ".join(f"{name}={quoteattr(_plain(value))}" for name, value in values.items())


def _plain(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(c if c.isprintable() else "." for c in text)


@entry(
    "uiautomator dump", "--compressed --verbose --windows", does=f"[FILE]: what is on the screen, as XML; without FILE to {DEFAULT}"
)
async def dump(context: Context, given: Given) -> int:
    """To a file of the phone, or to /dev/tty."""
    await apps.refresh(context.phone)
    path = given.words[0] if given.words else DEFAULT
    text = tree(context)
    if path == "/dev/tty":
        context.out(f"{text}UI hierchary dumped to: /dev/tty")
        return 0
    if lacks_directory(context, path):
        raise Refusal(f"ERROR: could not write {shown(path)}: No such file or directory", 1)
    try:
        write_file(context.phone, path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise Refusal(f"ERROR: could not write {path}: {error.strerror}", 1) from None
    context.out(f"UI hierchary dumped to: {path}")
    return 0


refuse("uiautomator runtest|events", "no test runs on a handset: it runs no apps")
