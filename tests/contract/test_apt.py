# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the packages of a node come from."""

from __future__ import annotations

import pytest

from tests.contract.life import Life, both, limited, lives, nothing
from tests.lab.node import DOWNLOAD, ENTERPRISE, LISTS, repository

MODULE = "pve_apt_repository"
NODE = {"node": "pve1"}
SECURITY = {**NODE, "uris": "http://security.debian.org/debian-security", "suites": "trixie-security"}
OURS = {**NODE, "uris": ["https://apt.example.com"], "suites": ["stable"]}
PROXMOX = f"{LISTS}/proxmox.sources"


def entries(run, path):
    return run.api.pve.apt("pve1").get(path, [])


def enabled(run, path):
    return [entry["Enabled"] for entry in entries(run, path)]


LIVES = (
    Life("handle", {**NODE, "handle": "enterprise"}, {}, {}),
    Life("sources", SECURITY, {}, {}),
    Life("list", {**OURS, "types": ["deb"]}, {}, {}),
    Life(
        "spelled otherwise",
        {**NODE, "uris": ["http://deb.debian.org/debian/"], "suites": ["trixie-updates", "trixie"]},
        {"components": ["contrib", "main"], "types": ["deb"]},
        {},
    ),
)


def switched(run, life):
    """From enabled to disabled and back, each once."""
    life = Life(MODULE, {**life.ident, **life.created}, {}, {})
    nothing(run, life, {})
    for there in (False, True):
        before, after = {"enabled": not there}, {"enabled": there}
        assert both(run, life, after)["diff"] == {"before": before, "after": after}
        nothing(run, life, after)


@lives(*LIVES)
def test_repositories_are_disabled_and_enabled(run, life):
    switched(run, life)


@lives(*LIVES[:2])
def test_the_documented_privileges_are_enough_and_necessary(run, life):
    privileges = {"Sys_Audit": "/nodes/pve1", "Sys_Modify": "/nodes/pve1"}
    switched(run, limited(run, life, **privileges))
    for privilege in privileges:
        fewer = limited(run, life, **{name: path for name, path in privileges.items() if name != privilege})
        assert "privilege" in run.fails(MODULE, {**fewer.ident, "enabled": False})


@pytest.mark.parametrize(
    ("handle", "path", "line"),
    [
        ("no-subscription", PROXMOX, f"deb {DOWNLOAD}/pve trixie pve-no-subscription"),
        ("test", PROXMOX, f"deb {DOWNLOAD}/pve trixie pve-test"),
        (
            "ceph-tentacle-no-subscription",
            f"{LISTS}/ceph.sources",
            f"deb {DOWNLOAD}/ceph-tentacle trixie no-subscription",
        ),
    ],
)
def test_a_repository_of_proxmox_is_added_if_it_is_to_be_enabled(run, handle, path, line):
    life = Life(MODULE, {**NODE, "handle": handle}, {}, {})
    nothing(run, life, {"enabled": False})
    result = both(run, life, {})
    assert result["diff"] == {"before": {"enabled": False}, "after": {"enabled": True}}
    assert entries(run, path)[-1] == repository(line)
    assert result["apt_repository"]["entries"][0]["path"] == path
    nothing(run, life, {})
    assert both(run, life, {"enabled": False})["changed"]
    assert both(run, life, {})["changed"]
    assert len(entries(run, path)) == 1 + (handle.startswith("ceph"))


def test_every_entry_of_a_handle_is_disabled(run):
    """Older versions wrote other addresses and channels."""
    entries(run, f"{LISTS}/example.list").append(repository(f"deb {ENTERPRISE}/ trixie pve-enterprise", kind="list"))
    run(MODULE, {**NODE, "handle": "enterprise", "enabled": False})
    assert enabled(run, f"{LISTS}/pve-enterprise.sources") == [0]
    assert enabled(run, f"{LISTS}/example.list") == [1, 0, 0]
    assert enabled(run, f"{LISTS}/debian.sources") == [1, 1]
    entries(run, f"{LISTS}/example.list").append(repository(f"deb {DOWNLOAD}/pve trixie pvetest", kind="list"))
    assert run(MODULE, {**NODE, "handle": "test", "enabled": False})["changed"]
    assert enabled(run, f"{LISTS}/example.list") == [1, 0, 0, 0]


def test_ceph_is_not_taken_for_proxmox_ve(run):
    entries(run, f"{LISTS}/ceph.sources")[0]["Enabled"] = 1
    run(MODULE, {**NODE, "handle": "enterprise", "enabled": False})
    assert enabled(run, f"{LISTS}/ceph.sources") == [1]
    run(MODULE, {**NODE, "handle": "ceph-squid-enterprise", "enabled": False})
    assert enabled(run, f"{LISTS}/ceph.sources") == [0]


