"""`python -m opencph.store.migrations "what changes"` writes the next revision: what `store.tables` has and the last one lacks."""

import sys
import tempfile
from pathlib import Path

import alembic.command
from alembic.config import Config
from sqlalchemy import create_engine

from opencph.store.migrate import HEAD, upgrade


def main(message: str) -> None:
    """Compare a database at the last revision with `store.tables`, and write the difference down. Read it before you commit it."""
    here = Path(__file__).parent
    config = Config()
    config.set_main_option("script_location", str(here).replace("%", "%%"))
    config.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/opencph.db"
        fresh = not any((here / "versions").glob("r*.py"))
        if not fresh:
            upgrade(url)
        engine = create_engine(url)
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            revision = "0001" if fresh else f"{int(HEAD) + 1:04}"
            alembic.command.revision(config, message, autogenerate=True, rev_id=revision)
    print(f"Set HEAD = {revision!r} in store/migrate.py, and run `make test`.")


if __name__ == "__main__":
    main(sys.argv[1])
