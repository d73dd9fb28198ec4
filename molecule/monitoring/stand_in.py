# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for the company's mail server and for the API of Telegram: they keep what they are sent as files."""

from __future__ import annotations

import http.server
import json
import ssl
import time
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

MAILS = Path("/var/lib/stand-in/mail")
MESSAGES = Path("/var/lib/stand-in/telegram")
PASSWORD = b"only-for-this-scenario"
TOKEN = "12345:only-for-this-scenario"


class Mailbox:
    """Keeps every mail."""

    async def handle_DATA(self, server, session, envelope):
        (MAILS / f"{time.time_ns()}.eml").write_bytes(envelope.content)
        return "250 kept"


class Telegram(http.server.BaseHTTPRequestHandler):
    """Knows one bot, and one of its methods."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.path == f"/bot{TOKEN}/sendMessage"
        if known:
            (MESSAGES / f"{time.time_ns()}.json").write_bytes(body)
        if known:
            answer = {"ok": True, "result": {"message_id": 1, "date": 1, "chat": {"id": -100123, "type": "group"}}}
        else:
            answer = {"ok": False, "error_code": 401, "description": "Unauthorized"}
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"alerts" and data.password == PASSWORD)


def main() -> None:
    for folder in (MAILS, MESSAGES):
        folder.mkdir(parents=True, exist_ok=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain("/etc/stand-in/mail.crt", "/etc/stand-in/mail.key")
    Controller(
        Mailbox(),
        hostname="0.0.0.0",
        port=25,
        tls_context=tls,
        require_starttls=True,
        authenticator=authenticate,
        auth_required=True,
        # Its prompt for a name is not the one that Alertmanager knows.
        auth_exclude_mechanism=["LOGIN"],
    ).start()
    http.server.ThreadingHTTPServer(("0.0.0.0", 8081), Telegram).serve_forever()


if __name__ == "__main__":
    main()
