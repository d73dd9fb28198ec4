# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for an application: tells what reached it, takes uploads, and echoes what a WebSocket says.

Port 8000 speaks HTTP, port 8443 HTTPS with the certificate of the machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.converse()
        else:
            self.answer(0)

    def do_POST(self) -> None:
        left = length = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 65536)))
        self.answer(length)

    def answer(self, length: int) -> None:
        told = {
            "path": self.path,
            "port": self.server.server_address[1],
            "length": length,
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/strict":
            self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        self.wfile.write(body)

    def converse(self) -> None:
        digest = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + GUID).encode()).digest()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
        self.end_headers()
        self.close_connection = True
        while frame := self.connection.recv(4096):
            self.connection.sendall(frame)


def main() -> None:
    secure = ThreadingHTTPServer(("0.0.0.0", 8443), Application)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain("/etc/onprem/tls/database.crt", "/etc/onprem/tls/database.key")
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("0.0.0.0", 8000), Application).serve_forever()


if __name__ == "__main__":
    main()
