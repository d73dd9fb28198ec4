# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for pvesh, put in front of everything else that modules may run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import interpreter
from tests.contract.serving import Api
from tests.lab import pvesh


def install(api: Api, directory: Path) -> Path:
    """Put the program, and Perl with its module, into a directory; returns the file that keeps their command lines."""
    found, calls, access = directory / "pvesh", directory / "calls", directory / "pvesh.json"
    calls.touch()
    pvesh.admit(access, api.pve, api.ca_path, str(calls))
    text = pvesh.program(access).partition("\n")[2]
    found.write_text(f"#!{interpreter.install(directory)}\n{text}")
    found.chmod(0o755)
    module = directory / "PVE/CLI/pvesh.pm"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(pvesh.module(str(found)))
    # Perl itself, whose command lines are kept as well.
    perl = directory / "perl"
    perl.write_text(f'#!/bin/sh\necho "perl $*" >> {calls}\nexec /usr/bin/perl "$@"\n')
    perl.chmod(0o755)
    return calls


def stand_in(api: Api, directory: Path, monkeypatch: Any) -> Path:
    """The same, in front of PATH."""
    calls = install(api, directory)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    monkeypatch.setenv("PERL5LIB", str(directory))
    return calls
