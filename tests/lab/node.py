# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of a node: its certificates and what it orders them with, its package sources, its disks."""

from __future__ import annotations

import copy
import datetime
import functools
import hashlib
import ipaddress
import re
import ssl
import tempfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fakepve import PveError, TaskError
from fakepve.routing import check_digest, param_error, sha1, split_list

from tests.lab.records import Records, Values

CERTIFICATES, CONFIG = "/nodes/{node}/certificates", "/nodes/{node}/config"
ACCOUNTS, PLUGINS = "/cluster/acme/account", "/cluster/acme/plugins"
DIRECTORY = "https://acme-v02.api.letsencrypt.org/directory"
TERMS = "https://acme.example.org/terms"
DAY = 24 * 60 * 60

# ------------------------------------------------------------------------------------- certificates


class Authority:
    """Signs certificates."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key, [], 0, 3650, authority=True)

    @property
    def pem(self) -> str:
        return pem_of(self.certificate)

    def issue(self, *names: str, since: int = -1, days: int = 90, key: ec.EllipticCurvePrivateKey | None = None) -> Any:
        """A chain and its key, both in PEM format."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
        leaf = self._sign(subject, key, names, since, days)
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, *plain).decode()
        return pem_of(leaf) + self.pem, secret

    def _sign(
        self, subject: Any, key: Any, names: Iterable[str], since: int, days: int, *, authority: bool = False
    ) -> x509.Certificate:
        start = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=since)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([general(name) for name in names]), False)
        return builder.sign(self.key, hashes.SHA256())


