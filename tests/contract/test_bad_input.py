# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input is refused before the first write, in a sentence that names the guest and says what to do."""

from __future__ import annotations

import socket

import pytest

GIB = 1024**3
NET0 = {"name": "eth0", "bridge": "vmbr0", "ip": "192.0.2.101/24"}


@pytest.fixture
def refused(api, run, container):
    """Checks that guests are refused before the first write, in one sentence that says these words.

    Check mode refuses as well, or only warns (`later`) of what an earlier task of the real run may bring about.
    """

    def check(*guests, words, later=False, **options):
        sentence = run.fleet_fails(*guests, **options)
        if later:
            assert sentence in str(run.fleet(*guests, check=True, **options)["warnings"])
        else:
            assert run.fleet_fails(*guests, check=True, **options) == sentence
        assert api.writes() == []
        assert sentence.endswith((".", "?")), sentence
        assert "Traceback" not in sentence
        assert "\n" not in sentence
        for word in words:
            assert word in sentence, sentence
        return sentence

    return check


def test_two_guests_with_one_vmid(refused, container):
    refused(container(100), container(100, hostname="other"), words=["100", "guest-100", "other"])


def test_two_guests_with_one_address(refused, container):
    net = container(100)["net"]
    refused(container(100), container(101, net=net), words=["192.0.2.101", "guest-100", "guest-101"])


def test_two_guests_with_one_address_and_other_prefix(refused, container):
    net = {"net0": {**container(100)["net"]["net0"], "ip": "192.0.2.101/25"}}
    refused(container(100), container(101, net=net), words=["192.0.2.101", "guest-100", "guest-101"])


def test_two_guests_with_one_hostname(refused, container):
    refused(container(100), container(101, hostname="guest-100"), words=["guest-100", "100", "101"])


def test_address_of_a_guest_that_is_not_listed(api, refused, container):
    api.pve.add_ct(300, name="network-services", config={"net0": "name=eth0,bridge=vmbr0,ip=192.0.2.101/24,type=veth"})
    refused(container(100), words=["192.0.2.101", "guest-100", "network-services"])


def test_hostname_of_a_guest_that_is_not_listed(api, refused, container):
    api.pve.add_ct(300, name="guest-100")
    refused(container(100), words=["guest-100", "300"])


