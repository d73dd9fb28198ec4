"""Ask a DNS server for names and their addresses, which the standard input has. What is missing is an error."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import sys

SERVER = (sys.argv[1], 53)


def ask(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET6 if ":" in SERVER[0] else socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(3)
        link.connect(SERVER)
        link.send(b"\x4f\x50\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00" + bytes([0, kind, 0, 1]))
        return link.recv(4096)


# It answers this one by itself.
questions = [("healthcheck.adguardhome.test", None)]
for rewrite in json.load(sys.stdin):
    with contextlib.suppress(ValueError):
        if not rewrite["name"].startswith("*"):
            questions.append((rewrite["name"], ipaddress.ip_address(rewrite["answer"])))
missing = []
for name, address in questions:
    try:
        reply = ask(name, 28 if address and address.version == 6 else 1)
    except OSError as error:
        sys.exit(f"{SERVER[0]}:53 does not answer: {error}.")
    if reply[3] & 15 or (address and address.packed not in reply):
        missing.append(f"{name} is not answered with {address or 'success'}.")
if missing:
    sys.exit("\n".join(missing))