def general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def described(pem: str, filename: str) -> Values:
    """The first certificate as Proxmox VE shows it."""
    leaf = x509.load_pem_x509_certificates(pem.encode())[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = []
    return {
        "filename": filename,
        "fingerprint": leaf.fingerprint(hashes.SHA256()).hex(":").upper(),
        "subject": f"/{leaf.subject.rfc4514_string()}",
        "issuer": f"/{leaf.issuer.rfc4514_string()}",
        "notbefore": int(leaf.not_valid_before_utc.timestamp()),
        "notafter": int(leaf.not_valid_after_utc.timestamp()),
        "public-key-type": "id-ecPublicKey",
        "public-key-bits": 256,
        "san": [str(name.value) for name in names],
        "pem": pem_of(leaf),
    }


@functools.cache
def cluster_authority() -> Authority:
    return Authority("Proxmox Virtual Environment")


@functools.cache
def acme_authority() -> Authority:
    return Authority("Example ACME CA")


@functools.cache
def signed_by_cluster(node: str) -> Any:
    return cluster_authority().issue("127.0.0.1", "localhost", node, days=730)


class Certificates:
    """Mixin of FakePve: what pveproxy presents on each node."""

    # How many days an authority makes its certificates valid, and how many seconds it takes for one.
    acme_days, acme_secs = 90, 10

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Installed certificates by node, a chain and its key.
        self.certificates: dict[str, tuple[str, str]] = {}
        self.restarts: list[str] = []
        # The node whose certificate is the one that this API is served with, from its first restart on.
        self.presents = ""
        # Of how many restarts the answer is not sent any more.
        self.cut_answers = 0
        self.revoked: list[str] = []

    def _routes_certificates(self) -> list[tuple[str, str, Callable[..., Any]]]:
        ordered = f"{CERTIFICATES}/acme/certificate"
        return [
            ("GET", f"{CERTIFICATES}/info", self._certificate_info),
            ("POST", f"{CERTIFICATES}/custom", self._certificate_upload),
            ("DELETE", f"{CERTIFICATES}/custom", self._certificate_remove),
            ("POST", ordered, self._certificate_order),
            ("PUT", ordered, self._certificate_renew),
            ("DELETE", ordered, self._certificate_revoke),
        ]

    async def _certificate_info(self, v: Values, user: str) -> list[Values]:
        own, installed = signed_by_cluster(v["node"])[0], self.certificates.get(v["node"])
        found = [described(cluster_authority().pem, "pve-root-ca.pem"), described(own, "pve-ssl.pem")]
        return [*found, *([described(installed[0], "pveproxy-ssl.pem")] if installed else [])]

    async def _certificate_upload(self, v: Values, user: str) -> Values:
        if v["node"] in self.certificates and not v.get("force"):
            raise PveError(500, "Custom certificate file exists but force flag is not set.")
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(f"{v['certificates']}\n{v['key']}")
            file.flush()
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file.name)
            except ssl.SSLError:
                why = "key does not match the certificate (chain) ()"
                raise PveError(500, f"Setting certificate files failed - {why}") from None
        self.certificates[v["node"]] = (v["certificates"], v["key"])
        self.restart_pveproxy(v["node"], wanted=v.get("restart"))
        return described(v["certificates"], "pveproxy-ssl.pem")

    async def _certificate_remove(self, v: Values, user: str) -> None:
        self.certificates.pop(v["node"], None)
        self.restart_pveproxy(v["node"], wanted=v.get("restart"))

    def _certificate_domains(self, node: str) -> dict[str, str]:
        """Names and their plugins, from the configuration of the node."""
        config, found = self.node_configs.get(node, {}), {}
        for part in config.get("acme", "").split(","):
            if part.startswith("domains="):
                found.update(dict.fromkeys(part[8:].lower().split(";"), "standalone"))
        for key in sorted(key for key in config if key.startswith("acmedomain")):
            parts = dict(part.split("=") if "=" in part else ("domain", part) for part in config[key].split(","))
            found[parts["domain"].lower()] = parts.get("plugin", "standalone")
        if not found:
            raise PveError(400, "ACME domain list in node configuration is missing!")
        return found

    async def _acme_task(self, v: Values, user: str, kind: str, body: Callable[[], Any]) -> str:
        domains = self._certificate_domains(v["node"])
        account = re.search(r"account=([^,]+)", self.node_configs[v["node"]].get("acme", ""))
        name = account[1] if account else "default"

        async def checked() -> None:
            if name not in self.acme_accounts:
                raise TaskError(f"ACME account config file '{name}' does not exist.")
            for domain, plugin in domains.items():
                if plugin not in self._plugins():
                    raise TaskError(f"plugin '{plugin}' for domain '{domain}' not found!")
            await self.pause(self.acme_secs)
            body()
            self.restart_pveproxy(v["node"], wanted=True)

        return await self.task(v["node"], kind, "", user, checked, log=["Loading ACME account details"])

    async def _certificate_order(self, v: Values, user: str) -> str:
        if v["node"] in self.certificates and not v.get("force"):
            raise param_error(force="Custom certificate exists but 'force' is not set.")

        def order() -> None:
            names = self._certificate_domains(v["node"])
            self.certificates[v["node"]] = acme_authority().issue(*names, days=self.acme_days)

        return await self._acme_task(v, user, "acmenewcert", order)

    async def _certificate_renew(self, v: Values, user: str) -> str:
        if v["node"] not in self.certificates:
            raise PveError(500, "No current (custom) certificate found, please order a new certificate!")

        def renew() -> None:
            old = self.certificates[v["node"]][0]
            names = self._certificate_domains(v["node"])
            self.certificates[v["node"]] = acme_authority().issue(*names, days=self.acme_days)
            self.revoked.append(old)

        return await self._acme_task(v, user, "acmerenew", renew)

    async def _certificate_revoke(self, v: Values, user: str) -> str:
        def revoke() -> None:
            self.revoked.append(self.certificates.pop(v["node"])[0])

        return await self._acme_task(v, user, "acmerevoke", revoke)

    def restart_pveproxy(self, node: str, *, wanted: Any) -> None:
        """Connections end, and new ones see the new certificate."""
        if not wanted:
            return
        self.restarts.append(node)
        if node != self.presents:
            return
        chain, key = self.certificates.get(node) or signed_by_cluster(node)
        (site,) = self.runner.sites
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(f"{chain}\n{key}")
            file.flush()
            site._ssl_context.load_cert_chain(file.name)
        cut = self.cut_answers > 0
        self.cut_answers -= cut
        for connection in self.runner.server.connections:
            if cut:
                connection.force_close()
            else:
                connection.close()


# --------------------------------------------------------------------------------------------- ACME

# By type of plugin: what it may have and what it needs.
PLUGIN_OPTIONS = {"dns": {"api", "data", "disable", "nodes", "validation-delay"}, "standalone": {"disable", "nodes"}}


