"""Serve the review pages to one person at this machine, and keep what they decide.

Whoever may open a connection to this machine is not yet that person: the address holds a secret, other names of this
machine are refused (DNS rebinding), and nothing is served but the files that were there when serving began.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.model.errors import CurationError

LARGEST_BODY = 4 * 2**20
"""Bytes that one request may bring: a thousand decisions with the longest comments."""

_SECONDS = 20.0
"""How long a request may take to arrive."""

_KINDS = {".html": "text/html; charset=utf-8", ".png": "image/png"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Keep = Callable[[bytes], Mapping[str, Any]]
"""Keeps a file of decisions and says what became of it."""


class ReviewServer(ThreadingHTTPServer):
    """The pages below a folder, at an address of this machine that nobody can guess."""

    daemon_threads = True

    def __init__(self, folder: Path, keep: Keep) -> None:
        self.token = secrets.token_urlsafe(24)
        self.keep = keep
        self.files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.suffix in _KINDS and path.is_file() and not path.is_symlink()
        }
        super().__init__(("127.0.0.1", 0), _Request)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.server_port}"

    def address(self, page: str) -> str:
        """Return the address of a file below the folder; it holds the secret."""
        return f"{self.origin}/{self.token}/{page}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that hangs up is no fault, and texts could hold what was sent."""


class _Request(BaseHTTPRequestHandler):
    server: ReviewServer
    timeout = _SECONDS
    server_version = "curate"
    sys_version = ""

    def do_GET(self) -> None:
        name = self._wanted()
        path = None if name is None else self.server.files.get(name)
        if path is None:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
        else:
            self._send(HTTPStatus.OK, _KINDS[path.suffix], path.read_bytes())

    def do_POST(self) -> None:
        # What is not read would be taken for the next request.
        self.close_connection = True
        if self._wanted() != "decisions":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
        elif self.headers.get("Origin") != self.server.origin or not self._is_json():
            self._answer(HTTPStatus.FORBIDDEN, {"error": "only a review page may say something here"})
        else:
            self._keep()

    def _keep(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal() or int(length) > LARGEST_BODY:
            self._answer(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"wanted at most {LARGEST_BODY} bytes"}
            )
            return
        try:
            self._answer(HTTPStatus.OK, self.server.keep(self.rfile.read(int(length))))
        except CurationError as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _wanted(self) -> str | None:
        """Return what lies behind the secret, None to whoever does not know it or calls us by another name."""
        token, _, name = self.path.removeprefix("/").partition("/")
        is_known = hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
        return (
            name
            if is_known and self.headers.get("Host") == self.server.origin.removeprefix("http://")
            else None
        )

    def _is_json(self) -> bool:
        return self.headers.get("Content-Type", "").partition(";")[0].strip() == "application/json"

    def _answer(self, status: HTTPStatus, document: Mapping[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(document).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in (*_HEADERS.items(), ("Content-Type", kind), ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing: addresses hold the secret."""
