# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of what a node has of its own: name servers, time zone, hosts file, options and interfaces."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import re
import zoneinfo
from collections.abc import Callable
from typing import Any

from fakepve import PveError

from tests.lab.records import CHANGED, Values

HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n192.0.2.11\tpve1.example.com pve1\n"


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def refuse(**fields: str) -> PveError:
    return PveError(400, "Parameter verification failed.", fields)


class Settings:
    """Mixin of FakePve: name servers, time zone, hosts file and options of each node."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.node_settings: dict[str, Values] = {}

    def settings(self, node: str) -> Values:
        """What a node has in its files; a test may edit it as another administrator would."""
        fresh = {"dns": {"dns1": "10.255.255.53"}, "timezone": "Etc/UTC", "hosts": HOSTS, "config": {}}
        return self.node_settings.setdefault(node, fresh)

    def _routes_node_settings(self) -> list[tuple[str, str, Callable[..., Any]]]:
        handlers = {
            ("GET", "dns"): self._dns_read,
            ("PUT", "dns"): self._dns_update,
            ("GET", "time"): self._time_read,
            ("PUT", "time"): self._time_update,
            ("GET", "hosts"): self._hosts_read,
            ("POST", "hosts"): self._hosts_write,
            ("GET", "config"): self._config_read,
            ("PUT", "config"): self._config_update,
        }

        def route(handler: Callable[[Values, Values], Any]) -> Callable[..., Any]:
            async def handle(values: Values, user: str) -> Any:
                return handler(self.settings(values["node"]), values)

            return handle

        return [(verb, f"/nodes/{{node}}/{name}", route(handler)) for (verb, name), handler in handlers.items()]

    @staticmethod
    def _dns_read(settings: Values, values: Values) -> Values:
        return dict(settings["dns"])

    @staticmethod
    def _dns_update(settings: Values, values: Values) -> None:
        """The file is made of what was sent: servers move up, and what was not sent is gone."""
        servers = [values[name] for name in ("dns1", "dns2", "dns3") if values.get(name)]
        servers = list(dict.fromkeys(server for server in servers if server != "0.0.0.0"))
        search = str(values["search"]).split()[:1]
        settings["dns"] = {
            **({"search": search[0]} if search else {}),
            **{f"dns{number}": server for number, server in enumerate(servers, 1)},
        }

    @staticmethod
    def _time_read(settings: Values, values: Values) -> Values:
        now = datetime.datetime.now(zoneinfo.ZoneInfo(settings["timezone"])).replace(microsecond=0)
        local = now.replace(tzinfo=datetime.timezone.utc)
        moments = {"time": int(now.timestamp()), "localtime": int(local.timestamp())}
        return {"timezone": settings["timezone"], **moments}

    @staticmethod
    def _time_update(settings: Values, values: Values) -> None:
        if values["timezone"] not in zoneinfo.available_timezones():
            raise refuse(timezone="No such timezone")
        settings["timezone"] = values["timezone"]

    @staticmethod
    def _hosts_read(settings: Values, values: Values) -> Values:
        return {"data": settings["hosts"], "digest": sha1(settings["hosts"])}

    @staticmethod
    def _hosts_write(settings: Values, values: Values) -> None:
        if values.get("digest") not in (None, "", sha1(settings["hosts"])):
            raise PveError(500, CHANGED)
        for line in values["data"].split("\n"):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            address, *names = re.split(r"\s+", line.rstrip())
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise refuse(data=f"Invalid IP '{address}'") from None
            for name in names:
                if not re.fullmatch(r"[.a-zA-Z0-9-]+", name):
                    raise refuse(data=f"Invalid Hostname '{name}'")
        settings["hosts"] = values["data"]

    @staticmethod
    def _config_digest(settings: Values) -> str | None:
        """An empty file has none."""
        return sha1(str(sorted(settings["config"].items()))) if settings["config"] else None

    def _config_read(self, settings: Values, values: Values) -> Values:
        shown = {key: str(value) for key, value in settings["config"].items()}
        if shown.get("description"):
            # Comment lines at the top of the file.
            shown["description"] = shown["description"].rstrip("\n") + "\n"
        return {**shown, **({"digest": self._config_digest(settings)} if shown else {})}

    def _config_update(self, settings: Values, values: Values) -> None:
        now = self._config_digest(settings)
        if values.get("digest") and now and values["digest"] != now:
            raise PveError(500, CHANGED)
        given = {key: value for key, value in values.items() if key not in ("node", "digest", "delete")}
        kept = {**settings["config"], **given}
        gone = re.split(r"[\s,;]+", str(values.get("delete") or ""))
        settings["config"] = {key: value for key, value in kept.items() if key not in gone and value != ""}


class Network(Settings):
    """Mixin of FakePve."""
