# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of the collection, run in this process against a served API, and playbooks, run on a node of it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from ansible.module_utils import _internal
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

from tests import interpreter
from tests.contract import pvesh
from tests.contract.serving import Api

ROOT = Path(__file__).resolve().parents[2]
# No module run of these tests takes longer; one that hangs must not take the whole run with it.
PATIENCE = 60


class Run:
    """Runs modules of the collection in this process, as Ansible would execute them."""

    collection = "onprem.cloud"

    def __init__(self, api: Api) -> None:
        self.api = api
        self.output = ""
        self.login: dict[str, Any] = {}

    def __call__(self, module: str, args: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
        """The result of a run that must succeed."""
        result = self.any(module, args, check=check)
        assert not result.get("failed"), result["msg"]
        return result

    def as_root(self) -> None:
        """Log in as root@pam itself from now on, which a token of it is not."""
        password = self.api.pve.password
        self.login = {"api_password": password, "api_token_id": None, "api_token_secret": None}

    def fails(self, module: str, args: dict[str, Any], *, check: bool = False) -> str:
        """The message of a run that must fail."""
        result = self.any(module, args, check=check)
        assert result.get("failed"), result
        return result["msg"]

    def any(self, module: str, args: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
        """The result of a run, whatever it is."""
        main = importlib.import_module(f"ansible_collections.{self.collection}.plugins.modules.{module}").main
        given = {**self.api.connection, **self.login, **args, "_ansible_check_mode": check, "_ansible_diff": True}
        given = {name: value for name, value in given.items() if value is not None}
        # A process of its own would have none from the run before.
        warnings._global_warnings.clear()
        stdout = io.StringIO()
        # Other tests load parts of the controller, and its display would swallow the module's warnings.
        module_process = mock.patch.object(_internal, "is_controller", False)
        with contextlib.ExitStack() as around:
            for context in (_patience(), module_process, patch_module_args(given), contextlib.redirect_stdout(stdout)):
                around.enter_context(context)
            with pytest.raises(SystemExit):
                main()
        self.output += stdout.getvalue()
        return json.loads(stdout.getvalue())

    def fleet(self, *guests: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
        """The result of pve_fleet for these guests."""
        return self("pve_fleet", {"guests": list(guests), **options}, check=check)

    def fleet_fails(self, *guests: dict[str, Any], check: bool = False, **options: Any) -> str:
        """The message of pve_fleet for these guests."""
        return self.fails("pve_fleet", {"guests": list(guests), **options}, check=check)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError(f"the module did not end within {PATIENCE} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


class Played(NamedTuple):
    """What a playbook did."""

    code: int
    output: str

    @property
    def changed(self) -> list[str]:
        """The tasks that changed something, or would, in their order."""
        return self._tasks("changed")

    @property
    def failed(self) -> list[str]:
        """The tasks that failed."""
        return self._tasks("fatal|failed")

    def _tasks(self, status: str) -> list[str]:
        tasks = re.split(r"^TASK \[", self.output, flags=re.MULTILINE)[1:]
        return [task.partition("]")[0] for task in tasks if re.search(rf"^({status}): \[", task, re.MULTILINE)]


# ansible-playbook, which finds the archives of modules that a run before it made of the same collections.
PLAYBOOK = """
import os, sys
from ansible import constants
from ansible.cli.playbook import main
os.symlink(sys.argv.pop(1), os.path.join(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache"))
main(["ansible-playbook", *sys.argv[1:]])
"""


@functools.cache
def _archives(collections: str) -> str:
    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory)
    return directory


class Node:
    """A node of the served API as playbooks find it: this computer, where `pvesh` is the stand-in.

    The inventory, with its secrets, is the directory `inventory`, and the node is `pve1` there.
    """

    def __init__(self, api: Api, directory: Path, **variables: Any) -> None:
        self.directory, self.inventory = directory, directory / "inventory"
        for name in ("programs", "local", "remote", "inventory"):
            (directory / name).mkdir()
        self.calls = pvesh.install(api, directory / "programs")
        (directory / "ansible.cfg").write_text("")
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(interpreter.install(directory / "programs")),
            "ansible_remote_tmp": str(directory / "remote"),
            # Who runs the tests is root enough for the stand-in.
            "ansible_become": False,
            **variables,
        }
        hosts = {"all": {"children": {"proxmox": {"hosts": {"pve1": None}}}, "vars": variables}}
        (self.inventory / "hosts.json").write_text(json.dumps(hosts))

    def play(self, play: dict[str, Any] | Path, *arguments: str, **environment: str) -> Played:
        """Run a play, or a playbook of the project, with these arguments of ansible-playbook."""
        playbook = play if isinstance(play, Path) else self.directory / "play.json"
        if isinstance(play, dict):
            playbook.write_text(json.dumps([{"hosts": "pve1", "gather_facts": False, **play}]))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        own = {
            "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "local"),
            "ANSIBLE_HOST_PATTERN_MISMATCH": "ignore",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "true",
            "PERL5LIB": str(self.directory / "programs"),
            "PATH": f"{self.directory / 'programs'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        given = {**kept, **own, **environment}
        done = subprocess.run(
            [sys.executable, "-c", PLAYBOOK, _archives(given["ANSIBLE_COLLECTIONS_PATH"]), "-i", str(self.inventory),
             *arguments, str(playbook)],
            env=given, cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, check=False, timeout=300,
        )  # fmt: skip
        return Played(done.returncode, done.stdout)
