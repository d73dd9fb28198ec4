#!/usr/bin/python3
"""A stand-in for AdGuard Home, which the tests cannot download. It copies what the role relies on and nothing else.

That is: options, exit codes and messages; that a missing configuration opens a setup for anybody; that the file is
written again at every start and every change in the web interface, in the words of its schema; what is refused by
--check-config and what only by a start; login, API and DNS. Nothing is asked of upstream servers.
"""

from __future__ import annotations

import argparse
import base64
import http.server
import ipaddress
import json
import os
import re
import secrets
import signal
import socketserver
import struct
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import bcrypt
import yaml

VERSION = "@VERSION@"
SCHEMA = 33 if VERSION == "v0.107.73" else 34
TAGS = ["device_pc", "device_phone", "user_admin"]
DEFAULTS: dict[str, Any] = {
    "http": {"doh": {"insecure_enabled": False}, "address": "0.0.0.0:3000", "session_ttl": "720h"},
    "users": [],
    "auth_attempts": 5,
    "language": "",
    "dns": {
        "bind_hosts": ["0.0.0.0"],
        "port": 53,
        "ratelimit": 20,
        "ratelimit_subnet_len_ipv4": 24,
        "ratelimit_subnet_len_ipv6": 56,
        "refuse_any": True,
        "upstream_dns": [],
        "bootstrap_dns": [],
        "upstream_mode": "load_balance",
        "cache_enabled": True,
        "cache_size": 4194304,
        "aaaa_disabled": False,
        "enable_dnssec": True,
        "private_networks": [],
        "use_private_ptr_resolvers": True,
        "local_ptr_upstreams": [],
        "hostsfile_enabled": True,
    },
    "tls": {"enabled": False, "allow_unencrypted_doh": False},
    "querylog": {"interval": "2160h", "enabled": True},
    "statistics": {"interval": "24h", "enabled": True},
    "filters": [],
    "whitelist_filters": [],
    "user_rules": [],
    "filtering": {
        "blocked_services": {"schedule": {"time_zone": "Local"}, "ids": []},
        "rewrites": [],
        "rewrites_enabled": True,
        "filters_update_interval": 24,
        "filtering_enabled": True,
        "protection_enabled": True,
    },
    "clients": {"persistent": []},
    "schema_version": SCHEMA,
}
if SCHEMA == 33:
    del DEFAULTS["http"]["doh"]
else:
    del DEFAULTS["tls"]["allow_unencrypted_doh"]
CLIENT = {"name": "", "ids": [], "tags": [], "uid": "", "use_global_settings": False, "filtering_enabled": False}


def log(text: str) -> None:
    print(f"[stand-in for AdGuard Home] {text}", file=sys.stderr, flush=True)


def fail(text: str) -> None:
    log(f"[error] {text}")
    sys.exit(1)


