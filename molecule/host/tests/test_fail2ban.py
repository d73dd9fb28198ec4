from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

testinfra_hosts = ["node"]

README = Path(__file__).parents[3] / "roles" / "fail2ban" / "README.md"
# As pvedaemon writes it.
FAILED = "authentication failure; rhost={address} user={user} msg=Authentication failure"


def documented(command: str, address: str) -> str:
    """A command of the README that starts like this, for this address."""
    found = re.search(rf"^{command}.*$", README.read_text(), re.MULTILINE)
    assert found, f"{README} documents no '{command}'"
    return found[0].split("  #")[0].replace("192.0.2.7", address)


def eventually(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def banned(host: Host) -> dict[str, list[str]]:
    jails = eval(host.check_output("fail2ban-client banned"))
    return {jail: addresses for entry in jails for jail, addresses in entry.items() if addresses}


@pytest.fixture(autouse=True)
def nobody_is_banned(host: Host) -> Iterator[None]:
    yield
    host.check_output("fail2ban-client unban --all")


@pytest.fixture(scope="module")
def web_interface(host: Host) -> Iterator[None]:
    """A stand-in for pveproxy: something that answers where the web interface does."""
    host.check_output("systemd-run --unit=stand-in-web python3 -m http.server 8006")
    yield
    host.check_output("systemctl stop stand-in-web")


def reaches(client: Host, port: int) -> bool:
    probe = f"import socket; socket.create_connection(('node', {port}), 3)"
    return client.run(f'python3 -c "{probe}"').rc == 0


def log(host: Host, *lines: str, user: str = "root") -> None:
    """Write lines into the journal: a stand-in for pvedaemon."""
    host.check_output(f"runuser -u {user} -- logger -t pvedaemon <<'END'\n" + "\n".join(lines) + "\nEND")


def test_ssh_is_refused_after_the_configured_failures_and_again_allowed(
    host, client, ssh, ssh_from_elsewhere, addresses
):
    for count in range(3):
        assert ssh("linh").stdout.strip() == "linh", f"after {count} failures"
        assert "Permission denied" in ssh("linh", key="root").stderr
    assert eventually(lambda: addresses["client"] in banned(host).get("sshd", []))
    refused = ssh("linh")
    assert refused.rc == 255
    assert "Connection refused" in refused.stderr
    assert ssh_from_elsewhere("linh").stdout.strip() == "linh"
    host.check_output(documented("fail2ban-client unban", addresses["client"]))
    assert ssh("linh").stdout.strip() == "linh"


def test_guessing_names_counts(host, ssh, addresses):
    for name in ("admin", "oracle", "postgres"):
        ssh(name, key="root")
    assert eventually(lambda: addresses["client"] in banned(host).get("sshd", []))


@pytest.mark.parametrize(("form", "user"), [("{}", "root@pam"), ("::ffff:{}", "linh@pve")])
@pytest.mark.usefixtures("web_interface")
def test_failed_logins_in_the_web_interface_ban(host, client, ssh, addresses, form, user):
    line = FAILED.format(address=form.format(addresses["client"]), user=user)
    log(host, line, line)
    assert not eventually(lambda: bool(banned(host)), 1.5)
    assert reaches(client, 8006)
    log(host, line)
    assert eventually(lambda: banned(host) == {"proxmox": [addresses["client"]]})
    assert not reaches(client, 8006)
    assert ssh("linh").rc == 0, "each jail closes its own ports"
    host.check_output(documented("fail2ban-client unban", addresses["client"]))
    assert reaches(client, 8006)


def test_nobody_gets_others_banned(host, addresses):
    """Neither by the name that is typed into the form, nor by writing lines on the machine."""
    name = f"x@pam msg=authentication failure; rhost={addresses['client']} user=y"
    log(host, *[FAILED.format(address="198.51.100.66", user=name)] * 3)
    assert eventually(lambda: banned(host) == {"proxmox": ["198.51.100.66"]})
    line = FAILED.format(address=addresses["client"], user="root@pam")
    log(host, line, line, line, user="nobody")
    assert not eventually(lambda: addresses["client"] in banned(host).get("proxmox", []), 2)


def test_ignored_networks_are_not_banned(host):
    log(host, *[FAILED.format(address="192.0.2.99", user="root@pam")] * 5)
    log(host, *[FAILED.format(address="198.51.100.1", user="root@pam")] * 3)
    assert eventually(lambda: banned(host) == {"proxmox": ["198.51.100.1"]})


def test_bans_grow(host):
    def ban() -> int:
        log(host, *[FAILED.format(address="198.51.100.2", user="root@pam")] * 3)
        assert eventually(lambda: bool(banned(host)))
        return int(re.findall(r"\+ (\d+) =", host.check_output("fail2ban-client get proxmox banip --with-time"))[0])

    host.check_output("fail2ban-client set proxmox bantime 3")
    try:
        first = ban()
        assert eventually(lambda: not banned(host))
        assert (first, ban()) == (3, 6)
    finally:
        host.check_output("fail2ban-client set proxmox bantime 300")


def test_a_change_keeps_bans_and_a_mistake_changes_nothing(host, playbook, over_ssh, addresses):
    host.check_output(f"fail2ban-client set sshd banip {addresses['client']}")
    jail = "/etc/fail2ban/jail.d/onprem.local"
    before = host.file(jail).content_string
    wrong = json.dumps({"fail2ban_jails": [{"name": "shop", "filter": "no-such-filter", "ports": ["443"]}]})
    run = playbook("converge.yml", "--tags", "fail2ban", "-e", wrong)
    assert run.returncode == 2
    assert "no-such-filter" in run.stdout
    assert host.file(jail).content_string == before
    more = json.dumps({"fail2ban_jails": [{"name": "nginx-http-auth", "ports": ["80", "443"]}]})
    run = playbook("converge.yml", "--tags", "fail2ban", "-e", more, inventory=over_ssh)
    assert run.returncode == 0, run.stdout
    assert "fail2ban_ignored does not have" in run.stdout, "the machine that runs the tests can be banned"
    assert "nginx-http-auth" in host.check_output("fail2ban-client status")
    assert banned(host) == {"sshd": [addresses["client"]]}
