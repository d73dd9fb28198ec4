# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role promises: complete argument specs that equal its defaults, names of its own, a README."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def options_of(role: str) -> dict[str, dict[str, Any]]:
    entries = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    return {name: option for entry in entries.values() for name, option in entry.get("options", {}).items()}


def options_within(options: dict[str, dict[str, Any]], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in options.items():
        yield prefix + name, option
        yield from options_within(option.get("options", {}), f"{prefix}{name}.")


def tasks_in(tasks: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    for task in tasks or []:
        yield task
        for section in ("block", "rescue", "always"):
            yield from tasks_in(task.get(section))


def tasks_of(role: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in ("tasks", "handlers"):
        for path in sorted((ROOT / "roles" / role / folder).rglob("*.yml")):
            for task in tasks_in(load(path)):
                yield path.relative_to(ROOT), task


def test_there_are_roles() -> None:
    assert ROLES


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_equal_defaults(role: str) -> None:
    options = options_of(role)
    declared = {name: option["default"] for name, option in options.items() if "default" in option}
    defaults = load(ROOT / "roles" / role / "defaults" / "main.yml") or {}
    # What is computed and not text is said in words: a declared default must be of the declared type.
    defaults = {
        name: value
        for name, value in defaults.items()
        if not (isinstance(value, str) and "{{" in value and options.get(name, {}).get("type") != "str")
    }
    # By their JSON, since 1 == True in Python.
    different = {
        name: (declared.get(name, "(none)"), defaults.get(name, "(none)"))
        for name in declared.keys() | defaults.keys()
        if name not in declared
        or name not in defaults
        or json.dumps(declared[name], sort_keys=True) != json.dumps(defaults[name], sort_keys=True)
    }
    assert not different, f"argument_specs and defaults of {role} differ (spec, default): {different}"


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_are_complete(role: str) -> None:
    for name, option in options_within(options_of(role)):
        assert option.get("description"), f"{role}: {name} has no description"
        assert option.get("type"), f"{role}: {name} has no type"
        assert option["type"] != "list" or option.get("elements"), f"{role}: {name} does not say what it is a list of"
        assert not (option.get("required") and "default" in option), f"{role}: {name} is required and has a default"


@pytest.mark.parametrize("role", ROLES)
def test_variables_start_with_the_name_of_the_role(role: str) -> None:
    names = set(options_of(role))
    for folder in ("defaults", "vars"):
        for path in (ROOT / "roles" / role / folder).rglob("*.yml"):
            names |= (load(path) or {}).keys()
    for _, task in tasks_of(role):
        names |= {task["register"]} if "register" in task else set()
        names |= set(task.get("ansible.builtin.set_fact", {})) - {"cacheable"}
    strangers = sorted(name for name in names if not name.startswith(f"{role}_"))
    assert not strangers, f"variables of {role} that do not start with {role}_: {strangers}"


@pytest.mark.parametrize("role", ROLES)
def test_no_task_ignores_errors(role: str) -> None:
    careless = [f"{path}: {task.get('name')}" for path, task in tasks_of(role) if "ignore_errors" in task]
    assert not careless


@pytest.mark.parametrize("role", ROLES)
def test_readme_has_a_place_for_the_variables(role: str) -> None:
    readme = ROOT / "roles" / role / "README.md"
    assert readme.exists(), f"{role} has no README.md"
    lines = readme.read_text().splitlines()
    assert lines.count("<!-- variables -->") == 1
    assert lines.count("<!-- /variables -->") == 1
    assert lines.index("<!-- variables -->") < lines.index("<!-- /variables -->")


def test_readmes_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, "tests/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
