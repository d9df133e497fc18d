"""Bring a database to the schema of this version, forwards only. The revisions themselves are in `store/migrations/versions`.

A database at the newest revision costs one read. An empty one is made straight from `store.tables`, a few milliseconds instead
of half a second of Alembic; the tests hold that against what the revisions make. Only an older one loads Alembic.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.schema import CreateIndex, CreateTable

from opencph.store.database import Database, Query, StoreBusyError, StoreError, Transaction, command, open_database, scalar
from opencph.store.tables import metadata

#: the newest revision in `store/migrations/versions`; a test compares them
HEAD = "0010"
#: how long to wait for another process that migrates
MIGRATION_WAIT_SECONDS = 120.0
#: How long PostgreSQL may wait for a table that the version before is using: whoever comes after us waits as long. Then it is all
#: tried again; so an api of the version before is never kept from its tables for long.
TABLE_LOCK_MS = 1_000
TABLE_LOCK_PAUSE_SECONDS = 0.2
RETRIED_SQLSTATES = ("55P03", "40P01")  # lock not available, deadlock

_HAS_VERSION_TABLE = {
    "sqlite": Query[int](text("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"), scalar),
    "postgresql": Query[int](
        text(
            "SELECT count(*) FROM information_schema.tables "
            "WHERE table_schema = current_schema() AND table_name = 'alembic_version'"
        ),
        scalar,
    ),
}
_VERSION: Query[str] = Query(text("SELECT version_num FROM alembic_version"), scalar)
_CREATE_VERSION_TABLE = command(
    text(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
)
_STAMP = command(text("INSERT INTO alembic_version (version_num) VALUES (:version)").bindparams(bindparam("version")))


def migrate(url: str) -> None:
    """Bring the database at `url` to HEAD. Many processes may call it at once; one does the work and the others wait for it.

    Raises StoreError when the database was made by a newer version of OpenCPH, StoreUnavailableError when it cannot be opened,
    StoreBusyError when another process holds it for longer than MIGRATION_WAIT_SECONDS.
    """
    database = open_database(url)
    try:
        if revision_of(database) == HEAD:
            return
        deadline = time.monotonic() + MIGRATION_WAIT_SECONDS
        while True:
            try:
                found = _create_if_empty(database)
                break
            except StoreBusyError:
                if time.monotonic() > deadline:
                    raise
    finally:
        database.close()
    if found != HEAD:
        upgrade(url)


def revision_of(source: Database | Transaction) -> str | None:
    """The revision a database is at; None when it has none."""
    return source.row(_VERSION) if source.row(_HAS_VERSION_TABLE[source.dialect]) else None


def is_current(database: Database) -> bool:
    """Whether the database has the tables of this version, or of a newer one. Raises StoreError."""
    return (revision_of(database) or "") >= HEAD


def _create_if_empty(database: Database) -> str:
    with database.write() as tx:
        tx.lock("migrate")
        found = revision_of(tx)
        if found is not None:
            return found
        create_tables(tx)
        return HEAD


def create_tables(tx: Transaction) -> None:
    """Make every table, at HEAD, in a database that has none."""
    made: list[CreateTable | CreateIndex] = []
    for table in metadata.sorted_tables:
        made += [CreateTable(table), *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))]
    if tx.dialect == "postgresql":  # in one round trip: a database may be far away
        from sqlalchemy.dialects import postgresql

        tx.run(command(text(";\n".join(str(ddl.compile(dialect=postgresql.dialect())).strip() for ddl in made))))  # type: ignore[no-untyped-call]
    else:
        for ddl in made:
            tx.run(command(ddl))
    tx.run(_CREATE_VERSION_TABLE)
    tx.run(_STAMP, version=HEAD)


def upgrade(url: str, revision: str = "head") -> None:
    """Run the revisions a database lacks, up to `revision`, in one transaction. Errors are those of `migrate`, which calls it."""
    import alembic.command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    sqlite = url.startswith("sqlite:")
    if sqlite:
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": MIGRATION_WAIT_SECONDS})
    else:
        import psycopg

        engine = create_engine("postgresql+psycopg://", poolclass=NullPool, creator=lambda: psycopg.connect(url))
    if sqlite:

        @event.listens_for(engine, "connect")
        def begin_by_hand(connection: Any, record: Any) -> None:
            connection.isolation_level = None  # else the driver commits before every CREATE and ALTER

        @event.listens_for(engine, "begin")
        def begin_immediately(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def run() -> None:
        with engine.begin() as connection:
            if not sqlite:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('opencph migrate'))")
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {TABLE_LOCK_MS}")
            has_table = connection.execute(_HAS_VERSION_TABLE["sqlite" if sqlite else "postgresql"].statement).scalar()
            version = connection.execute(_VERSION.statement).scalar() if has_table else None
            if version is not None and version not in known:
                raise StoreError(
                    f"the database is at revision {version!r}, which this version of OpenCPH does not know (it knows up to "
                    f"{HEAD!r}): install the newer version that made it"
                )
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, revision)

    deadline = time.monotonic() + MIGRATION_WAIT_SECONDS
    try:
        while True:
            try:
                return run()
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in RETRIED_SQLSTATES or time.monotonic() > deadline:
                    raise
            time.sleep(TABLE_LOCK_PAUSE_SECONDS)  # those who use the tables go on meanwhile
    except (DBAPIError, CommandError) as error:
        raise StoreError(f"the database cannot be brought to revision {revision!r}: {error}") from error
    finally:
        engine.dispose()