def test_dhcp_and_no_address_are_no_conflict(run, container):
    net = {"net0": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp"}}
    assert run.fleet(container(100, net=net), container(101, net=net))["changed"]


def test_guests_to_remove_are_no_conflict(run, container):
    run.fleet(container(100))
    gone = {"vmid": 100, "hostname": "guest-100", "state": "absent"}
    successor = container(101, hostname="guest-100", net=container(100)["net"])
    assert run.fleet(gone, successor)["changed"]


def test_vmid_taken_by_a_guest_of_another_name(api, refused, container):
    api.pve.add_ct(100, name="production-database")
    refused(container(100), words=["100", "guest-100", "production-database"])


def test_vmid_taken_by_a_virtual_machine(api, refused, container):
    api.pve.add_vm(100, "guest-100")
    refused(container(100), words=["100", "guest-100"])


def test_removal_of_a_guest_of_another_name(api, refused):
    api.pve.add_ct(100, name="production-database")
    guest = {"vmid": 100, "hostname": "guest-100", "state": "absent"}
    refused(guest, words=["100", "guest-100", "production-database"])


def test_memory_beyond_the_node(api, refused, container):
    api.pve.node_figures["pve1"] = {"maxmem": 8 * GIB}
    refused(container(memory=9000), words=["guest-100", "pve1", "memory"])


def test_memory_of_all_guests_together_may_exceed_the_node(api, run, container):
    # Containers use what they need of their limit, so the sum of the limits is the site's own choice.
    api.pve.node_figures["pve1"] = {"maxmem": 8 * GIB, "maxcpu": 16}
    assert run.fleet(*(container(vmid, memory=3072) for vmid in (100, 101, 102)))["changed"]


def test_memory_beyond_the_overcommit_limit(api, run, refused, container):
    api.pve.node_figures["pve1"] = {"maxmem": 8 * GIB, "maxcpu": 64}
    guests = [container(vmid, memory=4096) for vmid in (100, 101, 102, 103)]
    refused(*guests, words=["guest-103", "pve1", "16384 MiB", "1.5 times its 8192 MiB", "memory_overcommit"])
    assert run.fleet(*guests, memory_overcommit=2.0)["changed"]
    # What is there already is left alone; more of it is not given.
    assert not run.fleet(*guests)["changed"]
    api.requests()
    refused(container(100, memory=4097), words=["guest-100", "16385 MiB"])


def test_disk_beyond_the_storage(api, refused, container):
    api.pve.storages["local-lvm"].update(total=100 * GIB, avail=40 * GIB)
    refused(container(rootfs="local-lvm:175"), words=["guest-100", "local-lvm", "rootfs"])


def test_growth_of_a_disk_beyond_the_storage(api, run, refused, container):
    api.pve.storages["local-lvm"].update(total=100 * GIB, avail=40 * GIB)
    run.fleet(container(rootfs="local-lvm:8"))
    api.requests()
    refused(container(rootfs="local-lvm:175"), words=["guest-100", "local-lvm"])


def test_cores_beyond_the_overcommit_limit(api, refused, container):
    api.pve.node_figures["pve1"] = {"maxcpu": 4}
    guests = [container(vmid, cores=3) for vmid in (100, 101, 102)]
    refused(*guests, words=["pve1", "9", "4"])
    refused(*guests, cpu_overcommit=2.0, words=["cpu_overcommit"])


def test_cores_within_a_raised_overcommit_limit(api, run, container):
    api.pve.node_figures["pve1"] = {"maxcpu": 4}
    guests = [container(vmid, cores=3) for vmid in (100, 101, 102)]
    assert run.fleet(*guests, cpu_overcommit=3.0)["changed"]


def test_more_cores_than_the_node_has(api, refused, container):
    api.pve.node_figures["pve1"] = {"maxcpu": 4}
    refused(container(cores=9), words=["guest-100", "pve1", "9", "4"])


def test_unknown_storage(refused, container):
    refused(container(rootfs="local-lvn:8"), later=True, words=["guest-100", "local-lvn", "local-lvm"])


def test_storage_that_holds_no_containers(refused, container):
    refused(container(rootfs="local:8"), later=True, words=["guest-100", "local", "rootdir"])


def test_storage_that_is_not_there_any_more(api, refused, container):
    del api.pve.storages["local-lvm"]
    refused(container(), later=True, words=["guest-100", "local-lvm"])


def test_unknown_storage_of_a_mount_point(refused, container):
    mount = {"mp0": {"storage": "tank", "size": 1, "mp": "/data"}}
    refused(container(mp=mount), later=True, words=["guest-100", "mp0", "tank"])


def test_unknown_bridge(refused, container):
    refused(container(net={"net0": {**NET0, "bridge": "vmbr9"}}), later=True, words=["guest-100", "vmbr9", "vmbr0"])


def test_unknown_bridge_of_an_existing_container(api, run, refused, container):
    run.fleet(container())
    before = api.config(100)
    api.requests()
    refused(container(net={"net0": {**NET0, "bridge": "vmbr9"}}), later=True, words=["guest-100", "vmbr9", "vmbr0"])
    assert api.config(100) == before


def test_unknown_template(api, refused, container):
    refused(container(ostemplate="local:vztmpl/nosuch.tar.zst"), later=True, words=["guest-100", "nosuch.tar.zst"])


def test_unknown_storage_of_the_template(refused, container):
    refused(container(ostemplate="nosuch:vztmpl/debian.tar.zst"), later=True, words=["guest-100", "nosuch"])


def test_unknown_node(refused, container):
    refused(container(node="pve9"), words=["guest-100", "pve9", "pve1"])


def test_node_that_is_down(api, refused, container):
    api.pve.add_node("pve2", online=False)
    refused(container(node="pve2"), words=["guest-100", "pve2"])


def test_no_node_where_there_are_several(api, refused, container):
    api.pve.add_node("pve2")
    refused(container(node=...), words=["guest-100", "node", "pve1", "pve2"])


def test_existing_guest_on_another_node(api, run, refused, container):
    api.pve.add_node("pve2")
    run.fleet(container(node="pve1"))
    api.requests()
    refused(container(node="pve2"), words=["guest-100", "pve1", "pve2"])


def test_typo_in_a_key_of_net0(refused, container):
    sentence = refused(container(net={"net0": {**NET0, "brigde": "vmbr0"}}), words=["guest-100", "net0", "brigde"])
    assert "bridge" in sentence


def test_typo_in_a_key_of_net0_as_string(refused, container):
    refused(container(net={"net0": "name=eth0,bridge=vmbr0,firewal=1"}), words=["guest-100", "net0", "firewall"])


def test_typo_in_features(refused, container):
    refused(container(features={"nestin": True}), words=["guest-100", "features", "nesting"])


def test_typo_in_an_option_of_the_guest(api, run, container):
    message = run.fleet_fails(container(memroy=512))
    assert "memroy" in message
    assert api.requests() == []


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("net", {"net0": {**NET0, "ip": "192.0.2.300/24"}}, ["net0", "192.0.2.300/24"]),
        ("net", {"net0": {**NET0, "ip": "192.0.2.3"}}, ["net0", "192.0.2.3", "/24"]),
        ("net", {"net0": {**NET0, "hwaddr": "XX"}}, ["net0", "XX"]),
        ("net", {"net0": {**NET0, "tag": 5000}}, ["net0", "5000"]),
        ("net", {"eth0": NET0}, ["eth0", "net0"]),
        ("memory", 8, ["memory", "8", "16"]),
        ("rootfs", "local-lvm:xx", ["rootfs", "xx"]),
        ("rootfs", {"storage": "local-lvm", "size": "8X"}, ["rootfs", "8X"]),
        ("mp", {"mp0": {"storage": "local-lvm", "size": 1}}, ["mp0", "mp"]),
        ("hostname", "bad_name", ["hostname", "bad_name"]),
        ("tags", ["bad tag!"], ["tags", "tag!"]),
        ("ostemplate", ..., ["ostemplate"]),
        ("rootfs", ..., ["rootfs"]),
    ],
)
def test_value_that_cannot_be(refused, container, option, value, words):
    name = value if option == "hostname" else "guest-100"
    refused(container(**{option: value}), words=[name, *words])


