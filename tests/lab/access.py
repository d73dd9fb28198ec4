# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of users, groups, roles and their rights."""

from __future__ import annotations

from tests.lab.records import Area, Records, Values


def without_empty(values: Values) -> Values:
    """The file holds no option for an empty text."""
    return {key: value for key, value in values.items() if value != ""}


class Access(Records):
    """Mixin of FakePve."""

    areas_access = (
        Area(
            "/access/groups",
            "groupid",
            missing=(500, "group '{id}' does not exist"),
            taken="create group failed: group '{id}' already exists",
            stored=without_empty,
        ),
    )
