# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client sees of the resolver, which runs a stand-in for AdGuard Home (../stand_in.py)."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = ["client"]

INVENTORY = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"
PLAY: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "converge.yml").read_text())[0]
SECRET = PLAY["vars"]["adguard_home_admin_password"]
CONFIGURATION = "/var/lib/adguard-home/AdGuardHome.yaml"
# A client without any package: it asks as a resolver library does, by UDP or TCP, and prints the code and the data.
ASK = """
import json, socket, struct, sys
server, name, kind, stream = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "tcp"
question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + bytes([0, 0, kind, 0, 1])
query = bytes.fromhex("1234 0100 0001 0000 0000 0000") + question
link = socket.create_connection((server, 53), 3) if stream else socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.settimeout(3)
if stream:
    link.sendall(struct.pack(">H", len(query)) + query)
    answer = link.recv(4096)[2:]
else:
    link.sendto(query, (server, 53))
    answer = link.recv(4096)
place, found = 12 + len(question), []
for _record in range(answer[7]):
    sort, length = struct.unpack(">H6xH", answer[place + 2:place + 12])
    data = answer[place + 12:place + 12 + length]
    if sort != kind:
        pass  # a name on the way
    elif kind == 12:
        labels = []
        while data[0]:
            labels.append(data[1:1 + data[0]].decode())
            data = data[1 + data[0]:]
        found.append(".".join(labels))
    else:
        found.append(socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, data))
    place += 12 + length
print(json.dumps([answer[3] & 15, sorted(found)]))
"""
A, PTR, AAAA = 1, 12, 28
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


# With the client, so that all tests run in their order.
@pytest.fixture(scope="module")
def resolver(host: Host) -> Host:
    return AnsibleRunner(INVENTORY).get_host("resolver")


def converge(tmp_path: Path, *options: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Run the scenario's play, with its variables changed."""
    play = copy.deepcopy(PLAY)
    play["vars"] |= changes
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play], sort_keys=False))
    return subprocess.run(
        ["ansible-playbook", "--diff", *options, "-i", INVENTORY, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_PIPELINING": "1"},
    )


def said(run: subprocess.CompletedProcess[str]) -> str:
    return re.sub(r"\s+", " ", run.stdout + run.stderr)


def ask(client: Host, name: str, kind: int = A, way: str = "udp") -> tuple[int, list[str]]:
    code, found = json.loads(client.check_output("python3 -c %s resolver %s %s %s", ASK, name, str(kind), way))
    return code, found


def api(client: Host, path: str, content: Any = None, login: str = f"admin:{SECRET}", method: str = "") -> Any:
    """What the web interface does when somebody clicks: the answer, or the code of a refusal."""
    code = f"""
import base64, json, urllib.error, urllib.request
content = {content!r}
request = urllib.request.Request("http://resolver:3000/control/{path}", content and json.dumps(content).encode())
request.method = {method!r} or ("GET" if content is None else "POST")
request.add_header("Authorization", "Basic " + base64.b64encode({login!r}.encode()).decode())
request.add_header("Content-Type", "application/json")
try:
    answer = urllib.request.urlopen(request, timeout=5)
    print(answer.read().decode() if "json" in (answer.headers["Content-Type"] or "") else '"OK"')
except urllib.error.HTTPError as error:
    print(error.code)
"""
    return json.loads(client.check_output("python3 -c %s", code))


def configuration(resolver: Host) -> dict[str, Any]:
    return yaml.safe_load(resolver.file(CONFIGURATION).content_string)


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("database-primary.corp.example", A, (NOERROR, ["192.168.0.10"])),
        ("nextcloud.corp.example", AAAA, (NOERROR, ["2001:db8::40"])),
        ("NEXTCLOUD.corp.example", A, (NOERROR, ["192.168.0.40"])),
        ("cloud.corp.example", A, (NOERROR, ["192.168.0.40"])),
        ("any.apps.corp.example", A, (NOERROR, ["192.168.0.20"])),
        ("10.0.168.192.in-addr.arpa", PTR, (NOERROR, ["database-primary.corp.example"])),
        ("40.0.168.192.in-addr.arpa", PTR, (NOERROR, ["nextcloud.corp.example"])),
        ("unknown.corp.example", A, (NXDOMAIN, [])),
        ("ads.example", A, (NOERROR, ["0.0.0.0"])),
        ("tracker.example", A, (NOERROR, ["0.0.0.0"])),
        ("good.tracker.example", A, (SERVFAIL, [])),
    ],
)
def test_names_are_answered_or_blocked(host: Host, name: str, kind: int, answer: tuple[int, list[str]]) -> None:
    assert ask(host, name, kind) == answer


