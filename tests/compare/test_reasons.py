"""What manifests say of why; documents are cut down to what is asked."""

from __future__ import annotations

from typing import Any

from pipeline.compare.reasons import explained, first_stage, of_headers, of_lines


def header(**changed: Any) -> dict[str, Any]:
    document = {
        "channels": [{"name": "CT", "scale": {"percentiles": ["0.5", "99.5"]}}, {"name": "PET", "scale": {}}],
        "label": {"classes": ["spleen"]},
        "header": {"description": "x"},
        "half_turns": [],
    }
    software = {"numpy": "2.4", "rooms": {"scale": 1, "label": 1}, "compressor": {"level": 6}}
    made = {"rules": {"document": document}, "software": software, "key": "k"}
    return made | changed


def ruled(**changed: Any) -> dict[str, Any]:
    return header(rules={"document": header()["rules"]["document"] | changed})


def run(**changed: Any) -> dict[str, Any]:
    return header(software=header()["software"] | changed)


def line(**changed: Any) -> dict[str, Any]:
    made = {"case": "a_1", "subject": "s", "subset": "training", "sources": {"CT": ["1", "2"]}, "notes": []}
    return made | changed


def test_a_changed_rule_names_its_room_and_both_values() -> None:
    channels = [{"name": "CT", "scale": {"percentiles": ["1", "99.5"]}}, {"name": "PET", "scale": {}}]
    (reason,) = of_headers(header(), ruled(channels=channels))
    assert (reason.kind, reason.stage) == ("rule", "scale")
    assert reason.text == "channels.0.scale.percentiles.0 0.5 -> 1"
    assert explained(["image"], [reason])
    assert not explained(["label"], [reason])


def test_a_changed_text_of_the_header_explains_no_voxel() -> None:
    (reason,) = of_headers(header(), ruled(header={"description": "y"}))
    assert not explained(["image"], [reason])
    assert explained(["dataset"], [reason])


def test_another_compressor_explains_bytes_and_no_voxel() -> None:
    (reason,) = of_headers(header(), run(compressor={"level": 7}))
    assert explained(["file"], [reason])
    assert not explained(["file", "image"], [reason])


def test_the_version_of_a_room_of_labels_explains_no_image() -> None:
    (reason,) = of_headers(header(), run(rooms={"scale": 1, "label": 2}))
    assert (reason.stage, reason.text) == ("label", "rooms.label 1 -> 2")
    assert explained(["label"], [reason])
    assert not explained(["image"], [reason])


def test_sources_are_compared_under_one_key_alone() -> None:
    changed = line(sources={"CT": ["1", "3", "4"]})
    (reason,) = of_lines(line(), changed, is_one_key=True)
    assert (reason.kind, reason.text) == ("source", "CT: 2 files new, 1 gone")
    assert of_lines(line(), changed, is_one_key=False) == []


def test_two_keys_explain_no_voxel() -> None:
    (reason,) = of_headers(header(), header(key="other"))
    assert reason.kind == "key"
    assert not explained(["image"], [reason])


def test_another_order_of_slices_is_a_reason() -> None:
    (reason,) = of_lines(line(), line(sources={"CT": ["2", "1"]}), is_one_key=True)
    assert reason.text == "CT: another order"


def test_a_half_turn_on_one_side_is_a_reason_for_image_and_label() -> None:
    turn = {"stage": "fix", "channel": "CT", "reversed": ["i", "j"], "evidence": "e"}
    (reason,) = of_lines(line(), line(notes=[turn]), is_one_key=True)
    assert (reason.kind, reason.text) == ("half_turn", "not turned -> turned")
    assert explained(["image", "label"], [reason])


def test_policy_reviewer_and_subset_are_reasons() -> None:
    before = line(notes=[{"stage": "deidentify", "policy": "p"}])
    after = line(
        notes=[{"stage": "deidentify", "policy": "q"}],
        review={"decision": "reject", "reason": "orientation"},
        subset="test",
    )
    kinds = [reason.kind for reason in of_lines(before, after, is_one_key=True)]
    assert kinds == ["policy", "subset", "reviewer"]


def test_the_first_room_whose_notes_differ_is_named() -> None:
    notes = [{"stage": "convert", "channel": "CT"}, {"stage": "scale", "channel": "CT", "low": "1"}]
    changed = [notes[0], notes[1] | {"low": "2"}]
    assert first_stage(line(notes=notes), line(notes=changed)) == "scale CT"
    assert first_stage(line(notes=notes), line(notes=notes[:1])) == "scale CT"
    assert first_stage(line(notes=notes), line(notes=list(notes))) == ""


def test_what_a_manifest_says_is_shown_as_printable_ascii() -> None:
    (reason,) = of_headers(header(), ruled(header={"description": "\x1b[31m\u202e"}))
    assert reason.text == "header.description x -> ?[31m?"