class Acme:
    """Mixin of FakePve: accounts at authorities, how a node shows that a name is its own, and for which names."""

    challenges = ("cf", "hetzner", "inwx", "ovh", "route53")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What authorities say of themselves, by the address of their directory.
        self.acme_meta: dict[str, Values] = {DIRECTORY: {"termsOfService": TERMS}}
        self.acme_accounts: dict[str, Values] = {}
        self.acme_registrations: list[Values] = []
        # The configuration files of the nodes; a test may edit them as another administrator would.
        self.node_configs: dict[str, Values] = {}

    def _routes_acme(self) -> list[tuple[str, str, Callable[..., Any]]]:
        return [
            ("GET", ACCOUNTS, self._account_list),
            ("POST", ACCOUNTS, self._account_register),
            ("GET", f"{ACCOUNTS}/{{name}}", self._account_read),
            ("PUT", f"{ACCOUNTS}/{{name}}", self._account_update),
            ("DELETE", f"{ACCOUNTS}/{{name}}", self._account_deactivate),
            ("GET", "/cluster/acme/meta", self._acme_meta),
            ("GET", "/cluster/acme/challenge-schema", self._challenges),
            ("GET", PLUGINS, self._plugin_list),
            ("POST", PLUGINS, self._plugin_create),
            ("GET", f"{PLUGINS}/{{id}}", self._plugin_read),
            ("PUT", f"{PLUGINS}/{{id}}", self._plugin_update),
            ("DELETE", f"{PLUGINS}/{{id}}", self._plugin_delete),
            ("GET", CONFIG, self._node_config_read),
            ("PUT", CONFIG, self._node_config_write),
        ]

    # ---------------------------------------------------------------------------------------- accounts

    async def _acme_meta(self, v: Values, user: str) -> Values:
        return self.acme_meta.get(v.get("directory", DIRECTORY), {})

    async def _account_list(self, v: Values, user: str) -> list[Values]:
        return [{"name": name} for name in self.acme_accounts]

    def _account(self, name: str) -> Values:
        if name not in self.acme_accounts:
            raise param_error(name=f"ACME account config file '{name}' does not exist.")
        return self.acme_accounts[name]

    async def _account_read(self, v: Values, user: str) -> Values:
        return self._account(v["name"])

    async def _account_register(self, v: Values, user: str) -> str:
        name, directory = v.get("name", "default"), v.get("directory", DIRECTORY)
        if name in self.acme_accounts:
            raise param_error(name=f"ACME account config file '{name}' already exists.")

        async def body() -> str:
            self.acme_registrations.append(v)
            if self.acme_meta.get(directory, {}).get("termsOfService") and not v.get("tos_url"):
                why = "urn:ietf:params:acme:error:malformed: must agree to terms of service"
                raise TaskError(f"Registration failed: Error: POST to https://acme.example.org/new-acct {why}")
            location = f"https://acme.example.org/acct/{len(self.acme_registrations)}"
            contact = [f"mailto:{address}" for address in split_list(v["contact"])]
            self.acme_accounts[name] = {
                "account": {"contact": contact, "status": "valid", "createdAt": "2026-11-22T12:00:00Z"},
                "directory": directory,
                "location": location,
                "tos": v.get("tos_url"),
            }
            return f"Registration successful, account URL: '{location}'"

        log = ["Generating ACME account key..", "Registering ACME account.."]
        return await self.task(next(iter(self.nodes)), "acmeregister", "", user, body, log=log)

    async def _account_update(self, v: Values, user: str) -> str:
        account = self._account(v["name"])

        async def body() -> None:
            if v.get("contact"):
                account["account"]["contact"] = [f"mailto:{address}" for address in split_list(v["contact"])]

        return await self.task(
            next(iter(self.nodes)), "acmeupdate" if v.get("contact") else "acmerefresh", "", user, body
        )

    async def _account_deactivate(self, v: Values, user: str) -> str:
        self._account(v["name"])

        async def body() -> None:
            del self.acme_accounts[v["name"]]

        return await self.task(next(iter(self.nodes)), "acmedeactivate", "", user, body)

    # ----------------------------------------------------------------------------------------- plugins

    async def _challenges(self, v: Values, user: str) -> list[Values]:
        return [{"id": name, "name": name, "type": "dns", "schema": {}} for name in self.challenges]

    def _plugins(self) -> dict[str, Values]:
        """Those in the file, and the one that is always there."""
        return {"standalone": {"type": "standalone"}, **self.area(PLUGINS)}

    def _plugin(self, ident: str) -> Values:
        if ident not in self._plugins():
            raise PveError(500, f"ACME plugin '{ident}' not defined")
        return {**self._plugins()[ident], "plugin": ident, "digest": self.digest(PLUGINS)}

    async def _plugin_list(self, v: Values, user: str) -> list[Values]:
        found = [self._plugin(ident) for ident in self._plugins()]
        return [item for item in found if v.get("type") in (None, item["type"])]

    async def _plugin_read(self, v: Values, user: str) -> Values:
        return self._plugin(v["id"])

    @staticmethod
    def _plugin_check(kind: str, values: Values) -> None:
        for key in sorted(set(values) - PLUGIN_OPTIONS[kind]):
            raise PveError(500, f"unexpected property '{key}'")
        if kind == "dns" and not values.get("api"):
            raise PveError(500, "missing value for required option 'api'")

    async def _plugin_create(self, v: Values, user: str) -> None:
        values = {key: value for key, value in v.items() if key not in ("id", "type")}
        if v["id"] in self._plugins():
            raise PveError(500, f"ACME plugin ID '{v['id']}' already exists")
        self._plugin_check(v["type"], values)
        self.area(PLUGINS)[v["id"]] = {"type": v["type"], **values}

    async def _plugin_update(self, v: Values, user: str) -> None:
        check_digest(self.digest(PLUGINS), v.get("digest"))
        if v["id"] not in self._plugins():
            raise PveError(500, f"ACME plugin ID '{v['id']}' does not exist")
        plugin = dict(self._plugins()[v["id"]])
        for key in split_list(v.get("delete")):
            if key not in PLUGIN_OPTIONS[plugin["type"]]:
                raise PveError(500, f"no such option '{key}'")
            if key == "api":
                raise PveError(500, "unable to delete required option 'api'")
            plugin.pop(key, None)
        values = {key: value for key, value in v.items() if key not in ("id", "delete", "digest")}
        self._plugin_check(plugin["type"], {**({"api": "kept"} if plugin["type"] == "dns" else {}), **values})
        self.area(PLUGINS)[v["id"]] = {**plugin, **values}

    async def _plugin_delete(self, v: Values, user: str) -> None:
        self.area(PLUGINS).pop(v["id"], None)

    # -------------------------------------------------------------------------- configuration of a node

    def _node_config(self, node: str) -> Values:
        """An empty file has no digest."""
        config = self.node_configs.get(node, {})
        return {**config, "digest": sha1(repr(sorted(config.items())))} if config else {}

    async def _node_config_read(self, v: Values, user: str) -> Values:
        config = self._node_config(v["node"])
        return config if "property" not in v else {key: config[key] for key in (v["property"],) if key in config}

    async def _node_config_write(self, v: Values, user: str) -> None:
        check_digest(self._node_config(v["node"]).get("digest"), v.get("digest"))
        gone = split_list(v.get("delete"))
        values = {key: str(value) for key, value in v.items() if key not in ("node", "delete", "digest")}
        kept = {**self.node_configs.get(v["node"], {}), **values}
        config = {key: value for key, value in kept.items() if key not in gone and value != ""}
        self._check_domains(config)
        self.node_configs[v["node"]] = config

    def _check_domains(self, config: Values) -> None:
        """No domain twice, and no plugin that is not there."""
        found: dict[str, str] = {}
        for key in ("acme", *(f"acmedomain{index}" for index in range(6))):
            for part in filter(None, config.get(key, "").split(",")):
                name, _sign, value = part.rpartition("=")
                if name == "plugin" and value not in self._plugins():
                    raise PveError(500, f"plugin '{value}' for domain '{config[key]}' not found!")
                for domain in value.lower().split(";") if name in ("", "domain", "domains") else ():
                    if domain in found:
                        where = f"'{key}' and '{found[domain]}'"
                        raise PveError(500, f"duplicate domain '{domain}' in ACME config properties {where}")
                    found[domain] = key


