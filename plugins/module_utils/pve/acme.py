# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the configuration of a node says about ACME: as whom it orders, and for which names."""

from __future__ import annotations

from typing import Any

from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import Invalid, PropertyString, Text

PLACES = tuple(f"acmedomain{index}" for index in range(6))
LABEL = r"[a-z0-9][a-z0-9_-]*"
ALIAS_LABEL = r"[a-z0-9_][a-z0-9_-]*"
DEFAULT, STANDALONE = "default", "standalone"


class Name(Text):
    """A name in the DNS, which has no case."""

    def parse(self, value: Any) -> str:
        return super().parse(str(value).strip().lower())


DOMAIN = PropertyString(
    {
        "domain": Name((), rf"{LABEL}(\.{LABEL})+", "a name with a domain such as pve1.example.com"),
        "plugin": Text(),
        "alias": Name((), rf"{ALIAS_LABEL}(\.{ALIAS_LABEL})+", "a name with a domain such as acme.example.com"),
    },
    defaults={"plugin": STANDALONE},
    bare="domain",
    required=("domain",),
)


class NodeAcme:
    """The configuration of a node, as the API answers it."""

    def __init__(self, node: str, config: dict[str, Any]) -> None:
        # The account, and the names that have nothing of their own.
        self.common = dict(part.partition("=")[::2] for part in str(config.get("acme") or "").split(",") if part)
        self.account = self.common.get("account", DEFAULT)
        self.listed = [name.lower() for name in self.common.get("domains", "").split(";") if name]
        # What each place holds.
        self.placed = {
            place: self.parse(f"{place} of node '{node}'", config[place]) for place in PLACES if config.get(place)
        }

    @staticmethod
    def parse(place: str, value: Any) -> dict[str, Any]:
        try:
            return DOMAIN.parse(value)
        except Invalid as error:
            raise PveError(
                f"{place} is '{value}', which cannot be read ({error}): set it anew in the web interface, under "
                "Certificates of the node."
            ) from None

    @property
    def names(self) -> list[str]:
        return sorted([*self.listed, *(item["domain"] for item in self.placed.values())])
