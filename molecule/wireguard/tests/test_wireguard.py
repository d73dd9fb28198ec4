# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = ["server"]

INVENTORY = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"
PLAY: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "converge.yml").read_text())[0]
PEERS = "/etc/wireguard/wg0/peers"
# A laptop keeps its files under a name of its own.
TUNNEL = "/etc/wireguard/office.conf"
DIAL = 'import socket; print(socket.create_connection(("%s", 7000), timeout=2).recv(64).decode())'
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def laptop() -> Host:
    return AnsibleRunner(INVENTORY).get_host("laptop")


@pytest.fixture(autouse=True)
def disconnected(laptop: Host) -> Iterator[None]:
    yield
    laptop.run("wg-quick down office")


def converge(
    tmp_path: Path, *options: str, change: Change = lambda variables: None
) -> subprocess.CompletedProcess[str]:
    """Run the scenario's play, with its variables changed."""
    play = copy.deepcopy(PLAY)
    change(play["vars"])
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play], sort_keys=False))
    return subprocess.run(
        ["ansible-playbook", *options, "-i", INVENTORY, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_PIPELINING": "1"},
    )


def fetch(server: Host, peer: str) -> str:
    return server.check_output(f"cat {PEERS}/{peer}/wg0.conf") + "\n"


def connect(laptop: Host, configuration: str) -> None:
    laptop.check_output(f"umask 077 && printf %s %s > {TUNNEL}", "%s", configuration)
    laptop.check_output("wg-quick up office")


def dial(laptop: Host, address: str = "10.77.0.2") -> str:
    """The address that a host behind the server sees, or nothing if it cannot be reached."""
    return laptop.run("python3 -c %s", DIAL % address).stdout.strip()


def secrets(server: Host) -> list[str]:
    return server.check_output("cat /etc/wireguard/wg0/server.key /etc/wireguard/wg0/peers/*/*.key").split()


def peer_of(variables: dict[str, Any], name: str) -> dict[str, Any]:
    return next(peer for peer in variables["wireguard_peers"] if peer["name"] == name)


def test_a_peer_reaches_the_networks_through_the_tunnel_only(host: Host, laptop: Host) -> None:
    assert dial(laptop) == ""
    connect(laptop, fetch(host, "laptop"))
    laptop.check_output("ping -c 1 -W 2 10.66.0.1")
    # Masqueraded: the host behind the server has no way back to the VPN.
    assert dial(laptop) == "10.77.0.1"
    assert "10.77.0.2" in laptop.check_output("resolvconf -l office")
    laptop.check_output("wg-quick down office")
    assert dial(laptop) == ""


def test_a_peer_reaches_only_what_it_may(host: Host, laptop: Host) -> None:
    # Whatever its own configuration says.
    wishes = re.sub("(?m)^AllowedIPs.*", "AllowedIPs = 10.66.0.1/32, 10.77.0.0/24", fetch(host, "visitor"))
    connect(laptop, wishes)
    assert dial(laptop, "10.77.0.3") == "10.77.0.1"
    assert dial(laptop, "10.77.0.2") == ""
    assert dial(laptop, "10.77.0.1") == ""
    # At once, and not after a minute.
    assert "From 10.66.0.1 icmp_seq=1 Packet filtered" in laptop.run("ping -c 1 -W 2 10.77.0.2").stdout


def test_strangers_get_no_answer(host: Host, laptop: Host) -> None:
    for pattern in ("PrivateKey", "PresharedKey"):
        other = laptop.check_output("wg genkey")
        connect(laptop, re.sub(f"(?m)^{pattern}.*", f"{pattern} = {other}", fetch(host, "laptop")))
        assert dial(laptop) == ""
        assert laptop.check_output("wg show office latest-handshakes").split()[1] == "0"
        laptop.check_output("wg-quick down office")


def test_a_machine_with_keys_of_its_own_adds_them(host: Host, laptop: Host, tmp_path: Path) -> None:
    key = laptop.check_output("wg genkey")
    own = laptop.check_output("echo %s | wg pubkey", key)
    result = converge(tmp_path, change=lambda variables: peer_of(variables, "router").update(public_key=own))
    assert result.returncode == 0, result.stdout
    configuration = fetch(host, "router")
    line = f"# Add the PrivateKey that belongs to {own} here."
    assert line in configuration
    connect(laptop, configuration.replace(line, f"PrivateKey = {key}"))
    assert dial(laptop) == "10.77.0.1"
    assert not host.file(f"{PEERS}/router/wg0.png").exists
    assert not host.file(f"{PEERS}/router/private.key").exists


def test_the_qr_code_is_the_configuration(host: Host, laptop: Host) -> None:
    picture = host.check_output(f"base64 -w 0 {PEERS}/laptop/wg0.png")
    laptop.check_output("echo %s | base64 -d > /root/wg0.png", picture)
    assert laptop.check_output("zbarimg --quiet --raw /root/wg0.png").strip() == fetch(host, "laptop").strip()


def test_no_secret_is_in_the_open(host: Host, tmp_path: Path) -> None:
    keys = secrets(host)
    assert len(set(keys)) == len(keys) == 6
    assert host.check_output("find /etc/wireguard ! -user root -o -perm /077 ! -type l") == ""
    result = converge(
        tmp_path,
        "--check",
        "--diff",
        "-vvv",
        change=lambda variables: variables["wireguard_peers"].append({"name": "new"}),
    )
    assert "write /etc/wireguard/wg0/peers/new/private.key" in result.stdout
    places = {
        "processes": host.check_output("ps axeww"),
        "journal": host.check_output("journalctl --no-pager"),
        "output": result.stdout,
        "files": host.check_output(
            "grep -rlsFf - /etc /var /usr/local --exclude-dir=wireguard <<EOF || true\n" + "\n".join(keys) + "\nEOF"
        ),
    }
    for name, text in places.items():
        assert not [key for key in keys if key in text], name
    assert places["files"] == ""


def test_a_new_peer_changes_nothing_for_the_others(host: Host, laptop: Host, tmp_path: Path) -> None:
    before = {name: fetch(host, name) for name in ("laptop", "visitor")}
    connect(laptop, before["laptop"])
    assert dial(laptop) == "10.77.0.1"
    key = laptop.check_output("wg show office public-key")
    seen = f"wg show wg0 latest-handshakes | grep {key}; cat /sys/class/net/wg0/ifindex"
    session = host.check_output(seen)

    result = converge(tmp_path, change=lambda variables: variables["wireguard_peers"].insert(0, {"name": "first"}))
    assert result.returncode == 0, result.stdout
    assert {name: fetch(host, name) for name in before} == before
    assert host.check_output(seen) == session
    assert dial(laptop) == "10.77.0.1"

    laptop.check_output("wg-quick down office")
    connect(laptop, fetch(host, "first"))
    assert dial(laptop) == "10.77.0.1"

    # Off the list it may not connect, and is what it was when it comes back.
    first = fetch(host, "first")
    result = converge(tmp_path)
    assert result.returncode == 0, result.stdout
    assert dial(laptop) == ""
    assert fetch(host, "first") == first


def test_a_removed_peer_is_refused_and_its_keys_are_gone(host: Host, laptop: Host, tmp_path: Path) -> None:
    former = fetch(host, "laptop")
    connect(laptop, former)
    assert dial(laptop) == "10.77.0.1"

    def change(variables: dict[str, Any]) -> None:
        peer_of(variables, "laptop")["state"] = "absent"
        variables["wireguard_peers"].append({"name": "first", "state": "absent"})

    result = converge(tmp_path, change=change)
    assert result.returncode == 0, result.stdout
    assert dial(laptop) == ""
    assert not host.file(f"{PEERS}/laptop").exists
    laptop.check_output("wg-quick down office")
    laptop.check_output("wg-quick up office")
    assert dial(laptop) == ""
    assert laptop.check_output("wg show office latest-handshakes").split()[1] == "0"

    result = converge(tmp_path)
    assert result.returncode == 0, result.stdout
    again = fetch(host, "laptop")
    assert not set(re.findall("Key = (.*)", again)) & set(re.findall("(?:Private|Preshared)Key = (.*)", former))
    laptop.check_output("wg-quick down office")
    connect(laptop, again)
    assert dial(laptop) == "10.77.0.1"


HAND_EDITS = {
    "write /etc/wireguard/wg0.conf": "sed -i /^AllowedIPs/d /etc/wireguard/wg0.conf",
    f"write {PEERS}/laptop/wg0.conf": f"echo DNS = 192.0.2.1 >> {PEERS}/laptop/wg0.conf",
    f"write {PEERS}/laptop/wg0.png": f"truncate -s 0 {PEERS}/laptop/wg0.png",
    f"write {PEERS}/laptop/private.key": f"chmod 644 {PEERS}/laptop/private.key",
    f"make {PEERS}/visitor root's alone": f"chmod 755 {PEERS}/visitor",
    "tell wg0 its peers": "wg set wg0 peer $(wg show wg0 peers | head -n 1) remove",
    "load the rules of the firewall": "nft delete table inet wireguard_wg0",
}


def test_hand_edits_are_shown_and_repaired(host: Host, laptop: Host, tmp_path: Path) -> None:
    keys, configuration = secrets(host), fetch(host, "laptop")
    host.check_output(" && ".join(HAND_EDITS.values()))
    shown = converge(tmp_path, "--check", "--diff")
    assert shown.returncode == 0, shown.stdout
    assert sorted(re.findall('(?m)^ {8}"(.*?)",?$', shown.stdout)) == sorted(HAND_EDITS)
    result = converge(tmp_path)
    assert result.returncode == 0, result.stdout
    assert "changed=0" in converge(tmp_path, "--check").stdout
    assert (secrets(host), fetch(host, "laptop")) == (keys, configuration)
    assert host.check_output("find /etc/wireguard -perm /077 ! -type l") == ""
    connect(laptop, configuration)
    assert dial(laptop) == "10.77.0.1"


@pytest.mark.parametrize(
    "command",
    ["ip address add 10.67.0.1/24 dev wg0 && ip address delete 10.66.0.1/29 dev wg0", "systemctl stop wg-quick@wg0"],
    ids=["address", "stopped"],
)
def test_what_does_not_run_as_declared_is_restarted(command: str, host: Host, laptop: Host, tmp_path: Path) -> None:
    host.check_output(command)
    assert "changed=0" not in converge(tmp_path, "--check").stdout
    result = converge(tmp_path)
    assert result.returncode == 0, result.stdout
    connect(laptop, fetch(host, "laptop"))
    assert dial(laptop) == "10.77.0.1"


def test_a_reboot_brings_it_back(host: Host, laptop: Host) -> None:
    assert host.service("wg-quick@wg0").is_enabled
    host.check_output("systemctl restart wg-quick@wg0")
    assert "masquerade" in host.check_output("nft list table inet wireguard_wg0")
    connect(laptop, fetch(host, "laptop"))
    assert dial(laptop) == "10.77.0.1"
    host.check_output("systemctl stop wg-quick@wg0")
    assert "wireguard" not in host.check_output("nft list tables")
    host.check_output("systemctl start wg-quick@wg0")


OWN = "Ym9yaW5nIHB1YmxpYyBrZXkgb2YgdGhlIHRlc3RzISE="
# What is wrong, and the sentences that say so, all of them at once.
BAD_INPUT: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[str]]] = {
    "settings": (
        {"wireguard_endpoint": "vpn", "wireguard_address": "10.66.0.0/29", "wireguard_dns": ["10.0.0"]},
        [
            {"name": "laptop"},
            {"name": "../etc"},
            {"name": "a", "public_key": "a2V5"},
            {"name": "b", "public_key": OWN, "networks": ["10.77.0.1/24"]},
        ],
        [
            "wireguard_peers has laptop twice",
            'The name of the peer "../etc" would not do',
            "The public_key of a is no key",
            "router and b have the same public_key",
            'networks of the peer b: "10.77.0.1/24" is no IPv4 network',
            'wireguard_endpoint is "vpn"',
            'wireguard_address is "10.66.0.0/29"',
            'wireguard_dns: "10.0.0" is neither',
        ],
    ),
    "addresses": (
        {},
        [
            {"name": "a", "address": "10.66.0.2"},
            {"name": "b", "address": "10.1.0.2"},
            {"name": "c"},
            {"name": "d"},
            {"name": "e"},
        ],
        [
            "laptop and a would both have the address 10.66.0.2",
            "b has the address 10.1.0.2, which is not in 10.66.0.0/29",
            "e finds no free address in 10.66.0.0/29",
        ],
    ),
    "moved": (
        {"wireguard_address": "10.68.0.1/24"},
        [],
        ["laptop has the address 10.66.0.2, which is not in 10.68.0.0/24"],
    ),
    "machine": (
        {"wireguard_interface": "wg1", "wireguard_address": "10.77.0.9/24"},
        [],
        ["inside0 has 10.77.0.0/24", "UDP port 51821 is in use already"],
    ),
}


