# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines for tests: each test gets the hardware it asks for and a disk that nobody has used."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .images import ensure_images, in_use, overlay
from .machine import Hardware, Machine


@pytest.fixture(scope="session")
def images() -> Iterator[Path]:
    folder = ensure_images()
    with in_use(folder):
        yield folder


@pytest.fixture
def boot(images: Path, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """boot(layout, hardware): a machine that has booted. When the test fails, its console is shown."""
    with ExitStack() as machines:

        def start(layout: str, hardware: Hardware) -> Machine:
            folder = Path(tmp_path / f"machine{len(list(tmp_path.iterdir()))}")
            folder.mkdir()
            overlay(images / f"{layout}.qcow2", folder / "disk.qcow2")
            shutil.copy(images / f"{layout}.fd", folder / "variables.fd")
            machine = Machine(folder / "disk.qcow2", folder / "variables.fd", folder, images / "ssh_key", hardware)
            machines.callback(lambda: print(f"--- {machine.log} ---\n{machine.console()}"))
            return machines.enter_context(machine)

        yield start
