# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time zones that the role windows_vm knows are those of Unicode's CLDR, which Babel brings along."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import yaml
from babel.core import get_global

VARIABLES = Path(__file__).parents[2] / "roles/windows_vm/vars/main.yml"
ZONES: dict[str, list[str]] = yaml.safe_load(VARIABLES.read_text())["windows_vm_time_zones"]
# Names that the same place had before.
ALIASES = get_global("zone_aliases")


def test_each_time_zone_has_one_name_in_windows() -> None:
    seen = Counter(name for names in ZONES.values() for name in names)
    assert [name for name, number in seen.items() if number > 1] == []


def test_windows_calls_them_what_unicode_says() -> None:
    known = {ALIASES.get(name, name): zone for zone, names in ZONES.items() for name in names}
    wrong = {
        zone: (known.get(ALIASES.get(name, name)), name)
        for zone, name in get_global("windows_zone_mapping").items()
        if known.get(ALIASES.get(name, name)) != zone
    }
    assert not wrong
