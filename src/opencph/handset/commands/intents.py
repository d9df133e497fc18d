"""Intents as `am` and `pm` take them on the command line, shown as Android shows them."""

from __future__ import annotations

from urllib.parse import quote as _quote
from urllib.parse import unquote

from opencph.handset import apps
from opencph.handset.commands.options import check_user, shown, threw, whole

MAIN, LAUNCHER = "android.intent.action.MAIN", "android.intent.category.LAUNCHER"
VIEW = "android.intent.action.VIEW"
_ONE_TEXT = """
    -a -d -t -i -c -n -p -f -P -R --display --windowingMode --activityType --task --user --start-profiler --sampling
    --streaming --receiver-permission --attach-agent --attach-agent-bind --esn --selector
"""
_ONE = frozenset(_ONE_TEXT.split())
_TWO = {
    "-e": "S", "--es": "S", "--ei": "i", "--el": "l", "--ef": "f", "--ez": "B", "--eu": "S", "--ecn": "S", "--eia": "",
    "--eial": "",
    "--ela": "", "--elal": "", "--efa": "", "--efal": "", "--esa": "", "--esal": "",
}  # fmt: skip
_NONE_TEXT = "-D -N -W -S -w -r --track-allocation --task-overlay --lock-task --allow-background-activity-starts"
_NONE = frozenset(_NONE_TEXT.split())
_FLAGS_TEXT = """
    --grant-read-uri-permission --grant-write-uri-permission --grant-persistable-uri-permission
    --grant-prefix-uri-permission --exclude-stopped-packages --include-stopped-packages --debug-log-resolution
    --activity-brought-to-front --activity-clear-top --activity-clear-when-task-reset --activity-exclude-from-recents
    --activity-launched-from-history --activity-multiple-task --activity-no-animation --activity-no-history
    --activity-no-user-action --activity-previous-is-top --activity-reorder-to-front --activity-reset-task-if-needed
    --activity-single-top --activity-clear-task --activity-task-on-home --activity-match-external
    --receiver-registered-only --receiver-replace-pending --receiver-foreground --receiver-no-abort
    --receiver-include-background
"""
_FLAGS = frozenset(_FLAGS_TEXT.split())
REPEAT_MAX = 100
FROM_SHELL = 0x400000  # FLAG_RECEIVER_FROM_SHELL
OPTIONS = " ".join(sorted((*(f"{name}=" for name in _ONE), *(f"{name}=" for name in _TWO), *_NONE)))


def quote(text: str, safe: str = "") -> str:
    """Percent-encoded."""
    return _quote(text, safe=safe, errors="replace")