def test_it_answers_by_tcp(host: Host) -> None:
    assert ask(host, "database-primary.corp.example", A, "tcp") == (NOERROR, ["192.168.0.10"])


def test_the_administrator_logs_in_and_nobody_else(host: Host) -> None:
    assert api(host, "status")["running"]
    assert api(host, "status", login="admin:admin") == 401
    for password, answer in ((SECRET, "OK"), ("wrong", 403)):
        assert api(host, "login", {"name": "admin", "password": password}) == answer
    assert api(host, "status")["running"]


def test_systemd_resolved_goes_on_without_the_port(host: Host, resolver: Host) -> None:
    assert resolver.service("systemd-resolved").is_running
    assert "127.0.0.53" not in resolver.check_output("ss -Hlnu sport = :53")
    assert ask(host, "ads.example") == (NOERROR, ["0.0.0.0"])


def test_it_runs_without_root_and_never_without_a_configuration(host: Host, resolver: Host) -> None:
    assert resolver.check_output("ps -o user= -p $(systemctl show -P MainPID adguard-home)") == "adguard-home"
    resolver.check_output(f"systemctl stop adguard-home && mv {CONFIGURATION} /root/")
    try:
        assert resolver.run("systemctl start adguard-home").rc != 0
        assert not resolver.socket("tcp://0.0.0.0:3000").is_listening
    finally:
        resolver.check_output(f"mv /root/AdGuardHome.yaml {CONFIGURATION} && systemctl start adguard-home")
    # It has to come back for the next ones.
    assert ask_until(host, "ads.example") == (NOERROR, ["0.0.0.0"])


def ask_until(client: Host, name: str) -> tuple[int, list[str]]:
    client.check_output(
        "for try in $(seq 20); do python3 -c %s resolver %s 1 udp 2>/dev/null && exit; sleep 0.3; done; exit 1",
        ASK,
        name,
    )
    return ask(client, name)


def test_figures_reach_the_node_exporter(host: Host, resolver: Host) -> None:
    ask(host, "ads.example")
    resolver.check_output("systemctl start adguard-home-metrics.service")
    lines = resolver.file("/var/lib/prometheus/node-exporter/adguard_home.prom").content_string.splitlines()
    figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert figures["adguard_home_up"] == figures["adguard_home_protection_enabled"] == "1"
    assert int(figures["adguard_home_queries_total"]) >= int(figures['adguard_home_blocked_queries_total{by="lists"}'])
    assert int(figures['adguard_home_blocked_queries_total{by="lists"}']) >= 1
    assert 0 < float(figures["adguard_home_processing_seconds"]) < 1
    assert resolver.file("/var/lib/prometheus/node-exporter/adguard_home.prom").mode == 0o644
    assert resolver.service("adguard-home-metrics.timer").is_running


def test_no_secret_is_in_the_open(resolver: Host) -> None:
    metrics = resolver.check_output("cat /etc/onprem/adguard_home/metrics.password")
    hashes = [user["password"] for user in configuration(resolver)["users"]]
    assert len(hashes) == 2
    assert all(entry.startswith("$2b$10$") for entry in hashes)
    for secret in (SECRET, metrics, *hashes):
        assert secret not in resolver.check_output("ps axeww; journalctl --no-pager")
    readable = resolver.check_output(
        "find /etc /opt /var/lib /var/log /run -xdev -type f -perm -o+r -exec grep -lsF -e %s -e %s -e %s {} + || true",
        SECRET,
        metrics,
        hashes[0],
    )
    assert readable == ""
    assert resolver.check_output(f"grep -rlsF {SECRET} /etc /opt /var/lib || true") == ""
    assert resolver.file(CONFIGURATION).mode == 0o600


