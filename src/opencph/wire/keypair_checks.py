"""Checks of the bodies of the key pair service, both shapes. Pure; whether a public key is one is in `neighbours.keypairs`.

The codes `KPS.*` are ours: the service's own are not published.
"""

from __future__ import annotations

import re

from opencph.wire.checks import Fields, json_object
from opencph.wire.errors import CphError
from opencph.wire.keypairs import CreateKeypairRequest
from opencph.wire.service_errors import nova_error, plain_error, refuses_as

BAD_KEYPAIR = "KPS.0400"
NAME_MAX_CHARACTERS = 64
DESCRIPTION_MAX_CHARACTERS = 255
PUBLIC_KEY_MAX_CHARACTERS = 8_192

NAME = re.compile(r"[A-Za-z0-9_-]+")
NAME_RULE = "only letters, digits, _ and - are allowed"
_ANY = re.compile(r"[^<>\0]*")


@refuses_as(plain_error, BAD_KEYPAIR)
def create_keypair(body: bytes) -> CreateKeypairRequest:
    """Decode and check the body of CreateKeypair."""
    fields = Fields(json_object(body)).nested("keypair", BAD_KEYPAIR)
    if fields.given("scope"):
        fields.word("scope", BAD_KEYPAIR, ("user",))
    if fields.given("key_protection"):
        raise CphError(BAD_KEYPAIR, "keypair.key_protection: private keys are not kept here; leave it out and keep yours")
    return _create(fields)


@refuses_as(nova_error, BAD_KEYPAIR)
def nova_create_keypair(body: bytes) -> CreateKeypairRequest:
    """Decode and check the body of NovaCreateKeypair."""
    return _create(Fields(json_object(body)).nested("keypair", BAD_KEYPAIR))


@refuses_as(plain_error, BAD_KEYPAIR)
def update_keypair_description(body: bytes) -> str:
    """Decode and check the body of UpdateKeypairDescription; the description."""
    fields = Fields(json_object(body)).nested("keypair", BAD_KEYPAIR)
    if fields.values.get("description") == "":
        return ""
    rule = "must not contain < and >"
    return fields.text("description", BAD_KEYPAIR, max_characters=DESCRIPTION_MAX_CHARACTERS, pattern=_ANY, rule=rule)


def _create(fields: Fields) -> CreateKeypairRequest:
    if fields.given("type"):
        fields.word("type", BAD_KEYPAIR, ("ssh",))
    return CreateKeypairRequest(
        name=fields.text("name", BAD_KEYPAIR, max_characters=NAME_MAX_CHARACTERS, pattern=NAME, rule=NAME_RULE),
        public_key=fields.optional_text("public_key", BAD_KEYPAIR, max_characters=PUBLIC_KEY_MAX_CHARACTERS),
    )