# --------------------------------------------------------------------------------- package sources

REPOSITORIES = "/nodes/{node}/apt/repositories"
LISTS = "/etc/apt/sources.list.d"
ENTERPRISE, DOWNLOAD = "https://enterprise.proxmox.com/debian", "http://download.proxmox.com/debian"
CHANNELS = {"enterprise": ENTERPRISE, "no-subscription": DOWNLOAD, "test": DOWNLOAD}


def repository(line: str, *, kind: str = "sources", enabled: bool = True) -> Values:
    """An entry, from what a line of a file of the older format would say."""
    types, uri, suites, components = [part.split(",") for part in line.split(" ")]
    return {
        "Types": types,
        "URIs": uri,
        "Suites": suites,
        "Components": components,
        "FileType": kind,
        "Enabled": int(enabled),
    }


class Standard(NamedTuple):
    """A repository of Proxmox VE itself."""

    handle: str
    name: str
    path: str
    entry: Values

    def is_meant(self, entry: Values, signed: set[str]) -> bool:
        known = {self.entry["URIs"][0], self.entry["URIs"][0].removesuffix("/pve"), *signed}
        return bool(
            "trixie" in entry["Suites"]
            and self.entry["Components"][0] in entry["Components"]
            and known & {uri.rstrip("/") for uri in entry["URIs"]}
        )