def test_what_was_clicked_is_kept_and_what_is_declared_is_enforced(host: Host, resolver: Host, tmp_path: Path) -> None:
    api(host, "rewrite/add", {"domain": "printer.corp.example", "answer": "192.168.0.60"})
    api(host, "rewrite/add", {"domain": "database-primary.corp.example", "answer": "203.0.113.9"})
    services = {"ids": ["tiktok"], "schedule": {"time_zone": "Local"}}
    api(host, "blocked_services/update", services, method="PUT")
    api(host, "protection", {"enabled": False, "duration": 600000})
    rules = configuration(resolver)["user_rules"]
    api(
        host,
        "filtering/set_rules",
        {"rules": ["||clicked.example^", *(rule for rule in rules if "tracker" not in rule)]},
    )
    before = configuration(resolver)
    shown = converge(tmp_path, "--check")
    assert shown.returncode == 0, shown.stdout
    assert configuration(resolver) == before
    mended = converge(tmp_path)
    for run in (shown, mended):
        assert "rewrite database-primary.corp.example 203.0.113.9: removed" in run.stdout
        assert "rule ||tracker.example^: added" in run.stdout
        assert "printer" not in run.stdout
        assert SECRET not in run.stdout
    assert mended.returncode == 0, mended.stdout
    assert ask(host, "database-primary.corp.example") == (NOERROR, ["192.168.0.10"])
    assert ask(host, "printer.corp.example") == (NOERROR, ["192.168.0.60"])
    assert ask(host, "40.0.168.192.in-addr.arpa", PTR) == (NOERROR, ["nextcloud.corp.example"])
    assert not api(host, "status")["protection_enabled"]
    api(host, "protection", {"enabled": True})
    assert ask(host, "clicked.example") == (NOERROR, ["0.0.0.0"])
    assert ask(host, "tracker.example") == (NOERROR, ["0.0.0.0"])
    after = configuration(resolver)
    assert after["filtering"]["blocked_services"] == services
    for key in ("filters", "users"):
        assert after[key] == before[key], "ids and hashes stay"
    assert after["clients"] == before["clients"]
    assert "changed=0 " in converge(tmp_path).stdout


def test_what_is_no_longer_declared_is_removed_and_a_new_password_holds(
    host: Host, resolver: Host, tmp_path: Path
) -> None:
    run = converge(
        tmp_path,
        adguard_home_rewrites=PLAY["vars"]["adguard_home_rewrites"][1:],
        adguard_home_admin_password="another-secret",
        adguard_home_admin_name="root",
        adguard_home_clients=PLAY["vars"]["adguard_home_clients"][1:],
    )
    assert run.returncode == 0, run.stdout
    assert "client database-primary: removed" in run.stdout
    assert "account admin: removed" in run.stdout
    assert ask(host, "database-primary.corp.example") == (NXDOMAIN, [])
    assert ask(host, "10.0.168.192.in-addr.arpa", PTR) == (NXDOMAIN, [])
    assert ask(host, "printer.corp.example") == (NOERROR, ["192.168.0.60"])
    assert api(host, "status") == 401
    assert api(host, "status", login="root:another-secret")["running"]
    assert [client["name"] for client in configuration(resolver)["clients"]["persistent"]] == ["desks"]
    run = converge(tmp_path)
    assert run.returncode == 0, run.stdout
    assert ask(host, "10.0.168.192.in-addr.arpa", PTR) == (NOERROR, ["database-primary.corp.example"])


def test_an_upgrade_keeps_settings_log_statistics_and_accounts(host: Host, resolver: Host, tmp_path: Path) -> None:
    before = configuration(resolver)
    queries = api(host, "stats")["num_dns_queries"]
    ask(host, "before-the-upgrade.tracker.example")
    shown = converge(tmp_path, "--check", adguard_home_version="0.107.79")
    assert shown.returncode == 0, shown.stdout
    assert "changed=0" not in shown.stdout
    assert api(host, "status")["version"] == "v0.107.73"
    run = converge(tmp_path, adguard_home_version="0.107.79")
    assert run.returncode == 0, run.stdout
    assert "version: 0.107.73 becomes 0.107.79" in run.stdout
    assert api(host, "status")["version"] == "v0.107.79"
    after = configuration(resolver)
    assert (before["schema_version"], after["schema_version"]) == (33, 34)
    assert after["http"]["doh"]["insecure_enabled"] is False
    for key in ("users", "filters", "user_rules", "clients"):
        assert after[key] == before[key]
    assert after["filtering"]["rewrites"] == before["filtering"]["rewrites"]
    assert api(host, "stats")["num_dns_queries"] > queries > 0
    logged = [entry["question"]["name"] for entry in api(host, "querylog")["data"]]
    assert "before-the-upgrade.tracker.example" in logged
    assert ask(host, "printer.corp.example") == (NOERROR, ["192.168.0.60"])


def test_an_earlier_version_is_refused_before_anything_changes(host: Host, tmp_path: Path) -> None:
    run = converge(tmp_path)
    assert run.returncode != 0
    assert "AdGuard Home 0.107.73 says" in said(run)
    assert "unknown current schema version 34" in said(run)
    assert "changed=0 " in run.stdout
    assert api(host, "status")["version"] == "v0.107.79"


