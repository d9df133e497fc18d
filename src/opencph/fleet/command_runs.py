"""A command line that runs in a phone at most once, whoever dies while it does. Knows jobs by their ids only; uses a shell.

    /data/local/tmp/.cph/<job_id>/        what the job put there: packages on their way
    /data/local/tmp/.cph/<job_id>/run/    made by who starts the command: `stat` of the process that carries it, `out`, `code`

Whoever comes to make `run` starts the command, in a session of its own, so that it goes on when the connection ends; everybody else
waits for `code`. When the process is gone without one, the phone went down in the middle, and nobody can tell how far it came.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping

import structlog

from opencph.adb import transfers
from opencph.adb.client import AdbError, Connection, connect
from opencph.fleet.command_payloads import PhoneCommandJob
from opencph.fleet.pools import for_each
from opencph.wire.commands import PUSH, SHELL

HOME = "/data/local/tmp/.cph"
OUTPUT_BYTES_MAX = 1024
FORGET_SECONDS, PHONES_AT_ONCE = 20.0, 32
_HEADER_BYTES = 64
#: lines of one such word and plain arguments change nothing: they may run twice, and need no process of their own in a light phone
READERS = frozenset({"cat", "date", "df", "dumpsys", "getprop", "id", "ls", "uname", "uptime", "wc"})
_META = frozenset("|&;<>()$`\\\"'*?[]#~={}\n")

#: $1 is the directory, $2 the line. What it prints beyond the limit is read and dropped. Its code goes through a pipe, not through
#: the disk, which it may have filled: then there is no `code`, and who started it has it all the same.
_RUNNER = (
    'read -r s </proc/$$/stat; echo "$s" >"$1/stat"; '
    'c=$({ { sh -c "$2" 2>&1 </dev/null 3>&-; echo $? >&3; } | { head -c LIMIT >"$1/out"; cat >/dev/null; } 3>&-; } 3>&1); '
    'echo "$c" >"$1/new"; [ -s "$1/new" ] && mv "$1/new" "$1/code"; exit $c'
).replace("LIMIT", str(OUTPUT_BYTES_MAX))

#: Says `done CODE` or `lost`, and the output; or `full` when nothing was begun because no mark can be left.
_START = """exec 2>/dev/null; trap '' HUP XFSZ; d=HOME/run; c=
if mkdir -p HOME && mkdir $d; then
echo begun >$d/begun; if [ ! -s $d/begun ]; then rm -rf $d; echo full; exit; fi
setsid sh -c RUNNER cph $d LINE >/dev/null </dev/null & wait $!; c=$?
elif [ ! -e $d ]; then echo full; exit; fi
n=0; while [ ! -e $d/code ]; do
if read -r s <$d/stat; then set -- $s; p=$1 t=${22}; set --
read -r s </proc/$p/stat && set -- $s; [ "${22}" = "$t" ] || n=99; else n=$((n+1)); fi
if [ $n -gt 50 ]; then [ -e $d/code ] && break; if [ -n "$c" ]; then echo "done $c"; else echo lost; fi; cat $d/out; exit; fi
sleep 0.05; done
read -r c <$d/code; echo "done $c"; cat $d/out"""

#: Ends what still runs of them, and takes away all marks.
_FORGET = """exec 2>/dev/null; for f in HOME/*/run/stat; do
if read -r s <$f; then set -- $s; p=$1 t=${22}; set --
read -r s </proc/$p/stat && set -- $s; [ "${22}" = "$t" ] && kill -9 -- -$p; fi
done; rm -rf HOME; [ ! -e HOME ]"""

log = structlog.get_logger("opencph.fleet.command_runs")


class LostError(AdbError):
    """The phone went down while the command ran: how far it came is not known, and it is not started again."""

    def __init__(self) -> None:
        super().__init__("the phone went down while the command ran; how far it came is not known, and it was not started again")


def only_reads(line: str) -> bool:
    """Whether a line changes nothing in a phone, as far as its one word tells."""
    words = line.split()
    return bool(words) and words[0] in READERS and _META.isdisjoint(line)


def leaves_marks(payload: PhoneCommandJob) -> bool:
    """Whether a command leaves marks in its phone, which its job takes away when it has ended."""
    return payload.command != PUSH and not (payload.command == SHELL and only_reads(payload.content))


def directory(job_id: str) -> str:
    """Where a job may put what its command needs."""
    return f"{HOME}/{job_id}"


async def is_begun(phone: Connection, job_id: str) -> bool:
    """Whether the command of a job was started by somebody. Makes the job's directory. Raises AdbError."""
    home = directory(job_id)
    return (await transfers.shell(phone, f"mkdir -p {home}; [ -e {home}/run ]", _HEADER_BYTES)).code == 0


async def run_once(phone: Connection, job_id: str, attempts: int, line: str, output: bytearray) -> int:
    """Run a line for a job that is tried for the time number `attempts`, or wait for its end when somebody has started it.

    Returns its exit code. `output` gets OUTPUT_BYTES_MAX of what it printed, also when it is lost; who stops waiting for it
    finds the rest with `printed`. Raises LostError, AdbError.
    """
    if only_reads(line):
        return (await transfers.shell(phone, line, OUTPUT_BYTES_MAX, output)).code
    script = _START.replace("RUNNER", shlex.quote(_RUNNER)).replace("HOME", directory(job_id)).replace("LINE", shlex.quote(line))
    done = await transfers.shell(phone, script, OUTPUT_BYTES_MAX + _HEADER_BYTES)
    said, _, text = done.text.partition(b"\n")
    word, _, code = said.decode("ascii", "replace").partition(" ")
    if word == "done" and code.isdigit():
        output += text[:OUTPUT_BYTES_MAX]
        return int(code)
    if word == "full" and attempts == 1:  # its disk is full, and this may be how it is emptied
        return (await transfers.shell(phone, line, OUTPUT_BYTES_MAX, output)).code
    if word in ("full", "lost"):
        output += text[:OUTPUT_BYTES_MAX]
        raise LostError
    raise AdbError(done.text.decode("utf-8", "replace").strip() or f"the phone's shell ended with {done.code}")


async def printed(phone: Connection, job_id: str) -> bytes:
    """What the command of a job has printed until now, as far as it was started with a mark. Raises AdbError."""
    return (await transfers.shell(phone, f"cat {directory(job_id)}/run/out 2>/dev/null", OUTPUT_BYTES_MAX)).text


async def forget(phone: Connection) -> None:
    """Take away what jobs left in a phone that none of them works in any more. Raises AdbError."""
    if not (await transfers.look(phone, HOME)).error:
        done = await transfers.shell(phone, _FORGET.replace("HOME", HOME), OUTPUT_BYTES_MAX)
        if done.code:
            raise AdbError(f"{HOME} cannot be removed")


async def forget_in(ips: Mapping[str, str]) -> None:
    """The same in many phones ({phone_id: ip}), none of which a job works in. Those that do not answer are left, and logged."""

    async def one(item: tuple[str, str]) -> None:
        phone_id, ip = item
        try:
            async with asyncio.timeout(FORGET_SECONDS), await connect(ip) as phone:
                await forget(phone)
        except (TimeoutError, AdbError) as error:
            log.warning("marks of commands stay in a phone", phone_id=phone_id, error=str(error) or "time is up")

    await for_each(ips.items(), one, at_once=PHONES_AT_ONCE)
