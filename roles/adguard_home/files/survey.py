"""What the role decides by, as JSON. It only reads; the standard input says what is asked for."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
# One that ends in a number is an address with a mistake in it.
NAME = re.compile(rf"({LABEL}\.)*(?!\d+$){LABEL}", re.IGNORECASE)
UPSTREAM = re.compile(
    r"(\[/[^\s/]+(/[^\s/]+)*/\])?"
    r"(#|sdns://\S+|(https|h3)://[^\s/]+(/\S*)?|((tcp|udp|tls|quic)://)?(\[[0-9a-f:]+\]|[0-9a-f:]+|[^\s/:]+)(:\d+)?)"
)
MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", re.IGNORECASE)


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def repeated(values: list[str]) -> list[str]:
    return sorted({value for value in values if values.count(value) > 1})


def mistakes(asked: dict[str, Any]) -> list[str]:
    found = []
    for variable in ("bind_addresses", "web_address"):
        strangers = [text for text in asked[variable] if text not in ["0.0.0.0", "::", *asked["addresses"]]]
        if strangers:
            found.append(
                f"adguard_home_{variable} has {', '.join(strangers)}, which is no address of the machine: use one of"
                f" {', '.join(asked['addresses'])}, or 0.0.0.0."
            )
    for variable in ("upstreams", "reverse_upstreams"):
        found += [
            f"adguard_home_{variable} has '{text}': write tls://NAME, https://NAME/PATH or an address, after [/DOMAIN/]"
            " if it is for a domain."
            for text in asked[variable]
            if not UPSTREAM.fullmatch(text)
        ]
    found += [
        f"adguard_home_bootstrap_servers has '{text}': write addresses, since these servers tell those of the others."
        for text in asked["bootstrap_servers"]
        if not is_address(text.rsplit(":", 1)[0] if text.count(":") == 1 else text)
    ]
    found += [
        f"adguard_home_private_networks has '{text}': write networks such as 192.168.0.0/24."
        for text in asked["private_networks"]
        if not is_network(text)
    ]
    found += [
        f"adguard_home_local_domains has '{text}': write domains such as corp.example."
        for text in asked["local_domains"]
        if not NAME.fullmatch(text)
    ]
    for rewrite in asked["rewrites"]:
        if not NAME.fullmatch(re.sub(r"^\*\.", "", rewrite["name"])):
            found.append(f"adguard_home_rewrites has the name '{rewrite['name']}': write one such as web.corp.example.")
        if not is_address(rewrite["answer"]) and not NAME.fullmatch(rewrite["answer"]):
            found.append(
                f"adguard_home_rewrites answers {rewrite['name']} with '{rewrite['answer']}': write an address, or"
                " another name."
            )
    for client in asked["clients"]:
        found += [
            f"adguard_home_clients has '{text}' among the ids of {client['name']}: write addresses, networks, MAC"
            " addresses or ids of lower-case letters, digits and dashes."
            for text in client["ids"]
            if not (is_address(text) or is_network(text) or MAC.fullmatch(text) or re.fullmatch(LABEL, text))
        ]
        if not client["ids"]:
            found.append(f"adguard_home_clients has no ids for {client['name']}: give the addresses it comes from.")
    for text in repeated([text.lower() for client in asked["clients"] for text in client["ids"]]):
        found.append(f"adguard_home_clients has {text} twice: it can stand for one client only.")
    for variable, key in (("clients", "name"), ("block_lists", "url"), ("allow_lists", "url")):
        for text in repeated([entry[key] for entry in asked[variable]]):
            found.append(f"adguard_home_{variable} has {text} twice: remove one.")
    for entry in asked["block_lists"] + asked["allow_lists"]:
        if not re.fullmatch(r"(https?://|/)\S+", entry["url"]):
            found.append(f"The list {entry['name']} has the URL '{entry['url']}': write http(s)://... or a path.")
    return found


def strangers(ports: list[int], unit: str) -> list[str]:
    """Who else listens on these ports, but for systemd-resolved, which makes room."""
    main = said("systemctl", "show", "--property=MainPID", "--value", unit).strip()
    found = set()
    for line in said("ss", "-Hlntup").splitlines():
        fields = line.split()
        port, program = fields[4].rsplit(":", 1)[1], re.search(r'users:\(\("([^"]+)",pid=(\d+)', line)
        name, process = program.groups() if program else ("a program", "")
        if int(port) in ports and process != main and (name != "systemd-resolve" or port != "53"):
            found.add(f"{name} on {fields[4]} ({fields[0]})")
    return sorted(found)


asked = json.load(sys.stdin)
json.dump(
    {
        "mistakes": mistakes(asked),
        "occupied": strangers(asked["ports"], asked["unit"]),
        "resolved": said("systemctl", "is-active", "systemd-resolved.service").strip() == "active",
        "released": Path(asked["program"]).exists(),
        "running": said("systemctl", "is-active", asked["unit"]).strip() == "active",
        "measured": Path("/etc/systemd/system/adguard-home-metrics.timer").exists(),
    },
    sys.stdout,
)
