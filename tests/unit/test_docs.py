# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of docs/ say what there is."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
TRAPS = importlib.import_module("tests.benchmark.traps").TRAPS
PAGE = (ROOT / "docs/traps.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][1:]
HELD = {
    test
    for path in ROOT.glob("tests/contract/test_*.py")
    for test in re.findall(r"^def (test_trap_\w+)\(", path.read_text(), re.MULTILINE)
}


def test_the_page_of_traps_has_a_row_for_each() -> None:
    assert [row[0] for row in ROWS] == [trap.name for trap in TRAPS]
    assert len({trap.name for trap in TRAPS}) == len(TRAPS)


def test_the_page_of_traps_says_that_this_collection_avoids_them() -> None:
    assert [row[1].split(",")[0] for row in ROWS] == ["green"] * len(TRAPS)
    safe = sum(row[2].startswith("green") for row in ROWS)
    assert f"{len(TRAPS)} traps, `onprem.cloud` is safe from {len(TRAPS)}" in PAGE
    assert f"from {safe}.\n" in PAGE
    assert f"{len(TRAPS)} traps" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("number", range(len(TRAPS)))
def test_each_trap_is_held_by_tests(number: int) -> None:
    tests = TRAPS[number].tests
    assert tests
    assert set(tests) <= HELD
    assert ROWS[number][3].replace("`", "").split("<br>") == list(tests)
