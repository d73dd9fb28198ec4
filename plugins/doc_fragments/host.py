# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What modules that work on a machine itself have in common."""

    ATTRIBUTES = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and predicts what a run would change. Nothing is written.
    support: full
  diff_mode:
    description: Returns what changed, or would change, in diff format.
    support: full
  platform:
    description: The machine that it runs on.
    platforms: debian
    support: full
"""

    ATTRIBUTES_INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode, and nothing is ever written.
    support: full
  diff_mode:
    description: Returns what changed, or would change, in diff format.
    support: N/A
    details: Nothing is changed.
  platform:
    description: The machine that it runs on.
    platforms: linux
    support: full
"""
