"""The directory that holds objects: odd keys stay inside, and files look like their keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencph.objects import ObjectError, spooled
from opencph.objects.local import LocalStore

ODD_KEYS = ["../out", "..", ".", "/absolute", "a//b", "a/./b", "a/../../../b", "ends/", "%", "%2E%2E/x", "nul%00"]


def _store(directory: Path) -> LocalStore:
    store = LocalStore(directory / "objects", directory / "spool")
    store.make_bucket("mine")
    return store


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_stay_inside_and_are_listed_as_they_are(key: str, tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.put("mine", key, spooled(store))
    assert [one.key for one in store.list("mine")] == [key]
    inside = tmp_path / "objects" / "mine"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and all(path.is_relative_to(inside) for path in files)
    store.delete("mine", key)
    assert list(store.list("mine")) == []


def test_a_plain_key_is_a_file_of_that_name(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.put("mine", "apk/my app_1.0.tar", spooled(store))
    assert (tmp_path / "objects/mine/apk/my app_1.0.tar").is_file()


def test_a_key_below_an_object_is_refused_in_words(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.put("mine", "a", spooled(store))
    with pytest.raises(ObjectError, match="keeps only one of them"):
        store.put("mine", "a/b", spooled(store))
    store.put("mine", "c/d", spooled(store))
    with pytest.raises(ObjectError, match="keeps only one of them"):
        store.put("mine", "c", spooled(store))


def test_a_bucket_with_objects_is_not_removed(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.put("mine", "a", spooled(store))
    with pytest.raises(ObjectError, match="not empty"):
        store.remove_bucket("mine")
    store.delete("mine", "a")
    store.remove_bucket("mine")


@settings(deadline=None)  # each example syncs to the disk
@given(st.text(min_size=1, max_size=40).filter(lambda key: "\0" not in key and key.isprintable()))
def test_any_key_comes_back(key: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ocph-") as directory:
        store = _store(Path(directory))
        store.put("mine", key, spooled(store))
        assert [one.key for one in store.list("mine")] == [key]
        assert store.head("mine", key).size == 0