class Intent:
    """What follows `am start` and its kin. Raises Refusal for options that Android does not know, and for no intent at all."""

    def __init__(self, words: list[str], what: str = "start") -> None:
        self.action = self.data = self.kind = self.component = self.package = ""
        self.categories: list[str] = []
        self.extras: list[tuple[str, str, str]] = []
        self.flags = 0
        self.repeat = 1
        self.options: set[str] = set()
        self.rest: list[str] = []
        at = 0
        while at < len(words):
            word = words[at]
            count = 1 if word in _ONE else 2 if word in _TWO else 0
            if at + count >= len(words):
                raise threw(what, "IllegalArgumentException", f'Argument expected after "{words[-1]}"')
            values = words[at + 1 : at + 1 + count]
            self._take(what, word, values)
            at += 1 + count

    def _take(self, what: str, word: str, values: list[str]) -> None:
        match word:
            case "-a":
                self.action = values[0]
            case "-d":
                self.data = values[0]
            case "-t":
                self.kind = values[0]
            case "-c":
                self.categories.append(values[0])
            case "-p":
                self.package = values[0]
            case "--user":
                check_user(what, values[0])
            case "-n":
                self._name(what, values[0])
            case "-f":
                self._flag(what, values[0])
            case "-R":
                self.repeat = self._times(what, values[0])
            case "--esn":
                self.extras.append(("S", values[0], ""))
            case _ if word in _TWO:
                self.extras.append((_TWO[word], *values))  # type: ignore[arg-type]
            case _ if word in _ONE or word in _NONE or word in _FLAGS:
                self.options.add(word)
            case _ if word.startswith("-"):
                raise threw(what, "IllegalArgumentException", f"Unknown option: {shown(word)}")
            case _:
                self._bare(what, word)

    def _name(self, what: str, text: str) -> None:
        package, slash, activity = text.partition("/")
        if not slash or not package or not activity:
            raise threw(what, "IllegalArgumentException", f"Bad component name: {shown(text)}")
        self.component = text

    def _flag(self, what: str, text: str) -> None:
        try:
            value = int(text, 0) if len(text) < 12 else -1
        except ValueError:
            value = -1
        if not 0 <= value < 1 << 32:
            raise threw(what, "NumberFormatException", f'For input string: "{shown(text)}"')
        self.flags |= value

    def _times(self, what: str, text: str) -> int:
        count = whole(text, 0, REPEAT_MAX)
        if count is None:
            raise threw(what, "NumberFormatException", f'For input string: "{shown(text)}": -R takes 0 to {REPEAT_MAX}')
        return max(1, count)

    def _bare(self, what: str, word: str) -> None:
        """URI, component or package, as in the last word of `am start`."""
        self.rest.append(word)
        if ":" in word:
            self._uri(what, word)
            return
        if "/" in word:
            self._name(what, word)
        else:
            self.package = word
        self.action = self.action or MAIN
        if LAUNCHER not in self.categories:
            self.categories.append(LAUNCHER)

    def _uri(self, what: str, word: str) -> None:
        """Any URI, or an intent as one: `intent:...#Intent;action=...;end`. What options said holds."""
        head, mark, tail = word.rpartition("#Intent;")
        fields: dict[str, str] = {}
        if mark:
            parts, semicolon, end = tail.rpartition(";")
            if f"{semicolon}{end}" != ";end" and tail != "end":
                raise threw(what, "IllegalArgumentException", f"Bad URI: {shown(word)}")
            for part in parts.split(";") if parts else ():
                name, equals, value = part.partition("=")
                if not equals:
                    raise threw(what, "IllegalArgumentException", f"Bad URI: {shown(word)}")
                self._field(what, name, unquote(value), fields)
        else:
            head = word
        scheme, _, rest = head.partition(":")
        if scheme == "android-app":
            package, _, rest = rest.removeprefix("//").partition("/")
            self.package = self.package or package
            self.action = self.action or fields.get("action", MAIN)
            scheme, _, rest = rest.partition("/")
            head = f"{scheme}:{rest and '//'}{rest}" if scheme else ""
        elif scheme == "intent":
            head = f"{fields['scheme']}:{rest}" if "scheme" in fields else rest
        self.data = self.data or head
        self.action = self.action or fields.get("action", VIEW)
        self.kind = self.kind or fields.get("type", "")
        self.package = self.package or fields.get("package", "")
        if "component" in fields and not self.component:
            self._name(what, fields["component"])

    def _field(self, what: str, name: str, value: str, fields: dict[str, str]) -> None:
        match name:
            case "category":
                self.categories.append(value)
            case "launchFlags":
                self._flag(what, value)
            case "action" | "type" | "package" | "component" | "scheme":
                fields[name] = value
            case "sourceBounds" | "SEL" | "i":
                pass
            case _ if name[1:2] == "." and name[0] in "SBbcdfils":
                self.extras.append((name[0], unquote(name[2:]), value))
            case _:
                raise threw(what, "IllegalArgumentException", f"Bad URI: unknown EXTRA type {shown(name)}")

    @property
    def empty(self) -> bool:
        """Whether nothing of an intent was said."""
        return not (self.action or self.data or self.kind or self.categories or self.component or self.package)

    def supplied(self, what: str) -> Intent:
        """Itself. Raises Refusal when it is empty."""
        if self.empty:
            raise threw(what, "IllegalArgumentException", "No intent supplied")
        return self

    def __str__(self) -> str:
        parts = [
            f"act={self.action}" if self.action else "",
            f"cat=[{','.join(self.categories)}]" if self.categories else "",
            f"dat={self._data()}" if self.data else "",
            f"typ={self.kind}" if self.kind else "",
            f"flg={self.flags:#x}" if self.flags else "",
            f"pkg={self.package}" if self.package else "",
            f"cmp={short_component(self.component)}" if self.component else "",
            "(has extras)" if self.extras else "",
        ]
        return " ".join(["Intent {", *(part for part in parts if part), "}"])

    def _data(self) -> str:
        """Android 11 shows web addresses as far as the host."""
        scheme, colon, rest = self.data.partition(":")
        if scheme in ("http", "https", "ftp") and rest.startswith("//"):
            host, slash, _ = rest[2:].partition("/")
            return f"{scheme}://{host}{'/...' if slash else ''}"
        return f"{scheme}:xxxxxxxxxx" if colon and scheme in ("tel", "sip", "sms", "smsto", "mailto", "nfc") else self.data

    def uri(self, form: str) -> str:
        """to-uri, to-intent-uri or to-app-uri."""
        scheme, colon, rest = self.data.partition(":")
        parts = [f"scheme={scheme}"] if colon and form != "to-uri" else []
        parts += [f"action={quote(self.action)}"] if self.action else []
        parts += [f"category={quote(category)}" for category in self.categories]
        parts += [f"type={quote(self.kind, safe='/')}"] if self.kind else []
        parts += [f"launchFlags={self.flags:#x}"] if self.flags else []
        parts += [f"package={quote(self.package)}"] if self.package and form != "to-app-uri" else []
        parts += [f"component={quote(short_component(self.component), safe='/')}"] if self.component else []
        parts += [f"{kind}.{quote(name)}={quote(value)}" for kind, name, value in self.extras if kind]
        tail = f"#Intent;{''.join(f'{part};' for part in parts)}end"
        if form == "to-uri":
            return self.data + tail
        if form == "to-app-uri":
            return f"android-app://{self.package}{'/' + scheme + rest.removeprefix('/') if colon else ''}{tail}"
        return f"intent:{rest if colon else self.data}{tail}"


def short_component(component: str) -> str:
    """package/.Activity where the activity lies in the package."""
    package, _, activity = component.partition("/")
    return apps.short(package, activity)
