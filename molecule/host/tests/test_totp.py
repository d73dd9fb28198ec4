from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import re
import shlex
import subprocess
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest

testinfra_hosts = ["node"]
pytestmark = pytest.mark.usefixtures("unguarded")

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
README = SCENARIO.parents[1] / "roles" / "totp" / "README.md"
FILE = "/etc/users.oath"
PROMPT = "The code that the phone shows for it: "


def documented(purpose: str, user: str = "linh") -> list[str]:
    """The README's command for this purpose, for this administrator and the scenario's inventory."""
    found = re.search(rf"^(ansible-playbook .*?) *# {purpose}", README.read_text(), re.MULTILINE)
    assert found, f"{README} has no command for {purpose}"
    site = ["-i", str(EPHEMERAL / "inventory"), "-e", f"@{SCENARIO / 'vars' / 'site.yml'}"]
    return [*shlex.split(found[1].replace("=ada", f"={user}")), *site]


class Terminal:
    """A playbook that was started from a terminal: what it showed there, and what Ansible wrote elsewhere."""

    def __init__(self, typed: Callable[[str], str], *command: str) -> None:
        log, output = EPHEMERAL / "enroll.log", EPHEMERAL / "enroll.out"
        log.write_text("")
        process, terminal = pty.fork()
        if process == 0:
            os.environ |= {"ANSIBLE_LOG_PATH": str(log), "ANSIBLE_FORCE_COLOR": "0"}
            with output.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.execvp(command[0], command)
        seen, answered = b"", 0
        # At its end, a terminal is an error to read from.
        with contextlib.suppress(OSError):
            while piece := os.read(terminal, 65536):
                seen += piece
                if seen.count(PROMPT.encode()) > answered:
                    answered += 1
                    self.shown = seen.decode()
                    os.write(terminal, f"{typed(self.uri)}\n".encode())
        os.close(terminal)
        self.shown = seen.decode()
        self.status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        self.elsewhere = output.read_text() + log.read_text()

    @property
    def uri(self) -> str:
        return re.findall(r"otpauth://\S+", self.shown)[-1]

    @property
    def secret(self) -> str:
        return urllib.parse.parse_qs(urllib.parse.urlsplit(self.uri).query)["secret"][0]


@pytest.fixture(scope="module")
def code(client) -> Callable:
    """What a phone with this secret shows, now or some seconds from now."""

    def code(secret: str, seconds: int = 0) -> str:
        return client.check_output(f"oathtool --totp --base32 --now '{seconds:+d} seconds' {secret}")

    return code


@pytest.fixture(scope="module")
def enroll(code) -> Callable:
    def enroll(purpose: str, *arguments: str) -> Terminal:
        return Terminal(
            lambda uri: code(urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query)["secret"][0]),
            *documented(purpose),
            *arguments,
        )

    return enroll


@pytest.fixture(scope="module")
def enrolled(enroll) -> Terminal:
    return enroll("a first phone", "-vvv")


@pytest.fixture(scope="module")
def login(client) -> Callable:
    """Log in as a person who types this code."""
    client.check_output("printf '#!/bin/sh\\necho \"$CODE\"\\n' > /root/answer && chmod 755 /root/answer")

    def login(code: str, key: str = "linh", options: str = ""):
        return client.run(
            f"CODE={code} SSH_ASKPASS=/root/answer SSH_ASKPASS_REQUIRE=force setsid ssh -i /root/{key}.key {options}"
            " -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o NumberOfPasswordPrompts=1 linh@node id -un"
        )

    return login


def refused(result) -> bool:
    return result.rc == 255 and "Permission denied" in result.stderr


def digits(secret: str) -> str:
    return base64.b32decode(secret).hex()


def test_who_has_not_enrolled_logs_in_with_the_key_alone(ssh):
    assert ssh("linh").stdout.strip() == "linh"


def test_without_a_terminal_nothing_is_shown_or_made():
    run = subprocess.run(
        documented("a first phone"), capture_output=True, text=True, check=False, start_new_session=True
    )
    assert run.returncode == 2
    assert "start this playbook from one" in run.stdout
    assert not list((EPHEMERAL / "inventory" / ".secrets").glob("totp_*"))


def test_enrolment_is_shown_on_the_terminal_once_and_nowhere_else(host, client, code, enrolled):
    assert enrolled.status == 0, enrolled.elsewhere
    assert enrolled.shown.count(enrolled.uri) == 1
    assert enrolled.uri.startswith("otpauth://totp/")
    # The picture is the one of this URI.
    drawn = host.check_output(f"printf %s '{enrolled.uri}' | qrencode --type ANSIUTF8")
    assert drawn.splitlines()[2] in enrolled.shown
    assert enrolled.shown.replace("\r", "").count(drawn) == 1
    assert enrolled.secret not in enrolled.elsewhere
    assert digits(enrolled.secret) not in enrolled.elsewhere
    kept = EPHEMERAL / "inventory" / ".secrets" / "totp_linh.txt"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not kept.with_name("totp_linh.new.txt").exists()
    file = host.file(FILE)
    assert (file.user, file.mode) == ("root", 0o600)


def test_a_code_is_needed_and_good_for_one_login(ssh, code, login, enrolled):
    assert refused(ssh("linh")), "the key alone"
    assert refused(login("000000")), "a wrong code"
    assert refused(login(code(enrolled.secret, 300))), "a code of another time"
    assert refused(login(code(enrolled.secret), key="minh")), "a code without the key"
    fresh = code(enrolled.secret)
    assert login(fresh).stdout.strip() == "linh"
    assert refused(login(fresh)), "the same code again"


