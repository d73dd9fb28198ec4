#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Proxmox VE's `pct exec`, for the lab's hypervisor, whose containers are machines beside it.

The lab copies this file to /usr/sbin/pct there and answers on a socket: a line that says what to run where, then the
input; back come frames of output, and the exit code. It runs with what Debian's Python brings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Any

SOCKET = Path("/var/lib/onprem-lab/pct.sock")
FRAME = struct.Struct("!BI")
OUT, ERR, EXIT = 1, 2, 3


def client(argv: list[str]) -> int:
    """What `pct exec <vmid> -- <command>` does on the node."""
    if len(argv) < 4 or argv[0] != "exec" or argv[2] != "--":
        print("This stand-in of the lab knows `pct exec <vmid> -- <command>` only.", file=sys.stderr)
        return 255
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.connect(str(SOCKET))
        channel.sendall(json.dumps({"vmid": int(argv[1]), "argv": argv[3:]}).encode() + b"\n")
        threading.Thread(target=send_input, args=(channel,), daemon=True).start()
        stream = channel.makefile("rb")
        while True:
            kind, size = FRAME.unpack(stream.read(FRAME.size))
            data = stream.read(size)
            if kind == EXIT:
                return int(data)
            target = sys.stdout if kind == OUT else sys.stderr
            target.buffer.write(data)
            target.buffer.flush()


def send_input(channel: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(0, 65536):
            channel.sendall(data)
        channel.shutdown(socket.SHUT_WR)


async def serve(path: Path, state: Any, prefix: str) -> None:
    """Answer on a socket; `state` tells the state of a container by its number."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def frame(kind: int, data: bytes) -> None:
            writer.write(FRAME.pack(kind, len(data)) + data)
            await writer.drain()

        async def copy(kind: int, stream: asyncio.StreamReader) -> None:
            while data := await stream.read(65536):
                await frame(kind, data)

        async def feed(stream: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65536):
                    stream.write(data)
                    await stream.drain()
                stream.close()

        with contextlib.suppress(ConnectionError):
            wanted = json.loads(await reader.readline())
            vmid = wanted["vmid"]
            refusals = {
                None: f"Configuration file 'nodes/pve1/lxc/{vmid}.conf' does not exist\n",
                "stopped": f"container '{vmid}' not running!\n",
            }
            if (found := state(vmid)) in refusals:
                await frame(ERR, refusals[found].encode())
                await frame(EXIT, b"255")
            else:
                pipe = asyncio.subprocess.PIPE
                process = await asyncio.create_subprocess_exec(
                    "docker", "exec", "--interactive", f"{prefix}{vmid}", *wanted["argv"],
                    stdin=pipe, stdout=pipe, stderr=pipe,
                )  # fmt: skip
                feeding = asyncio.create_task(feed(process.stdin))
                await asyncio.gather(copy(OUT, process.stdout), copy(ERR, process.stderr))
                await frame(EXIT, str(await process.wait()).encode())
                feeding.cancel()
        writer.close()

    path.unlink(missing_ok=True)
    await asyncio.start_unix_server(answer, path)
    path.chmod(0o600)


if __name__ == "__main__":
    sys.exit(client(sys.argv[1:]))