def test_disk_that_would_shrink(run, api, refused, container):
    run.fleet(container(rootfs="local-lvm:8"))
    api.requests()
    refused(container(rootfs="local-lvm:4"), words=["guest-100", "rootfs", "8G", "4G"])


def test_volume_of_a_protected_container(api, run, refused, container):
    run.fleet(container(protection=True))
    api.requests()
    mount = {"mp0": {"storage": "local-lvm", "size": 1, "mp": "/data"}}
    refused(container(mp=mount), words=["guest-100", "protect", "mp0"])
    assert run.fleet(container(mp=mount, protection=False))["changed"]


OF_ROOT = [
    *(("container", options) for options in (
        {"features": {"nesting": True, "keyctl": True}},
        {"features": {"nesting": True}, "unprivileged": False},
        {"mp": {"mp0": {"volume": "/srv/data", "mp": "/data"}}},
        {"dev": {"dev0": "/dev/dri/card0"}},
        {"hookscript": "local:snippets/hook.pl"},
    )),
    *(("machine", options) for options in (
        {"args": "-no-hpet"},
        {"hostpci": {"hostpci0": {"host": "0000:01:00"}}},
        {"hostpci": {"hostpci0": {"mapping": "gpu", "romfile": "card.rom"}}},
        {"usb": {"usb0": "host=1234:5678"}},
        {"serial": {"serial0": "/dev/ttyS0"}},
        {"parallel": {"parallel0": "/dev/parport0"}},
        {"scsi": {"scsi0": {"storage": "local-lvm", "size": "8G"}, "scsi1": "/dev/disk/by-id/ata-1"}},
        {"hookscript": "local:snippets/hook.pl"},
    )),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), OF_ROOT)
def test_what_only_root_may_change_is_refused_before_any_guest_is_touched(
    api, run, refused, container, machine, kind, options
):
    build = {"container": container, "machine": machine}[kind]
    api.pve.store_file("local", "hook.pl", 1024, "snippets")
    api.pve.records["/cluster/mapping/pci"] = {"gpu": {"id": "gpu", "map": []}}
    other, guest = container(101), build(**options)
    key = next(iter(options))
    key = next(reversed(options[key])) if key in ("mp", "dev", "hostpci", "usb", "serial", "parallel", "scsi") else key
    refused(
        other,
        guest,
        words=["root@pam alone", f"change {key}", "the token 'root@pam!test'", "api_backend 'local'", "api_password"],
    )
    run.as_root()
    assert run.fleet(other, guest)["changed"]
    assert not run.fleet(other, guest)["changed"]
    run.login = {}
    assert not run.fleet(other, guest)["changed"]


