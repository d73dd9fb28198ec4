#!/usr/bin/python3
"""A stand-in for cloudflared, which the tests cannot download. It copies what the role relies on and nothing else.

That is: options, messages and exit codes of `tunnel ingress validate` and `tunnel ingress rule`, how a tunnel finds its
secret, how it is refused, metrics and readiness. In the part of Cloudflare's network is edge.py, outside.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import http.server
import json
import re
import socket
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any

import yaml

VERSION = "@VERSION@"
KNOWN = {"caPool", "connectTimeout", "httpHostHeader", "noTLSVerify", "originServerName"}


def fail(text: str) -> None:
    sys.exit(f"[stand-in for cloudflared] {text}")


def parsed(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules, if they are right."""
    rules = settings.get("ingress") or []
    if not rules:
        fail("Validation failed: The config file doesn't contain any ingress rules")
    for number, rule in enumerate(rules, 1):
        hostname, service = rule.get("hostname", ""), rule["service"]
        if ":" in hostname:
            fail("Validation failed: Hostname cannot contain a port")
        if hostname.rfind("*") > 0:
            fail("Validation failed: Hostname patterns can have at most one wildcard character")
        if not service.startswith("http_status:"):
            url = urllib.parse.urlsplit(service)
            if not (url.scheme and url.hostname):
                fail(f"Validation failed: {service} is an invalid address: make sure it has a scheme and a hostname")
            if url.path:
                fail(f"Validation failed: {service} is an invalid address: ingress rules don't support a path")
        everything = hostname in ("", "*") and not rule.get("path")
        if everything != (number == len(rules)):
            fail("Validation failed: The last ingress rule must match all URLs, and no other")
    return rules


def unknown(settings: dict[str, Any]) -> list[str]:
    requests = [settings.get("originRequest") or {}, *(rule.get("originRequest") or {} for rule in settings["ingress"])]
    return sorted({key for request in requests for key in request} - KNOWN)


def matching(rules: list[dict[str, Any]], hostname: str, path: str) -> int:
    for number, rule in enumerate(rules):
        name = rule.get("hostname", "")
        known = name in ("", "*", hostname) or (name.startswith("*.") and hostname.endswith(name[1:]))
        if known and re.search(rule.get("path", ""), path):
            return number
    return len(rules) - 1


class Tunnel:
    def __init__(self, settings: dict[str, Any], credentials: dict[str, str]) -> None:
        self.credentials = credentials
        self.rules = settings.get("ingress") or []
        self.ready = 0

    def connect(self) -> None:
        while True:
            try:
                with socket.create_connection(("outside", 7844), 5) as link:
                    link.settimeout(None)
                    stream = link.makefile("rw")
                    print(json.dumps(self.credentials), file=stream, flush=True)
                    if stream.readline() == "accepted\n":
                        self.ready = 1
                        for line in stream:
                            print(json.dumps(self.answer(*json.loads(line))), file=stream, flush=True)
            except OSError as error:
                print(f"Unable to establish connection with Cloudflare edge error={error}", file=sys.stderr, flush=True)
            self.ready = 0
            time.sleep(1)

    def answer(self, hostname: str, path: str) -> list[Any]:
        rule = self.rules[matching(self.rules, hostname, path)]
        if rule["service"].startswith("http_status:"):
            return [int(rule["service"].split(":")[1]), ""]
        url = urllib.parse.urlsplit(rule["service"])
        try:
            origin = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=5)
            origin.request("GET", path, headers={"Host": hostname})
            reply = origin.getresponse()
            return [reply.status, reply.read().decode()]
        except OSError:
            return [502, ""]


class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = self.server.tunnel.ready
        status, body = 404, ""
        if self.path == "/metrics":
            status, body = 200, f'build_info{{goversion="stand-in",revision="",type="",version="{VERSION}"}} 1\n'
            body += f"cloudflared_tunnel_ha_connections {ready}\n"
        elif self.path == "/ready":
            status = 200 if ready else 503
            body = json.dumps({"status": status, "readyConnections": ready, "connectorId": "stand-in"})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: Any) -> None:
        pass


def run(settings: dict[str, Any], token_file: Path | None) -> None:
    if token_file:
        try:
            token = json.loads(base64.b64decode(token_file.read_text().strip(), validate=True))
            credentials = {"AccountTag": token["a"], "TunnelSecret": token["s"], "TunnelID": token["t"]}
        except (ValueError, KeyError):
            fail("Provided Tunnel token is not valid.")
    else:
        credentials = json.loads(Path(settings["credentials-file"]).read_text())
        parsed(settings)
    address, port = settings["metrics"].rsplit(":", 1)
    server = http.server.ThreadingHTTPServer((address, int(port)), Metrics)
    server.tunnel = Tunnel(settings, credentials)
    threading.Thread(target=server.tunnel.connect, daemon=True).start()
    server.serve_forever()


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        print(f"cloudflared version {VERSION} (stand-in)")
        return
    parser = argparse.ArgumentParser(description="A stand-in for cloudflared.")
    parser.add_argument("tunnel", choices=["tunnel"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("words", nargs="+")
    options = parser.parse_args()
    settings = yaml.safe_load(options.config.read_text())
    if options.words == ["run"]:
        run(settings, options.token_file)
    elif options.words == ["ingress", "validate"]:
        print(f"Validating rules from {options.config}")
        parsed(settings)
        odd = unknown(settings)
        if odd:
            print("Warning: unused keys detected in your config file. Here is a list of unused keys:")
            print("\n".join(f"field {key} not found in type config.OriginRequestConfig" for key in odd))
        else:
            print("OK")
    else:
        fail(f"not a command: {options.words}")


main()
