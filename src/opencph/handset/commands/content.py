"""content, ime and service: what scripts read of providers, keyboards and services."""

from __future__ import annotations

import re

from opencph.handset.commands import Context
from opencph.handset.commands import settings as stored
from opencph.handset.commands.options import FAILED, Given, Refusal, check_user, shown, text, whole
from opencph.handset.commands.service_names import INTERFACES
from opencph.handset.commands.settings import KEYBOARD
from opencph.handset.commands.table import entry, refuse

_WHERE = re.compile(r"\s*name\s*=\s*['\"]([^'\"]{1,200})['\"]\s*")
_BIND = re.compile(r"([^:]{1,200}):([bsilfdn]):?(.*)", re.DOTALL)


@entry(
    "content query|insert|update|delete|call|read|write|gettype",
    None,
    does="--uri content://settings/{system,secure,global}[/NAME]: the settings; a handset has no other provider",
)
async def content(context: Context, given: Given) -> int:
    """Rows of the settings."""
    verb = context.args[0]
    values: dict[str, str] = {}
    bound: dict[str, str | None] = {}
    following = map(text, given.words)
    for word in following:
        value = next(following, "")
        if word == "--bind":
            found = _BIND.fullmatch(value)
            if found is None:
                raise Refusal(
                    f"[ERROR] Unsupported argument: --bind {shown(value)}: give COLUMN:TYPE:VALUE, TYPE of b s i l f d n", 1
                )
            bound[found[1]] = _bound(found[2], found[3])
        elif word in ("--uri", "--where", "--projection", "--sort", "--user"):
            values[word] = value
        else:
            raise Refusal(f"[ERROR] Unsupported argument: {shown(word)}", 1)
    check_user(verb, values.get("--user", "0"))
    if "--uri" not in values:
        raise Refusal("[ERROR] Content provider URI not specified. Did you specify --uri argument?", 1)
    match = re.fullmatch(r"content://settings/(system|secure|global)(?:/([^/]{1,200}))?", values["--uri"])
    if match is None or verb in ("call", "read", "write", "gettype"):
        provider = values["--uri"].removeprefix("content://").partition("/")[0]
        raise Refusal(f"[ERROR] Could not find provider: {shown(provider)}", 1)
    namespace, name = match[1], match[2] or bound.get("name") or ""
    if "--where" in values:
        where = _WHERE.fullmatch(values["--where"])
        if where is None:
            raise Refusal("[ERROR] --where: a handset understands name='NAME' only", 1)
        name = where[1]
    if verb == "query":
        rows = [(key, value) for key, value in sorted(stored.every(context.phone, namespace).items()) if name in ("", key)]
        columns = (values.get("--projection") or "_id:name:value").split(":")
        for number, (key, value) in enumerate(rows):
            cells = {"_id": str(number + 1), "name": key, "value": value}
            if set(columns) - set(cells):
                raise Refusal("[ERROR] Invalid column: _id, name and value are there", 1)
            context.out(f"Row: {number} " + ", ".join(f"{column}={cells[column]}" for column in columns))
        if not rows:
            context.out("No result found.")
    elif not name or (verb != "delete" and "value" not in bound):
        raise Refusal("[ERROR] give --bind name:s:NAME and --bind value:TYPE:VALUE", 1)
    elif verb == "delete" or (value_bound := bound["value"]) is None:
        stored.delete(context.phone, namespace, name)
    else:
        stored.put(context.phone, namespace, name, value_bound)
    return 0


def _bound(kind: str, word: str) -> str | None:
    """A value of a type as the settings keep it, which is text. Raises Refusal."""
    try:
        match kind:
            case "n":
                return None
            case "b":
                return str(word.casefold() == "true").lower()
            case "i" | "l":
                bits = 31 if kind == "i" else 63
                number = whole(word, -(1 << bits), (1 << bits) - 1)
                if number is None:
                    raise ValueError
                return str(number)
            case "f" | "d":
                return str(float(word[:40]))
    except ValueError:
        raise Refusal(f'[ERROR] java.lang.NumberFormatException: For input string: "{shown(word)}"', 1) from None
    return word


@entry("ime list", "-a -s --user=", does="the drawn keyboard; -s its id only")
async def ime_list(context: Context, given: Given) -> int:
    """One keyboard."""
    context.out(
        KEYBOARD
        if given.has("-s")
        else f"{KEYBOARD}:\n  mId={KEYBOARD} mSettingsActivityName=null mIsVrOnly=false\n  mIsDefaultResId=0x0"
    )
    return 0


@entry("ime enable|disable|set", "--user=", does="ID: the drawn keyboard stays; others are unknown")
async def ime_set(context: Context, given: Given) -> int:
    """In Android's words."""
    verb = context.args[0]
    name = given.first("input method")
    said = {"set": "selected", "enable": "enabled", "disable": "disabled"}[verb]
    if name != KEYBOARD:
        raise Refusal(f"Unknown input method {shown(name)} cannot be {said} for user #0", FAILED)
    if verb == "disable":
        raise Refusal(f"Input method {name} cannot be disabled for user #0: it is the only one", FAILED)
    context.out(f"Input method {name} {'selected' if verb == 'set' else 'already enabled'} for user #0")
    return 0


@entry("ime reset", "--user=", does="to the drawn keyboard")
async def ime_reset(context: Context, _: Given) -> int:
    """It is the one that is there."""
    context.out(f"Reset current and enabled IMEs for user #0\n  Newly selected: {KEYBOARD}\n  Newly enabled:\n\t{KEYBOARD}")
    return 0


@entry("service list", does="the services that `dumpsys` and `cmd` know")
async def service_list(context: Context, _: Given) -> int:
    """With their interfaces."""
    context.out(f"Found {len(INTERFACES)} services:")
    for number, (name, interface) in enumerate(INTERFACES.items()):
        context.out(f"{number}\t{name}: [{interface}]")
    return 0


@entry("service check", does="NAME: found or not found")
async def service_check(context: Context, given: Given) -> int:
    """In one line."""
    if not given.words:
        raise Refusal("service: No service specified for check", 10)
    context.out(f"Service {shown(given.words[0])}: {'found' if given.words[0] in INTERFACES else 'not found'}")
    return 0


refuse("service call", "a handset's services take no binder calls: use cmd, am, pm, wm, settings, input and dumpsys")
