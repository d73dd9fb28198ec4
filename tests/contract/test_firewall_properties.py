# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From any valid list of rules to any other: what was predicted happens, only once, whoever else is at work."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.running import Run
from tests.contract.serving import Api

LEVELS = st.sampled_from([{}, {"node": "pve1"}, {"node": "pve1", "type": "qemu", "vmid": 100}, {"group": "web"}])
PORTS = st.sampled_from(["22", "ssh", "80,443", "443,http", "8000:8010", "8000:8005,8006:8010", "53"])
ADDRESSES = st.sampled_from(
    ["192.0.2.0/24", "192.0.2.1", "192.0.2.1/32", "192.0.2.9,192.0.2.7", "192.0.2.3-192.0.2.9", "2001:DB8::/64"]
)
SAID = st.one_of(
    st.fixed_dictionaries({"macro": st.sampled_from(["SSH", "ping", "DNS"])}, optional={"source": ADDRESSES}),
    st.fixed_dictionaries(
        {"proto": st.sampled_from(["tcp", "6", "udp"]), "dport": PORTS}, optional={"source": ADDRESSES, "sport": PORTS}
    ),
    st.fixed_dictionaries({"proto": st.just("icmp"), "icmp_type": st.sampled_from(["echo-request", "redirect"])}),
    st.fixed_dictionaries({}, optional={"source": ADDRESSES}),
)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "comment": st.sampled_from(["", "web", "mail # 2"]),
        "log": st.sampled_from(["nolog", "info"]),
        "enable": st.booleans(),
    },
)
HEAD = st.fixed_dictionaries(
    {"type": st.sampled_from(["in", "out"]), "action": st.sampled_from(["ACCEPT", "DROP", "reject"])}
)
RULES = st.lists(
    st.builds(lambda *parts: {k: v for p in parts for k, v in p.items()}, HEAD, SAID, ATTRIBUTES), max_size=6
)


@pytest.fixture(scope="module")
def api() -> Any:
    with tempfile.TemporaryDirectory() as directory:
        served = Api(Path(directory))
        yield served
        served.stop()


def stored(pve: Any, level: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules as the API keeps them."""
    if "group" in level:
        return pve.firewall_config("cluster")["groups"]["web"]
    scope = "vm" if "vmid" in level else "host" if "node" in level else "cluster"
    return pve.firewall_config(scope, level.get("node"), level.get("vmid"))["rules"]


def another_hand(rules: list[dict[str, Any]]) -> Any:
    """Somebody else who moves the first rule to the end and adds one, right before the first write by position."""
    real, times = Client._request, []

    def meddled(self: Any, method: str, path: str, values: dict[str, Any]) -> Any:
        if method in ("PUT", "DELETE") and not times:
            times.append(path)
            rules.append(rules.pop(0))
            rules.append({"type": "in", "action": "DROP", "proto": "tcp", "dport": "9", "enable": 1})
        return real(self, method, path, values)

    return mock.patch.object(Client, "_request", meddled)


def test_any_list_becomes_any_other(api: Api) -> None:
    run = Run(api)
    api.pve.firewall_config("cluster")["groups"]["web"] = []
    tried = []

    @settings(max_examples=500)
    @given(LEVELS, RULES, RULES, st.booleans(), st.booleans())
    def transition(level, before, wanted, exclusive, meddle):
        tried.append(level)
        refused = run.any("pve_firewall_rules", {**level, "rules": wanted}, check=True)
        if refused.get("failed"):
            assert "says the same as rule" in refused["msg"]
            wanted = []
        rules = stored(api.pve, level)
        # What another administrator left there, as PVE writes it; a rule may well be there twice.
        rules[:] = [
            {
                key.replace("_", "-"): int(value) if key == "enable" else value
                for key, value in {"enable": True, **one, "action": one["action"].upper()}.items()
                if value != ""
            }
            for one in before
        ]
        given = {**level, "rules": wanted, "exclusive": exclusive}
        predicted = run("pve_firewall_rules", given, check=True)
        with another_hand(rules) if meddle else mock.MagicMock():
            real = run("pve_firewall_rules", given)
        assert real["changed"] == predicted["changed"]
        if not meddle:
            assert real["diff"] == predicted["diff"]
        run.api.requests()
        again = run("pve_firewall_rules", given)
        assert not again["changed"], again["diff"]
        assert [request.method for request in run.api.requests()] == ["GET"]
        assert again["firewall_rules"] == real["firewall_rules"]
        if exclusive:
            assert len(real["firewall_rules"]) == len(wanted)

    transition()
    assert len(tried) >= 500
