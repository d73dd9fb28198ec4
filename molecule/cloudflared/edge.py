"""A stand-in for Cloudflare's network: tunnels come to port 7844, and whoever asks port 80 is answered through them.

A tunnel that brings another secret than the one in the argument is refused.
"""

from __future__ import annotations

import http.server
import json
import socketserver
import sys
import threading
import time
from typing import Any

SECRET = sys.argv[1]
tunnels: list[Any] = []
turn = threading.Lock()


class Tunnel(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        if json.loads(self.rfile.readline())["TunnelSecret"] != SECRET:
            return
        self.wfile.write(b"accepted\n")
        tunnels.append(self)
        while self in tunnels:
            time.sleep(0.2)


class Visitor(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = 530, ""
        with turn:
            while tunnels and status == 530:
                try:
                    tunnels[-1].wfile.write(json.dumps([self.headers["Host"], self.path]).encode() + b"\n")
                    status, body = json.loads(tunnels[-1].rfile.readline())
                except (OSError, ValueError):
                    tunnels.pop()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


socketserver.ThreadingTCPServer.allow_reuse_address = True
edge = socketserver.ThreadingTCPServer(("0.0.0.0", 7844), Tunnel)
threading.Thread(target=edge.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("0.0.0.0", 80), Visitor).serve_forever()
