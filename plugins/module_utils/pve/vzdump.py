# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup can be asked, whether a job makes it or somebody at once."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    LIST,
    RAW,
    STR,
    Boolean,
    Invalid,
    Items,
    Number,
    Option,
    PropertyString,
    Retention,
    Text,
    choice,
)


class Template(Text):
    """Notes with variables, on one line."""

    def parse(self, value: Any) -> str:
        text = super().parse(value)
        if "\n" in text:
            raise Invalid("Proxmox VE takes one line, write \\n for a new line")
        unknown = re.search(r"\\([^n\\]|$)", re.sub(r"\\[n\\]", "", text))
        if unknown:
            raise Invalid(f"'{unknown[0]}' means nothing, write '\\\\' for a backslash")
        return text


class Fleecing(PropertyString):
    """Where writes wait; PVE knows no such place by itself."""

    def check(self, value: dict[str, Any]) -> None:
        super().check(value)
        if value.get("enabled") and "storage" not in value:
            raise Invalid("'storage' is missing")


OPTIONS = {
    "mode": choice("snapshot", "suspend", "stop"),
    "compress": choice("0", "1", "gzip", "lzo", "zstd"),
    "zstd": Option(INT, Number()),
    "prune_backups": Option(RAW, Retention()),
    "remove": Option(BOOL, Boolean()),
    "protected": Option(BOOL, Boolean()),
    "notes_template": Option(STR, Template()),
    "notification_mode": choice("auto", "legacy-sendmail", "notification-system"),
    "fleecing": Option(RAW, Fleecing({"enabled": Boolean(), "storage": Text()})),
    "performance": Option(RAW, PropertyString({"max-workers": Number(1, 256), "pbs-entries-max": Number(1)})),
    "bwlimit": Option(INT, Number()),
    "ionice": Option(INT, Number(0, 8)),
    "pbs_change_detection_mode": choice("legacy", "data", "metadata"),
    "exclude_path": Option(LIST, Items()),
    "stdexcludes": Option(BOOL, Boolean()),
}
