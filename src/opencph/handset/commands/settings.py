"""settings: get, put, delete and list in the namespaces system, secure and global. Kept until the phone is reset."""

from __future__ import annotations

from opencph.handset.commands import Context

NAMESPACES = ("system", "secure", "global")
VALUE_MAX_BYTES = 4096
COUNT_MAX = 512


async def settings(context: Context) -> int:
    """As Android's, without users."""
    args = list(context.args)
    if args[:1] == ["--user"]:
        del args[:2]
    if len(args) < 2 or args[1] not in NAMESPACES:
        return context.error("usage: settings get|put|delete|list system|secure|global [KEY [VALUE]]")
    verb, namespace, *rest = args
    stored = context.phone.running_state.settings.setdefault(namespace, {})
    match verb, rest:
        case "list", []:
            for name in sorted(stored):
                context.out(f"{name}={stored[name]}")
        case "get", [name]:
            context.out(stored.get(name, "null"))
        case "put", [name, value, *_]:
            if len(value.encode()) > VALUE_MAX_BYTES or (name not in stored and len(stored) >= COUNT_MAX):
                return context.error(f"settings: at most {COUNT_MAX} values of {VALUE_MAX_BYTES} bytes")
            stored[name] = value
            context.phone.running_screen.version += 1  # the screen may follow it
            context.phone.save_state()
        case "delete", [name]:
            gone = stored.pop(name, None)
            context.phone.save_state()
            context.out(f"Deleted {0 if gone is None else 1} rows")
        case _:
            return context.error("usage: settings get|put|delete|list system|secure|global [KEY [VALUE]]")
    return 0
