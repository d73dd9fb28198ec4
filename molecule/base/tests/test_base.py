from __future__ import annotations

import json
import re

import pytest

testinfra_hosts = ["machine"]
# What somebody does by hand, by the task that mends it.
EDITS = {
    "Set the time zone": "ln -sf /usr/share/zoneinfo/UTC /etc/localtime",
    "Write its name for programs that read it": "echo UTC > /etc/timezone",
    "Set the locale": "sed -i 's/^LANG=.*/LANG=C/' $(readlink -f /etc/default/locale)",
    "Configure the unattended updates": "chmod 600 /etc/apt/apt.conf.d/90onprem-base",
    "Limit the journal": "echo '#' >> /etc/systemd/journald.conf.d/onprem-base.conf",
    "Set up the accounts": "usermod --lock linh",
    "Set their keys": "echo 'ssh-ed25519 AAAA stranger' >> /home/linh/.ssh/authorized_keys",
    "Let them become root": "chmod 644 /etc/sudoers.d/onprem-linh",
    "Remove the small groups of the Diffie-Hellman group exchange": "echo '2026 2 6 100 1023 2 F0' >> /etc/ssh/moduli",
    "Write the drop-in": "chmod 600 /etc/ssh/sshd_config.d/00-onprem.conf",
    "Create the directory for figures of scripts": "chmod 700 /var/lib/prometheus/node-exporter",
    "Configure the node exporter": "echo '#' >> /etc/default/prometheus-node-exporter",
    "Start the node exporter": "systemctl stop prometheus-node-exporter",
}


def test_an_administrator_logs_in_and_becomes_root(ssh):
    assert ssh("linh", "sudo -n id -un").stdout.strip() == "root"


def test_an_administrator_without_sudo_does_not(ssh):
    assert ssh("auditor", "id -u").stdout.strip() == "3000"
    assert ssh("auditor", "sudo -n id -un").rc != 0


def test_a_former_administrator_cannot_log_in_and_the_files_remain(host, ssh):
    login = ssh("former", "true")
    assert login.rc == 255
    assert "Permission denied" in login.stderr
    assert host.file("/home/former/work").content_string == "years of work\n"
    assert "is not allowed to run sudo" in host.run("sudo -l -U former").stdout


def test_a_former_administrator_cannot_come_back_by_a_leftover_key(host, ssh):
    """The account is expired, whatever keys turn up again."""
    host.check_output("install -o former -m 600 -D /root/.ssh/authorized_keys /home/former/.ssh/authorized_keys")
    try:
        login = ssh("former", "true", "-i /root/root.key")
        assert login.rc == 255
    finally:
        host.check_output("rm /home/former/.ssh/authorized_keys")


def test_time_zone_and_locale_are_in_effect_after_a_login(ssh):
    assert ssh("linh", "date +%z").stdout.strip() == "+0700"
    assert ssh("linh", "locale charmap").stdout.strip() == "UTF-8"
    assert ssh("linh", "locale mon").stdout.startswith("Januar;")


def test_mistakes_are_all_named_before_anything_is_done(playbook):
    wrong = {
        "base_journal_size_max": "lots",
        "base_updates_reboot_time": "noon",
        "base_administrators": [{"name": "Linh", "ssh_public_keys": ["ssh-ed25519 A"]}, {"name": "keyless"}],
        "base_ca_certificates": [{"name": "two", "content": "x", "file": "y"}],
    }
    run = playbook("converge.yml", "-e", json.dumps(wrong))
    assert run.returncode == 2
    for words in ("(is 'lots')", "(is 'noon')", "administrator 'Linh'", "administrator 'keyless'", "certificate 'two'"):
        assert words in run.stdout
    assert "changed=0" in run.stdout


def test_an_unknown_time_zone_is_refused(host, playbook):
    run = playbook("converge.yml", "-e", "base_timezone=Europe/Bielefeld")
    assert run.returncode == 2
    assert "base_timezone 'Europe/Bielefeld' is no time zone" in run.stdout
    assert host.file("/etc/localtime").linked_to == "/usr/share/zoneinfo/Asia/Ho_Chi_Minh"


def test_what_was_changed_by_hand_is_repaired_and_nothing_else(host, playbook):
    for edit in EDITS.values():
        host.check_output(edit)
    run = playbook("converge.yml")
    assert run.returncode == 0, run.stdout
    tasks = re.split(r"^TASK \[(?:.* : )?(.*)\] .*$", run.stdout, flags=re.MULTILINE)
    changed = {name for name, said in zip(tasks[1::2], tasks[2::2]) if "changed: [machine]" in said.split("RUNNING")[0]}
    assert changed == set(EDITS)
    assert "changed=0 " in playbook("converge.yml").stdout


def test_the_companys_ca_is_trusted(host):
    assert host.check_output("openssl verify /root/web.crt") == "/root/web.crt: OK"


def test_unattended_upgrade_accepts_the_configuration(host):
    upgrade = host.run("unattended-upgrade --dry-run --debug")
    assert upgrade.rc == 0, upgrade.stderr
    output = upgrade.stdout + upgrade.stderr
    assert "origin=Debian,codename=trixie-security" in output
    assert "label=Debian-Security" not in output, "the package's own list is replaced"
    assert "Initial blacklist: mariadb-server" in output
    assert host.check_output("systemctl is-active apt-daily-upgrade.timer") == "active"


def test_the_package_sources_work_and_stand_once(host):
    policy = host.check_output("apt-cache policy")
    for suite in ("trixie", "trixie-updates", "trixie-security"):
        assert f"n={suite}," in policy
    update = host.run("apt-get update")
    assert update.rc == 0
    assert "configured multiple times" not in update.stdout + update.stderr


@pytest.mark.parametrize("name", ["database-primary", "written-by-pve"])
def test_names_resolve(host, name):
    assert name in host.check_output(f"getent hosts {name}")


def test_the_journal_is_limited(host):
    output = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert "SystemMaxUse=500M" in output
    assert host.check_output("systemctl is-active systemd-journald") == "active"
