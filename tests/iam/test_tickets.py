"""Tickets: what verifies, what does not, and that the key is one for all processes."""

from __future__ import annotations

import pytest

from opencph.iam.tickets import TicketClaims, TicketError, issue, ticket_key, verify
from opencph.store.database import Database, open_database

KEY = b"k" * 32
CLAIMS = TicketClaims("project", "user", "phone", "IOS", "session", 0, 1_000, 2_000)


def test_a_ticket_says_what_was_put_into_it_until_it_expires() -> None:
    ticket = issue(KEY, CLAIMS)
    assert verify(KEY, ticket, 1_999) == CLAIMS
    with pytest.raises(TicketError, match="expired"):
        verify(KEY, ticket, 2_000)


def test_every_changed_character_voids_a_ticket() -> None:
    ticket = issue(KEY, CLAIMS)
    for place, character in enumerate(ticket):
        changed = ticket[:place] + ("A" if character != "A" else "B") + ticket[place + 1 :]
        with pytest.raises(TicketError):
            verify(KEY, changed, 1_500)


@pytest.mark.parametrize("text", ["", ".", "a.b", "ä.ö", "x" * 5_000, "AAAA." + "A" * 43])
def test_what_is_no_ticket_is_refused(text: str) -> None:
    with pytest.raises(TicketError):
        verify(KEY, text, 1_500)


def test_another_installation_s_ticket_is_refused() -> None:
    with pytest.raises(TicketError, match="not issued here"):
        verify(KEY, issue(b"x" * 32, CLAIMS), 1_500)


def test_every_process_has_the_same_key(database: Database, database_url: str) -> None:
    key = ticket_key(database)
    assert len(key) == 32 and ticket_key(database) == key
    other = open_database(database_url)
    assert ticket_key(other) == key
    other.close()
