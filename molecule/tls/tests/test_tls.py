# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import time
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


# A service that shows the certificate it had when it started.
SERVICE = (
    "[Service]\nExecStart=openssl s_server -quiet -accept 4433 -cert /etc/onprem/tls/service.crt"
    " -key /etc/onprem/tls/service.key -cert_chain /etc/onprem/tls/issuer.crt\n"
)
METRICS = "/var/lib/prometheus/node-exporter/onprem_certificates.prom"
SETTINGS = "/etc/onprem/tls/certificates.json"


def converge(host: Host, *options: str, fails: bool = False) -> str:
    result = subprocess.run(
        ["ansible-playbook", "-i", INVENTORY, str(CONVERGE), "--limit", host.check_output("hostname"), *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0"},
    )
    assert (result.returncode != 0) == fails, result.stdout
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
    host.check_output("rm /etc/onprem/tls/service.crt /etc/onprem/tls/brief.crt")
    converge(host)


def shown(host: Host) -> str:
    """The serial number of what the service shows to a client on another machine that trusts the authority."""
    other = AnsibleRunner(INVENTORY).get_host("other")
    client = "openssl s_client -connect %s:4433 -verify_return_error -verify_hostname %s </dev/null 2>/dev/null"
    return other.check_output(f"{client} | openssl x509 -noout -serial", *[host.check_output("hostname")] * 2)


def settings(host: Host, **changed: object) -> str:
    return json.dumps(json.loads(host.file(SETTINGS).content_string) | changed)


def test_the_host_renews_by_itself_and_the_service_shows_it(host: Host) -> None:
    host.check_output("printf %s %s > /etc/systemd/system/demo.service", "%s", SERVICE)
    short = settings(host, validity_days=20, renewal_days=100)
    host.check_output("printf %s %s | onprem-certificates --no-reload -", "%s", short)
    host.check_output("systemctl daemon-reload && systemctl restart demo && rm -f /run/onprem-certificates/*; sleep 1")
    first = shown(host)
    due = host.check_output("onprem-certificates --check %s", SETTINGS)
    assert "service: it ends in 20 days" in due
    assert shown(host) == first
    host.check_output("systemctl start onprem-certificates && sleep 1")
    second = shown(host)
    assert second != first
    assert host.check_output("onprem-certificates --check %s", SETTINGS) == ""
    # Nothing is restarted without need.
    started = host.check_output("systemctl show -P ExecMainStartTimestampMonotonic demo")
    host.check_output("systemctl start onprem-certificates")
    assert host.check_output("systemctl show -P ExecMainStartTimestampMonotonic demo") == started
    assert host.check_output("systemctl is-enabled onprem-certificates.timer") == "enabled"
    assert "onprem-certificates.service" in host.check_output("systemctl list-timers")


def test_a_service_that_cannot_load_its_certificate_is_told_again(host: Host) -> None:
    changed = json.loads(settings(host))
    changed["certificates"][0]["renewed"] = "systemctl restart nothing-of-that-name"
    host.check_output("rm /etc/onprem/tls/service.crt")
    result = host.run("printf %s %s | onprem-certificates -", "%s", json.dumps(changed))
    assert result.rc != 0
    assert "service: systemctl restart nothing-of-that-name: " in result.stderr
    before = host.check_output("systemctl show -P ExecMainStartTimestampMonotonic demo")
    host.check_output("systemctl start onprem-certificates")
    assert host.check_output("systemctl show -P ExecMainStartTimestampMonotonic demo") != before


def test_a_host_cannot_sign_for_another(host: Host) -> None:
    before = host.check_output("sha256sum /etc/onprem/tls/brief.crt")
    changed = json.loads(settings(host))
    for name in ("other", "192.0.2.8"):
        changed["certificates"][1]["alt_names"] = [name]
        result = host.run("printf %s %s | onprem-certificates -", "%s", json.dumps(changed))
        assert result.rc != 0
        assert "brief: clients would refuse the new certificate" in result.stderr
        assert "permitted subtree violation" in result.stderr
    assert host.check_output("sha256sum /etc/onprem/tls/brief.crt") == before


def test_the_ends_of_all_certificates_are_told_to_the_monitoring(host: Host) -> None:
    host.check_output("mkdir -p /var/lib/prometheus/node-exporter && systemctl start onprem-certificates")
    figures = re.findall(
        r'^onprem_certificate_\w+{name="(.+)"} (\d+)$', host.file(METRICS).content_string, re.MULTILINE
    )
    days = {name: round((float(value) - time.time()) / 864000) for name, value in figures}
    assert days == {"ca": 365, "issuer": 182, "service": 9, "brief": 9}


def test_a_certificate_without_the_issuers_is_replaced(host: Host) -> None:
    brief = "/etc/onprem/tls/brief.crt"
    host.check_output("openssl x509 -in %s -out /root/alone && cp /root/alone %s", brief, brief)
    assert "changed=1 " in converge(host, "--check")
    assert "changed=1 " in converge(host)
    assert host.check_output("grep -c BEGIN /etc/onprem/tls/brief.crt") == "2"
    assert "changed=0" in converge(host)


def test_bad_input_is_refused_before_anything_changes(host: Host) -> None:
    for wrong, sentence in (
        ({"tls_renewal_days": 90}, "Make the first of each two the greater one"),
        ({"tls_certificates": [{"name": "issuer", "common_name": "x"}]}, "are taken"),
        ({"tls_certificates": [{"name": "long", "common_name": "x" * 65}]}, "longer than 64 characters"),
    ):
        assert sentence in re.sub(r"\s+", " ", converge(host, "-e", json.dumps(wrong), fails=True))
    assert "changed=0" in converge(host)


def test_another_name_makes_another_certificate(host: Host) -> None:
    more = '{"tls_certificates": [{"name": "service", "common_name": "renamed", "owner": "nobody", "mode": "0400"}]}'
    converge(host, "-e", more)
    assert handshake(host, "renamed").succeeded
    assert not handshake(host, "192.0.2.7").succeeded
    converge(host)
    assert handshake(host, "192.0.2.7").succeeded