def known(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What the program knows of a configuration; all else is lost when it is written."""
    return {
        key: known(value, given.get(key) or {}) if isinstance(value, dict) else given.get(key, value)
        for key, value in defaults.items()
    }


class Program:
    def __init__(self, config: Path, work: Path) -> None:
        self.path, self.data = config, work / "data"
        self.lock = threading.RLock()
        self.sessions: set[str] = set()
        self.failures: dict[str, int] = {}
        self.first = not config.exists()
        self.listed: list[str] = []

    def read(self) -> None:
        try:
            given = yaml.safe_load(self.path.read_text())
        except yaml.YAMLError as error:
            fail(f"failed to parse configuration file err={error}")
        if given["schema_version"] > SCHEMA:
            fail(f"failed to parse configuration file err=unknown current schema version {given['schema_version']}")
        if given["schema_version"] < SCHEMA:
            log("upgrade yaml from=33 to=34")
            if "tls" in given:
                insecure = given["tls"].pop("allow_unencrypted_doh", False)
                given.setdefault("http", {})["doh"] = {"insecure_enabled": insecure}
            given["schema_version"] = SCHEMA
            self.replace(given)
        for key, kind in (("cache_size", int), ("bind_hosts", list), ("cache_enabled", bool)):
            if not isinstance(given.get("dns", {}).get(key, DEFAULTS["dns"][key]), kind):
                fail(f"failed to parse configuration file err=cannot unmarshal {key}")
        self.config = known(DEFAULTS, given)

    def replace(self, content: dict[str, Any]) -> None:
        new = self.path.with_suffix(".tmp")
        new.write_text(yaml.safe_dump(content, sort_keys=False))
        new.chmod(0o600)
        new.replace(self.path)

    def write(self) -> None:
        with self.lock:
            self.replace(self.config)

    def prepare(self) -> None:
        """What a start refuses, and --check-config does not look at."""
        clients = []
        for index, client in enumerate(self.config["clients"]["persistent"]):
            entry = known(CLIENT, client)
            wrong = [tag for tag in entry["tags"] if tag not in TAGS]
            if wrong:
                fail(f'fatal error err=initing clients: adding client at index {index}: invalid tag: "{wrong[0]}"')
            entry["uid"] = entry["uid"] or secrets.token_hex(16)
            entry["ids"] = sorted(identifier.lower() for identifier in entry["ids"])
            clients.append(entry)
        self.config["clients"]["persistent"] = sorted(clients, key=lambda entry: entry["name"])
        # How long a duration is written depends on the version.
        for part in ("querylog", "statistics"):
            hours = int(self.config[part]["interval"].removesuffix("h").removesuffix("d"))
            hours *= 24 if self.config[part]["interval"].endswith("d") else 1
            self.config[part]["interval"] = f"{hours}h" if SCHEMA == 33 or hours % 24 else f"{hours // 24}d"
        for rewrite in self.config["filtering"]["rewrites"]:
            rewrite["domain"] = rewrite["domain"].lower()
            rewrite.setdefault("enabled", False)
        self.write()
        (self.data / "filters").mkdir(parents=True, exist_ok=True)
        for name, content in (("querylog.json", ""), ("stats.db", "{}")):
            if not (self.data / name).exists():
                (self.data / name).write_text(content)
        threading.Thread(target=self.load, daemon=True).start()

    def load(self) -> None:
        lists = []
        for entry in self.config["filters"]:
            path = self.data / "filters" / f"{entry['id']}.txt"
            if not path.exists():
                try:
                    with urllib.request.urlopen(entry["url"], timeout=5) as answer:
                        path.write_bytes(answer.read())
                except OSError as error:
                    log(f"loading filter id={entry['id']} err={error}")
                    continue
            lists += path.read_text().split()
        self.listed = lists

    def count(self, name: str, blocked: bool) -> None:
        with self.lock:
            if self.config["querylog"]["enabled"]:
                with (self.data / "querylog.json").open("a") as file:
                    file.write(json.dumps({"QH": name}) + "\n")
            if self.config["statistics"]["enabled"]:
                hour = str(int(time.time() // 3600))
                units = json.loads((self.data / "stats.db").read_text())
                unit = units.setdefault(hour, {"total": 0, "filtered": 0})
                unit["total"] += 1
                unit["filtered"] += blocked
                (self.data / "stats.db").write_text(json.dumps(units))

    def statistics(self, hours: int) -> dict[str, Any]:
        since = int(time.time() // 3600) - hours
        units = [unit for hour, unit in json.loads((self.data / "stats.db").read_text()).items() if int(hour) > since]
        return {
            "time_units": "hours",
            "num_dns_queries": sum(unit["total"] for unit in units),
            "num_blocked_filtering": sum(unit["filtered"] for unit in units),
            "num_replaced_safebrowsing": 0,
            "num_replaced_safesearch": 0,
            "num_replaced_parental": 0,
            "avg_processing_time": 0.000512,
        }

    def rewritten(self, name: str) -> list[str] | None:
        filtering = self.config["filtering"]
        if not (filtering["filtering_enabled"] and filtering["rewrites_enabled"]):
            return None
        found = [entry for entry in filtering["rewrites"] if entry["enabled"]]
        exact = [entry["answer"] for entry in found if entry["domain"] == name]
        wild = [
            entry["answer"] for entry in found if entry["domain"][:2] == "*." and name.endswith(entry["domain"][1:])
        ]
        return exact or wild or None

    def answer(self, name: str, kind: int) -> tuple[int, list[tuple[int, bytes]], bool]:
        """The code, the records, and whether it is blocked."""
        if name == "healthcheck.adguardhome.test":
            return 0, [], False
        answers = self.rewritten(name) if kind in (1, 28) else None
        if answers is not None:
            return 0, self.records(answers, kind), False
        rules = self.config["user_rules"] + self.listed
        if not any(self.covers(rule[2:], name) for rule in rules if rule.startswith("@@")):
            for rule in rules:
                pattern, _, rewrite = rule.partition("$dnsrewrite=")
                if not self.covers(pattern, name):
                    continue
                if rewrite == "NXDOMAIN;;":
                    return 3, [], False
                if rewrite:
                    target = rewrite.split(";")[2].rstrip(".")
                    return 0, [(12, encoded(target))] if kind == 12 else [], False
                if self.config["filtering"]["protection_enabled"]:
                    return 0, [(kind, bytes(4 if kind == 1 else 16))], True
        return 3 if name.endswith(".168.192.in-addr.arpa") else 2, [], False

    def records(self, answers: list[str], kind: int) -> list[tuple[int, bytes]]:
        found = []
        for answer in answers:
            try:
                address = ipaddress.ip_address(answer)
            except ValueError:
                found += [(5, encoded(answer)), *self.records(self.rewritten(answer) or [], kind)]
            else:
                found += [(kind, address.packed)] if address.version == (4 if kind == 1 else 6) else []
        return found

    @staticmethod
    def covers(pattern: str, name: str) -> bool:
        exact, below = re.fullmatch(r"\|([^|^]+)\^", pattern), re.fullmatch(r"\|\|([^|^]+)\^", pattern)
        return bool((exact and name == exact[1]) or (below and (name == below[1] or name.endswith(f".{below[1]}"))))


def encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def reply(program: Program, query: bytes) -> bytes:
    labels, place = [], 12
    while query[place]:
        labels.append(query[place + 1 : place + 1 + query[place]].decode().lower())
        place += query[place] + 1
    kind = struct.unpack(">H", query[place + 1 : place + 3])[0]
    name = ".".join(labels)
    code, records, blocked = program.answer(name, kind)
    if name != "healthcheck.adguardhome.test":
        program.count(name, blocked)
    header = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
    body = b"".join(struct.pack(">HHHIH", 0xC00C, sort, 1, 10, len(data)) + data for sort, data in records)
    return header + query[12 : place + 5] + body


class Datagram(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request[1].sendto(reply(self.server.program, self.request[0]), self.client_address)


class Stream(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        length = struct.unpack(">H", self.rfile.read(2))[0]
        answer = reply(self.server.program, self.rfile.read(length))
        self.wfile.write(struct.pack(">H", len(answer)) + answer)


class Web(http.server.BaseHTTPRequestHandler):
    server_version = "stand-in for AdGuard Home"

    def say(self, content: Any = "", status: int = 200, **headers: str) -> None:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass

    def accepted(self, name: str, password: str) -> bool:
        program, address = self.server.program, self.client_address[0]
        if program.failures.get(address, 0) >= program.config["auth_attempts"]:
            return False
        hashes = {user["name"]: user["password"] for user in program.config["users"]}
        if name in hashes and bcrypt.checkpw(password.encode(), hashes[name].encode()):
            program.failures.pop(address, None)
            return True
        program.failures[address] = program.failures.get(address, 0) + 1
        return False

    def authorized(self) -> bool:
        program = self.server.program
        if not program.config["users"]:
            return True
        cookie = re.search("agh_session=([0-9a-f]+)", self.headers.get("Cookie", ""))
        if cookie:
            return cookie[1] in program.sessions
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return scheme == "Basic" and self.accepted(*base64.b64decode(token).decode().split(":", 1))

    def do_GET(self) -> None:
        program = self.server.program
        path, _, query = self.path.partition("?")
        if program.first:
            self.say("The setup, open to anybody.")
        elif not self.authorized():
            self.say(status=401)
        elif path == "/control/status":
            self.say({"version": VERSION, "running": True, "protection_enabled": self.protected()})
        elif path == "/control/stats":
            self.say(program.statistics(1 if query == "recent=3600000" else 24))
        elif path == "/control/querylog":
            lines = (program.data / "querylog.json").read_text().splitlines()
            self.say({"data": [{"question": {"name": json.loads(line)["QH"]}} for line in lines]})
        else:
            self.say(status=404)

    def protected(self) -> bool:
        return self.server.program.config["filtering"]["protection_enabled"]

    def do_POST(self) -> None:
        program = self.server.program
        content = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")
        if self.path == "/control/login":
            if not self.accepted(content["name"], content["password"]):
                self.say("invalid username or password\n", 403)
                return
            token = secrets.token_hex(16)
            program.sessions.add(token)
            self.say("OK\n", Set_Cookie=f"agh_session={token}; Path=/; HttpOnly")
            return
        if not self.authorized():
            self.say(status=401)
            return
        if self.path == "/control/rewrite/add":
            program.config["filtering"]["rewrites"].append({**content, "enabled": True})
        elif self.path == "/control/protection":
            program.config["filtering"]["protection_enabled"] = content["enabled"]
        elif self.path == "/control/filtering/set_rules":
            program.config["user_rules"] = content["rules"]
        elif self.path == "/control/blocked_services/update" and self.command == "PUT":
            program.config["filtering"]["blocked_services"] = content
        else:
            self.say(status=404)
            return
        program.write()
        self.say("OK\n")

    do_PUT = do_POST


def serve(kind: Any, address: tuple[str, int], handler: Any, program: Program) -> None:
    kind.allow_reuse_address = True
    server = kind(address, handler)
    server.program = program
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log(f"serving on {address[0]}:{address[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for AdGuard Home.")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--work-dir", type=Path)
    for option in ("check-config", "no-check-update", "verbose", "version"):
        parser.add_argument(f"--{option}", action="store_true")
    options = parser.parse_args()
    if options.version:
        detail = f"AdGuard Home\nVersion: {VERSION}\nSchema version: {SCHEMA}\nChannel: stand-in"
        print(detail if options.verbose else f"AdGuard Home, version {VERSION}")
        return
    os.umask(0o077)
    program = Program(options.config, options.work_dir)
    web = ("0.0.0.0", 3000)
    if not program.first:
        program.read()
        if options.check_config:
            log("configuration file is ok")
            return
        program.prepare()
        for address in program.config["dns"]["bind_hosts"]:
            serve(socketserver.ThreadingUDPServer, (address, program.config["dns"]["port"]), Datagram, program)
            serve(socketserver.ThreadingTCPServer, (address, program.config["dns"]["port"]), Stream, program)
        host, port = program.config["http"]["address"].rsplit(":", 1)
        web = (host, int(port))
    serve(http.server.ThreadingHTTPServer, web, Web, program)
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(0))
    while True:
        signal.pause()


main()