@pytest.mark.parametrize(("values", "peers", "sentences"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_refused(
    values: dict[str, Any], peers: list[dict[str, Any]], sentences: list[str], host: Host, tmp_path: Path
) -> None:
    def change(variables: dict[str, Any]) -> None:
        variables.update(values)
        variables["wireguard_peers"] += peers

    before = host.check_output("find /etc/wireguard -type f -exec sha256sum {} + | sort")
    result = converge(tmp_path, change=change)
    assert result.returncode != 0
    output = result.stdout.replace('\\"', '"')
    assert not [sentence for sentence in sentences if sentence not in output], output
    assert host.check_output("find /etc/wireguard -type f -exec sha256sum {} + | sort") == before


@pytest.mark.skipif(Path("/sys/module/wireguard").exists(), reason="the kernel has the module")
def test_a_node_without_the_module_is_named(tmp_path: Path) -> None:
    def change(variables: dict[str, Any]) -> None:
        variables.update(wireguard_userspace_enabled=False, wireguard_node="pve1")

    result = converge(tmp_path, "--check", change=change)
    assert result.returncode != 0
    assert "On the node pve1, run `modprobe wireguard`" in result.stdout


def test_what_somebody_else_configured_is_left_alone(host: Host, tmp_path: Path) -> None:
    host.check_output("umask 077 && echo '[Interface]' > /etc/wireguard/wg9.conf")

    def change(variables: dict[str, Any]) -> None:
        variables.update(wireguard_interface="wg9", wireguard_address="10.68.0.1/24", wireguard_port=51829)

    result = converge(tmp_path, change=change)
    assert result.returncode != 0
    assert "/etc/wireguard/wg9.conf is there and" in result.stdout
    host.check_output("test $(cat /etc/wireguard/wg9.conf) = '[Interface]' && rm /etc/wireguard/wg9.conf")
