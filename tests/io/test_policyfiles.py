"""The digest of a policy is that of its files' bytes, whoever reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.io.policy import load_policy
from pipeline.io.policyfiles import (
    POLICY_FILES,
    policy_digest,
    read_policy_files,
    shipped_digest,
    shipped_policy,
)
from pipeline.model.errors import RulesError


def test_the_shipped_digest_is_that_of_the_policy_that_is_read() -> None:
    assert shipped_digest() == load_policy(None).digest


@pytest.mark.parametrize("name", POLICY_FILES)
def test_another_byte_in_any_file_is_another_digest(name: str) -> None:
    raw = read_policy_files(shipped_policy())
    assert policy_digest({**raw, name: raw[name] + b" "}) != policy_digest(raw)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesError) as refused:
        read_policy_files(tmp_path)
    assert refused.value.code == "rules-not-found"
