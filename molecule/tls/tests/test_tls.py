# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from testinfra.backend.base import CommandResult
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = ["machine"]

INVENTORY = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"
AUTHORITY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "ca"
CONVERGE = Path(__file__).parents[1] / "converge.yml"
CERTIFICATE = "/etc/onprem/tls/service.crt"
# A strict client: Python 3.13 refuses certificates whose extensions are incomplete.
CLIENT = """
import ssl, socket, threading
server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
server.load_cert_chain("/etc/onprem/tls/service.crt", "/etc/onprem/tls/service.key")
ends = socket.socketpair()
threading.Thread(target=lambda: server.wrap_socket(ends[0], server_side=True), daemon=True).start()
print(ssl.create_default_context().wrap_socket(ends[1], server_hostname="NAME").version())
"""


def converge(host: Host, *options: str) -> str:
    result = subprocess.run(
        ["ansible-playbook", "-i", INVENTORY, str(CONVERGE), "--limit", host.check_output("hostname"), *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0"},
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def handshake(host: Host, name: str) -> CommandResult:
    return host.run("python3 -c %s", CLIENT.replace("NAME", name))


def test_a_client_that_trusts_the_system_store_accepts_every_name(host: Host) -> None:
    name = host.check_output("hostname")
    for alternative in (name, f"{name}.example.com", "192.0.2.7", "2001:db8::7"):
        assert handshake(host, alternative).stdout == "TLSv1.3\n"


def test_a_client_that_asks_for_another_name_refuses(host: Host) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in handshake(host, "stranger.example.com").stderr


def test_keys_are_readable_by_their_owner_only(host: Host) -> None:
    service, brief = (host.file(f"/etc/onprem/tls/{name}.key") for name in ("service", "brief"))
    assert (service.user, service.group, service.mode) == ("nobody", "nogroup", 0o400)
    assert (brief.user, brief.group, brief.mode) == ("root", "root", 0o600)


def test_the_key_of_the_authority_is_encrypted_and_private() -> None:
    key = AUTHORITY / "ca.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "ENCRYPTED" in key.read_text()


def test_keys_stay_where_they_were_made(host: Host) -> None:
    assert sorted(path.name for path in AUTHORITY.iterdir()) == ["ca.crt", "ca.key"]
    assert not host.run("ls /etc/onprem/tls/ca.key").succeeded


def test_every_certificate_has_a_key_of_its_own(host: Host) -> None:
    other = AnsibleRunner(INVENTORY).get_host("other")
    keys = {
        machine.check_output("openssl pkey -in /etc/onprem/tls/%s.key -pubout", name)
        for machine in (host, other)
        for name in ("service", "brief")
    }
    assert len(keys) == 4


def test_a_key_keeps_the_owner_that_a_service_gave_it(host: Host) -> None:
    host.check_output("chown nobody /etc/onprem/tls/brief.key")
    assert "changed=0" in converge(host)
    assert host.file("/etc/onprem/tls/brief.key").user == "nobody"


def test_a_certificate_near_its_end_is_renewed_once_with_the_same_key(host: Host) -> None:
    def facts() -> tuple[str, str]:
        return (
            host.check_output(f"openssl x509 -in {CERTIFICATE} -noout -serial"),
            host.check_output("sha256sum /etc/onprem/tls/service.key"),
        )

    before = facts()
    short = ("-e", "tls_certificate_validity_days=400", "-e", "tls_renewal_days=380")
    assert "changed=0" not in converge(host, "--check", *short)
    assert facts() == before
    converge(host, *short)
    after = facts()
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert "changed=0" in converge(host, *short)


def test_another_name_makes_another_certificate(host: Host) -> None:
    more = '{"tls_certificates": [{"name": "service", "common_name": "renamed", "owner": "nobody", "mode": "0400"}]}'
    converge(host, "-e", more)
    assert handshake(host, "renamed").succeeded
    assert not handshake(host, "192.0.2.7").succeeded
    converge(host)
    assert handshake(host, "192.0.2.7").succeeded
