# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, groups, roles and rights."""

from __future__ import annotations

from tests.contract.life import Life, lives, whole_life


@lives(
    Life(
        "pve_group", {"groupid": "operators"}, {"comment": "on call"}, {"comment": "day and night"}, removed=["comment"]
    ),
)
def test_whole_life(run, life):
    whole_life(run, life)
