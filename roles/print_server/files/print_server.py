"""Compare the printers and accounts of a print server with what they should be, and make them so if told to.

Input and output are JSON. CUPS and printers are asked by IPP; passwords are read from standard input and handed on by
standard input, and none is printed.
"""

from __future__ import annotations

import ctypes
import grp
import http.client
import ipaddress
import json
import pwd
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

SOCKET = "/run/cups/cups.sock"
RECORD = Path("/etc/onprem/print_server/printers.json")
PPDS = Path("/etc/cups/ppd")
GROUP = "printusers"
RIGHT = "SePrintOperatorPrivilege"
# IPP: operations, and tags of groups, attributes and values.
GET_PRINTER, GET_DEFAULT, GET_PRINTERS = 0x000B, 0x4001, 0x4002
OPERATION, END, KEYWORD, URI, CHARSET, LANGUAGE = 0x01, 0x03, 0x44, 0x45, 0x47, 0x48
PRINTER, INTEGER, BOOLEAN, ENUM = 0x04, 0x21, 0x22, 0x23
SECONDS = 10
PRINTER_DEFAULTS = {
    "model": "everywhere",
    "description": "",
    "location": "",
    "default": False,
    "options": {},
    "users": [],
}
WANTED = ["printer-name", "device-uri", "printer-info", "printer-location", "printer-is-shared", "printer-op-policy"]


