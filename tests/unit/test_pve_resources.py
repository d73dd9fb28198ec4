# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was sent to a real Proxmox VE 9.2.11 and what was read back afterwards mean the same to every module's table.

The recordings are requests and answers of the official API code, in the order they happened, a file for each area.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[2]
init_plugin_loader([str(ROOT / "collections")])
MODULES = "ansible_collections.onprem.cloud.plugins.modules"
# The others are about guests, and about what the client says.
AREAS = sorted(
    path
    for path in (Path(__file__).parent / "recordings").glob("*.jsonl")
    if path.stem not in ("container_writes", "refusals", "vms")
)
# Of the request and not of the object.
OTHER = {"delete", "digest", "append"}


def tables() -> dict[str, Any]:
    """The table of each module that is one."""
    names = sorted(path.stem for path in (ROOT / "plugins/modules").glob("pve_*.py"))
    found = {name: getattr(importlib.import_module(f"{MODULES}.{name}"), "TABLE", None) for name in names}
    return {name: table for name, table in found.items() if table is not None}


class Written(NamedTuple):
    """An option that was sent, and what was read of the object afterwards."""

    module: str
    where: str
    option: str
    sent: Any
    read: dict[str, Any]


def matcher(table: Any) -> re.Pattern[str]:
    """The paths of a table, with the id of an object or the position of an item of a list behind it."""
    paths = "|".join(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) for path in (table.path, *table.elsewhere))
    return re.compile(f"({paths})(?:/(.+))?" if table.id else f"({paths})(?:/\\d+)?")


def written(name: str, table: Any, entries: list[dict[str, Any]]) -> Iterator[Written]:
    """Every option of every accepted write that a reading of the object follows."""
    key = table.key or table.id
    options = {option.key or name.replace("_", "-"): name for name, option in table.options.items()}
    sent: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        match = matcher(table).fullmatch(entry["path"])
        if not match or entry["status"] != 200:
            continue
        base, ident = match[1], (match[2] or "") if table.id else ""
        params = entry.get("params") or {}
        if entry["method"] in ("POST", "PUT"):
            ident = ident or str(params.get(key, ""))
            ident = ident.lower() if table.lower else ident
            gone = {item: "" for item in re.split(r"[,;\s]+", str(params.get("delete") or "")) if item}
            sent[base, ident] = {**sent.get((base, ident), {}), **gone, **params}
        elif entry["method"] == "DELETE":
            sent.pop((base, ident), None)
        elif not params.get("pending"):  # that view has what is in force, and what was sent beside it
            data = (entry.get("response") or {}).get("data")
            if isinstance(data, list) and not ident:
                readings = {str(item.get(key)): item for item in data if isinstance(item, dict)}
            else:
                readings = {ident: data} if isinstance(data, dict) else {}
            for found, reading in readings.items():
                # A listing may leave options out; then only the object itself tells.
                if table.detail and isinstance(data, list):
                    continue
                for param, value in sent.pop((base, found), {}).items():
                    if param in options and not table.options[options[param]].secret:
                        yield Written(name, f"{base}/{found}", options[param], value, reading)


def recorded(area: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in area.read_text().splitlines()]


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.stem)
def test_what_was_sent_means_what_was_read(area: Path, record_property) -> None:
    entries, wrong, compared = recorded(area), [], 0
    for name, table in tables().items():
        for case in written(name, table, entries):
            spec = table.options[case.option]
            raw = case.read.get(spec.key or case.option.replace("_", "-"))
            read = spec.default if raw in (None, "") else spec.kind.parse(raw)
            meant = spec.default if case.sent in (None, "") else spec.kind.parse(case.sent)
            compared += 1
            if hasattr(spec.kind, "complete") and isinstance(read, dict) and isinstance(meant, dict):
                meant = spec.kind.complete(meant, read)
            if read != meant:
                wrong.append((name, case.where, case.option, case.sent, raw))
    assert wrong == []
    assert compared, "no recorded write of this area belongs to a module"


def test_most_of_what_was_written_is_covered() -> None:
    """The fraction of the accepted writes that belong to a module's table."""
    every = [(area, entry) for area in AREAS for entry in recorded(area)]
    accepted = [(area, e) for area, e in every if e["method"] in ("POST", "PUT", "DELETE") and e["status"] == 200]
    paths = [matcher(table) for table in tables().values()]
    covered = [entry for _, entry in accepted if any(path.fullmatch(entry["path"]) for path in paths)]
    print(f"\n{len(covered)} of {len(accepted)} recorded writes belong to a module")
    assert len(covered) >= 0.9 * len(accepted)
