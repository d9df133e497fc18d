"""What every object store promises."""

from __future__ import annotations

import os

import pytest

from opencph.objects import ObjectError, ObjectStore, spooled


def _put(store: ObjectStore, key: str, data: bytes, **about: str) -> None:
    file = spooled(store)
    file.write(data)
    store.put("mine", key, file, metadata=about)


def test_what_is_put_is_read_in_whole_and_in_part(store: ObjectStore) -> None:
    data = os.urandom((3 << 20) + 17)
    _put(store, "a/b c/ü+%2F.bin", data)
    assert store.head("mine", "a/b c/ü+%2F.bin").size == len(data)
    assert b"".join(store.read("mine", "a/b c/ü+%2F.bin")) == data
    assert b"".join(store.read("mine", "a/b c/ü+%2F.bin", 1 << 20, 5)) == data[1 << 20 : (1 << 20) + 5]
    with store.open("mine", "a/b c/ü+%2F.bin") as file:
        file.seek(-17, os.SEEK_END)
        assert file.read() == data[-17:]


def test_an_object_is_replaced_at_once_and_gets_another_etag(store: ObjectStore) -> None:
    _put(store, "key", b"one")
    before = store.head("mine", "key")
    with store.open("mine", "key") as file:
        _put(store, "key", b"two!")
        assert file.read() == b"one"
    after = store.head("mine", "key")
    assert (after.size, b"".join(store.read("mine", "key"))) == (4, b"two!")
    assert before.etag != after.etag


def test_keys_are_listed_in_their_order_by_prefix_and_from_a_key_on(store: ObjectStore) -> None:
    keys = ["a.b", "a/b", "a/c/d", "a0", "b", "b%", "ba", "é"]
    for key in reversed(keys):
        _put(store, key, b"")
    assert [one.key for one in store.list("mine")] == sorted(keys, key=str.encode)
    assert [one.key for one in store.list("mine", "a/")] == ["a/b", "a/c/d"]
    assert [one.key for one in store.list("mine", "b")] == ["b", "b%", "ba"]
    assert [one.key for one in store.list("mine", "", "a/b")] == ["a/c/d", "a0", "b", "b%", "ba", "é"]
    assert [one.key for one in store.list("mine", "none")] == []


def test_metadata_is_kept(store: ObjectStore) -> None:
    _put(store, "key", b"", colour="blue")
    assert dict(store.head("mine", "key").metadata) == {"colour": "blue"}


def test_a_deleted_object_is_gone_and_may_be_deleted_again(store: ObjectStore) -> None:
    _put(store, "deep/down/key", b"x")
    store.delete("mine", "deep/down/key")
    store.delete("mine", "deep/down/key")
    assert list(store.list("mine")) == []
    for ask in (store.head, store.open, lambda bucket, key: next(iter(store.read(bucket, key)))):
        with pytest.raises(ObjectError) as refused:
            ask("mine", "deep/down/key")
        assert (refused.value.code, refused.value.status) == ("NoSuchKey", 404)


def test_contents_that_are_not_put_leave_nothing(store: ObjectStore) -> None:
    with spooled(store) as file:
        file.write(b"half")
    assert [path.name for path in store.spool.iterdir()] == []
