"""What the role decides by, as JSON. It only reads; the standard input says what to look at."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import stat
import subprocess
import sys
from pathlib import Path


def said(*command: str) -> str:
    """What a command prints; nothing if there is no such program."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def file(path: Path) -> str:
    try:
        status, content = path.stat(), path.read_bytes()
    except FileNotFoundError:
        return "missing"
    return f"{stat.S_IMODE(status.st_mode):o}:{status.st_uid}:{status.st_gid}:{hashlib.sha256(content).hexdigest()}"


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


asked = json.load(sys.stdin)
ignored = {text: network(text) for text in asked["ignored"]}
client = network(asked["client"]) if asked["client"] else None
states = said("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *asked["packages"]).split("\n")
jails = re.search(r"Jail list:\s*(.*)", said("fail2ban-client", "status"))
json.dump(
    {
        "installed": all(f"{package} installed" in states for package in asked["packages"]),
        "enabled": said("systemctl", "is-enabled", "fail2ban.service").strip() == "enabled",
        "jails": re.split(r",\s*", jails[1]) if jails and jails[1] else [],
        "files": {path: file(Path("/etc/fail2ban", path)) for path in asked["files"]},
        "not_networks": [text for text, parsed in ignored.items() if parsed is None],
        "client_ignored": client is None
        or any(net is not None and net.version == client.version and client.subnet_of(net) for net in ignored.values()),
    },
    sys.stdout,
)
