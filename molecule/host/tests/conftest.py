from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
INVENTORY = str(EPHEMERAL / "inventory")
OPTIONS = "-o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=5 -o ServerAliveInterval=3"


@pytest.fixture(scope="session")
def client() -> Host:
    return AnsibleRunner(INVENTORY).get_host("client")


@pytest.fixture(scope="session")
def addresses(client: Host) -> dict[str, str]:
    node = AnsibleRunner(INVENTORY).get_host("node")
    return {name: host.check_output("hostname -I").split()[0] for name, host in (("node", node), ("client", client))}


@pytest.fixture
def ssh(client: Host) -> Callable:
    """Log in from the client."""

    def login(user: str, command: str = "id -un", options: str = "", key: str = ""):
        return client.run(f"ssh -i /root/{key or user}.key -o BatchMode=yes {OPTIONS} {options} {user}@node {command}")

    return login


@pytest.fixture
def ssh_from_elsewhere(addresses: dict[str, str]) -> Callable:
    """Log in from another machine, which is the one that runs the tests."""

    def login(user: str, command: str = "id -un") -> subprocess.CompletedProcess:
        options = [*OPTIONS.split(), "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=/dev/null"]
        return subprocess.run(
            ["ssh", "-i", str(EPHEMERAL / user), *options, f"{user}@{addresses['node']}", command],
            capture_output=True,
            text=True,
            check=False,
        )

    return login


@pytest.fixture(scope="module")
def unguarded(host: Host, addresses: dict[str, str]) -> Iterator[None]:
    """Without fail2ban, for tests that look suspicious."""
    host.check_output(f"fail2ban-client set sshd addignoreip {addresses['client']}")
    yield
    host.check_output(f"fail2ban-client set sshd delignoreip {addresses['client']}")


@pytest.fixture(scope="session")
def other_node(client: Host) -> str:
    """The address of another node of the cluster, which the client has as well."""
    client.check_output("ip address replace 192.0.2.77/32 dev eth0")
    AnsibleRunner(INVENTORY).get_host("node").check_output("ip route replace 192.0.2.0/24 dev eth0")
    return "192.0.2.77"


@pytest.fixture(scope="session")
def over_ssh(addresses: dict[str, str]) -> str:
    """An inventory by which Ansible logs in as a site's does, from the machine that runs the tests."""
    account = {
        "ansible_user": "ansible",
        "ansible_become": True,
        "ansible_ssh_private_key_file": str(EPHEMERAL / "ansible"),
    }
    inventory = EPHEMERAL / "over_ssh.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"node": {"ansible_host": addresses["node"], **account}}}}))
    return str(inventory)


@pytest.fixture(scope="session")
def playbook() -> Callable:
    """Run a playbook of the scenario; its output and its exit status."""

    def run(name: str, *arguments: str, inventory: str = INVENTORY, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["ansible-playbook", "-i", inventory, str(SCENARIO / name), *arguments],
            env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_HOST_KEY_CHECKING": "0"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    return run
