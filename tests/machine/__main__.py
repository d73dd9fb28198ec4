# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make machine-disks`: what the machines start from, built where it is not there yet."""

from __future__ import annotations

import sys

from tests.lab.machines import LabError

from .images import ensure_images
from .machine import MachineError
from .zfs import ensure_modules

if __name__ == "__main__":
    try:
        ensure_modules((ensure_images() / "kernel").read_text())
    except (LabError, MachineError) as error:
        sys.exit(f"machine: {error}")