def test_what_root_has_set_may_stay_or_partly_change(api, run, container, refused):
    """A login that is not root@pam may change what else such a guest has."""
    given = container(features={"nesting": True, "keyctl": True}, mp={"mp0": {"volume": "/srv/data", "mp": "/data"}})
    run.as_root()
    run.fleet(given)
    run.login = {}
    assert run.fleet({**given, "features": {"keyctl": True}, "memory": 300})["changed"]
    api.requests()
    refused({**given, "features": {"nesting": True}}, words=["change features"])
    assert run.fleet({**given, "mp": {"mp0": None}})["changed"]


def test_one_bad_guest_stops_all_of_them(api, run, container):
    message = run.fleet_fails(container(100), container(101, node="pve9"), container(102, memory=999999))
    assert "guest-101" in message
    assert "guest-102" in message
    assert "guest-100" not in message
    assert api.writes() == []


def test_wrong_token(api, run, container):
    message = run.fails("pve_fleet", {"guests": [container()], "api_token_secret": "wrong"})
    assert "root@pam!test" in message
    assert "api_token_secret" in message
    assert "wrong" not in message.replace("api_token_secret", "")
    assert api.writes() == []


def test_wrong_password(api, run, container):
    args = {"guests": [container()], "api_token_id": None, "api_token_secret": None, "api_password": "not-it"}
    message = run.fails("pve_fleet", args)
    assert "root@pam" in message
    assert "api_password" in message
    assert "not-it" not in message


def test_password_instead_of_a_token(api, run, container):
    args = {"guests": [container()], "api_token_id": None, "api_token_secret": None, "api_password": api.pve.password}
    assert run("pve_fleet", args)["changed"]
    assert not run("pve_fleet", args)["changed"]
    tickets = [request for request in api.requests() if request.path == "/access/ticket"]
    assert len(tickets) == 2  # one for each run


def test_no_credentials(api, run, container):
    message = run.fails("pve_fleet", {"guests": [container()], "api_token_id": None, "api_token_secret": None})
    assert "api_token_secret" in message
    assert api.requests() == []


def test_api_that_cannot_be_reached(run, container):
    with socket.socket() as taken:
        # A port that is taken and does not listen.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        message = run.fails("pve_fleet", {"guests": [container()], "api_host": "127.0.0.1", "api_port": port})
    assert f"127.0.0.1:{port}" in message
    assert "api_host" in message


def test_host_name_that_does_not_exist(run, container):
    message = run.fails("pve_fleet", {"guests": [container()], "api_host": "pve.invalid"})
    assert "pve.invalid" in message
    assert "api_host" in message


def test_certificate_that_is_not_trusted(api, run, container):
    message = run.fails("pve_fleet", {"guests": [container()], "ca_path": None})
    assert "certificate" in message.lower()
    assert "ca_path" in message
    assert api.requests() == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_certificate_is_not_checked_when_told_so(run, container):
    args = {"guests": [container()], "ca_path": None, "validate_certs": False}
    assert run("pve_fleet", args)["changed"]


def test_authority_given_wins_over_one_of_the_environment(run, container, monkeypatch, tmp_path):
    other = tmp_path / "other.crt"
    other.write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    assert run.fleet(container())["changed"]


def test_authority_that_is_no_file(run, container):
    message = run.fails("pve_fleet", {"guests": [container()], "ca_path": "/nonexistent/ca.pem"})
    assert "/nonexistent/ca.pem" in message


def test_missing_privilege_in_the_words_of_the_api(api, run, container):
    api.pve.apitokens["ops@pve!test"] = "5e0a3c0e-0000-4000-8000-000000000000"
    api.pve.grant("ops@pve", "/", "VM.Audit", "Sys.Audit", "Datastore.Audit", "SDN.Audit")
    run_as = {"api_user": "ops@pve", "api_token_secret": "5e0a3c0e-0000-4000-8000-000000000000"}
    message = run.fails("pve_fleet", {"guests": [container()], **run_as})
    assert "Permission check failed" in message
    assert "guest-100" in message
    assert api.pve.cts == []
