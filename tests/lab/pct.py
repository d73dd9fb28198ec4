#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Proxmox VE's `pct` and for `lxc-attach`, for the lab's hypervisor, whose containers are machines.

The lab copies this file to the paths of both programs there and answers on a socket: a line that says what to run
where, then the input; back come the container's state, frames of output, and the exit code. It runs with what Debian's
Python brings.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

SOCKET = Path("/var/lib/onprem-lab/pct.sock")
PROGRAMS = ("/usr/sbin/pct", "/usr/bin/lxc-attach")
# The seconds that `pct` needs to load its Perl before it does anything: the median of ten runs of
# `perl -e 'use PVE::CLI::pct'` with Proxmox VE 9's sources took 0.75 s of processor time, the fastest 0.70 s, on two
# cores of an AMD EPYC, the computer that this lab was made on, with empty modules instead of those that are compiled.
# Neither the check of the container nor the start of lxc-attach is in it.
PERL_SECONDS = 0.7
FRAME = struct.Struct("!BI")
STATE, OUT, ERR, EXIT = 0, 1, 2, 3
CLEARED = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container": "lxc"}


def pct(argv: list[str]) -> int:
    """`pct status <vmid>` and `pct exec <vmid> -- <command>`."""
    time.sleep(PERL_SECONDS)
    if len(argv) == 2 and argv[0] == "status":
        vmid, command = argv[1], []
    elif len(argv) > 3 and argv[0] == "exec" and argv[2] == "--":
        vmid, command = argv[1], argv[3:]
    else:
        print("This stand-in knows `pct status <vmid>` and `pct exec <vmid> -- <command>` only.", file=sys.stderr)
        return 255
    if os.geteuid():
        print("please run as root", file=sys.stderr)
        return 2
    environment = {**os.environ, "PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "container": "lxc"}
    state, code = attach(vmid, command, environment)
    if not state:
        print(f"Configuration file 'nodes/{socket.gethostname()}/lxc/{vmid}.conf' does not exist", file=sys.stderr)
        return 2
    if not command:
        print(f"status: {state}")
    elif state != "running":
        print(f"container '{vmid}' not running!", file=sys.stderr)
        return 255
    return code


def lxc_attach(argv: list[str]) -> int:
    """`lxc-attach -n <vmid> --clear-env [--set-var=<name>=<value> ...] -- <command>`."""
    end = argv.index("--") if "--" in argv else len(argv)
    given = [option.partition("=")[2] for option in argv[3:end] if option.startswith("--set-var=")]
    if end < 3 or argv[0] != "-n" or argv[2] != "--clear-env" or len(given) != end - 3 or not argv[end + 1 :]:
        print("This stand-in knows the call only that the connection plugin makes.", file=sys.stderr)
        return 1
    vmid = argv[1]
    said = f"lxc-attach: {vmid}: ../src/lxc/"
    if os.geteuid():
        print(f"{said}tools/lxc_attach.c: main: 302 You lack access to {Path.home()}/.local/share/lxc", file=sys.stderr)
        return 1
    state, code = attach(vmid, argv[end + 1 :], CLEARED | dict(variable.split("=", 1) for variable in given))
    if state != "running":
        print(
            f"{said}attach.c: get_attach_context: 406 Connection refused - Failed to get init pid\n"
            f"{said}attach.c: lxc_attach: 1470 Connection refused - Failed to get attach context",
            file=sys.stderr,
        )
        return 1
    return code


def attach(vmid: str, command: list[str], environment: dict[str, str]) -> tuple[str, int]:
    """The state of a container, and the exit code of a command, which is run if there is one and the container runs."""
    argv = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), *command] if command else []
    state = ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.connect(str(SOCKET))
        channel.sendall(json.dumps({"vmid": int(vmid), "argv": argv}).encode() + b"\n")
        stream = channel.makefile("rb")
        while True:
            kind, size = FRAME.unpack(stream.read(FRAME.size))
            data = stream.read(size)
            if kind == STATE:
                state = data.decode()
                if command and state == "running":
                    threading.Thread(target=send_input, args=(channel,), daemon=True).start()
            elif kind == EXIT:
                return state, int(data)
            else:
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
    # The programs, of which one is a small C program, must not wait for this.
    import asyncio

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
            vmid, argv = wanted["vmid"], wanted["argv"]
            found = state(vmid) or ""
            await frame(STATE, found.encode())
            if argv and found == "running":
                pipe = asyncio.subprocess.PIPE
                process = await asyncio.create_subprocess_exec(
                    "docker", "exec", "--interactive", f"{prefix}{vmid}", *argv, stdin=pipe, stdout=pipe, stderr=pipe,
                )  # fmt: skip
                feeding = asyncio.create_task(feed(process.stdin))
                await asyncio.gather(copy(OUT, process.stdout), copy(ERR, process.stderr))
                await frame(EXIT, str(await process.wait()).encode())
                feeding.cancel()
            else:
                await frame(EXIT, b"0")
        writer.close()

    path.unlink(missing_ok=True)
    await asyncio.start_unix_server(answer, path)
    path.chmod(0o600)


if __name__ == "__main__":
    sys.exit((lxc_attach if Path(sys.argv[0]).name == "lxc-attach" else pct)(sys.argv[1:]))