def test_what_keeps_it_from_starting_is_taken_back(host: Host, resolver: Host, tmp_path: Path) -> None:
    before = configuration(resolver)
    record = resolver.file("/etc/onprem/adguard_home/declared.json").content_string
    run = converge(
        tmp_path,
        adguard_home_version="0.107.79",
        adguard_home_rewrites=[],
        adguard_home_clients=[{"name": "desks", "ids": ["192.168.0.128/25"], "tags": ["device_teapot"]}],
    )
    assert run.returncode != 0
    assert "what ran before was brought back" in said(run)
    assert 'invalid tag: "device_teapot"' in run.stdout
    assert SECRET not in run.stdout
    assert configuration(resolver) == before
    assert resolver.file("/etc/onprem/adguard_home/declared.json").content_string == record
    assert ask_until(host, "database-primary.corp.example") == (NOERROR, ["192.168.0.10"])
    assert "changed=0 " in converge(tmp_path, adguard_home_version="0.107.79").stdout


REFUSED: dict[str, Any] = {
    "adguard_home_admin_name": "onprem-metrics",
    "adguard_home_bind_addresses": ["192.0.2.1"],
    "adguard_home_bootstrap_servers": ["dns.example"],
    "adguard_home_checksums": {"arm": "0" * 64},
    "adguard_home_clients": [{"name": name, "ids": ["192.0.2.1"]} for name in "ab"],
    "adguard_home_local_domains": ["corp example"],
    "adguard_home_private_networks": ["192.168.0.7/24"],
    "adguard_home_reverse_upstreams": ["192.168.0.1:"],
    "adguard_home_rewrites": [{"name": "a b", "answer": "192.0.2.1"}, {"name": "a", "answer": "192.0.2.256"}],
    "adguard_home_upstreams": ["tls:/dns.example"],
    "adguard_home_web_address": "192.0.2.2",
}
SENTENCES = [
    "adguard_home_admin_name is empty, or the name of the account that reads the metrics",
    "adguard_home_bind_addresses has 192.0.2.1, which is no address of the machine",
    "adguard_home_bootstrap_servers has 'dns.example'",
    "adguard_home_checksums has none for",
    "adguard_home_clients has 192.0.2.1 twice",
    "adguard_home_local_domains has 'corp example'",
    "adguard_home_private_networks has '192.168.0.7/24'",
    "adguard_home_reverse_upstreams has '192.168.0.1:'",
    "adguard_home_rewrites has the name 'a b'",
    "adguard_home_rewrites answers a with '192.0.2.256'",
    "adguard_home_upstreams has 'tls:/dns.example'",
    "adguard_home_web_address has 192.0.2.2",
]


def test_wrong_values_are_all_named_before_anything_is_done(host: Host, tmp_path: Path) -> None:
    run = converge(tmp_path, **REFUSED)
    assert run.returncode != 0
    assert [sentence for sentence in SENTENCES if sentence not in said(run)] == []
    assert "changed=0 " in run.stdout
    run = converge(tmp_path, adguard_home_admin_password="short")
    assert "adguard_home_admin_password has to have 8 to 72 characters" in said(run)
    assert "changed=0 " in run.stdout
    assert ask(host, "database-primary.corp.example") == (NOERROR, ["192.168.0.10"])


def test_another_program_on_the_port_is_named(host: Host, resolver: Host, tmp_path: Path) -> None:
    resolver.check_output("systemctl stop adguard-home")
    resolver.check_output("systemd-run --unit=squatter python3 -m http.server --bind 127.0.0.1 53")
    resolver.check_output(
        "for try in 1 2 3 4 5 6 7 8 9; do ss -Hlnt sport = :53 | grep -q . && exit; sleep 0.3; done; exit 1"
    )
    try:
        run = converge(tmp_path, adguard_home_version="0.107.79")
    finally:
        resolver.check_output("systemctl stop squatter; systemctl start adguard-home")
        ask_until(host, "ads.example")
    assert run.returncode != 0
    assert "python3 on 127.0.0.1:53 (tcp)" in said(run)
    assert "changed=0 " in run.stdout


def test_metrics_that_are_not_wanted_leave_nothing(host: Host, resolver: Host, tmp_path: Path) -> None:
    changes = {"adguard_home_version": "0.107.79", "adguard_home_metrics_enabled": False}
    run = converge(tmp_path, **changes)
    assert run.returncode == 0, run.stdout
    assert [user["name"] for user in configuration(resolver)["users"]] == ["admin"]
    assert not resolver.file("/var/lib/prometheus/node-exporter/adguard_home.prom").exists
    assert not resolver.service("adguard-home-metrics.timer").is_running
    assert ask(host, "database-primary.corp.example") == (NOERROR, ["192.168.0.10"])
