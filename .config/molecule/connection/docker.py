# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import marshal
import os
import shlex
import socket
import threading
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: docker
author: The onprem.cloud contributors (@onprem-cloud)
short_description: The stand-in for docker exec, which asks the stand-in for a machine's Python
description:
  - Starting docker exec takes longer than most tasks do. In the machines of molecule, the process that stands in for
    their Python (tests/interpreter.py) listens on a socket that this computer sees, too, and runs what it is told.
options:
  remote_addr:
    description: The machine.
    default: inventory_hostname
    vars: [{name: inventory_hostname}]
  directory:
    description: Where the machine's socket is.
    required: true
    vars: [{name: machine_directory}]
  program:
    description: The stand-in for the machine's Python.
    required: true
    vars: [{name: ansible_python_interpreter}]
"""
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"HOME": "/root", "PATH": SEARCHED, "container": "docker"}


class Connection(ConnectionBase):
    transport = "docker"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def close(self) -> None:
        self._connected = False

    def _run(self, arguments: list[str], files: list[int]) -> int:
        """Have a command run in the machine with these files as its own; its exit code."""
        # By the directory's number, because the address of a socket may be 107 bytes long and no longer.
        directory = os.open(self.get_option("directory"), os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.connect(f"/proc/self/fd/{directory}/socket")
                socket.send_fds(link, [b"."], files)
                link.sendall(marshal.dumps((arguments, "/root", ENVIRONMENT)))
                link.shutdown(socket.SHUT_WR)
                return (link.recv(1) or b"\1")[0]
        except OSError as error:
            raise AnsibleConnectionFailure(f"{self.get_option('remote_addr')} does not answer: {error}") from error
        finally:
            os.close(directory)

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        said: dict[int, bytes] = {}

        def read(number: int) -> None:
            with os.fdopen(number, "rb") as stream:
                said[number] = stream.read()

        def write(number: int) -> None:
            with os.fdopen(number, "wb") as stream:
                stream.write(in_data or b"")

        (stdin, ours), (out, stdout), (err, stderr) = (os.pipe() for _stream in range(3))
        threads = [threading.Thread(target=read, args=[number]) for number in (out, err)]
        threads.append(threading.Thread(target=write, args=[ours]))
        for thread in threads:
            thread.start()
        # A module on standard input needs neither a shell nor a client of the process that is asked already.
        alone = in_data and cmd == f"/bin/sh -c '{self.get_option('program')} && sleep 0'"
        try:
            code = self._run([] if alone else ["/bin/sh", "-c", cmd], [stdin, stdout, stderr])
        finally:
            for number in (stdin, stdout, stderr):
                os.close(number)
        for thread in threads:
            thread.join()
        return code, said[out], said[err]

    def put_file(self, in_path: str, out_path: str) -> None:
        with Path(in_path).open("rb") as file, Path(os.devnull).open("r+b") as nothing:
            self._transfer(
                f"cat > {shlex.quote(out_path)}", [file.fileno(), nothing.fileno(), nothing.fileno()], out_path
            )

    def fetch_file(self, in_path: str, out_path: str) -> None:
        with Path(out_path).open("wb") as file, Path(os.devnull).open("r+b") as nothing:
            files = [nothing.fileno(), file.fileno(), nothing.fileno()]
            self._transfer(f"cat {shlex.quote(in_path)}", files, in_path)

    def _transfer(self, command: str, files: list[int], path: str) -> None:
        if self._run(["/bin/sh", "-c", command], files):
            raise AnsibleConnectionFailure(f"{self.get_option('remote_addr')}: {path} cannot be copied")