def standard_repositories() -> list[Standard]:
    found = []
    for software in ("", "ceph-squid", "ceph-tentacle"):
        for channel, site in CHANNELS.items():
            handle = "-".join(filter(None, (software, channel)))
            component = channel if software else f"pve-{channel}"
            file = "ceph" if software else {"enterprise": "pve-enterprise"}.get(channel, "proxmox")
            entry = repository(f"deb {site}/{software or 'pve'} trixie {component}")
            found.append(Standard(handle, handle.title(), f"{LISTS}/{file}.sources", entry))
    return found


class Apt:
    """Mixin of FakePve: the files that say where packages come from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # By node, the entries of each file and why a file cannot be read; a test may edit them.
        self.apt_files: dict[str, dict[str, list[Values]]] = {}
        self.apt_errors: dict[str, str] = {}
        # Mirrors whose packages Proxmox has signed.
        self.apt_signed: set[str] = set()

    def apt(self, node: str) -> dict[str, list[Values]]:
        debian = "http://deb.debian.org/debian/"
        fresh = {
            f"{LISTS}/debian.sources": [
                repository(f"deb {debian} trixie,trixie-updates main,contrib"),
                repository("deb http://security.debian.org/debian-security/ trixie-security main,contrib"),
            ],
            f"{LISTS}/pve-enterprise.sources": [repository(f"deb {ENTERPRISE}/pve trixie pve-enterprise")],
            f"{LISTS}/ceph.sources": [repository(f"deb {ENTERPRISE}/ceph-squid trixie enterprise", enabled=False)],
            f"{LISTS}/example.list": [
                repository("deb https://apt.example.com stable main", kind="list"),
                repository("deb-src https://apt.example.com stable main", kind="list", enabled=False),
            ],
        }
        return self.apt_files.setdefault(node, fresh)

    def _routes_apt(self) -> list[tuple[str, str, Callable[..., Any]]]:
        handlers = {"GET": self._apt_read, "PUT": self._apt_add, "POST": self._apt_change}
        return [(verb, REPOSITORIES, handler) for verb, handler in handlers.items()]

    def _apt_digest(self, node: str) -> str:
        return hashlib.sha256(repr(self.apt(node)).encode()).hexdigest()

    def _apt_meant(self, node: str, item: Standard) -> list[Values]:
        every = (entry for entries in self.apt(node).values() for entry in entries)
        return [entry for entry in every if item.is_meant(entry, self.apt_signed)]

    async def _apt_read(self, v: Values, user: str) -> Values:
        files = copy.deepcopy(self.apt(v["node"]))
        standard = []
        for item in standard_repositories():
            states = [
                entry["Enabled"]
                for entries in files.values()
                for entry in entries
                if item.is_meant(entry, self.apt_signed)
            ]
            status = {"status": max(states)} if states else {}
            standard.append({"handle": item.handle, "name": item.name, "description": item.name, **status})
        return {
            "files": [
                {
                    "path": path,
                    "file-type": path.rpartition(".")[2],
                    "repositories": copy.deepcopy(entries),
                    "digest": [0] * 32,
                }
                for path, entries in files.items()
            ],
            "errors": [{"path": path, "error": error} for path, error in self.apt_errors.items()],
            "digest": self._apt_digest(v["node"]),
            "infos": [],
            "standard-repos": standard,
        }

    async def _apt_add(self, v: Values, user: str) -> None:
        check_digest(self._apt_digest(v["node"]), v.get("digest"))
        every = {item.handle: item for item in standard_repositories()}
        if v["handle"] not in every:
            raise PveError(500, f"error: unknown variant `{v['handle']}`")
        item, files = every[v["handle"]], self.apt(v["node"])
        for entry in (
            entry for entries in files.values() for entry in entries if item.is_meant(entry, self.apt_signed)
        ):
            entry["Enabled"] = 1
            return
        if item.path in self.apt_errors:
            raise PveError(500, f"unable to parse existing file {item.path} - {self.apt_errors[item.path]}")
        files.setdefault(item.path, []).append(item.entry)

    async def _apt_change(self, v: Values, user: str) -> None:
        check_digest(self._apt_digest(v["node"]), v.get("digest"))
        entries = self.apt(v["node"]).get(v["path"])
        if entries is None:
            raise PveError(500, f"invalid path - {v['path']}")
        if int(v["index"]) >= len(entries):
            raise PveError(500, f"invalid index - {v['index']}")
        if "enabled" in v:
            entries[int(v["index"])]["Enabled"] = int(v["enabled"])


class Node(Acme, Apt, Certificates, Records):
    """Mixin of FakePve."""
