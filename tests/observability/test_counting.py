from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from observability.looking import parsed
from opencph.api.metrics import TOKEN_FILE, RequestNumbers, is_scraper, make_scrape_token
from opencph.metrics import QUICK_SECONDS, Counter, Histogram, every_family, exchange, exposition, families
from opencph.settings import Settings

DOCUMENTED = re.compile(r"^\| `(opencph_[a-z_]+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)


@pytest.fixture
def run_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ocph-", dir="/tmp") as directory:
        yield Path(directory)


def test_every_metric_is_documented_with_its_kind_and_labels_and_nothing_else_is() -> None:
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    told = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in DOCUMENTED.findall(page)}
    there = {one.name: (one.kind, set(one.labels)) for one in every_family() if one.name in _declared()}
    assert told == there


def _declared() -> set[str]:
    return {one.name for one in vars(families).values() if hasattr(one, "help")}


def test_names_and_units_are_as_prometheus_wants_them() -> None:
    for one in every_family():
        assert (one.kind == "counter") == one.name.endswith("_total"), one.name
        assert one.kind != "histogram" or one.name.endswith("_seconds"), one.name
        assert not {"instance", "job", "process", "pid"} & set(one.labels) or one.by == (), one.name
        assert not [label for label in one.labels if label.endswith("id")], "ids are without number"


def test_counters_are_exact_when_many_threads_count() -> None:
    counter = Counter("test_threads_total", "", ("what",), by=())
    histogram = Histogram("test_threads_seconds", "", ("what",), by=())

    def count() -> None:
        for _ in range(2_000):
            counter.add("a")
            histogram.observe(0.3, "a")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.samples() == {("a",): 16_000}
    row = histogram.samples()["a",]
    assert isinstance(row, list) and sum(row[:-1]) == 16_000 and row[-1] == pytest.approx(4_800)


def test_requests_of_no_route_and_of_methods_that_nobody_knows_share_labels() -> None:
    numbers = RequestNumbers(lambda: 0)
    for number in range(100):
        numbers.answered("unknown", f"METHOD{number}", 404, 0.001)
    numbers.answered("ShowJob", "GET", 200, 0.003)
    numbers.answered("ShowJob", "GET", 204, 99.0)
    assert families.REQUESTS.samples() == {("unknown", "other", "4xx"): 100, ("ShowJob", "GET", "2xx"): 2}
    seconds = families.REQUEST_SECONDS.samples()
    assert set(seconds) == {("unknown",), ("ShowJob",)}
    row = seconds["ShowJob",]
    assert isinstance(row, list)
    assert row[-1] == pytest.approx(99.003) and row[len(QUICK_SECONDS)] == 1 and row[QUICK_SECONDS.index(0.005)] == 1


def test_the_text_is_what_a_scraper_reads_also_with_odd_label_values() -> None:
    row = [0.0] * (len(QUICK_SECONDS) + 2)
    row[0], row[3], row[-1] = 2.0, 1.0, 0.02
    one = exchange.Snapshot(
        "api",
        7,
        [
            (families.REQUESTS.name, ('a"b\\c\nd', "GET", "2xx"), 3),
            (families.REQUEST_SECONDS.name, ("X",), row),
            ("opencph_of_another_version_total", (), 1),
            (families.JOBS.name, ("too few labels",), 1),
        ],
    )
    found = parsed(exposition.text_of([one], {families.PHONES.name: {("running",): 4}}).decode())
    assert found[families.REQUESTS.name] == [
        ({"operation": 'a"b\\c\nd', "method": "GET", "status": "2xx", "process": "api", "pid": "7"}, 3.0)
    ]
    buckets = {labels["le"]: value for labels, value in found["opencph_http_request_duration_seconds_bucket"]}
    assert (buckets["0.0005"], buckets["0.001"], buckets["0.005"], buckets["+Inf"]) == (2.0, 2.0, 3.0, 3.0)
    assert found["opencph_http_request_duration_seconds_sum"][0][1] == 0.02
    assert found[families.PHONES.name] == [({"state": "running"}, 4.0)]
    assert not [name for name in found if "another_version" in name]


def test_what_has_no_value_yet_is_declared() -> None:
    text = exposition.text_of([], {}).decode()
    for name in _declared():
        kind = next(one.kind for one in every_family() if one.name == name)
        assert f"# TYPE {name} {kind}\n" in text and f"# HELP {name} " in text, name
    assert not [line for line in text.splitlines() if not line.startswith("#")]


