"""The page in a real browser: keys, decisions, the file that it saves; and that nothing on it can run."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium, wait_for
from reviewing import lines, packed, records, say

from pipeline.io.decisions import last_decisions
from pipeline.io.workspace import Workspace
from pipeline.review import build_pages
from pipeline.review.desk import Desk
from pipeline.review.page import page

SPLEEN = "Task09_Spleen"
HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">&<!--'\""
REASONS = {
    "accept": {"fit": "Fit.", "usable": HOSTILE},
    "reject": {"image-quality": "Artefacts.", "other": HOSTILE},
    "correct": {"half-turn": "Turned.", "other": HOSTILE},
}
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def hostile_case(case: str) -> dict[str, Any]:
    return {
        "case": case, "subset": HOSTILE, "seen": {"image": "sha256:0", "label": None}, "shape": [HOSTILE],
        "spacing": [HOSTILE], "warnings": [HOSTILE], "classes": {"1": {"name": HOSTILE, "voxels": 1, "ml": "1.5"}},
        "standing": "not-reviewed", "said": None, "sheets": {"whole-plain": DOT}, "pictures": {HOSTILE: DOT},
    }  # fmt: skip


def hostile_page() -> str:
    return page(
        {
            "format": "curate-decisions/1", "key": 16 * "0", "task": HOSTILE, "description": HOSTILE,
            "channels": [HOSTILE], "classes": [{"value": 1, "name": HOSTILE, "colour": [1, 2, 3]}],
            "reasons": REASONS, "cases": [hostile_case(HOSTILE), hostile_case("b_2")],
        }
    )  # fmt: skip


def policy(text: str) -> dict[str, str]:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert found is not None
    return dict(part.split(" ", 1) for part in found[1].split("; "))


def test_nothing_may_run_or_be_loaded_but_what_the_page_holds() -> None:
    text = hostile_page()
    rules = policy(text)
    program = text.rpartition("<script>")[2].partition("</script>")[0]

    assert rules["default-src"] == "'none'"
    assert (
        rules["script-src"]
        == f"'sha256-{base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()}'"
    )
    assert not any("unsafe" in rule or "http" in rule for rule in rules.values())
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []


def test_a_hostile_text_does_not_end_the_element_that_holds_it() -> None:
    text = hostile_page()

    assert text.count("<script") == text.count("</script>") == 2
    assert "<img src=x" not in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        opened.folder = tmp_path_factory.getbasetemp() / "browser0"
        yield opened


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def shown(browser: Any, name: str) -> str:
    found: str = browser.find_element("id", name).text
    return found


def faults(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def open_page(browser: Any, address: str) -> None:
    browser.get(address)
    browser.execute_script("sessionStorage.clear()")
    browser.refresh()


def test_hostile_texts_are_shown_and_do_nothing(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(hostile_page())
    open_page(browser, (tmp_path / "index.html").as_uri())
    press(browser, "c")

    assert shown(browser, "task") == shown(browser, "description") == shown(browser, "case") == HOSTILE
    assert HOSTILE in shown(browser, "warnings")
    assert HOSTILE in shown(browser, "reasons")
    assert "run" not in browser.title.split("document")[0]
    assert browser.find_elements("css selector", "img:not(#sheet)") == []
    assert faults(browser) == []


def test_a_reviewer_decides_by_keys_and_what_they_save_decides_the_release(
    browser: Any, workspace: Workspace, tmp_path: Path
) -> None:
    first, second, third, fourth = records(workspace, SPLEEN)
    (made,) = build_pages(workspace, [SPLEEN], told=lambda *_: None)
    open_page(browser, made.page.as_uri())
    wait_for(lambda: browser.execute_script("return document.getElementById('sheet').naturalWidth"))

    press(browser, "a")
    assert "initials" in shown(browser, "message")
    press(browser, "ab", "\ue007", "a")
    press(browser, "m", "Ms Doe turns", "\ue00c", "c", "1")
    press(browser, "r", "2")
    assert shown(browser, "case") == fourth
    assert "3 not saved" in shown(browser, "counts")
    press(browser, "s")
    file = wait_for(lambda: list(browser.folder.glob("downloads/*.json")))[0]

    assert file.name == f"{SPLEEN}-AB.decisions.json"
    assert Desk(workspace).take(file.read_bytes()).kept == 3
    kept = last_decisions(workspace, SPLEEN)
    assert [(kept[case].decision, kept[case].reason) for case in (first, second, third)] == [
        ("accept", "fit"),
        ("correct", "half-turn"),
        ("reject", "image-quality"),
    ]
    packed(workspace, tmp_path / "release")
    told = lines(tmp_path / "release", SPLEEN)
    assert told[first]["review"]["reason"] == "fit"
    assert [told[case]["code"] for case in (second, third)] == ["correction-wanted", "rejected-in-review"]
    assert "Doe" not in (tmp_path / f"release/{SPLEEN}.manifest.jsonl").read_text()
    assert faults(browser) == []


def test_outlines_and_close_up_are_a_key_away(browser: Any, workspace: Workspace) -> None:
    (made,) = build_pages(workspace, [SPLEEN], told=lambda *_: None)
    open_page(browser, made.page.as_uri())
    sources = []
    # The first case has no label, so that it has nothing to outline.
    for key in ("j", "o", "z", "o"):
        press(browser, key)
        sources.append(browser.find_element("id", "sheet").get_attribute("src"))

    assert [re.sub(r".*-(\w+-\w+)\.png", r"\1", name) for name in sources] == [
        "whole-outlined",
        "whole-plain",
        "close-plain",
        "close-outlined",
    ]


def test_what_was_not_saved_survives_a_reload_and_can_be_taken_back(
    browser: Any, workspace: Workspace
) -> None:
    (made,) = build_pages(workspace, [SPLEEN], told=lambda *_: None)
    open_page(browser, made.page.as_uri())
    press(browser, "i", "ab", "\ue007", "a", "k", "u", "a")
    assert wait_for(lambda: "1 of 4, 1 not saved" in shown(browser, "counts"))
    browser.refresh()

    assert wait_for(lambda: "1 of 4, 1 not saved" in shown(browser, "counts"))
    press(browser, "k", "u")
    assert shown(browser, "counts") == "0 of 4"


def test_a_case_of_which_nothing_was_said_stands_as_it_was_kept(browser: Any, workspace: Workspace) -> None:
    first, *_ = records(workspace, SPLEEN)
    say(workspace, SPLEEN, {first: ("reject", "wrong-label")})
    (made,) = build_pages(workspace, [SPLEEN], told=lambda *_: None)
    open_page(browser, made.page.as_uri())
    press(browser, "k", "k")

    assert shown(browser, "case") == first
    assert shown(browser, "standing") == "rejected: wrong-label"
