"""The secrets that lie in the data directory itself go into a backup and come back for their owner alone."""

from __future__ import annotations

from pathlib import Path

from backup.made import settings_of
from opencph.api.metrics import TOKEN_FILE, make_scrape_token
from opencph.backup.making import back_up
from opencph.backup.restoring import restore
from opencph.preparation import prepare_database, prepare_directories


def test_every_file_of_the_data_directory_itself_comes_back_for_its_owner_alone(tmp_path: Path) -> None:
    old, new = settings_of(tmp_path / "old"), settings_of(tmp_path / "new")
    prepare_directories(old)
    prepare_database(old)
    token = make_scrape_token(old)
    (old.data / "own.pem").write_bytes(b"of a key")
    token.chmod(0o644)  # somebody's haste
    restore(new, back_up(old, tmp_path / "b").file)
    secret = {path.name for path in old.data.iterdir() if path.is_file() and not path.name.startswith(("opencph.db", "."))}
    assert {TOKEN_FILE, "own.pem"} <= secret
    for name in secret:
        assert (new.data / name).read_bytes() == (old.data / name).read_bytes(), name
        assert (new.data / name).stat().st_mode & 0o777 == 0o600, name
