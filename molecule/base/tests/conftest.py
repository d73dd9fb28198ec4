from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
INVENTORY = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"


@pytest.fixture(scope="session")
def keys() -> Path:
    """Where the private keys are on the controller."""
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


@pytest.fixture(scope="session")
def client() -> Host:
    return AnsibleRunner(INVENTORY).get_host("client")


@pytest.fixture
def ssh(client: Host) -> Callable:
    """Log in from the client."""

    def login(user: str, command: str, options: str = "", machine: str = "machine"):
        return client.run(
            f"ssh -i /root/{user}.key -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new"
            f" {options} {user}@{machine} {command}"
        )

    return login


@pytest.fixture(scope="session")
def playbook() -> Callable:
    """Run a playbook of the scenario; its output and its exit status."""

    def run(name: str, *arguments: str, inventory: str = INVENTORY) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["ansible-playbook", "-i", inventory, str(SCENARIO / name), *arguments],
            env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_HOST_KEY_CHECKING": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run
