"""The command that posts an incident, to a real HTTP server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from onincident import ACCOUNT, BLOCKED, OBSERVED, UNBLOCKED, carried_out, run

pytestmark = pytest.mark.subprocess

LINE = f"{ACCOUNT} was blocked: max_countries 3 in 2d, ES, FR, BR, VN, last from 45.4.3.2"
STRANGE = "<!channel>&`@all`@example.org"


class Server:
    """An HTTP server that keeps what it gets, and answers with `status`."""

    def __init__(self, folder: Path) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.got.append((self.path, dict(self.headers), body))
                self.send_response(server.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/hook/s3cret"
        self.file = str(folder / "url")
        Path(self.file).write_text(self.url + "\n")
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def post(self, *arguments: str, **changes: Any) -> Any:
        """Return what the last of the server's requests had as its body."""
        carried_out("webhook.py", arguments[0], self.file, *arguments[1:], **changes)
        path, headers, body = self.got[-1]
        assert path == "/hook/s3cret"
        is_json = headers["Content-Type"] == "application/json"
        return json.loads(body) if is_json else (headers, body.decode())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server, stopped afterwards."""
    made = Server(tmp_path)
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_webhook_posts_what_each_service_takes(server: Server) -> None:
    assert server.post("slack") == {"text": LINE}
    assert server.post("mattermost") == {"text": f"`{LINE}`"}
    telegram = {"chat_id": "-100", "text": LINE, "disable_web_page_preview": True}
    assert server.post("telegram", "-100") == telegram
    assert server.post("generic") == BLOCKED
    headers, text = server.post("ntfy")
    assert (headers["Title"], headers["Priority"]) == ("pcc: an account was blocked", "high")
    assert text == LINE


def test_webhook_posts_the_end_of_a_block_and_nothing_that_was_observed(server: Server) -> None:
    assert server.post("slack", **UNBLOCKED) == {"text": f"{ACCOUNT} was unblocked by alice"}
    carried_out("webhook.py", "slack", server.file, **OBSERVED)
    assert len(server.got) == 1


def test_webhook_has_a_login_say_nothing_of_its_own(server: Server) -> None:
    assert server.post("slack", account=STRANGE)["text"].startswith("&lt;!channel&gt;&amp;`@all`@")
    text = server.post("mattermost", account=STRANGE)["text"]
    assert (text.count("`"), text[0], text[-1]) == (2, "`", "`")
    assert server.post("ntfy", account="x\r\nPriority: max")[0]["Priority"] == "high"


def test_webhook_that_fails_keeps_its_address_secret(server: Server, tmp_path: Path) -> None:
    server.status = 500
    done = run("webhook.py", "slack", server.file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "webhook.py: slack: HTTP Error 500: Internal Server Error\n"
    file = tmp_path / "closed"
    file.write_text("http://127.0.0.1:1/s3cret\n")
    done = run("webhook.py", "slack", str(file))
    assert done.stderr == "webhook.py: slack: <urlopen error [Errno 111] Connection refused>\n"
    file.write_text("file:///etc/passwd\n")
    assert "must be a URL of http or https" in run("webhook.py", "slack", str(file)).stderr
    file.unlink()
    done = run("webhook.py", "slack", str(file))
    assert (done.returncode, done.stderr) == (1, f"webhook.py: {file}: No such file or directory\n")
