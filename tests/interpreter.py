# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for a machine's Python, which has loaded Ansible's own library once and forks for every module.

Python takes longer to load that library, from an archive every time, than most modules take to run. The code of the
collections still comes out of the archive that Ansible sends. It serves the nodes of the contract tests, which are this
computer, and root of the machines of molecule, in each of which it runs: there, who is not root gets Python itself. The
lab's machines do not have it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import marshal
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import types
from pathlib import Path

# What modules load first, and on this computer the stand-in for pvesh.
LOADED = ["ansible.module_utils.basic", "ansible.module_utils.urls", "http.client", "ssl"]
LOADED_HERE = [*LOADED, "cryptography.hazmat.primitives.serialization.pkcs12"]
# It hands over its command line, its directory, its environment and its files, and ends as the program does.
CLIENT = """#!{python} -IS
import marshal, os, socket, sys
link = socket.socket(socket.AF_UNIX)
try:
    link.connect({address!r})
except OSError:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
socket.send_fds(link, [b"."], [0, 1, 2])
link.sendall(marshal.dumps((sys.argv[1:], os.getcwd(), dict(os.environ))))
link.shutdown(socket.SHUT_WR)
sys.exit((link.recv(1) or bytes([1]))[0])
"""


def install(directory: Path) -> Path:
    """Put the interpreter into a directory."""
    return _write(directory / "python-of-the-node", _server())


def _write(program: Path, address: str) -> Path:
    program.write_text(CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o755)
    return program


@functools.cache
def _server() -> str:
    """The address of the one server of this process, which ends with it."""
    directory = tempfile.mkdtemp()
    address = str(Path(directory) / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(100)
    server = subprocess.Popen([sys.executable, __file__, str(listener.fileno())], pass_fds=[listener.fileno()])
    listener.close()
    # The last one first.
    for end in (functools.partial(shutil.rmtree, directory), server.wait, server.kill):
        atexit.register(end)
    return address


def _load(names: list[str]) -> None:
    for name in names:
        importlib.import_module(name)


def _serve_machine(program: Path, address: str) -> None:
    """Be there for a machine until it stops. Ansible's library is beside this file."""
    beside = sys.path.pop(0)
    sys.path.append(beside)
    sys.pycache_prefix = "/var/cache/python-of-the-tests"
    _load(LOADED)
    sys.path.remove(beside)
    listener = socket.socket(socket.AF_UNIX)
    # An earlier machine of the same name may have left its own.
    Path(address).unlink(missing_ok=True)
    listener.bind(address)
    Path(address).chmod(0o600)
    listener.listen(100)
    _write(program, address)
    if not os.fork():
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        _serve(listener)


def _serve(listener: socket.socket) -> None:
    while True:
        link, _ = listener.accept()
        if not os.fork():
            listener.close()
            link.sendall(bytes([_run(link)]))
            os._exit(0)
        link.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _run(link: socket.socket) -> int:
    """Run the program that the client was given, or a shell; returns its exit code."""
    _, files, _, _ = socket.recv_fds(link, 1, 3)
    with link.makefile("rb") as request:
        arguments, directory, environment = marshal.load(request)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    if arguments[:1] == ["/bin/sh"]:
        return subprocess.call(arguments) & 0xFF
    sys.argv = arguments or [""]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if arguments:
        main.__file__ = arguments[0]
    code: object = 0
    try:
        program = Path(arguments[0]).read_bytes() if arguments else sys.stdin.buffer.read()
        exec(compile(program, sys.argv[0], "exec"), vars(main))
    except SystemExit as error:
        code = error.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code if isinstance(code, int) else 1


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        _load(LOADED_HERE)
        _serve(socket.socket(fileno=int(sys.argv[1])))
    else:
        _serve_machine(Path(sys.argv[1]), sys.argv[2])