def test_others_need_no_code(ssh, other_node, enrolled):
    for name in ("minh", "ansible"):
        assert ssh(name).stdout.strip() == name
    assert ssh("root", options=f"-b {other_node}").stdout.strip() == "root"


def test_another_run_keeps_the_last_code_and_other_users(host, playbook, code, login, enrolled):
    used = code(enrolled.secret, 30)
    assert login(used).stdout.strip() == "linh"
    host.check_output(f"printf 'HOTP/T30/6\\tother\\t-\\t{'00' * 20}\\n' >> {FILE}")
    before = host.file(FILE).content_string
    # Something is to be done, so the file is looked at; only the mode is wrong.
    host.check_output(f"chmod 644 {FILE}")
    run = playbook("converge.yml", "--tags", "totp")
    assert run.returncode == 0, run.stdout
    assert "changed=1 " in run.stdout
    assert host.file(FILE).content_string == before
    assert host.file(FILE).mode == 0o600
    assert refused(login(used))


def test_no_run_tells_the_secret(host, playbook, enrolled):
    log = EPHEMERAL / "converge.log"
    host.check_output(f"sed -i /linh/d {FILE}")
    run = playbook("converge.yml", "--tags", "totp", "--diff", "-vvv", ANSIBLE_LOG_PATH=str(log))
    assert run.returncode == 0, run.stdout
    said = run.stdout + log.read_text() + host.check_output("journalctl --boot")
    assert "Write the secrets" in said
    assert digits(enrolled.secret) in host.file(FILE).content_string
    for form in (enrolled.secret, digits(enrolled.secret)):
        assert form not in said


def test_a_wrong_code_enrolls_nobody(host):
    attempt = Terminal(lambda uri: "000000", *documented("a first phone", "minh"))
    assert attempt.status == 2
    assert attempt.shown.count(PROMPT) == 3
    assert "nothing has changed" in attempt.elsewhere
    assert "minh" not in host.file(FILE).content_string


def test_a_lost_phone_is_replaced_and_not_by_accident(code, login, enroll, enrolled):
    again = enroll("a first phone")
    assert again.status == 2
    assert "linh has a phone enrolled" in again.elsewhere
    assert "otpauth" not in again.shown
    replaced = enroll("a lost one")
    assert replaced.status == 0, replaced.elsewhere
    assert replaced.secret != enrolled.secret
    assert refused(login(code(enrolled.secret)))
    assert login(code(replaced.secret)).stdout.strip() == "linh"
    shown = enroll("a second device")
    assert shown.status == 0, shown.elsewhere
    assert shown.secret == replaced.secret


def test_who_runs_it_is_not_locked_out(host, playbook, over_ssh, enrolled):
    mistakes = [{"name": "root", "secret": "A" * 32}, {"name": "nobody-here", "secret": "short"}]
    run = playbook("converge.yml", "--tags", "totp", "-e", json.dumps({"totp_users": mistakes}))
    assert run.returncode == 2
    assert "'root': each needs the name of an account" in run.stdout
    assert "The secret of 'nobody-here' in totp_users is no base32" in run.stdout
    assert "short" not in run.stdout
    itself = {"totp_exempt": [], "totp_users": [{"name": "ansible", "secret": "A" * 32}]}
    run = playbook("converge.yml", "--tags", "totp", "-e", json.dumps(itself), inventory=over_ssh)
    assert run.returncode == 2
    assert "'ansible' runs this and is in totp_users" in run.stdout
    # A block that goes before the role's would have the automation asked for a code.
    other, own = (f"/etc/ssh/sshd_config.d/{name}.conf" for name in ("05-other", "10-onprem-totp"))
    host.check_output(f"printf 'Match User ansible\\n  AuthenticationMethods publickey,password\\n' > {other}")
    host.check_output(f"echo '# by hand' >> {own}")
    edited = host.file(own).content_string
    try:
        run = playbook("converge.yml", "--tags", "totp")
    finally:
        host.check_output(f"rm {other}")
    assert run.returncode == 2
    assert "ansible would not log in as intended, so it was taken back" in run.stdout
    assert host.file(own).content_string == edited


def test_codes_can_be_demanded_of_everybody_else(ssh, other_node, playbook, enrolled):
    run = playbook("converge.yml", "--tags", "totp", "-e", '{"totp_enforced": true}')
    assert run.returncode == 0, run.stdout
    assert refused(ssh("minh"))
    assert refused(ssh("linh"))
    assert ssh("ansible").stdout.strip() == "ansible"
    assert ssh("root", options=f"-b {other_node}").stdout.strip() == "root"


def test_who_has_left_is_removed_and_nobody_else(host, playbook, ssh, enrolled):
    people = json.dumps({"site_administrators": [{"name": "linh", "state": "absent"}]})
    run = playbook("converge.yml", "--tags", "totp", "-e", people)
    assert run.returncode == 0, run.stdout
    assert "linh" not in host.file(FILE).content_string
    assert "other" in host.file(FILE).content_string
    assert "onprem.cloud" not in host.file("/etc/pam.d/sshd").content_string
    for name in ("linh", "minh"):
        assert ssh(name).stdout.strip() == name, "the role base closes the account"
