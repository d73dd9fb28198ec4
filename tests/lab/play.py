# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook so that one sees what it does, how far it is, and where to read more."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml

HEARTBEAT_SECONDS = 8
HOST_LINE = re.compile(r"^(?:ok|changed|skipping|fatal|failed|unreachable): \[([^\] ]+)")
RECAP_LINE = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


def count_plays(playbook: Path) -> int:
    """The plays of a playbook and of those that it imports."""
    total = 0
    for entry in yaml.safe_load(playbook.read_text()):
        imported = entry.get("ansible.builtin.import_playbook")
        total += count_plays(playbook.parent / imported) if imported else 1
    return total


def play(root: Path, playbook: str, inventory: Path, folder: Path, started: float, *options: str) -> int:
    """Run `playbook`; print a line for each play and at least every ten seconds; the log goes to `folder`."""
    log_path = folder / f"{Path(playbook).stem}.log"
    total = count_plays(root / playbook)
    env = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "PYTHONUNBUFFERED": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    process = subprocess.Popen(
        ["ansible-playbook", playbook, "-i", str(inventory), *options],
        cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    done, title, task, hosts, everyone, changed, spoken = 0, "", "", set(), set(), 0, time.monotonic()

    def say(what: str) -> None:
        nonlocal spoken
        spoken = time.monotonic()
        print(f"{spoken - started:6.0f} s  {what}", flush=True)

    with log_path.open("w", buffering=1) as log:
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                line = ""
            if line is None:
                break
            log.write(line)
            if line.startswith("PLAY ["):
                done, title, task, everyone = done + 1, line[6 : line.rindex("]")], "", set()
                say(f"play {done} of {total}: {title}")
            elif line.startswith("TASK ["):
                task, hosts = line[6 : line.rindex("]")], set()
            elif found := HOST_LINE.match(line):
                hosts.add(found[1])
                everyone.add(found[1])
                if line.startswith(("fatal", "failed", "unreachable")):
                    say(line.strip()[:600])
            elif found := RECAP_LINE.match(line):
                changed += int(found[2])
            if time.monotonic() - spoken > HEARTBEAT_SECONDS:
                say(f"play {done} of {total}: {task} ({len(hosts)} of {max(len(everyone), 1)} machines)")
    code = process.wait()
    if code:
        say(f"{playbook} failed (exit code {code}). Everything it said: {log_path}")
    else:
        say(f"{playbook}: done, {changed} {'change' if changed == 1 else 'changes'}. Log: {log_path}")
    return code
