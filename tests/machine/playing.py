# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks run on a machine from outside, as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .machine import Machine

ROOT = Path(__file__).parents[2]
RECAP = re.compile(r"^\S+\s+: ok=\d+\s+changed=(\d+)\s+unreachable=\d+\s+failed=(\d+)", re.MULTILINE)


@dataclass
class Play:
    """How a run of a playbook ended, and what it said."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        return int(RECAP.findall(self.output)[-1][0])

    def succeeded(self) -> Play:
        assert self.code == 0, self.output
        return self


def play(machine: Machine, playbook: Path, *options: str, **variables: Any) -> Play:
    """Run a playbook on one machine."""
    inventory = machine.folder / "inventory.json"
    inventory.write_text(json.dumps(machine.inventory()))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), str(playbook), "--diff", "-e", json.dumps(variables), *options],
        cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=900,
    )  # fmt: skip
    return Play(done.returncode, done.stdout)
