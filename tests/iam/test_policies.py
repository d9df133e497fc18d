"""What roles and policy documents allow, and what a document may not say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencph.iam import ADMIN, OPERATOR, READER
from opencph.iam.actions import CPH_ACTIONS
from opencph.iam.policies import DOCUMENT_MAX_BYTES, ROLES, Policy, PolicyError, parse, policy_of


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "5.0", "Statement": statements})


def allow(*actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions)}


def deny(*actions: str) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": list(actions)}


def test_a_reader_may_look_at_everything_and_change_nothing() -> None:
    for operation, action in CPH_ACTIONS.items():
        reads = operation.startswith(("List", "Show"))
        assert ROLES[READER].allows(action) is reads, operation
    assert ROLES[READER].allows("vpc:vpcs:list") and not ROLES[READER].allows("vpc:vpcs:create")


def test_an_operator_works_with_what_there_is_and_buys_changes_and_deletes_nothing() -> None:
    refused = {operation for operation, action in CPH_ACTIONS.items() if not ROLES[OPERATOR].allows(action)}
    assert refused == {
        *("CreateNet2CloudPhoneServer", "CreateCloudPhoneSingleServer", "ChangeCloudPhoneServer", "ChangeCloudPhoneServerModel"),
        *("DeleteCloudPhoneServer", "ExpandPhoneDataVolumeSize", "DeleteImage", "UpdateBandwidth"),
    }
    assert not ROLES[OPERATOR].allows("bss:orders:create") and not ROLES[OPERATOR].allows("vpc:subnets:delete")
    assert ROLES[OPERATOR].allows("kps:keypairs:create") and ROLES[OPERATOR].allows("vpc:subnets:get")


def test_an_administrator_may_do_everything() -> None:
    assert all(ROLES[ADMIN].allows(action) for action in (*CPH_ACTIONS.values(), "bss:orders:create", ""))


def test_the_names_of_the_vendors_pages_are_there() -> None:
    named = {"cph::listServerTypes", "cph:servers:get", "cph:servers:restart", "cph:servers:pushShareApps"}
    assert named | {"cph:phones:updateProperty", "cph:resource:tagResource"} <= set(CPH_ACTIONS.values())


def test_a_document_allows_what_it_names_and_a_deny_wins() -> None:
    policy = parse(document(allow("cph:phones:*", "cph:*:get"), deny("cph:phones:reset")))
    assert policy.allows("cph:phones:restart") and policy.allows("cph:servers:get")
    assert not policy.allows("cph:phones:reset")
    assert not policy.allows("cph:servers:restart") and not policy.allows("vpc:vpcs:get") and not policy.allows("")
    assert policy.allows("CPH:Phones:Restart")
    assert parse(document(allow("*"))).allows("anything:at:all")
    assert not parse(document(deny("*"))).allows("cph:phones:get")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[]", "Statement"),
        ("{}", "Statement"),
        ('{"Statement": []}', "Statement"),
        ('{"Statement": [1]}', "Statement[0] must be an object"),
        (document({"Effect": "Maybe", "Action": ["*"]}), "Statement[0].Effect"),
        (document({"Effect": "Allow"}), "Statement[0].Action"),
        (document({"Effect": "Allow", "Action": "*"}), "Statement[0].Action"),
        (document(allow("*"), allow("cph phones")), "Statement[1].Action 'cph phones'"),
        (document(allow("cph:phones:get\n")), "Statement[0].Action"),
        (document({**allow("*"), "Resource": ["x"]}), "Resource is not supported"),
        (document({**allow("*"), "Condition": {}}), "Condition is not supported"),
        (document(*[allow("cph:a:b")] * 501), "more than 500 actions"),
        (document(allow("*")) + " " * DOCUMENT_MAX_BYTES, "bytes"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as error:
        parse(text)
    assert said in str(error.value)


def test_a_role_of_no_meaning_allows_nothing() -> None:
    assert not policy_of("gone", None).allows("cph:phones:get")
    assert not policy_of("broken", "{").allows("cph:phones:get")
    assert policy_of("custom", document(allow("cph:phones:get"))).allows("cph:phones:get")
    assert not policy_of(READER, document(allow("*"))).allows("cph:phones:reset"), "a ready-made role is nobody's to change"


@given(st.text(max_size=40), st.lists(st.text(alphabet="abc:*", min_size=1, max_size=12), max_size=4))
def test_a_pattern_matches_as_its_stars_say(action: str, patterns: list[str]) -> None:
    def matches(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return matches(pattern[1:], text) or (bool(text) and matches(pattern, text[1:]))
        return bool(text) and text[0] == pattern[0] and matches(pattern[1:], text[1:])

    text = "".join(character for character in action if character in "abc:")
    assert Policy(patterns).allows(text) is any(matches(pattern, text) for pattern in patterns)


def test_a_pattern_of_many_stars_is_not_slow() -> None:
    assert not Policy(["*a" * 12 + "b"]).allows("a" * 60)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_json_is_a_policy_or_a_policy_error(value: object) -> None:
    for text in (
        json.dumps(value),
        json.dumps({"Statement": value}),
        json.dumps({"Statement": [{"Effect": "Allow", "Action": value}]}),
    ):
        try:
            parse(text)
        except PolicyError as error:
            assert str(error)