def test_boots_of_light_phones_which_take_milliseconds_are_told_apart() -> None:
    def counted() -> list[float]:
        row = families.BOOT_SECONDS.samples().get((), [0.0] * len(families.BOOT_SECONDS.bounds))
        assert isinstance(row, list)
        return row[: len(families.BOOT_SECONDS.bounds)]

    before = list(counted())
    families.BOOT_SECONDS.observe(0.0012)
    grown = [bound for bound, one, other in zip(families.BOOT_SECONDS.bounds, before, counted(), strict=True) if other > one]
    assert grown == [0.0025]


def test_a_scrape_asks_every_process_removes_the_sockets_of_dead_ones_and_counts_the_silent(run_directory: Path) -> None:
    async def look() -> tuple[exchange.Gathered, list[str]]:
        async with exchange.answering("worker", run_directory):
            for name in ("metrics-api-1.sock", "metrics-gateway-2.sock"):
                with socket.socket(socket.AF_UNIX) as one:
                    one.bind(str(run_directory / name))
                    if "gateway" in name:  # stopped: it listens, and never answers
                        one.listen()
                        kept = one.dup()
            found = await exchange.gather(run_directory, "api")
            names = sorted(path.name.split("-")[1] for path in run_directory.iterdir())
            kept.close()
            return found, names

    found, names = asyncio.run(look())
    assert [one.process for one in found.snapshots] == ["api", "worker"]
    assert found.silent == 1
    assert names == ["gateway", "worker"], "the socket of the dead api is gone"
    assert sorted(path.name for path in run_directory.iterdir()) == ["metrics-gateway-2.sock"], "a process takes its own away"


def test_a_socket_that_is_taken_away_is_made_anew_and_another_ones_is_left_alone(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "LOOK_SECONDS", 0.01)

    async def look() -> None:
        async with exchange.answering("worker", run_directory):
            (path,) = run_directory.iterdir()
            for harm in (path.unlink, lambda: shutil.rmtree(run_directory), lambda: path.rename(path.with_name("elsewhere"))):
                harm()
                for _look in range(1000):
                    if [one.process for one in (await exchange.gather(run_directory, "api")).snapshots] == ["api", "worker"]:
                        break
                    await asyncio.sleep(0.02)
                else:
                    pytest.fail("the socket is not made anew")
                assert path.stat().st_mode & 0o777 == 0o600

    asyncio.run(look())
    assert [path.name for path in run_directory.iterdir()] == ["elsewhere"]


@pytest.mark.parametrize("what", ["fifo", "directory", "device"])
def test_a_scrape_token_that_is_no_file_lets_nobody_in_and_nobody_wait(run_directory: Path, what: str) -> None:
    settings, token = Settings(data=run_directory), run_directory / TOKEN_FILE
    if what == "fifo":
        os.mkfifo(token)
    elif what == "directory":
        token.mkdir()
    else:
        token.symlink_to("/dev/zero")
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(is_scraper(settings, {b"authorization": b"Bearer x"})), daemon=True)
    asking.start()
    asking.join(10)
    assert answers == [False]


def test_the_socket_is_for_the_own_user_and_works_in_a_deep_directory(run_directory: Path) -> None:
    deep = run_directory / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)

    async def look() -> exchange.Gathered:
        async with exchange.answering("worker", deep):
            assert [path.stat().st_mode & 0o777 for path in deep.iterdir()] == [0o600]
            return await exchange.gather(deep, "api")

    found = asyncio.run(look())
    assert [one.process for one in found.snapshots] == ["api", "worker"]


def test_an_answer_that_is_none_is_left_out(run_directory: Path) -> None:
    async def look() -> exchange.Gathered:
        async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(msgspec.msgpack.encode({"process": 1}))
            writer.close()

        server = await asyncio.start_unix_server(nonsense, run_directory / "metrics-worker-1.sock")
        async with server:
            return await exchange.gather(run_directory, "api")

    found = asyncio.run(look())
    assert ([one.process for one in found.snapshots], found.silent) == (["api"], 1)


def test_the_scrape_token_is_made_once_and_for_the_own_user_and_a_new_one_holds_at_once(run_directory: Path) -> None:
    settings = Settings(data=run_directory)
    path = make_scrape_token(settings)
    first = path.read_text()
    assert make_scrape_token(settings).read_text() == first and len(first) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in run_directory.iterdir()] == ["metrics-token"]

    def bears(value: str) -> bool:
        return is_scraper(settings, {b"authorization": value.encode()})

    assert bears(f"Bearer {first}") and bears(f"bearer {first}")
    assert not any(map(bears, ("", "Bearer ", "Bearer x", first, f"Basic {first}", f"Bearer {first}x")))
    path.write_text("another-token-of-the-operator\n")
    assert bears("Bearer another-token-of-the-operator") and not bears(f"Bearer {first}")
    path.write_text("short")
    assert not bears("Bearer short"), "nobody guesses it"
    path.unlink()
    assert not bears("Bearer ") and not bears(f"Bearer {first}")
