#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Proxmox VE's `pvesh`: what it is told on its command line, it asks a served API as root@pam itself.

Told "-" there, it reads the words of its command line from its standard input; `MODULE` stands in for the Perl module
behind the program and does that. As the real one, it waits for the task that a request starts, with its log on
standard output and its error on standard error, and says the answer last. It runs with what Debian's Python brings.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

ACCESS = Path("/var/lib/onprem-lab/pvesh.json")
PROGRAM = "/usr/bin/pvesh"
# Where Perl finds it, and what it is.
MODULE_PATH = "/usr/share/perl5/PVE/CLI/pvesh.pm"
MODULE = r"""# A stand-in for the module behind Proxmox VE's pvesh.
package PVE::CLI::pvesh;

sub run_cli_handler {
    open(my $program, '|-', 'PROGRAM', '-') or die "pvesh: $!\n";
    print {$program} join("\0", @ARGV);
    close($program);
    exit($? >> 8);
}

1;
"""
METHODS = {"get": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}


def program(access: Path) -> str:
    """The text of the program that finds there where the API is."""
    return Path(__file__).read_text().replace(str(ACCESS), str(access))


def module(found: str = PROGRAM) -> str:
    """The text of the Perl module that runs the program found there."""
    return MODULE.replace("PROGRAM", found)


def admit(access: Path, pve: Any, ca_path: str, calls: str = "") -> None:
    """Let the program in as root@pam; `calls` is a file that keeps its command lines."""
    ticket, csrf = pve.issue_ticket("root@pam")
    access.touch(mode=0o600)
    found = {"host": pve.host, "port": pve.port, "ca_path": ca_path, "ticket": ticket, "csrf": csrf, "calls": calls}
    access.write_text(json.dumps(found))


def ask(access: dict[str, Any], method: str, path: str, data: str = "") -> tuple[int, str, dict[str, Any]]:
    """A request's status, reason and answer."""
    body = data if method in ("POST", "PUT") else None
    query = "?" + data if data and body is None else ""
    headers = {"Cookie": f"PVEAuthCookie={access['ticket']}", "CSRFPreventionToken": access["csrf"]}
    if body:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    context = ssl.create_default_context(cafile=access["ca_path"])
    connection = http.client.HTTPSConnection(access["host"], access["port"], context=context)
    connection.request(method, "/api2/json" + path + query, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.reason, json.load(answer)


def follow(access: dict[str, Any], upid: str) -> None:
    """Wait for a task and show its log."""
    path = f"/nodes/{upid.split(':')[1]}/tasks/{upid}"
    while ask(access, "GET", f"{path}/status")[2]["data"]["status"] != "stopped":
        time.sleep(0.05)
    for line in ask(access, "GET", f"{path}/log", "limit=5000")[2]["data"]:
        if line["t"].startswith("TASK ERROR: "):
            print(line["t"][len("TASK ERROR: ") :], file=sys.stderr)
        elif line["t"] != "TASK OK":
            print(line["t"])


def main() -> None:
    access = json.loads(ACCESS.read_text())
    if access["calls"]:
        with Path(access["calls"]).open("a") as calls:
            calls.write(" ".join(sys.argv[1:]) + "\n")
    words = sys.stdin.read().split("\0") if sys.argv[1:] == ["-"] else sys.argv[1:]
    command, path, *rest = words
    pairs = [(rest[at].lstrip("-"), rest[at + 1]) for at in range(0, len(rest), 2)]
    data = urllib.parse.urlencode([(name, value) for name, value in pairs if name != "output-format"])
    status, reason, content = ask(access, METHODS[command], path, data)
    if status >= 400:
        why = ["{}: {}".format(*pair) for pair in (content.get("errors") or {}).items()]
        sys.exit("\n".join([f"{status} {(content.get('message') or reason).strip()}", *why]))
    if str(content["data"]).startswith("UPID:"):
        follow(access, content["data"])
    print(json.dumps(content["data"]))


if __name__ == "__main__":
    main()
