"""Tokens: what is issued is accepted, anything else is not."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencph.iam.tokens import TokenError, issue, read

KEY = b"k" * 32
NOW = 1_800_000_000_000
HOUR = 3_600_000


def test_a_token_says_what_it_was_issued_for() -> None:
    token, claims = issue(KEY, "user", "project", NOW, HOUR)
    assert read(KEY, token.encode(), NOW) == claims
    assert (claims.user_id, claims.project_id, claims.expires_ms) == ("user", "project", NOW + HOUR)


def test_two_tokens_of_one_moment_differ() -> None:
    assert issue(KEY, "user", "project", NOW, HOUR)[0] != issue(KEY, "user", "project", NOW, HOUR)[0]


def test_a_token_ends_when_its_life_ends() -> None:
    token, _ = issue(KEY, "user", "project", NOW, HOUR)
    read(KEY, token.encode(), NOW + HOUR - 1)
    with pytest.raises(TokenError, match="expired"):
        read(KEY, token.encode(), NOW + HOUR)


def test_a_token_of_another_key_is_refused() -> None:
    token, _ = issue(b"o" * 32, "user", "project", NOW, HOUR)
    with pytest.raises(TokenError, match="not issued here"):
        read(KEY, token.encode(), NOW)


def test_every_changed_character_is_noticed() -> None:
    token, _ = issue(KEY, "user", "project", NOW, HOUR)
    for at, character in enumerate(token):
        other = token[:at] + ("A" if character != "A" else "B") + token[at + 1 :]
        with pytest.raises(TokenError):
            read(KEY, other.encode(), NOW)


@pytest.mark.parametrize("token", [b"", b".", b"a", b"a.b", b"a.b.c", b"\xff.\xff", b"=.=", b"A" * 5000, b"gakxMjM.AAAA"])
def test_what_is_no_token_is_refused(token: bytes) -> None:
    with pytest.raises(TokenError):
        read(KEY, token, NOW)


@given(st.binary(max_size=200))
def test_any_text_is_refused_without_another_error(token: bytes) -> None:
    with pytest.raises(TokenError):
        read(KEY, token, NOW)


def test_a_signature_cannot_be_moved_to_other_claims() -> None:
    token, _ = issue(KEY, "user", "project", NOW, HOUR)
    other, _ = issue(KEY, "admin", "project", NOW, HOUR)
    with pytest.raises(TokenError):
        read(KEY, f"{other.partition('.')[0]}.{token.partition('.')[2]}".encode(), NOW)
    forged = (
        base64.urlsafe_b64encode(b"\x95\xa5admin\xa7project\x00\xcf\x00\x00\xff\xff\xff\xff\xff\xff\xc4\x00").decode().rstrip("=")
    )
    with pytest.raises(TokenError):
        read(KEY, f"{forged}.{token.partition('.')[2]}".encode(), NOW)
