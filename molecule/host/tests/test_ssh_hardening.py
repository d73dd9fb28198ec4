from __future__ import annotations

import json

import pytest

testinfra_hosts = ["node"]
pytestmark = pytest.mark.usefixtures("unguarded")


def test_root_and_passwords_are_refused(host, ssh):
    refused = ssh("root")
    assert refused.rc == 255
    assert "Permission denied" in refused.stderr
    assert ssh("ansible", "sudo -n id -un").stdout.strip() == "root"
    for name in ("root", "minh"):
        host.check_output(f"echo {name}:correct-password | chpasswd")
        try:
            offered = ssh(name, options="-o PubkeyAuthentication=no")
        finally:
            host.check_output(f"usermod -p '*' {name}")
        assert "Permission denied (publickey)." in offered.stderr, "nothing but a key is asked for"


def test_other_nodes_of_the_cluster_reach_root_with_a_key(ssh, other_node):
    assert ssh("root", options=f"-b {other_node}").stdout.strip() == "root"
    refused = ssh("root", key="minh", options=f"-b {other_node}")
    assert "Permission denied (publickey)." in refused.stderr


def test_an_idle_session_is_ended(client):
    login = "ssh -tt -i /root/minh.key -o StrictHostKeyChecking=accept-new minh@node"
    # Longer than a shell may be idle, and not so long as its input stays open.
    shell = client.run(f"(echo 'echo $((6 * 7)) is here'; sleep 8) | timeout 7 {login}")
    assert "42 is here" in shell.stdout
    assert shell.rc not in (0, 124)


def test_an_audit_finds_nothing_weak(client):
    audit = json.loads(client.run("ssh-audit --json node").stdout)
    kinds = {kind: audit[kind] for kind in ("kex", "key", "enc", "mac")}
    assert all(len(algorithms) > 1 for algorithms in kinds.values())
    weak = {
        (kind, algorithm["algorithm"], level, note)
        for kind, algorithms in kinds.items()
        for algorithm in algorithms
        for level in ("fail", "warn")
        for note in algorithm["notes"].get(level, [])
    }
    assert not weak
    assert not audit["cves"]


def test_a_network_that_is_none_changes_nothing(host, playbook):
    before = host.file("/etc/ssh/sshd_config.d/00-onprem.conf").content_string
    wrong = json.dumps({"ssh_hardening_root_login_from": ["192.0.2.7/24"]})
    run = playbook("converge.yml", "--tags", "ssh_hardening", "-e", wrong)
    assert run.returncode == 2
    assert "failed to validate" in run.stdout
    assert host.file("/etc/ssh/sshd_config.d/00-onprem.conf").content_string == before
