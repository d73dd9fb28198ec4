from __future__ import annotations

import contextlib

import pytest

testinfra_hosts = ["machine"]

DROP_IN = "/etc/ssh/sshd_config.d/00-onprem.conf"


def test_root_may_log_in_with_a_key(ssh):
    assert ssh("root", "id -un").stdout.strip() == "root"


def test_passwords_are_refused(host, ssh):
    host.check_output("echo linh:correct-password | chpasswd")
    options = "-o PubkeyAuthentication=no -o PreferredAuthentications=password,keyboard-interactive"
    try:
        login = ssh("linh", "true", options)
    finally:
        host.check_output("usermod -p '*' linh")
    assert login.rc == 255
    assert "Permission denied (publickey)." in login.stderr, "no other method is offered"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-c aes128-cbc", "no matching cipher found"),
        ("-c aes128-ctr -m hmac-md5", "no matching MAC found"),
        ("-c aes128-ctr -m hmac-sha1", "no matching MAC found"),
        ("-o KexAlgorithms=diffie-hellman-group14-sha1", "no matching key exchange method found"),
        ("-o HostKeyAlgorithms=ecdsa-sha2-nistp256", "no matching host key type found"),
    ],
)
def test_weak_algorithms_are_refused(ssh, options, message):
    login = ssh("linh", "true", options)
    assert login.rc == 255
    assert message in login.stderr


@pytest.mark.parametrize(
    "options", ["-c aes128-ctr -m hmac-sha2-256-etm@openssh.com", "-o KexAlgorithms=curve25519-sha256"]
)
def test_strong_ones_are_not(ssh, options):
    assert ssh("linh", "true", options).rc == 0


def test_small_groups_are_gone(host):
    sizes = host.check_output("grep -v '^#' /etc/ssh/moduli | cut -d' ' -f5 | sort -nu").split()
    assert sizes[0] == "3071"
    assert sizes[-1] == "8191"


def test_an_idle_shell_is_closed_and_a_silent_command_is_not(client, ssh):
    # If the shell stays open until its input ends, it ends without an error.
    shell = client.run("sleep 10 | ssh -tt -i /root/linh.key linh@machine")
    assert shell.rc != 0
    command = ssh("linh", "'sleep 7; echo done'")
    assert command.stdout.strip() == "done"


def test_a_broken_hand_edit_is_shown_and_repaired(host, ssh, playbook):
    before = host.file(DROP_IN).content_string
    host.check_output(f"sed -i 's/^MaxAuthTries .*/MaxAuthTries many/' {DROP_IN}")
    try:
        assert host.run("sshd -t").rc != 0
        check = playbook("converge.yml", "--check", "--diff")
        assert check.returncode == 0, check.stdout
        removed = [line for line in check.stdout.splitlines() if line.startswith("-") and not line.startswith("---")]
        added = [line for line in check.stdout.splitlines() if line.startswith("+") and not line.startswith("+++")]
        assert removed == ["-MaxAuthTries many"]
        assert added == ["+MaxAuthTries 4"]
        assert "changed=2 " in check.stdout, "the file and the reload"
        repair = playbook("hardening.yml", "--limit", "machine")
        assert repair.returncode == 0, repair.stdout
        assert host.file(DROP_IN).content_string == before
    finally:
        host.check_output(f"sed -i 's/^MaxAuthTries .*/MaxAuthTries 4/' {DROP_IN}")
    assert ssh("linh", "true").rc == 0


def address(host) -> str:
    return host.check_output("hostname -I").split()[0]


def test_whoever_runs_it_is_not_locked_out_by_an_allow_list(host, ssh, keys, playbook):
    before = host.file(DROP_IN).content_string
    arguments = ["--user", "linh", "--become", "--private-key", str(keys / "linh")]
    refused = playbook(
        "hardening.yml",
        *arguments,
        "-e",
        '{"ssh_hardening_allow_users": ["auditor", "adm-*"]}',
        inventory=f"{address(host)},",
    )
    assert refused.returncode == 2
    assert "'linh', who runs this, could not log in any more" in refused.stdout
    assert host.file(DROP_IN).content_string == before


def test_an_allow_list_that_has_the_user_works(host, ssh, keys, playbook):
    arguments = ["--user", "linh", "--become", "--private-key", str(keys / "linh")]
    try:
        allowed = playbook(
            "hardening.yml",
            *arguments,
            "-e",
            '{"ssh_hardening_allow_users": ["li*"], "ssh_hardening_permit_root_login": "no"}',
            inventory=f"{address(host)},",
        )
        assert allowed.returncode == 0, allowed.stdout
        assert ssh("linh", "true").rc == 0
        assert ssh("auditor", "true").rc == 255
        assert ssh("root", "true").rc == 255
    finally:
        playbook("hardening.yml", "--limit", "machine")
    assert ssh("auditor", "true").rc == 0


def test_root_cannot_lock_everybody_out(client, ssh, playbook):
    """The client has no administrator."""
    client.check_output("mkdir -pm 700 /root/.ssh && ssh-keygen -y -f /root/root.key > /root/.ssh/authorized_keys")
    refused = playbook("hardening.yml", "--limit", "client", "-e", "ssh_hardening_permit_root_login=no")
    assert refused.returncode == 2
    assert "would lock you out" in refused.stdout
    assert ssh("root", "id -un", machine="client").stdout.strip() == "root"


@contextlib.contextmanager
def file_on(host, path, line):
    host.check_output(f"printf '{line}' > {path}")
    try:
        yield
    finally:
        host.check_output(f"rm {path}")


def test_a_match_block_that_would_lock_out_takes_the_change_back(host, ssh, playbook):
    before = host.file(DROP_IN).content_string
    with file_on(host, "/etc/ssh/sshd_config.d/50-other.conf", "Match User root\\n  PubkeyAuthentication no\\n"):
        refused = playbook("hardening.yml", "--limit", "machine", "-e", "ssh_hardening_auth_tries_max=5")
        assert refused.returncode == 2
        assert "root could not log in with a key, so it was taken back" in refused.stdout
        assert host.file(DROP_IN).content_string == before
    assert ssh("root", "true").rc == 0
