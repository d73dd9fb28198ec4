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
        if v["node"] not in self.certificates:
            name = f"/etc/pve/nodes/{v['node']}/pveproxy-ssl.pem"
            raise PveError(500, f"can't open '{name}' - No such file or directory")

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
        # Those that do not tell whom they write to.
        self.acme_silent: set[str] = set()
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
            ("GET", "/cluster/tasks", self._cluster_tasks),
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

    async def _cluster_tasks(self, v: Values, user: str) -> list[Values]:
        """What runs on any node, and what ran lately."""
        keys = ("upid", "node", "id", "type", "user", "starttime", "endtime")
        answer = [{key: task[key] for key in keys if key in task} for task in self.tasklog]
        return [
            {**item, **({"status": task["exitstatus"]} if "exitstatus" in task else {})}
            for item, task in zip(answer, self.tasklog)
        ]

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
            await self.pause(self.acme_secs)
            if name in self.acme_accounts:
                raise TaskError(f"ACME account config file '{name}' already exists.")
            self.acme_registrations.append(v)
            if self.acme_meta.get(directory, {}).get("termsOfService") and not v.get("tos_url"):
                why = "urn:ietf:params:acme:error:malformed: must agree to terms of service"
                raise TaskError(f"Registration failed: Error: POST to https://acme.example.org/new-acct {why}")
            location = f"https://acme.example.org/acct/{len(self.acme_registrations)}"
            contact = [f"mailto:{address}" for address in split_list(v["contact"])]
            told = {} if directory in self.acme_silent else {"contact": contact}
            self.acme_accounts[name] = {
                "account": {**told, "status": "valid", "createdAt": "2026-11-22T12:00:00Z"},
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
        component = self.entry["Components"][0]
        # The channel for tests was called otherwise once.
        called = {component, component.replace("pve-test", "pvetest")}
        return bool(
            "trixie" in entry["Suites"]
            and called & set(entry["Components"])
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


# -------------------------------------------------------------------------------------------- disks

DISKS = "/nodes/{node}/disks"
TB = 10**12
# By kind of what is made: how its tasks are called, what its storage is, and what names it there.
MADE = {
    "directory": ("dir", {"type": "dir", "content": "rootdir,images,iso,backup,vztmpl,snippets"}, "path"),
    "lvm": ("lvm", {"type": "lvm", "content": "rootdir,images"}, "vgname"),
    "lvmthin": ("lvmthin", {"type": "lvmthin", "content": "rootdir,images"}, "vgname"),
    "zfs": ("zfs", {"type": "zfspool", "content": "rootdir,images"}, "pool"),
}
LEAST = {
    **{"single": 1, "mirror": 2, "raid10": 4, "raidz": 3, "raidz2": 4, "raidz3": 5},
    **{"draid": 3, "draid2": 4, "draid3": 5},
}


def disk(path: str, number: int, *, link: str = "ata", kind: str = "hdd", **facts: Any) -> Values:
    serial = f"SER{number:04}"
    links = {"by_id_link": f"/dev/disk/by-id/{link}-EXAMPLE_{serial}"} if link else {}
    known = {"model": "EXAMPLE", "serial": serial, "wwn": f"0x5000c500000{number:05x}", "vendor": "ATA     "}
    unknown = {"model": "unknown", "serial": "unknown", "wwn": "unknown", "vendor": "0x1af4"}
    return {
        **{"devpath": path, "size": 8 * TB, "type": kind, "health": "PASSED", "wearout": "N/A", "gpt": 0, "rpm": -1},
        **(known if link else unknown),
        **links,
        **facts,
    }


class NodeDisks:
    """Mixin of FakePve: the disks of a node, and what is made of them."""

    # How many seconds each of the tasks takes.
    disk_secs = 5

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # By node and path; `parts` holds the partitions of a disk in the same way. A test may edit them.
        self.disks: dict[str, dict[str, Values]] = {}
        # By node, kind and name.
        self.made: dict[str, dict[str, dict[str, Values]]] = {}

    def disks_of(self, node: str) -> dict[str, Values]:
        if node not in self.disks:
            system = {"/dev/sda1": "BIOS boot", "/dev/sda2": "EFI", "/dev/sda3": "LVM"}
            fresh = [
                disk("/dev/sda", 1, gpt=1, parts={path: {"used": used} for path, used in system.items()}),
                *(disk(f"/dev/sd{letter}", number) for number, letter in enumerate("bcdefg", 2)),
                disk("/dev/sdx", 24, gpt=1, parts={"/dev/sdx1": {"used": "ext4", "mounted": 1}}),
                disk("/dev/sdy", 25, used="LVM", osdid=3, **{"osdid-list": [3, 4]}),
                disk("/dev/sdz", 26, used="ZFS"),
                disk("/dev/nvme0n1", 40, link="nvme", kind="nvme", size=2 * TB),
                disk("/dev/vda", 50, link="", size=100 * 10**9),
            ]
            self.disks[node] = {item["devpath"]: item for item in fresh}
            self.made[node] = {kind: {} for kind in MADE}
            # The system is in it as well, on volumes that are no thin ones.
            self.made[node]["lvm"]["pve"] = {"devices": ["/dev/sda3"], "plain": {"root": TB // 10, "swap": 8 * 10**9}}
            self.made[node]["lvmthin"]["data"] = {"devices": ["/dev/sda3"], "vg": "pve"}
        return self.disks[node]

    def add_disk(self, devpath: str, node: str = "pve1", **fields: Any) -> Values:
        """Put a disk, or a partition of one (`parent`), into a node that has none of that name."""
        disks = self.disks_of(node)
        if "parent" in fields:
            whole = disks[fields.pop("parent")]
            whole["gpt"] = 1
            return whole.setdefault("parts", {}).setdefault(devpath, fields)
        return disks.setdefault(devpath, disk(devpath, 60 + len(disks), **fields))

    def device(self, node: str, name: str) -> Values | None:
        """A disk or partition by any of its names."""
        for path, item in self.disks_of(node).items():
            if name in (path, item.get("by_id_link")):
                return item
            for part, facts in item.get("parts", {}).items():
                if name in (part, f"{item.get('by_id_link')}-part{part.rpartition(path)[2].lstrip('p')}"):
                    return facts
        return None

    def path_of(self, node: str, found: Values) -> str:
        """What a disk or partition is called."""
        disks = self.disks_of(node)
        parts = {path: part for item in disks.values() for path, part in item.get("parts", {}).items()}
        return next(path for path, item in {**disks, **parts}.items() if item is found)

    def made_of(self, node: str, kind: str) -> dict[str, Values]:
        self.disks_of(node)
        return self.made[node][kind]

    def _routes_disks(self) -> list[tuple[str, str, Callable[..., Any]]]:
        routes = [("GET", f"{DISKS}/list", self._disk_list), ("GET", f"{DISKS}/zfs/{{name}}", self._pool_read)]
        readings = {
            "directory": self._directory_list,
            "lvm": self._group_list,
            "lvmthin": self._thin_list,
            "zfs": self._pool_list,
        }
        for kind, reading in readings.items():
            routes += [
                ("GET", f"{DISKS}/{kind}", reading),
                ("POST", f"{DISKS}/{kind}", functools.partial(self._disk_make, kind)),
                ("DELETE", f"{DISKS}/{kind}/{{name}}", functools.partial(self._disk_remove, kind)),
            ]
        return routes

    # ----------------------------------------------------------------------------------------- reading

    async def _disk_list(self, v: Values, user: str) -> list[Values]:
        answer = []
        for item in self.disks_of(v["node"]).values():
            parts = item.get("parts", {})
            # What Ceph has on the partitions of a disk, it has on the disk.
            inside = [part for part in parts.values() if "osdid" in part]
            ceph = {key: inside[-1][key] for key in ("osdid", "osdid-list", "bluestore")} if inside else {}
            ceph |= {"osdencrypted": inside[-1].get("encrypted", 0)} if inside else {}
            ceph |= {key: sum(part.get(key, 0) for part in parts.values()) for key in ("db", "wal") if parts}
            item = {**item, **{key: value for key, value in ceph.items() if value}}
            used = item.get("used") or next((part["used"] for part in parts.values() if part.get("used")), None)
            used = "partitions" if parts and (v.get("include-partitions") or not used) else used
            shown = {key: value for key, value in item.items() if key not in ("parts", "used")}
            answer.append({"osdid": -1, "osdid-list": None, **shown, **({"used": used} if used else {})})
            for path, part in parts.items() if v.get("include-partitions") else ():
                place = {"devpath": path, "parent": item["devpath"], "type": "partition", "gpt": item["gpt"]}
                answer.append({"osdid": -1, "osdid-list": None, "size": TB, "used": None, **place, **part})
        return answer

    async def _directory_list(self, v: Values, user: str) -> list[Values]:
        return [
            {
                "unitfile": f"/etc/systemd/system/mnt-pve-{name}.mount",
                "path": f"/mnt/pve/{name}",
                "device": f"/dev/disk/by-uuid/{sha1(name)[:8]}",
                "type": item["filesystem"],
                "options": "defaults",
            }
            for name, item in self.made_of(v["node"], "directory").items()
        ]

    async def _group_list(self, v: Values, user: str) -> Values:
        groups = [
            {
                **{"name": name, "leaf": 0},
                "lvcount": len(self.pools_in(v["node"], name)) + len(item.get("plain", ())),
                **self.space(v["node"], name),
                "children": [{"name": path, "leaf": 1} for path in item["devices"]],
            }
            for name, item in self.made_of(v["node"], "lvm").items()
        ]
        return {"leaf": 0, "children": groups}

    def pools_in(self, node: str, group: str) -> list[str]:
        return [name for name, item in self.made_of(node, "lvmthin").items() if item["vg"] == group]

    def space(self, node: str, group: str) -> Values:
        """How large a volume group is, and what is free. A thin pool takes nearly all that plain volumes leave."""
        item = self.made_of(node, "lvm")[group]
        size = sum((self.device(node, path) or {}).get("size", TB) for path in item["devices"])
        free = size - sum(item.get("plain", {}).values())
        return {"size": size, "free": 128 * 2**20 if self.pools_in(node, group) else free}

    async def _thin_list(self, v: Values, user: str) -> list[Values]:
        answer, metadata = [], 16 * 10**9
        for name, item in self.made_of(v["node"], "lvmthin").items():
            pools, space = self.pools_in(v["node"], item["vg"]), self.space(v["node"], item["vg"])
            plain = sum(self.made_of(v["node"], "lvm")[item["vg"]].get("plain", {}).values())
            # Beside the metadata of each, there is room for that of the largest once more.
            size = (space["size"] - space["free"] - plain - metadata) // len(pools) - metadata
            figures = {"lv_size": size, "used": item.get("used", 0), "metadata_size": metadata, "metadata_used": 10**6}
            answer.append({"lv": name, "vg": item["vg"], **figures})
        return answer

    async def _pool_list(self, v: Values, user: str) -> list[Values]:
        figures = {"size": 8 * TB, "free": 8 * TB, "frag": 0, "dedup": 1, "health": "ONLINE"}
        pools = self.made_of(v["node"], "zfs").items()
        return [{"name": name, "alloc": item.get("used", 0), **figures} for name, item in pools]

    async def _pool_read(self, v: Values, user: str) -> Values:
        pools = self.made_of(v["node"], "zfs")
        if v["name"] not in pools:
            why = f"command '/sbin/zpool status -P {v['name']}' failed: exit code 1"
            raise PveError(500, why)

        def vdev(name: str, children: Iterable[Values] = ()) -> Values:
            below = {"children": list(children), "leaf": 0} if children else {"leaf": 1}
            return {"name": name, "state": "ONLINE", "read": 0, "write": 0, "cksum": 0, "msg": "", **below}

        pool = pools[v["name"]]
        disks = [vdev(self._link(v["node"], path)) for path in pool["devices"]]
        level, config = pool["raidlevel"], pool["draid"]
        if level == "single":
            data = disks
        elif level in ("mirror", "raid10"):
            pairs = [disks] if level == "mirror" else [disks[at : at + 2] for at in range(0, len(disks), 2)]
            data = [vdev(f"mirror-{number}", pair) for number, pair in enumerate(pairs)]
        elif level.startswith("draid"):
            parity = level[5:] or "1"
            data = [vdev(f"draid{parity}:{config.get('data', 1)}d:{len(disks)}c:{config.get('spares', 0)}s-0", disks)]
        else:
            data = [vdev(f"{level if level[-1].isdigit() else 'raidz1'}-0", disks)]
        beside = [vdev("cache", [vdev("/dev/nvme9n1p1")])]
        top = {"name": v["name"], "state": "ONLINE", "errors": "No known data errors", "leaf": 0}
        return {**top, "children": [vdev(v["name"], data), *beside]}

    def _link(self, node: str, path: str) -> str:
        """A member of a pool by the name that PVE gave it, a disk by the partition that ZFS made of it."""
        item = self.disks_of(node).get(path)
        if item is None:
            return path
        return f"{item['by_id_link']}-part1" if "by_id_link" in item else f"{path}1"

    # ----------------------------------------------------------------------------------------- writing

    def _free(self, node: str, path: str) -> Values:
        found = self.device(node, path)
        if found is None:
            raise PveError(500, "not a valid block device")
        if found.get("used") or found.get("parts"):
            raise PveError(500, f"device '{path}' is already in use")
        return found

    def _occupy(self, node: str, kind: str, path: str, filesystem: str) -> None:
        taken = self._free(node, path)
        whole = path in self.disks_of(node)
        if kind == "directory":
            part = {"used": filesystem, "mounted": 1}
            taken.update({"parts": {f"{path}1": part}, "gpt": 1} if whole else part)
        elif kind == "zfs":
            parts = {f"{path}1": {"used": "ZFS"}, f"{path}9": {"used": "ZFS reserved"}}
            taken.update({"parts": parts, "gpt": 1} if whole else {"used": "ZFS"})
        else:
            taken["used"] = "LVM"

    async def _disk_make(self, kind: str, v: Values, user: str) -> str:
        node, name = v["node"], v["name"]
        task, storage, _named = MADE[kind]
        devices = split_list(v.get("devices") or v["device"])
        for path in devices:
            self._free(node, path)
        if v.get("add_storage"):
            self.require(user, "/storage", "Datastore.Allocate")
            held = self.storages.get(name)
            if held and node in (held.get("nodes") or node).split(","):
                raise PveError(500, f"Storage ID '{name}' already exists on node {node}")
            for key, value in {"type": storage["type"], **self._storage_place(kind, name)}.items() if held else ():
                if held.get(key) != value:
                    why = f"Option '{key}' ({value}) does not match existing storage configuration '{held.get(key)}'"
                    raise PveError(500, why)
        if kind == "zfs":
            self._check_level(v, len(devices))
        if kind == "directory" and name in self.made_of(node, kind):
            raise PveError(500, f"a systemd mount unit already exists: /etc/systemd/system/mnt-pve-{name}.mount")

        async def body() -> None:
            await self.pause(self.disk_secs)
            if kind.startswith("lvm") and name in self.made_of(node, "lvm"):
                raise TaskError(f"volume group with name '{name}' already exists on node '{node}'")
            for path in devices:
                self._occupy(node, kind, path, v.get("filesystem", "ext4"))
            draid = dict(part.split("=") for part in split_list(v.get("draid-config")))
            facts = {key: v[key] for key in ("raidlevel", "ashift", "compression") if key in v}
            made = {"devices": devices, "filesystem": v.get("filesystem", "ext4"), "draid": draid, **facts}
            if kind == "lvmthin":
                self.made_of(node, "lvm")[name] = {"devices": devices}
                made["vg"] = name
            self.made_of(node, kind)[name] = made
            if v.get("add_storage"):
                more = {"is_mountpoint": 1} if kind == "directory" else {}
                place = self._storage_place(kind, name)
                if name in self.storages:
                    nodes = {node, *self.storages[name]["nodes"].split(",")}
                    self.storages[name]["nodes"] = ",".join(sorted(nodes))
                else:
                    await self._sc_create({**storage, **place, **more, "storage": name, "nodes": node}, user)

        return await self.task(node, f"{task}create", name, user, body)

    @staticmethod
    def _storage_place(kind: str, name: str) -> Values:
        more = {"thinpool": name} if kind == "lvmthin" else {}
        return {MADE[kind][2]: f"/mnt/pve/{name}" if kind == "directory" else name, **more}

    def _check_level(self, v: Values, count: int) -> None:
        level = v["raidlevel"]
        if "draid-config" in v and not level.startswith("draid"):
            raise PveError(500, "draid-config set without using dRAID level")
        if v["name"] in self.made_of(v["node"], "zfs"):
            raise PveError(500, f"pool '{v['name']}' already exists on node '{v['node']}'")
        if level == "raid10" and count % 2:
            raise PveError(500, "raid10 needs an even number of disks")
        if level == "single" and count > 1:
            raise PveError(500, "please give only one disk for single disk mode")
        if count < LEAST[level]:
            raise PveError(500, f"{level} needs at least {LEAST[level]} disks")

    async def _disk_remove(self, kind: str, v: Values, user: str) -> str:
        node, name = v["node"], v["name"]
        task, storage, named = MADE[kind]
        if v.get("cleanup-config"):
            self.require(user, "/storage", "Datastore.Allocate")

        async def body() -> None:
            made = self.made_of(node, kind)
            if name not in made or (kind == "lvmthin" and made[name]["vg"] != v["volume-group"]):
                raise TaskError(f"no such {kind} '{name}'")
            item = made.pop(name)
            if v.get("cleanup-config"):
                place = {"directory": f"/mnt/pve/{name}", "lvmthin": item.get("vg")}.get(kind, name)
                for ident, held in list(self.storages.items()):
                    if held.get("type") == storage["type"] and held.get(named) == place:
                        del self.storages[ident]
            if kind == "lvmthin" and v.get("cleanup-disks"):
                group = v["volume-group"]
                if self.pools_in(node, group) or self.made_of(node, "lvm")[group].get("plain"):
                    raise TaskError(f"volume group '{group}' still in use")
                self.made_of(node, "lvm").pop(group)
            for path in item["devices"]:
                found = self.disks_of(node).get(path, {})
                if v.get("cleanup-disks"):
                    for key in ("used", "parts"):
                        found.pop(key, None)
                elif kind == "directory":
                    found["parts"][f"{path}1"].pop("mounted", None)

        return await self.task(
            node, f"{task}remove", name if kind != "lvmthin" else f"{v['volume-group']}-{name}", user, body
        )


class Node(Acme, Apt, Certificates, NodeDisks, Records):
    """Mixin of FakePve."""
