# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import os
import re
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.backend.base import CommandResult
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = ["client"]

INVENTORY = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"
PLAYS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[1] / "converge.yml").read_text())
PASSWORDS = {user["name"]: user["password"] for user in PLAYS[1]["vars"]["print_server_users"]}
PAGE = "PAGE OF THE TEST"
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def server() -> Host:
    return AnsibleRunner(INVENTORY).get_host("server")


@pytest.fixture(autouse=True)
def empty_tray(host: Host) -> None:
    host.check_output("rm -rf /var/spool/printed/*")


def converge(
    tmp_path: Path, *options: str, change: Change = lambda variables: None
) -> subprocess.CompletedProcess[str]:
    """Run the scenario's play, with its variables changed."""
    plays = copy.deepcopy(PLAYS)
    change(plays[1]["vars"])
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump(plays, sort_keys=False))
    return subprocess.run(
        ["ansible-playbook", *options, "-i", INVENTORY, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_PIPELINING": "1"},
    )


def unchanged(result: subprocess.CompletedProcess[str]) -> bool:
    return re.search(r"(?m)^server .* changed=0 .* failed=0 ", result.stdout) is not None


def pages(host: Host, number: int = 1) -> list[str]:
    """What is on the pages that have come out, once there are so many."""
    for _second in range(30):
        found = host.check_output("find /var/spool/printed -name '*.pdf'").split()
        texts = [host.run("pdftotext %s -", path).stdout.strip() for path in found]
        if len(texts) >= number and all(texts):
            return texts
        time.sleep(1)
    raise AssertionError(f"{len(texts)} pages have come out: {texts}")


def by_ipp(host: Host, printer: str, user: str = "") -> CommandResult:
    """Print as a user who says a password if asked for one, or as somebody who has none."""
    login = f"{user}:{PASSWORDS.get(user, 'wrong')}@" if user else ""
    return host.run("ipptool -tI -f /root/page.pdf ipp://%sserver:631/printers/%s print-job.test", login, printer)


def by_smb(host: Host, printer: str, user: str = "", command: str = "print /root/page.pdf") -> CommandResult:
    if not user:
        return host.run("smbclient -N //server/%s -c %s", printer, command)
    login = f"username = {user}\npassword = {PASSWORDS.get(user, 'wrong')}\n"
    host.check_output("umask 077 && printf %s %s > /root/login", "%s", login)
    return host.run("smbclient -A /root/login //server/%s -c %s", printer, command)


def nothing_is_left(server: Host) -> None:
    """Documents are gone as soon as they are printed."""
    for _second in range(30):
        left = server.check_output("find /var/spool/cups -name 'd[0-9]*'; find /var/spool/samba -type f")
        if not left:
            return
        time.sleep(1)
    raise AssertionError(left)


def answered(host: Host, method: str, path: str, body: bytes = b"") -> str:
    """The status of CUPS's answer to a request without TLS."""
    headers = {"Content-Type": "application/ipp"} if body else {}
    return host.check_output(
        "python3 -c %s",
        "import http.client; link = http.client.HTTPConnection('server', 631);"
        f"link.request({method!r}, {path!r}, {body!r}, {headers!r}); print(link.getresponse().status)",
    )


@pytest.fixture
def from_elsewhere(host: Host, server: Host) -> Iterator[None]:
    """Let the client call from an address that is not among those that may print."""
    target = server.check_output("hostname -i")
    host.check_output("ip address add 10.99.0.2/32 dev eth0 && ip route add %s dev eth0 src 10.99.0.2", target)
    server.check_output("ip route add 10.99.0.2 dev eth0")
    yield
    host.check_output("ip route delete %s && ip address delete 10.99.0.2/32 dev eth0", target)
    server.check_output("ip route delete 10.99.0.2")


def printer_of(variables: dict[str, Any], name: str) -> dict[str, Any]:
    return next(printer for printer in variables["print_server_printers"] if printer["name"] == name)


def test_a_page_comes_out_by_ipp(host: Host, server: Host) -> None:
    host.check_output("lp -h server:631 -d office /root/page.pdf")
    assert pages(host) == [PAGE]
    nothing_is_left(server)


def test_people_see_what_there_is(host: Host) -> None:
    assert "system default destination: office" in host.check_output("lpstat -h server:631 -d")
    shown = host.check_output("lpstat -h server:631 -l -p office")
    assert "Printer of the office" in shown
    assert "First floor" in shown
    options = host.check_output("lpoptions -h server:631 -p office -l")
    assert re.search(r"PageSize.* \*A4", options)
    assert "*DuplexNoTumble" in options


def test_a_page_comes_out_by_smb(host: Host, server: Host) -> None:
    assert by_smb(host, "office", "bob").succeeded
    assert pages(host) == [PAGE]
    nothing_is_left(server)


def test_windows_finds_the_printers_and_their_drivers(host: Host) -> None:
    by_smb(host, "print$", "bob", "ls")
    shown = host.check_output("rpcclient -A /root/login server -c enumprinters")
    assert "office" in shown
    assert "payroll" in shown
    # Drivers come from administrators only.
    assert by_smb(host, "print$", "ada", "put /root/page.pdf x64/driver.dll; rm x64/driver.dll").succeeded
    assert "ACCESS_DENIED" in by_smb(host, "print$", "bob", "put /root/page.pdf x64/driver.dll").stdout


def test_a_printer_for_certain_users_asks_who_they_are(host: Host) -> None:
    assert not by_ipp(host, "payroll").succeeded
    assert not by_ipp(host, "payroll", "bob").succeeded
    # A name alone is nothing.
    host.run("useradd --no-create-home ada")
    assert not host.run(
        "setpriv --reuid ada --clear-groups lp -h server:631 -d payroll /root/page.pdf < /dev/null"
    ).succeeded
    assert not by_smb(host, "payroll", "bob").succeeded
    assert not by_smb(host, "payroll").succeeded
    assert by_ipp(host, "payroll", "ada").succeeded
    assert by_smb(host, "payroll", "ada").succeeded
    assert pages(host, 2) == [PAGE, PAGE]


def test_no_password_is_asked_for_in_clear_text(host: Host) -> None:
    # Validate-Job, in IPP's own encoding, without TLS.
    fields = {
        "attributes-charset": "utf-8",
        "attributes-natural-language": "en",
        "printer-uri": "ipp://server/printers/payroll",
    }
    body = struct.pack(">BBHIB", 2, 0, 4, 1, 1) + b"".join(
        struct.pack(f">BH{len(name)}sH{len(value)}s", tag, len(name), name.encode(), len(value), value.encode())
        for tag, (name, value) in zip((0x47, 0x48, 0x45), fields.items(), strict=True)
    )
    assert answered(host, "POST", "/printers/payroll", body + bytes([3])) == "426"


def test_strangers_are_refused(host: Host, from_elsewhere: None) -> None:
    assert not host.run("lp -h server:631 -d office /root/page.pdf").succeeded
    assert not by_ipp(host, "payroll", "ada").succeeded
    assert not by_smb(host, "office", "ada").succeeded


def test_guests_and_old_protocols_are_refused(host: Host) -> None:
    assert not by_smb(host, "office").succeeded
    assert not by_smb(host, "office", "stranger").succeeded
    host.check_output("smbclient -A /root/login -L server -m SMB3 > /dev/null || true")
    shown = host.run("smbclient -N -L server -m NT1 --option='client min protocol=NT1'").stdout
    assert "NT_STATUS" in shown
    assert not host.socket("tcp://139").is_listening


def test_the_web_interface_is_off_unless_asked_for(host: Host, tmp_path: Path) -> None:
    def status() -> str:
        return answered(host, "GET", "/admin")

    assert status() in ("403", "404")
    address = "{{ hostvars['client'].ansible_facts.default_ipv4.address }}"
    result = converge(tmp_path, change=lambda variables: variables.update(print_server_web_networks=[address]))
    assert result.returncode == 0, result.stdout
    assert status() == "426"
    assert converge(tmp_path).returncode == 0
    assert status() in ("403", "404")


def test_a_printer_that_is_off_is_waited_for(host: Host, tmp_path: Path) -> None:
    host.check_output("systemctl stop printer")
    assert unchanged(converge(tmp_path))
    host.check_output("lp -h server:631 -d office /root/page.pdf")
    time.sleep(2)
    host.check_output("systemctl start printer")
    assert pages(host) == [PAGE]


def test_a_printer_that_cannot_be_asked_is_named(host: Host, server: Host, tmp_path: Path) -> None:
    def change(variables: dict[str, Any]) -> None:
        variables["print_server_printers"] += [
            {"name": "attic", "uri": "ipp://client:9999/ipp/print"},
            {"name": "cellar", "uri": "ipp://client:8631/ipp/print"},
        ]
        printer_of(variables, "office")["options"]["PageSize"] = "A77"

    result = converge(tmp_path, change=change)
    assert result.returncode != 0
    assert "The printer attic does not answer at ipp://client:9999/ipp/print" in result.stdout
    assert "office has no option PageSize=A77; it has PageSize with" in result.stdout
    assert "cellar" not in server.check_output("lpstat -p")


def test_only_what_the_role_has_made_is_removed(host: Host, server: Host, tmp_path: Path) -> None:
    server.check_output("lpadmin -p mine -E -v ipp://client:8631/ipp/print -m everywhere")
    server.check_output("lpadmin -p taken -E -v ipp://client:8631/ipp/print -m everywhere")

    def change(variables: dict[str, Any]) -> None:
        variables["print_server_printers"] += [
            {"name": name, "uri": "ipp://client:8631/ipp/print"} for name in ("taken", "made")
        ]

    result = converge(tmp_path, change=change)
    assert result.returncode == 0, result.stdout
    assert re.findall("(?m)^printer (\\S+)", server.check_output("lpstat -p")) == [
        "made",
        "mine",
        "office",
        "payroll",
        "taken",
    ]
    shown = converge(tmp_path, "--check")
    assert "remove made" in shown.stdout
    assert "remove taken" not in shown.stdout
    assert converge(tmp_path).returncode == 0
    assert re.findall("(?m)^printer (\\S+)", server.check_output("lpstat -p")) == ["mine", "office", "payroll", "taken"]
    server.check_output("lpadmin -x mine; lpadmin -x taken")


HAND_EDITS = {
    "settings": {
        "change printer-location, PageSize of office": "lpadmin -p office -L Attic -o PageSize=Letter",
        "change printer-op-policy, requesting-user-name-allowed of payroll": (
            "lpadmin -p payroll -u allow:all -o printer-op-policy=default"
        ),
        "make office the default": "lpadmin -d payroll",
        "set the password of bob": "echo bob:other | chpasswd",
        "tell Samba the password of ada": "pdbedit --delete --user ada",
        "do not let bob add drivers any more": "net sam rights grant bob SePrintOperatorPrivilege",
    },
    "printers": {
        "set up office": "lpadmin -p office -m raw",
        "set up payroll": "lpadmin -x payroll",
    },
}


@pytest.mark.parametrize("edits", HAND_EDITS.values(), ids=HAND_EDITS)
def test_hand_edits_are_shown_and_repaired(edits: dict[str, str], server: Host, tmp_path: Path) -> None:
    server.check_output(" && ".join(edits.values()))
    server.check_output("echo ServerAlias '*' >> /etc/cups/cupsd.conf; echo 'hosts allow = ALL' >> /etc/samba/smb.conf")
    shown = converge(tmp_path, "--check", "--diff")
    assert shown.returncode == 0, shown.stdout
    assert not {*edits, "-ServerAlias *", "-hosts allow = ALL"} - set(re.findall('(?m)^ *"?(.*?)"?,?$', shown.stdout))
    result = converge(tmp_path)
    assert result.returncode == 0, result.stdout
    assert unchanged(converge(tmp_path, "--check"))


def test_it_is_as_before_after_all_that(host: Host) -> None:
    assert by_smb(host, "office", "bob").succeeded
    assert not by_smb(host, "payroll", "bob").succeeded
    assert pages(host) == [PAGE]


def test_an_account_that_is_not_listed_any_more_is_gone(host: Host, server: Host, tmp_path: Path) -> None:
    result = converge(tmp_path, change=lambda variables: variables["print_server_users"].pop())
    assert result.returncode == 0, result.stdout
    assert not by_smb(host, "office", "bob").succeeded
    assert not server.user("bob").exists
    assert converge(tmp_path).returncode == 0
    assert by_smb(host, "office", "bob").succeeded


def test_no_password_is_in_the_open(server: Host, tmp_path: Path) -> None:
    def change(variables: dict[str, Any]) -> None:
        variables["print_server_users"].append({"name": "eve", "password": "eve-secret-of-the-test"})

    result = converge(tmp_path, "--check", "--diff", "-vvv", change=change)
    assert "add the account eve" in result.stdout
    for text in (result.stdout, server.check_output("ps axeww"), server.check_output("journalctl --no-pager")):
        assert "secret-of-the-test" not in text
    assert server.check_output("grep -rls secret-of-the-test /etc /var /run /usr/local || true") == ""


def test_bad_input_is_refused(tmp_path: Path) -> None:
    def change(variables: dict[str, Any]) -> None:
        variables["print_server_networks"] = ["192.168.0.1/24"]
        variables["print_server_tls_key"] = "/etc/nothing"
        variables["print_server_users"].append({"name": "root", "password": "x"})
        variables["print_server_printers"] += [
            {"name": "first floor", "uri": "ipp://client/ipp/print", "default": True},
            {"name": "printers", "uri": "ipp://me:secret@client/ipp/print"},
            {"name": "Payroll", "uri": "socket://client", "users": ["eve"]},
        ]

    result = converge(tmp_path, "--check", change=change)
    assert result.returncode != 0
    output = result.stdout.replace('\\"', '"')
    for sentence in (
        'print_server_networks has "192.168.0.1/24", which is no network',
        "Set print_server_tls_certificate and print_server_tls_key both, or neither",
        'The name of the printer "first floor" would not do',
        "The printer printers has a name that means something else to Samba",
        "The uri of printers holds a login",
        "print_server_printers has payroll twice",
        "Payroll is to work without a driver",
        "office and first floor are both the default",
        "The user root of print_server_users is an account of this machine that the role has not made",
        "Payroll is for eve, who is not in print_server_users",
    ):
        assert sentence in output, sentence
