"""am, monkey and input: what would start and touch apps. Touches reach the screen; there are no apps to start, and it says so."""

from __future__ import annotations

from opencph.handset.commands import Context

NO_APPS = "an OpenCPH handset is not Android and runs no apps"
KEYS = {"HOME": 3, "BACK": 4, "POWER": 26, "ENTER": 66, "DEL": 67, "MENU": 82, "SLEEP": 223, "WAKEUP": 224}


async def am(context: Context) -> int:
    """start and its kin fail with the reason; what has nothing to do succeeds."""
    match context.args:
        case ["get-current-user"]:
            context.out("0")
            return 0
        case ["force-stop" | "kill" | "kill-all", *_]:
            return 0
        case ["start" | "start-activity" | "startservice" | "start-service" | "instrument", *rest]:
            context.out(f"Starting: {' '.join(rest)}")
            context.error(f"Error: Activity class does not exist: {NO_APPS}")
            return 1
        case ["broadcast", *_]:
            context.out("Broadcast completed: result=0")
            return 0
        case _:
            return context.error(f"am: unknown command {' '.join(context.args[:1])!r}: {NO_APPS}")


async def monkey(context: Context) -> int:
    """Starts apps, where there are any."""
    context.out(f"** No activities found to run, monkey aborted: {NO_APPS}.")
    return 252


async def input_(context: Context) -> int:
    """tap, swipe, text, keyevent: the drawn screen shows them."""
    args = context.args
    if args and args[0] in ("touchscreen", "keyboard", "touchpad", "mouse"):
        args = args[1:]
    screen = context.phone.running_screen
    try:
        match args:
            case ["tap", x, y]:
                screen.tap(int(float(x)), int(float(y)))
            case ["swipe" | "draganddrop", x1, y1, x2, y2, *rest]:
                for number in (x1, y1, *rest):
                    float(number)
                screen.tap(int(float(x2)), int(float(y2)))
            case ["text", *words]:
                screen.type(" ".join(words).replace("%s", " "))
            case ["keyevent", *names] if names:
                for name in names:
                    if not name.startswith("--"):
                        screen.key(_key(name))
            case ["motionevent" | "roll" | "press", *_]:
                pass
            case _:
                return context.error("usage: input [SOURCE] tap X Y | swipe X1 Y1 X2 Y2 [MS] | text STRING | keyevent KEY...")
    except ValueError as error:
        return context.error(f"input: {error}")
    return 0


def _key(name: str) -> int:
    if name.isdecimal():
        return int(name)
    code = KEYS.get(name.removeprefix("KEYCODE_"))
    if code is not None:
        return code
    if name.startswith("KEYCODE_"):
        return 0
    raise ValueError(f"unknown key {name!r}")
