# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show a secret on the terminal that the playbook was started from, and ask there for a code of it.

Whatever Ansible itself displays can end up in its log file, in other callbacks and in what a scheduler keeps. So this
writes to the terminal behind its back: Ansible displays neither the secret nor the code.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import subprocess
import sys
import time
from pathlib import Path

TRIES = 3


def asked_of_ps(column: str, process: str) -> str:
    command = ["ps", "-o", f"{column}=", "-p", process]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def terminal() -> Path | None:
    """The terminal of the process that started this one's session: Ansible gives its workers sessions without one."""
    for process in (str(os.getpid()), asked_of_ps("ppid", str(os.getsid(0)))):
        name = asked_of_ps("tty", process)
        if name.strip("?-") and Path("/dev", name).is_char_device():
            return Path("/dev", name)
    return None


def code(secret: str, step: int) -> str:
    """RFC 6238 with its defaults, which every app has: SHA-1, six digits, 30 seconds."""
    digest = hmac.digest(base64.b32decode(secret + "=" * (-len(secret) % 8)), step.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 0xF
    return f"{int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF:010}"[-6:]


def right(typed: str, secret: str) -> bool:
    now = int(time.time()) // 30
    return any(hmac.compare_digest(typed.encode(), code(secret, now + off).encode()) for off in (-1, 0, 1))


def main() -> int:
    screen = terminal()
    if screen is None:
        return 1
    if sys.argv[1:] == ["find"]:
        return 0
    asked = json.load(sys.stdin)
    with screen.open("r", encoding="utf-8") as keyboard, screen.open("w", encoding="utf-8") as display:
        print(f"\n{asked['qr']}\n{asked['uri']}\n", file=display, flush=True)
        for _attempt in range(TRIES if asked["confirm"] else 0):
            print("The code that the phone shows for it: ", end="", file=display, flush=True)
            if right(keyboard.readline().replace(" ", "").strip(), asked["secret"]):
                return 0
            print("That is not it. If it should be, compare the phone's clock with this computer's.", file=display)
    return int(asked["confirm"])


sys.exit(main())
