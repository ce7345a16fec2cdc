"""The server answers the one who holds its address, and keeps what they decide at once."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium, wait_for
from reviewing import file_of, records

from pipeline.io.decisions import last_decisions
from pipeline.io.workspace import Workspace
from pipeline.model.errors import UsageError
from pipeline.review.server import LARGEST_BODY, ReviewServer

SPLEEN = "Task09_Spleen"
JSON = "application/json"


def keep(content: bytes) -> dict[str, Any]:
    if content == b"unfit":
        raise UsageError("decisions-unfit", wanted="decisions", found="none")
    return {"kept": len(content)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReviewServer]:
    folder = tmp_path / "review"
    (folder / "T/sheets").mkdir(parents=True)
    (folder / "decisions").mkdir()
    (folder / "T/index.html").write_text("page")
    (folder / "T/sheets/a.png").write_bytes(b"picture")
    (folder / "decisions/T.jsonl").write_text("log")
    (tmp_path / "secret.html").write_text("secret")
    (folder / "T/link.html").symlink_to(tmp_path / "secret.html")
    with ReviewServer(folder, keep) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: ReviewServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> Any:
    """Status, headers and body of an answer; `_` in a header's name is a hyphen."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_the_pages_are_there_for_whoever_knows_the_address(server: ReviewServer) -> None:
    status, headers, body = ask(server, f"/{server.token}/T/index.html")

    assert (status, body) == (200, b"page")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert ask(server, f"/{server.token}/T/sheets/a.png")[2] == b"picture"


HIDDEN = (
    "/", "/T/index.html", "/{token}", "/{token}/", "/{token}/T", "/{token}/T/", "/{token}/T/sheets/",
    "/{token}/decisions/T.jsonl", "/{token}/T/../../secret.html", "/{token}/T/%2e%2e/%2e%2e/secret.html",
    "/{token}/T/link.html", "/{token}//T/index.html", "/{token}x/T/index.html", "/%C3%A9/T/index.html",
)  # fmt: skip


@pytest.mark.parametrize("path", HIDDEN)
def test_nothing_else_is_there(server: ReviewServer, path: str) -> None:
    assert ask(server, path.format(token=server.token))[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", ""])
def test_under_another_name_nothing_is_there(server: ReviewServer, host: str) -> None:
    assert ask(server, f"/{server.token}/T/index.html", Host=host)[0] == 404


def test_decisions_of_a_page_are_kept(server: ReviewServer) -> None:
    path = f"/{server.token}/decisions"
    status, _, body = ask(server, path, "POST", b"four", Origin=server.origin, Content_Type=JSON)

    assert (status, json.loads(body)) == (200, {"kept": 4})


def test_decisions_that_do_not_fit_are_answered_with_why(server: ReviewServer) -> None:
    path = f"/{server.token}/decisions"
    status, _, body = ask(server, path, "POST", b"unfit", Origin=server.origin, Content_Type=JSON)

    assert status == 400
    assert "decisions-unfit" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": JSON}, 403),
        ({"Origin": "http://evil.example", "Content_Type": JSON}, 403),
        ({"Origin": "null", "Content_Type": JSON}, 403),
        ({"Content_Type": "text/plain"}, 403),
        ({"Content_Type": JSON, "Content_Length": str(LARGEST_BODY + 1)}, 413),
        ({"Content_Type": JSON, "Content_Length": "-1"}, 413),
        ({"Content_Type": JSON, "Host": "evil.example"}, 404),
    ],
)
def test_nobody_else_can_decide(server: ReviewServer, headers: dict[str, str], status: int) -> None:
    is_ours = status != 403 or headers["Content_Type"] != JSON
    named = {**({"Origin": server.origin} if is_ours else {}), **headers}

    assert ask(server, f"/{server.token}/decisions", "POST", b"x", **named)[0] == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_else_can_be_asked(server: ReviewServer, method: str) -> None:
    assert ask(server, f"/{server.token}/T/index.html", method)[0] == 501


def test_two_servers_have_two_secrets(server: ReviewServer, tmp_path: Path) -> None:
    with ReviewServer(tmp_path, keep) as other:
        assert other.token != server.token
        assert len(server.token) >= 32


@pytest.fixture
def serving(workspace: Workspace) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`curate review --serve --json` in a process of its own, and the addresses that it tells."""
    command = [str(Path(sys.executable).with_name("curate")), "review", "-w", str(workspace.root)]
    process = subprocess.Popen(
        [*command, "-t", SPLEEN, "--serve", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = ""
    while not told.endswith("}\n"):
        told += process.stdout.readline()
    yield process, json.loads(told)["addresses"]
    process.kill()
    process.communicate()


def test_what_is_decided_on_a_served_page_is_kept_at_once(
    workspace: Workspace, tmp_path: Path, serving: tuple[subprocess.Popen[str], list[str]]
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    _, (address,) = serving
    first, *_ = records(workspace, SPLEEN)
    with chromium(tmp_path) as browser:
        browser.get(address)
        for key in ("i", "cd", "\ue007", "A"):
            ActionChains(browser).send_keys(key).perform()
        wait_for(lambda: last_decisions(workspace, SPLEEN))
        wait_for(lambda: browser.find_element("id", "counts").text == "1 of 4")
        assert [entry["message"] for entry in browser.get_log("browser")] == []

    assert last_decisions(workspace, SPLEEN)[first].reason == "usable"


def test_an_interruption_ends_serving_well(
    workspace: Workspace, serving: tuple[subprocess.Popen[str], list[str]]
) -> None:
    process, (address,) = serving
    port = int(address.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    said = json.dumps(file_of(workspace, SPLEEN, {next(iter(records(workspace, SPLEEN))): ("accept", "fit")}))
    headers = {"Origin": f"http://127.0.0.1:{port}", "Content-Type": JSON}
    connection.request("POST", f"/{address.split('/')[3]}/decisions", said, headers)
    assert connection.getresponse().status == 200
    connection.close()
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=20) == 0
    assert len(last_decisions(workspace, SPLEEN)) == 1
