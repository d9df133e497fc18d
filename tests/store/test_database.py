"""The database port: what is promised of both implementations, and what is peculiar to each."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import bindparam, func, insert, select, text, update

from opencph.api.errors import refusal
from opencph.store.database import (
    Database,
    Query,
    StoreBusyError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    StoreUncertainError,
    command,
    in_list,
    json_list,
    now_ms,
    open_database,
    scalar,
    tuple_row,
)
from opencph.store.migrate import migrate
from opencph.store.sqlite import SqliteDatabase
from opencph.store.tables import revisions

if TYPE_CHECKING:
    from postgresql_cluster import PostgresqlCluster

ADD = command(insert(revisions).values(name=bindparam("name"), value=bindparam("value")))
SET = command(update(revisions).where(revisions.c.name == bindparam("which")).values(value=bindparam("new")))
GET: Query[int] = Query(select(revisions.c.value).where(revisions.c.name == bindparam("name")), scalar)
ALL = Query(select(revisions.c.name, revisions.c.value).order_by(revisions.c.name), tuple_row)
SOME: Query[str] = Query(select(revisions.c.name).where(in_list(revisions.c.name, "names")).order_by(revisions.c.name), scalar)
OTHERS: Query[str] = Query(select(revisions.c.name).where(~in_list(revisions.c.name, "names")).order_by(revisions.c.name), scalar)
NONSENSE = command(text("SELECT nothing FROM nowhere"))


@pytest.fixture
def other(database: Database) -> Iterator[Database]:
    """The same database, opened once more, as another process would."""
    opened = open_database(database.url)
    yield opened
    opened.close()


def add(database: Database, name: str, value: int = 0) -> None:
    with database.write() as tx:
        tx.run(ADD, name=name, value=value)


def test_what_is_written_is_read(database: Database) -> None:
    with database.write() as tx:
        tx.run_many(ADD, [{"name": name, "value": n} for n, name in enumerate("abc")])
        assert tx.row(GET, name="b") == 1
    assert database.row(GET, name="c") == 2
    assert database.row(GET, name="d") is None
    assert database.rows(ALL) == [("a", 0), ("b", 1), ("c", 2)]
    with database.read() as tx:
        assert tx.rows(ALL) == [("a", 0), ("b", 1), ("c", 2)]


def test_a_statement_says_how_many_rows_it_touched(database: Database) -> None:
    add(database, "a")
    with database.write() as tx:
        assert tx.run(SET, which="a", new=1) == 1
        assert tx.run(SET, which="b", new=1) == 0


def test_many_ids_are_one_bound_value(database: Database) -> None:
    for name in ("a", "b", "it's", '"q"', "100%"):
        add(database, name)
    assert database.rows(SOME, names=json_list(["a", "it's", '"q"', "100%", "z"])) == ['"q"', "100%", "a", "it's"]
    assert database.rows(OTHERS, names=json_list(["a", "it's", '"q"', "100%"])) == ["b"]
    assert database.rows(SOME, names=json_list([])) == []
    assert len(database.rows(OTHERS, names=json_list([]))) == 5
    assert database.rows(SOME, names=json_list([f"{n}" for n in range(20_000)] + ["b"])) == ["b"]


def test_in_list_finds_its_rows_through_the_index(database: Database) -> None:
    sql, _ = SOME.compiled(database.dialect)
    if database.dialect == "sqlite":
        plan = database.rows(Query(text("EXPLAIN QUERY PLAN " + sql), tuple_row), names="[]")
        assert "SEARCH revisions USING" in str(plan)
    else:
        assert "= ANY (ARRAY(" in sql


def test_the_database_tells_its_own_time(database: Database) -> None:
    told = database.row(Query[int](select(now_ms()), scalar))
    assert told is not None
    assert abs(told - time.time() * 1000) < 2_000


def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        tx.run(ADD, name="a", value=1)
        _ = 1 / 0
    assert database.rows(ALL) == []
    add(database, "b")  # and no transaction is left open
    assert database.rows(ALL) == [("b", 0)]


def test_an_error_inside_a_transaction_cannot_be_passed_over(database: Database) -> None:
    add(database, "a")
    with pytest.raises(StoreError), database.write() as tx:
        tx.run(ADD, name="b", value=1)
        with pytest.raises(StoreConflictError):
            tx.run(ADD, name="a", value=1)
        with pytest.raises(StoreError):
            tx.run(ADD, name="c", value=1)
    assert database.rows(ALL) == [("a", 0)]
    with pytest.raises(StoreError), database.write() as tx:
        tx.run(ADD, name="b", value=1)
        with pytest.raises(StoreConflictError):
            tx.run(ADD, name="a", value=1)
        # leaving without an error commits nothing
    assert database.rows(ALL) == [("a", 0)]
    add(database, "d")


def test_a_row_that_exists_or_names_nothing_is_a_conflict(database: Database) -> None:
    add(database, "a")
    with pytest.raises(StoreConflictError):
        add(database, "a")
    project = command(text("INSERT INTO projects (project_id, domain_id, name, enabled) VALUES ('p', 'nowhere', 'n', 1)"))
    with pytest.raises(StoreConflictError), database.write() as tx:
        tx.run(project)


def test_a_wrong_statement_is_a_store_error_everywhere(database: Database) -> None:
    with pytest.raises(StoreError):
        database.row(NONSENSE)
    with pytest.raises(StoreError):
        database.rows(NONSENSE)
    with pytest.raises(StoreError), database.read() as tx:
        tx.rows(NONSENSE)
    with pytest.raises(StoreError), database.write() as tx:
        tx.run_many(NONSENSE, [{}])
    assert database.rows(ALL) == []


def test_a_forgotten_parameter_is_an_error(database: Database) -> None:
    with pytest.raises((StoreError, KeyError)):
        database.row(GET)


def test_a_read_sees_one_moment(database: Database, other: Database) -> None:
    with database.read() as tx:
        assert tx.rows(ALL) == []
        add(other, "a")
        assert tx.rows(ALL) == []
    assert database.rows(ALL) == [("a", 0)]


def test_a_lock_serialises_transactions(database: Database, other: Database) -> None:
    count: Query[int] = Query(select(func.count()).select_from(revisions), scalar)

    def add_next(opened: Database) -> None:
        for _ in range(20):
            with opened.write() as tx:
                tx.lock("numbers")
                number = tx.row(count)
                tx.run(ADD, name=f"number {number}", value=0)

    threads = [threading.Thread(target=add_next, args=(opened,)) for opened in (database, database, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.row(count) == 60


def test_every_thread_may_use_the_database(database: Database) -> None:
    failed: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for i in range(20):
                add(database, f"{n} {i}")
                assert database.row(GET, name=f"{n} {i}") == 0
        except BaseException as error:
            failed.append(error)

    for number in range(3):  # new threads each time: connections of the ended ones must not be missed
        threads = [threading.Thread(target=work, args=(number * 10 + n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


def test_a_writer_that_waits_too_long_is_told_that_the_database_is_busy(database: Database, other: Database) -> None:
    add(database, "a")
    waited = 0.0
    with other.write() as tx:
        tx.lock("name")
        start = time.monotonic()
        with pytest.raises(StoreBusyError, match="locked by another process"), database.write() as late:
            late.lock("name")
        waited = time.monotonic() - start
    assert 4 < waited < 9
    add(database, "b")


def test_a_forked_child_uses_connections_of_its_own(database: Database) -> None:
    add(database, "parent")
    with database.read() as tx:
        tx.rows(ALL)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            add(database, "child")
            status = 0 if database.row(GET, name="parent") == 0 else 2
        finally:
            os._exit(status)
    add(database, "meanwhile")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [row[0] for row in database.rows(ALL)] == ["child", "meanwhile", "parent"]


def test_a_fork_inside_a_transaction_does_not_disturb_the_parent(database: Database) -> None:
    with database.write() as tx:
        tx.run(ADD, name="a", value=1)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = 0 if database.rows(ALL) == [] else 2  # not yet committed
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        tx.run(ADD, name="b", value=1)
    assert [row[0] for row in database.rows(ALL)] == ["a", "b"]


def test_a_change_by_another_is_noticed_soon(database: Database, other: Database) -> None:
    assert database.wait_for_change(0)  # the first call cannot know
    assert not database.wait_for_change(0.05)
    writer = threading.Timer(0.1, add, (other, "a"))
    writer.start()
    start = time.monotonic()
    assert database.wait_for_change(10)
    assert time.monotonic() - start < 5
    writer.join()


def test_a_change_between_two_waits_is_not_missed(database: Database, other: Database) -> None:
    assert database.wait_for_change(0)
    add(other, "a")
    assert database.wait_for_change(10)
    assert not database.wait_for_change(0.05)


def test_a_closed_loop_of_reads_leaves_no_transaction_open(database: Database, other: Database) -> None:
    """A reader that stopped at the first of many rows must not hold an old snapshot."""
    with database.write() as tx:
        tx.run_many(ADD, [{"name": f"{n:03}", "value": n} for n in range(100)])
    assert database.row(ALL) == ("000", 0)
    with other.write() as tx:
        tx.run(SET, which="000", new=7)
    assert database.row(ALL) == ("000", 7)


@pytest.mark.parametrize("url", ["mysql://x", "opencph.db", "sqlite://relative"])
def test_another_kind_of_url_is_refused_with_what_is_accepted(url: str) -> None:
    with pytest.raises(StoreUnavailableError, match="use sqlite:///PATH or postgresql://"):
        open_database(url)


# --- SQLite ----------------------------------------


def _sqlite(tmp_path: Path) -> SqliteDatabase:
    url = f"sqlite:///{tmp_path}/opencph.db"
    migrate(url)
    return SqliteDatabase(url)


def test_the_files_of_sqlite_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    (tmp_path / "opencph.db").touch(mode=0o644)
    database = _sqlite(tmp_path)
    add(database, "a")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["opencph.db", "opencph.db-shm", "opencph.db-wal"]
    assert [oct(file.stat().st_mode & 0o777) for file in files] == ["0o600"] * 3
    database.close()


def test_a_full_disk_is_told_as_such_and_leaves_the_database_usable(tmp_path: Path) -> None:
    database = _sqlite(tmp_path)
    connection = database._connection()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnavailableError, match="no space left on its disk"):
        for n in range(100):
            add(database, f"{n}" + "x" * 10_000)
    connection.execute("PRAGMA max_page_count=1000000")
    add(database, "a")
    database.close()


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "opencph.db").write_text("not a database " * 1_000)
    with pytest.raises(StoreUnavailableError, match="the database cannot be used"):
        open_database(f"sqlite:///{tmp_path}/opencph.db")


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"cannot open the database file .*/missing/opencph.db"):
        open_database(f"sqlite:///{tmp_path}/missing/opencph.db")


def test_a_transaction_within_a_transaction_is_refused_at_once(tmp_path: Path) -> None:
    database = _sqlite(tmp_path)
    with (
        database.write() as tx,
        pytest.raises(StoreError, match="a transaction is open in this thread already"),
        database.write(),
    ):
        tx.run(ADD, name="a", value=1)
    add(database, "b")
    database.close()


def test_connections_of_ended_threads_are_closed(tmp_path: Path) -> None:
    database = _sqlite(tmp_path)
    for _ in range(20):
        thread = threading.Thread(target=add, args=(database, f"{time.monotonic_ns()}"))
        thread.start()
        thread.join()
    assert len(database._all) < 5
    database.close()


# --- PostgreSQL ----------------------------------------


def test_a_restart_of_postgresql_is_survived(own_postgresql_cluster: PostgresqlCluster) -> None:
    cluster = own_postgresql_cluster
    url = cluster.create_database()
    migrate(url)
    database = open_database(url)
    add(database, "a")
    assert database.wait_for_change(0)
    cluster.stop()
    with pytest.raises(StoreUnavailableError, match="the database cannot be reached"):
        database.row(GET, name="a")
    with pytest.raises(StoreUnavailableError):
        add(database, "b")
    with pytest.raises(StoreUnavailableError):
        database.wait_for_change(0.1)
    cluster.start()
    assert database.row(GET, name="a") == 0
    add(database, "b")
    assert database.wait_for_change(5)
    assert database.rows(ALL) == [("a", 0), ("b", 0)]
    database.close()


def test_connections_are_made_again_without_an_error_when_postgresql_was_restarted_between(
    own_postgresql_cluster: PostgresqlCluster,
) -> None:
    cluster = own_postgresql_cluster
    url = cluster.create_database()
    migrate(url)
    database = open_database(url.replace("postgresql://", "postgres://"))

    async def fill_the_pool() -> None:
        await asyncio.gather(*(asyncio.to_thread(add, database, f"{n}") for n in range(8)))

    asyncio.run(fill_the_pool())
    cluster.stop()
    cluster.start()
    for n in range(8):
        assert database.row(GET, name=f"{n}") == 0
    database.close()


def test_a_postgresql_that_hangs_is_given_up_and_used_again_when_it_goes_on(own_postgresql_cluster: PostgresqlCluster) -> None:
    url = own_postgresql_cluster.create_database()
    migrate(url)
    database = open_database(url, statement_seconds=1)
    add(database, "before")

    async def all_at_once(work: Callable[[], object]) -> list[BaseException | object]:
        threads = ThreadPoolExecutor(20)  # more than there are connections
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(threads, work) for _ in range(20)), return_exceptions=True)

    assert database.wait_for_change(0)
    with own_postgresql_cluster.frozen():
        works: list[Callable[[], object]] = [
            lambda: database.row(GET, name="before"),
            lambda: add(database, "meanwhile"),
            lambda: add_many(database, "meanwhile"),
        ]
        for work in works:
            failed = asyncio.run(asyncio.wait_for(all_at_once(work), 60))
            assert {type(one) for one in failed} == {StoreUnavailableError}, failed
            told = {str(one) for one in failed}
            assert told <= {
                "the database cannot be reached: no answer for 3 s",
                "the database cannot be reached: it did not answer a moment ago",
                "the database cannot be reached: connection timeout expired",
            }
        assert not database.wait_for_change(0.05), "who listens does not mind silence"
    until_it_answers(database)
    assert database.rows(ALL) == [("before", 0)]
    with ExitStack() as all_of_them:  # no connection got lost
        for _ in range(16):
            assert all_of_them.enter_context(database.read()).rows(ALL) == [("before", 0)]
    ours: Query[int] = Query(text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'opencph'"), scalar)
    deadline = time.monotonic() + 20
    while database.row(ours) != 16 + 1:  # and the listener; the server has closed those that were given up
        assert time.monotonic() < deadline, database.row(ours)
        time.sleep(0.05)
    database.close()


def until_it_answers(database: Database) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            database.row(GET, name="")
        except StoreUnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def add_many(database: Database, name: str) -> None:
    with database.write() as tx:
        tx.run_many(ADD, [{"name": name + str(n), "value": 0} for n in range(3)])


def test_a_commit_that_is_not_answered_is_told_as_uncertain_and_a_lost_transaction_is_not(
    own_postgresql_cluster: PostgresqlCluster,
) -> None:
    url = own_postgresql_cluster.create_database()
    migrate(url)
    database = open_database(url, statement_seconds=1)
    with (
        pytest.raises(StoreUncertainError, match="while it committed: no answer for 3 s") as uncertain,
        ExitStack() as frozen,
        database.write() as tx,
    ):
        tx.run(ADD, name="a", value=0)
        frozen.enter_context(own_postgresql_cluster.frozen())
    told = refusal(uncertain.value, "request", "operation")
    assert told.status == 503 and "it may be done, so look before you try again" in str(told.body)
    until_it_answers(database)
    assert database.rows(ALL) == [("a", 0)], "and this time it was done"
    with pytest.raises(StoreUnavailableError) as lost, database.write() as tx:
        tx.run(ADD, name="b", value=0)
        own_postgresql_cluster.stop()
        tx.run(ADD, name="c", value=0)
    assert not isinstance(lost.value, StoreUncertainError), "nothing was committed"
    own_postgresql_cluster.start()
    with pytest.raises(StoreUncertainError), database.write() as tx:
        tx.run(ADD, name="d", value=0)
        own_postgresql_cluster.stop()
    own_postgresql_cluster.start()
    assert database.rows(ALL) == [("a", 0)]
    with pytest.raises(StoreError) as refused, database.write() as tx:  # the server itself says that it was not done
        tx.run(command(text("ALTER TABLE revisions ADD CONSTRAINT late UNIQUE (value) DEFERRABLE INITIALLY DEFERRED")))
        tx.run(ADD, name="e", value=0)
    assert isinstance(refused.value, StoreConflictError)
    database.close()


def test_a_postgresql_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="no PostgreSQL: the package psycopg is missing")
    with pytest.raises(StoreUnavailableError, match="the database cannot be reached"):
        open_database(f"postgresql://nobody@/nothing?host={tmp_path}")


def test_a_missing_driver_is_named_with_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from opencph.store.database import open_database\n"
        "open_database('postgresql://x@y/z')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "PostgreSQL needs the package psycopg: pip install 'opencph[postgresql]'" in done.stderr


def test_reads_between_begin_and_end_of_a_snapshot_see_one_state_of_a_sqlite_database(database: Database, other: Database) -> None:
    if not database.reads_inline:
        return  # PostgreSQL's readers do not share a thread
    add(other, "a", 1)
    database.begin_snapshot()
    assert database.row(GET, name="a") == 1
    with other.write() as tx:
        tx.run(SET, which="a", new=2)
    with database.read() as reading:
        assert reading.row(GET, name="a") == 1
    assert database.rows(SOME, names=json_list(["a"])) == ["a"]
    assert database.row(GET, name="a") == 1
    database.end_snapshot()
    assert database.row(GET, name="a") == 2
    add(database, "b")  # a write is possible again
    database.end_snapshot()  # and an end too many harms nothing
