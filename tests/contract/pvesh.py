# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for pvesh: what it is told on its command line, it asks a served API as root@pam itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.contract.serving import Api

PROGRAM = """#!{python} -S
import json, ssl, sys, urllib.error, urllib.parse, urllib.request

with open({calls!r}, "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")


def ask(method, path, data, headers):
    query = "?" + urllib.parse.urlencode(data) if data and method in ("GET", "DELETE") else ""
    body = urllib.parse.urlencode(data).encode() if data and not query else None
    request = urllib.request.Request({url!r} + path + query, body, headers, method=method)
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile={ca_path!r})) as answer:
        return json.load(answer)["data"]


command, path, *rest = sys.argv[1:]
pairs = [(rest[at].lstrip("-"), rest[at + 1]) for at in range(0, len(rest), 2)]
data = [(name, value) for name, value in pairs if name != "output-format"]
method = {{"get": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}}[command]
login = ask("POST", "/access/ticket", {{"username": "root@pam", "password": {password!r}}}, {{}})
headers = {{"Cookie": "PVEAuthCookie=" + login["ticket"], "CSRFPreventionToken": login["CSRFPreventionToken"]}}
try:
    print(json.dumps(ask(method, path, data, headers)))
except urllib.error.HTTPError as error:
    sys.exit("%d %s" % (error.code, (json.load(error).get("message") or error.reason).strip()))
"""


def stand_in(api: Api, directory: Path, monkeypatch: Any) -> Path:
    """Put the program in front of PATH; returns the file that keeps its command lines."""
    program, calls = directory / "pvesh", directory / "calls"
    calls.touch()
    program.write_text(
        PROGRAM.format(
            python=sys.executable,
            calls=str(calls),
            url=f"{api.pve.url}/api2/json",
            ca_path=api.ca_path,
            password=api.pve.password,
        )
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return calls
