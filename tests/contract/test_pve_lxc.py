# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pve_lxc: one container, by the same engine as the fleet."""

from __future__ import annotations

import pytest

from tests.contract.serving import SECRET


@pytest.fixture
def one(container):
    """The options of pve_lxc for a container."""

    def build(vmid=100, **options):
        built = container(vmid, **options)
        del built["type"]
        return built

    return build


def test_whole_life(api, run, one):
    guest = one(state="started", tags=["web"])
    predicted = run("pve_lxc", guest, check=True)
    assert predicted["changed"]
    assert api.writes() == []

    created = run("pve_lxc", guest)
    assert created["changed"]
    assert (created["vmid"], created["hostname"], created["node"], created["status"]) == (
        100,
        "guest-100",
        "pve1",
        "running",
    )
    assert created["diff"] == predicted["diff"]
    assert created["changes"] == predicted["changes"]
    assert created["actions"] == predicted["actions"]
    api.requests()
    assert not run("pve_lxc", guest)["changed"]
    assert api.writes() == []

    changed = run("pve_lxc", {**guest, "memory": 512, "rootfs": "local-lvm:8"})
    assert set(changed["changes"]) == {"memory", "rootfs"}
    assert api.config(100)["memory"] == 512
    assert api.config(100)["rootfs"] == "local-lvm:vm-100-disk-0,size=8G"

    assert run("pve_lxc", {"vmid": 100, "hostname": "guest-100", "state": "stopped"})["changed"]
    assert api.pve.ct(100).status == "stopped"
    gone = {"vmid": 100, "hostname": "guest-100", "state": "absent"}
    assert run("pve_lxc", gone, check=True)["changed"]
    assert run("pve_lxc", gone)["changed"]
    assert api.pve.cts == []
    assert not run("pve_lxc", gone)["changed"]


def test_one_option_is_enough(api, run, one):
    run("pve_lxc", one())
    result = run("pve_lxc", {"vmid": 100, "memory": 512})
    assert result["changed"]
    assert result["hostname"] == "guest-100"
    assert api.config(100)["memory"] == 512
    assert not run("pve_lxc", {"vmid": 100, "memory": 512})["changed"]


def test_connection_from_the_environment(api, run, one, monkeypatch):
    for name, value in api.connection.items():
        variable = name.removeprefix("api_").upper()
        monkeypatch.setenv(f"PROXMOX_{variable}", str(value))
    assert run("pve_lxc", {**one(), **dict.fromkeys(api.connection)})["changed"]
    assert len(api.pve.cts) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"net": {"net0": {"name": "eth0", "brigde": "vmbr0"}}}, ["net0", "brigde", "bridge"]),
        ({"rootfs": "nosuch:8"}, ["nosuch", "local-lvm"]),
        ({"node": "pve9"}, ["pve9", "pve1"]),
        ({"memory": 999999}, ["memory", "pve1"]),
        ({"ostemplate": ...}, ["ostemplate"]),
    ],
    ids=["typo", "storage", "node", "memory", "template"],
)
def test_bad_input(api, run, one, options, words):
    message = run.fails("pve_lxc", one(**options))
    assert api.writes() == []
    for word in ["guest-100", *words]:
        assert word in message


def test_failed_task_in_its_own_words(api, run, one):
    api.pve.plan_task("vzcreate", error="unable to create CT 100 - no space", log=["lvcreate: Insufficient free space"])
    message = run.fails("pve_lxc", one())
    assert "unable to create CT 100 - no space" in message
    assert "Insufficient free space" in message
    assert run("pve_lxc", one())["changed"]


def test_secrets_are_never_shown(run, one):
    guest = one(password="root-password-of-the-guest")
    run("pve_lxc", guest, check=True)
    run("pve_lxc", guest)
    run.fails("pve_lxc", {**guest, "vmid": 101, "node": "nosuch"})
    assert "root-password-of-the-guest" not in run.output
    assert SECRET not in run.output
