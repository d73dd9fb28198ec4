# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab from nothing, and hands to reach it. The tests of this folder build on each other, in the file's order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from proxmoxer import ProxmoxAPI

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".lab"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


class Run:
    """What a command said, when it said it, and how it ended."""

    def __init__(self, *argv: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
        began = last = time.monotonic()
        self.longest_silence, lines = 0.0, []
        env = {**os.environ, "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1", **(env or {})}
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        for line in process.stdout:
            now = time.monotonic()
            self.longest_silence, last = max(self.longest_silence, now - last), now
            lines.append(line)
        self.code = process.wait()
        self.seconds = time.monotonic() - began
        self.output = "".join(lines)

    @property
    def changed(self) -> dict[str, int]:
        """Host -> changed tasks, of the hosts that the run touched at all."""
        return {host: int(changed) for host, _, changed, _, _ in RECAP.findall(self.output)}


class Lab:
    """The lab of this checkout."""

    def make(self, *arguments: str) -> Run:
        return Run(sys.executable, "-m", "tests.lab", *arguments)

    def site(self, *arguments: str) -> Run:
        return Run("ansible-playbook", "site.yml", "-i", "inventories/lab", *arguments)

    def inventory(self, host: str) -> dict[str, Any]:
        return json.loads(
            subprocess.check_output(["ansible-inventory", "-i", "inventories/lab", "--host", host], cwd=ROOT)
        )

    @property
    def prefix(self) -> str:
        return json.loads((FOLDER / "facts.json").read_text())["lab_prefix"]

    def secret(self, name: str) -> str:
        return (ROOT / f"inventories/lab/.secrets/{name}.txt").read_text().strip()

    def ssh(self, host: str, command: str, check: bool = True) -> str:
        """Run a shell command in a machine, by its address."""
        address = self.address(host)
        done = subprocess.run(
            ["ssh", "-i", str(ROOT / "inventories/lab/.secrets/ssh_key"), "-o", "StrictHostKeyChecking=accept-new",
             "-o", f"UserKnownHostsFile={FOLDER}/known_hosts", "-o", "LogLevel=ERROR", f"root@{address}", command],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def address(self, host: str) -> str:
        text = (ROOT / f"inventories/lab/host_vars/{host}.yml").read_text()
        return self.prefix + re.search(r"site_prefix }}(\.\d+)", text)[1]

    def sql(self, host: str, query: str) -> str:
        return self.ssh(host, f"mariadb -BN -e '{query}'")

    @property
    def api(self) -> ProxmoxAPI:
        return self.login("root@pam", "lab", "lab_root")

    def login(self, user: str, token: str, secret: str) -> ProxmoxAPI:
        return ProxmoxAPI(
            f"{self.prefix}.1", user=user, token_name=token, token_value=self.secret(secret),
            verify_ssl=str(FOLDER / "pve.crt"),
        )  # fmt: skip

    def task(self, upid: str, timeout: float = 60) -> str:
        """Wait for a task; its exit status."""
        found = until(lambda: self.api.nodes("pve1").tasks(upid).status.get().get("exitstatus"), timeout)
        assert found, f"{upid} did not end within {timeout} s"
        return found

    def mails(self) -> list[str]:
        return [path.read_text(errors="replace") for path in sorted((FOLDER / "mail").glob("*.eml"))]


def until(what: Callable[[], Any], timeout: float, pause: float = 0.2) -> Any:
    """The first true answer within `timeout` seconds, or the last one."""
    end = time.monotonic() + timeout
    while not (answer := what()) and time.monotonic() < end:
        time.sleep(pause)
    return answer


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab with a hypervisor and no guest, gone afterwards. LAB_KEEP: the lab that is there, and it stays."""
    lab = Lab()
    if not os.environ.get("LAB_KEEP"):
        assert lab.make("down").code == 0
    started = lab.make("up", "--only-api")
    assert started.code == 0, started.output
    yield lab
    if not os.environ.get("LAB_KEEP"):
        lab.make("down")