def test_lines_that_say_the_same_go_together(run):
    assert run(MODULE, OURS)["changed"]
    assert enabled(run, f"{LISTS}/example.list") == [1, 1]
    assert run(MODULE, {**OURS, "types": ["deb-src"], "enabled": False})["changed"]
    assert enabled(run, f"{LISTS}/example.list") == [1, 0]
    assert run(MODULE, OURS)["changed"]
    run.api.requests()
    assert run(MODULE, {**OURS, "enabled": False})["changed"]
    assert enabled(run, f"{LISTS}/example.list") == [0, 0]
    # Each with the digest that the files have by then.
    digests = [write.params["digest"] for write in run.api.writes()]
    assert len(digests) == len(set(digests)) == 2


def test_what_somebody_else_writes_meanwhile_is_not_overwritten(run, monkeypatch):
    pve = run.api.pve
    digest, readings = pve._apt_digest, []

    def meddling(node):
        """Somebody writes a line before the first right after the files have been read."""
        now = digest(node)
        if not readings:
            entries(run, f"{LISTS}/example.list").insert(0, repository("deb https://other.example.com stable main"))
        readings.append(node)
        return now

    monkeypatch.setattr(pve, "_apt_digest", meddling)
    assert run(MODULE, {**OURS, "enabled": False})["changed"]
    assert [(entry["URIs"][0], entry["Enabled"]) for entry in entries(run, f"{LISTS}/example.list")] == [
        ("https://other.example.com", 1),
        ("https://apt.example.com", 0),
        ("https://apt.example.com", 0),
    ]
    assert [write.params["index"] for write in run.api.writes()] == ["0", "1"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["one of the following is required: handle, uris"]),
        ({"handle": "test", "uris": ["x"], "suites": ["y"]}, ["mutually exclusive: handle|uris"]),
        ({"uris": ["https://apt.example.com"]}, ["required together: uris, suites"]),
        (
            {"handle": "ceph-quincy-test"},
            ["'ceph-quincy-test'", "it knows enterprise, no-subscription, test, ceph-squid-enterprise"],
        ),
        (
            {"uris": ["https://apt.example.com"], "suites": ["trixie"]},
            ["'deb https://apt.example.com stable main'", "deb822_repository", "take a handle"],
        ),
        ({"uris": ["http://deb.debian.org/debian"], "suites": ["trixie"]}, ["trixie trixie-updates main contrib"]),
        (
            {"uris": ["https://apt.example.com"], "suites": ["stable"], "components": ["contrib"]},
            ["there is no such repository"],
        ),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(run, given, words):
    message = run.fails(MODULE, {**NODE, **given})
    assert [word for word in words if word not in message] == []
    assert run.fails(MODULE, {**NODE, **given}, check=True) == message
    assert run.api.writes() == []


def test_files_that_cannot_be_read_are_told(run):
    run.api.pve.apt_errors[f"{LISTS}/broken.list"] = "line 1: missing URI"
    message = run.fails(MODULE, {**NODE, "uris": ["https://gone.example.com"], "suites": ["stable"]})
    assert f"Proxmox VE cannot read {LISTS}/broken.list (line 1: missing URI)" in message
    run.api.pve.apt_errors[PROXMOX] = "line 3: unknown key"
    message = run.fails(MODULE, {**NODE, "handle": "no-subscription"})
    assert f"unable to parse existing file {PROXMOX} - line 3: unknown key" in message


MIRROR = "https://mirror.example.com"


def test_a_mirror_of_proxmox_ve_is_known_by_its_component(run):
    run.api.pve.apt_signed.add(MIRROR)
    entries(run, f"{LISTS}/example.list").append(repository(f"deb {MIRROR} trixie pve-test", kind="list"))
    life = Life(MODULE, {**NODE, "handle": "test"}, {}, {})
    nothing(run, life, {})
    assert both(run, life, {"enabled": False})["changed"]
    assert enabled(run, f"{LISTS}/example.list") == [1, 0, 0]


def test_a_mirror_that_only_proxmox_can_tell_is_named_by_its_address(run):
    run.api.pve.apt_signed.add(MIRROR)
    entries(run, f"{LISTS}/example.list").append(repository(f"deb {MIRROR} trixie test", kind="list"))
    message = run.fails(MODULE, {**NODE, "handle": "ceph-squid-test", "enabled": False})
    assert "'ceph-squid-test'" in message
    assert "does not say in which file it is enabled, name it by its uris and suites" in message
    assert run.api.writes() == []
    assert run(MODULE, {**NODE, "uris": MIRROR, "suites": "trixie", "enabled": False})["changed"]
    assert not run(MODULE, {**NODE, "handle": "ceph-squid-test", "enabled": False})["changed"]
