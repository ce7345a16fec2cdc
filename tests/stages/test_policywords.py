from __future__ import annotations

from pipeline.io.policy import load_policy, load_reasons
from pipeline.stages.policywords import describe


def test_every_option_of_the_table_has_its_reason_for_or_against() -> None:
    policy, (chosen, not_chosen) = load_policy(), load_reasons()
    in_force = {"basic", *(option for p in policy.purposes.values() for option in p.options)}
    listed = {option for row in policy.rows for option in row.options}

    assert set(chosen) == in_force
    assert set(not_chosen) == listed - in_force


def test_the_policy_is_said_with_its_edition_and_every_private_creator() -> None:
    policy = load_policy()
    said = " ".join(describe(policy, *load_reasons()).split())

    assert policy.edition in said
    assert all(creator in said for creator, _, _ in policy.private)
    assert all(meaning in said for _, meaning in policy.method_codes.values())