class Local(http.client.HTTPConnection):
    """The scheduler of this machine."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def encoded(tag: int, name: str, value: str) -> bytes:
    return struct.pack(">BH", tag, len(name)) + name.encode() + struct.pack(">H", len(value.encode())) + value.encode()


def decoded(message: bytes) -> tuple[int, list[dict[str, list[Any]]]]:
    """The status of an answer, and the printers in it. Members of collections are lumped together."""
    status = struct.unpack(">H", message[2:4])[0]
    found: list[dict[str, list[Any]]] = []
    attributes: dict[str, list[Any]] = {}
    name, position = "", 8
    while message[position] != END:
        tag = message[position]
        position += 1
        if tag < 0x10:
            attributes = {}
            if tag == PRINTER:
                found.append(attributes)
            continue
        fields = []
        for _field in ("name", "value"):
            length = struct.unpack(">H", message[position : position + 2])[0]
            fields.append(message[position + 2 : position + 2 + length])
            position += 2 + length
        name = fields[0].decode() or name
        value: Any = fields[1]
        if tag in (INTEGER, ENUM):
            value = struct.unpack(">i", value)[0]
        elif tag == BOOLEAN:
            value = value == b"\x01"
        else:
            value = value.decode(errors="replace")
        attributes.setdefault(name, []).append(value)
    return status, found


def ipp(
    connection: http.client.HTTPConnection, path: str, operation: int, uri: str, attributes: list[str]
) -> tuple[int, Any]:
    body = struct.pack(">BBHI", 2, 0, operation, 1) + bytes([OPERATION])
    body += encoded(CHARSET, "attributes-charset", "utf-8") + encoded(LANGUAGE, "attributes-natural-language", "en")
    body += encoded(URI, "printer-uri", uri) if operation == GET_PRINTER else b""
    for number, attribute in enumerate(attributes):
        body += encoded(KEYWORD, "" if number else "requested-attributes", attribute)
    connection.request("POST", path, body + bytes([END]), {"Content-Type": "application/ipp"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise OSError(f"it answers HTTP {answer.status}")
    return decoded(answer.read())


def unreachable(uri: str) -> str:
    """Why a printer cannot tell what it is able to, or nothing."""
    parts = urllib.parse.urlsplit(uri)
    connection: http.client.HTTPConnection
    if parts.scheme == "ipps":
        # Printers sign their certificates themselves; CUPS does not ask who they are either.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 631, timeout=SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 631, timeout=SECONDS)
    try:
        status, printers = ipp(connection, parts.path or "/", GET_PRINTER, uri, ["printer-name"])
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    except (IndexError, struct.error):
        return "it does not speak IPP"
    return "" if status < 0x0400 and printers else f"it answers IPP status {status:#06x}"


def run(*command: str, text: str = "") -> str:
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        # The command and what it complains of name accounts and printers; passwords went in by standard input.
        sys.exit(f"{' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


class PrintServer:
    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.apply: bool = asked["apply"]
        self.printers: list[dict[str, Any]] = [{**PRINTER_DEFAULTS, **printer} for printer in asked["printers"]]
        self.users: list[dict[str, Any]] = [{"administrator": False, **user} for user in asked["users"]]
        self.problems: list[str] = []
        self.changes: list[str] = []
        self.record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        self.current: dict[str, dict[str, list[Any]]] = {}
        self.default = ""
        self.running = Path(SOCKET).exists()
        if self.running:
            self.look()

    def look(self) -> None:
        """What CUPS has."""
        printers = ipp(Local("localhost", timeout=SECONDS), "/", GET_PRINTERS, "", [*WANTED, "all"])[1]
        self.current = {printer["printer-name"][0]: printer for printer in printers if "printer-name" in printer}
        default = ipp(Local("localhost", timeout=SECONDS), "/", GET_DEFAULT, "", ["printer-name"])[1]
        self.default = default[0]["printer-name"][0] if default else ""

    # What can be wrong, each in a sentence that says what to do.

    def refuse(self, sentence: str) -> None:
        self.problems.append(sentence)

    def check(self) -> None:
        self.check_server()
        self.check_printers()
        self.check_users()
        for printer in [] if self.problems else self.printers:
            self.check_driver(printer)

    def check_server(self) -> None:
        for name, networks in self.asked["networks"].items():
            for network in networks:
                try:
                    ipaddress.ip_network(network)
                except ValueError:
                    self.refuse(f'{name} has "{network}", which is no network such as 192.168.0.0/24.')
        given = [path for path in self.asked["tls"] if path]
        if len(given) == 1:
            self.refuse("Set print_server_tls_certificate and print_server_tls_key both, or neither.")
        for path in given:
            if not Path(path).is_file():
                self.refuse(f"There is no {path}; the role tls makes certificates and keys.")

    def check_printers(self) -> None:
        names = [printer["name"].lower() for printer in self.printers]
        for printer in self.printers:
            name, uri = printer["name"], printer["uri"]
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
                self.refuse(
                    f'The name of the printer "{name}" would not do; use letters, digits, dots, dashes and underscores.'
                )
            if name.lower() in ("printers", "global", "homes", "ipc"):
                self.refuse(f"The printer {name} has a name that means something else to Samba; choose another one.")
            if names.count(name.lower()) > 1 and names.index(name.lower()) == self.printers.index(printer):
                self.refuse(f"print_server_printers has {name} twice, capitals or not; give one of them another name.")
            if not re.fullmatch(r"[a-z]+:[^\s]+", uri):
                self.refuse(
                    f'The uri of {name} is "{uri}"; say where the printer is, such as ipp://192.168.0.60/ipp/print.'
                )
            elif "@" in urllib.parse.urlsplit(uri).netloc:
                self.refuse(f"The uri of {name} holds a login, which everybody who may print could read; leave it out.")
            if printer["model"] == "everywhere" and not uri.startswith(("ipp://", "ipps://")):
                self.refuse(
                    f"{name} is to work without a driver, which takes a uri with ipp:// or ipps://; or give it a model."
                )
            for option in printer["options"]:
                if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", option):
                    self.refuse(f'The option "{option}" of {name} is no name of an option; see lpoptions -p NAME -l.')
        defaults = [printer["name"] for printer in self.printers if printer["default"]]
        if len(defaults) > 1:
            self.refuse(f"{' and '.join(defaults)} are both the default; choose one of them.")

    def check_users(self) -> None:
        names = [user["name"] for user in self.users]
        for user in self.users:
            name = user["name"]
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name):
                self.refuse(
                    f'The user name "{name}" would not do; use lower-case letters, digits, dashes and underscores.'
                )
            elif name in self.accounts() and name not in self.own_accounts():
                self.refuse(
                    f"The user {name} of print_server_users is an account of this machine that the role has not made;"
                    " use another name, so that a password for printing opens nothing else."
                )
            if names.count(name) > 1 and names.index(name) == self.users.index(user):
                self.refuse(f"print_server_users has {name} twice; remove one.")
            if not user["password"] or not user["password"].isprintable():
                self.refuse(f"The user {name} of print_server_users has no password of one line; give it one.")
        for printer in self.printers:
            for name in sorted(set(printer["users"]) - set(names)):
                self.refuse(f"{printer['name']} is for {name}, who is not in print_server_users; add the account.")

    def check_driver(self, printer: dict[str, Any]) -> None:
        """A printer that is to be queried must answer, and an option must be one that the driver has."""
        if self.to_be_set_up(printer):
            why = unreachable(printer["uri"]) if printer["model"] == "everywhere" else ""
            if why:
                self.refuse(
                    f"The printer {printer['name']} does not answer at {printer['uri']} ({why}), and a printer without"
                    " a driver has to be asked once what it can do. Switch it on, correct its uri, or give it a"
                    " model."
                )
            return
        ppd = self.ppd(printer["name"])
        for option, value in printer["options"].items():
            choices = re.findall(rf"(?m)^\*{re.escape(option)} ([^/:\s]+)", ppd)
            if not option.endswith("-default") and value not in choices:
                self.refuse(
                    f"{printer['name']} has no option {option}={value}; "
                    + (
                        f"it has {option} with {', '.join(dict.fromkeys(choices))}."
                        if choices
                        else f"see lpoptions -p {printer['name']} -l."
                    )
                )

    # Printers

    def to_be_set_up(self, printer: dict[str, Any]) -> bool:
        """Whether the driver is still to be made, as for a printer that has moved."""
        known = self.record.get(printer["name"], {})
        if (known.get("uri"), known.get("model")) != (printer["uri"], printer["model"]):
            return True
        if printer["model"] != "raw" and not self.ppd(printer["name"]):
            return True
        return self.running and self.current.get(printer["name"], {}).get("device-uri") != [printer["uri"]]

    def ppd(self, name: str) -> str:
        path = PPDS / f"{name}.ppd"
        return path.read_text(errors="replace") if path.exists() else ""

    def settings(self, printer: dict[str, Any]) -> dict[str, list[Any]]:
        return {
            "printer-info": [printer["description"] or printer["name"]],
            "printer-location": [printer["location"]],
            "printer-is-shared": [True],
            "printer-op-policy": ["restricted" if printer["users"] else "default"],
            "requesting-user-name-allowed": sorted(printer["users"]),
        }

    def differences(self, printer: dict[str, Any]) -> list[str]:
        current = self.current.get(printer["name"], {})
        differing = [
            name
            for name, value in self.settings(printer).items()
            if [found for found in sorted(current.get(name, []), key=str) if found != "all"] != value
            and (value != [""] or any(current.get(name, [])))
        ]
        ppd = self.ppd(printer["name"])
        for option, value in printer["options"].items():
            if option.endswith("-default"):
                same = ",".join(map(str, current.get(option, []))) == value
            else:
                same = re.search(rf"(?m)^\*Default{re.escape(option)}:\s*{re.escape(value)}\s*$", ppd) is not None
            differing += [] if same else [option]
        return differing

    def set_up(self, printer: dict[str, Any]) -> None:
        name = printer["name"]
        self.changes.append(f"set up {name}")
        if self.apply:
            # What the role has made, it may remove. That is noted before, and the rest when all has gone well.
            made = {"made": name not in self.current or self.record.get(name, {}).get("made", False)}
            self.remember({**self.record, name: made})
            run("lpadmin", "-p", name, "-v", printer["uri"], "-m", printer["model"], "-E")
            self.configure(printer)
            self.remember({**self.record, name: {**made, "uri": printer["uri"], "model": printer["model"]}})

    def configure(self, printer: dict[str, Any]) -> None:
        policy = self.settings(printer)["printer-op-policy"][0]
        options = {**printer["options"], "printer-is-shared": "true", "printer-op-policy": policy}
        run(
            *("lpadmin", "-p", printer["name"]),
            *("-D", printer["description"] or printer["name"], "-L", printer["location"]),
            *("-u", "allow:" + (",".join(sorted(printer["users"])) or "all")),
            *(argument for option, value in options.items() for argument in ("-o", f"{option}={value}")),
        )

    def remember(self, record: dict[str, Any]) -> None:
        self.record = record
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        new = RECORD.with_suffix(".new")
        new.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        new.rename(RECORD)

    def keep_printers(self) -> None:
        names = [printer["name"] for printer in self.printers]
        for name in [name for name, known in self.record.items() if known["made"] and name not in names]:
            self.changes.append(f"remove {name}")
            if self.apply:
                if name in self.current:
                    run("lpadmin", "-x", name)
                self.remember({known: value for known, value in self.record.items() if known != name})
        for printer in self.printers:
            if self.to_be_set_up(printer):
                self.set_up(printer)
            elif differing := self.differences(printer):
                self.changes.append(f"change {', '.join(differing)} of {printer['name']}")
                if self.apply:
                    self.configure(printer)
        for printer in self.printers:
            if printer["default"] and printer["name"] != self.default:
                self.changes.append(f"make {printer['name']} the default")
                if self.apply:
                    run("lpadmin", "-d", printer["name"])

    # Accounts, for printing and nothing else

    def accounts(self) -> list[str]:
        return [account.pw_name for account in pwd.getpwall()]

    def own_accounts(self) -> list[str]:
        groups = [group.gr_gid for group in grp.getgrall() if group.gr_name == GROUP]
        return [account.pw_name for account in pwd.getpwall() if account.pw_gid in groups]

    def has_password(self, user: dict[str, Any]) -> bool:
        lines = [line.split(":") for line in Path("/etc/shadow").read_text().splitlines()]
        known = next((fields[1] for fields in lines if fields[0] == user["name"]), "")
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
        crypt.restype = ctypes.c_char_p
        return bool(known) and (crypt(user["password"].encode(), known.encode()) or b"").decode() == known

    def keep_accounts(self) -> None:
        own = self.own_accounts()
        samba = self.asked["samba"] and shutil.which("pdbedit") is not None
        listed = [line.split(":")[0] for line in run("pdbedit", "--list").splitlines()] if samba else []
        for name in sorted(set(own) - {user["name"] for user in self.users}):
            self.changes.append(f"remove the account {name}")
            if self.apply:
                if name in listed:
                    run("pdbedit", "--delete", "--user", name)
                run("userdel", name)
        for user in self.users:
            name, password = user["name"], user["password"]
            if name not in own:
                self.changes.append(f"add the account {name}")
                if self.apply:
                    run("groupadd", "--force", "--system", GROUP)
                    run(
                        "useradd",
                        "--system",
                        "--gid",
                        GROUP,
                        "--no-create-home",
                        "--home-dir",
                        "/nonexistent",
                        "--shell",
                        "/usr/sbin/nologin",
                        name,
                    )
            stale = name not in own or not self.has_password(user)
            if stale:
                self.changes.append(f"set the password of {name}")
            elif self.asked["samba"] and name not in listed:
                self.changes.append(f"tell Samba the password of {name}")
            if self.apply and self.asked["samba"] and (stale or name not in listed):
                run("smbpasswd", "-s", "-a", name, text=f"{password}\n{password}\n")
            if self.apply and stale:
                # Last, since it is what tells whether all is done.
                run("chpasswd", text=f"{name}:{password}\n")
        if samba:
            self.keep_administrators()

    def keep_administrators(self) -> None:
        """Who may put drivers for Windows on the server."""
        holders = [line.rpartition("\\")[2] for line in run("net", "sam", "rights", "list", RIGHT).splitlines()]
        for name in [user["name"] for user in self.users if user["administrator"] and user["name"] not in holders]:
            self.changes.append(f"let {name} add drivers")
            if self.apply:
                run("net", "sam", "rights", "grant", name, RIGHT)
        for name in [user["name"] for user in self.users if not user["administrator"] and user["name"] in holders]:
            self.changes.append(f"do not let {name} add drivers any more")
            if self.apply:
                run("net", "sam", "rights", "revoke", name, RIGHT)


def main() -> None:
    server = PrintServer(json.load(sys.stdin))
    server.check()
    if not server.problems:
        server.keep_accounts()
        server.keep_printers()
    json.dump({"problems": server.problems, "changes": server.changes}, sys.stdout)


main()
