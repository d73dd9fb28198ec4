# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From any valid configuration of a container to any other: what was predicted happens, and only once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.contract.running import Run
from tests.contract.serving import Api

# Guests of one run, and runs: 500 transitions.
GUESTS, EXAMPLES = 25, 20

booleans = st.booleans()
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
addresses = st.integers(1, 250).map(lambda last: f"192.0.2.{last}")
features = st.dictionaries(st.sampled_from(["nesting", "keyctl", "fuse", "mknod"]), booleans) | st.builds(
    lambda kinds: {"mount": ";".join(kinds)}, st.permutations(["nfs", "cifs"])
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
descriptions = st.lists(texts.map(str.strip).filter(bool), max_size=3).map("\n".join)

OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "cores": st.integers(0, 8),
    "cpulimit": st.sampled_from([0, 0.5, 1, 1.5, 2]),
    "cpuunits": st.integers(8, 10000),
    "memory": st.integers(16, 4096),
    "swap": st.integers(0, 2048),
    "description": descriptions,
    "nameserver": st.lists(addresses, max_size=3, unique=True),
    "searchdomain": st.lists(words.map("{}.example".format), max_size=2, unique=True),
    "tags": st.lists(words.map(str.title) | words, max_size=4),
    "onboot": booleans,
    "startup": st.dictionaries(st.sampled_from(["order", "up", "down"]), st.integers(0, 99)),
    "features": features,
    "timezone": st.sampled_from(["host", "Europe/Berlin", "UTC"]),
    "tty": st.integers(0, 6),
    "console": booleans,
    "cmode": st.sampled_from(["shell", "console", "tty"]),
}
NET: dict[str, st.SearchStrategy[Any]] = {
    "firewall": booleans,
    "link_down": booleans,
    "tag": st.integers(1, 4094),
    "rate": st.integers(1, 100),
    "mtu": st.integers(576, 1500),
    "hwaddr": st.integers(0, 255).map("bc:24:11:aa:00:{:02x}".format),
    "trunks": st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True).map(
        lambda tags: ";".join(map(str, tags))
    ),
    "ip6": st.sampled_from(["auto", "dhcp", "manual"]),
}
MOUNT: dict[str, st.SearchStrategy[Any]] = {
    "ro": booleans,
    "backup": booleans,
    "replicate": booleans,
    "mountoptions": st.lists(st.sampled_from(["noatime", "nodev", "nosuid"]), min_size=1, unique=True).map(";".join),
}


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """The options of a container; sizes are steps that only grow from one configuration to the next."""
    chosen: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=OPTIONS))
    net = {"name": "eth0", "bridge": draw(st.sampled_from(["vmbr0", "vmbr1"]))}
    chosen["net"] = {"net0": {**net, **draw(st.fixed_dictionaries({}, optional=NET))}}
    if draw(booleans):
        mount = {"storage": "local-lvm", "mp": draw(st.sampled_from(["/srv", "/var/data"]))}
        chosen["mp"] = {
            "mp0": {**mount, **draw(st.fixed_dictionaries({}, optional=MOUNT)), "size": draw(st.integers(0, 2))}
        }
    chosen["rootfs"] = {"storage": "local-lvm", "size": draw(st.integers(0, 2))}
    chosen["state"] = draw(st.sampled_from(["present", "started", "stopped"]))
    return chosen


def guest(vmid: int, template: str, chosen: dict[str, Any], least: int) -> dict[str, Any]:
    """A guest of pve_fleet: names, addresses and MAC addresses are its own, sizes are not below `least`."""
    built = {"vmid": vmid, "hostname": f"guest-{vmid}", "node": "pve1", "ostemplate": template, "memory": 256, **chosen}
    net0 = {**built["net"]["net0"], "ip": f"198.51.100.{vmid - 99}/24"}
    if "hwaddr" in net0:
        net0["hwaddr"] = net0["hwaddr"].replace("aa:00", f"aa:{vmid - 100:02x}")
    built["net"] = {"net0": net0}
    built["rootfs"] = {**built["rootfs"], "size": built["rootfs"]["size"] + least}
    if "mp" in built:
        built["mp"] = {"mp0": {**built["mp"]["mp0"], "size": built["mp"]["mp0"]["size"] + least}}
    return built


def differences(prediction: dict[str, Any], result: dict[str, Any]) -> dict[tuple[int, str], Any]:
    """Where what check mode said of the guests is not what happened, as (predicted, happened)."""
    found = {}
    for expected, done in zip(prediction["guests"], result["guests"], strict=True):
        for key in expected["changes"].keys() | done["changes"].keys():
            pair = (expected["changes"].get(key), done["changes"].get(key))
            if pair[0] != pair[1]:
                found[expected["vmid"], key] = pair
        if expected["changed"] != done["changed"]:
            found[expected["vmid"], "changed"] = (expected["changed"], done["changed"])
    return found


@pytest.fixture(scope="module")
def shared() -> Api:
    directory = Path(tempfile.mkdtemp())
    api = Api(directory)
    api.pve.bridges["vmbr1"] = {}
    api.pve.node_figures["pve1"] = {"maxcpu": 1024, "maxmem": 1024**4}
    yield api
    api.stop()
    shutil.rmtree(directory)


@settings(
    phases=[Phase.generate],
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(pairs=st.lists(st.tuples(configurations(), configurations()), min_size=GUESTS, max_size=GUESTS))
def test_any_configuration_to_any_other(shared, pairs):
    run = Run(shared)
    run.as_root()
    shared.pve.cts.clear()
    first = [guest(100 + number, shared.template, before, 1) for number, (before, _) in enumerate(pairs)]
    run.fleet(*first, cpu_overcommit=1000)
    wanted = [guest(100 + number, shared.template, after, 3) for number, (_, after) in enumerate(pairs)]
    macs = {made.vmid: made.config["net0"].split("hwaddr=")[1][:17] for made in shared.pve.cts}
    shared.requests()

    prediction = run.fleet(*wanted, check=True, cpu_overcommit=1000)
    assert shared.changes() == []
    result = run.fleet(*wanted, cpu_overcommit=1000)
    assert differences(prediction, result) == {}
    assert result["diff"] == prediction["diff"]

    shared.requests()
    again = run.fleet(*wanted, cpu_overcommit=1000)
    assert not again["changed"], again["diff"]
    assert shared.changes() == []

    for options in wanted:
        config = shared.config(options["vmid"])
        for key in ("memory", "swap", "onboot", "console", "tty"):
            if key in options:
                default = {"swap": 512, "onboot": 0, "console": 1, "tty": 2}.get(key)
                assert config.get(key, default) == options[key]
        if "tags" in options:
            assert config.get("tags", "") == ";".join(sorted({tag.lower() for tag in options["tags"]}))
        if "description" in options:
            assert config.get("description", "").rstrip("\n") == options["description"]
        net0 = options["net"]["net0"]
        stored = dict(part.split("=") for part in config["net0"].split(","))
        assert stored["hwaddr"].lower() == net0.get("hwaddr", macs[options["vmid"]]).lower()
        assert {"tag", "rate", "mtu", "trunks", "ip6"} & stored.keys() == {
            "tag",
            "rate",
            "mtu",
            "trunks",
            "ip6",
        } & net0.keys()
        assert stored.get("firewall", "0") == str(int(net0.get("firewall", False)))
