# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for pvesh: what it is told on its command line, it asks a served API as root@pam itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.contract.serving import Api

PROGRAM = """#!{python} -IS
import http.client, json, ssl, sys, urllib.parse

with open({calls!r}, "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
command, path, *rest = sys.argv[1:]
pairs = [(rest[at].lstrip("-"), rest[at + 1]) for at in range(0, len(rest), 2)]
data = urllib.parse.urlencode([(name, value) for name, value in pairs if name != "output-format"])
method = {{"get": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}}[command]
body = data if method in ("POST", "PUT") else None
query = "?" + data if data and body is None else ""
headers = {{"Cookie": "PVEAuthCookie={ticket}", "CSRFPreventionToken": "{csrf}"}}
if body:
    headers["Content-Type"] = "application/x-www-form-urlencoded"
context = ssl.create_default_context(cafile={ca_path!r})
connection = http.client.HTTPSConnection({host!r}, {port}, context=context)
connection.request(method, "/api2/json" + path + query, body, headers)
answer = connection.getresponse()
content = json.load(answer)
if answer.status >= 400:
    why = ["%s: %s" % pair for pair in (content.get("errors") or {{}}).items()]
    sys.exit("\\n".join(["%d %s" % (answer.status, (content.get("message") or answer.reason).strip()), *why]))
print(json.dumps(content["data"]))
"""


def stand_in(api: Api, directory: Path, monkeypatch: Any) -> Path:
    """Put the program in front of PATH; returns the file that keeps its command lines."""
    program, calls = directory / "pvesh", directory / "calls"
    calls.touch()
    ticket, csrf = api.pve.issue_ticket("root@pam")
    program.write_text(
        PROGRAM.format(
            python=sys.executable,
            calls=str(calls),
            host=api.pve.host,
            port=api.pve.port,
            ca_path=api.ca_path,
            ticket=ticket,
            csrf=csrf,
        )
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return calls
