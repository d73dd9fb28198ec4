#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: pve_metric_server
short_description: Manage where Proxmox VE sends its metrics
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Creates, changes and deletes an external server that the nodes send their metrics to, which is Graphite, InfluxDB or
    an OpenTelemetry collector.
  - An option that is given is enforced, one that is not given is left alone, an empty one is removed.
notes:
  - Needs the privilege C(Sys.Modify) on C(/), and C(Sys.Audit) to see what is there.
  - Proxmox VE connects to a new or changed server, and refuses one that it cannot reach unless O(disable) is true.
  - Proxmox VE knows no digest for these objects, so a change that somebody else makes at the same moment is not
    noticed. Only the options that are given are written, and O(server) and O(port) with them.
seealso:
  - module: onprem.cloud.pve_notification_endpoint
extends_documentation_fragment:
  - onprem.cloud.pve
  - onprem.cloud.pve.attributes
  - onprem.cloud.pve.resource
options:
  id:
    description: Name of the server in Proxmox VE.
    type: str
    required: true
  type:
    description: What the server is. A new one needs it, and it cannot be changed later.
    type: str
    choices: [graphite, influxdb, opentelemetry]
  server:
    description: Name or address of the server. A new one needs it.
    type: str
  port:
    description: Port of the server. A new one needs it.
    type: int
  disable:
    description: Whether nothing is sent.
    type: bool
  mtu:
    description: Bytes in a UDP packet, 1500 unless set. For V(graphite) and V(influxdb).
    type: int
  timeout:
    description: Seconds to wait for the server, 1 unless set. For V(graphite) over TCP and V(influxdb) over HTTP.
    type: int
  proto:
    description: Protocol, V(udp) unless set. For V(graphite).
    type: str
    choices: [udp, tcp]
  path:
    description: What the names of the metrics begin with, V(proxmox) unless set. For V(graphite).
    type: str
  influxdbproto:
    description: Protocol, V(udp) unless set. For V(influxdb).
    type: str
    choices: [udp, http, https]
  organization:
    description: Organization, V(proxmox) unless set. For V(influxdb) over HTTP.
    type: str
  bucket:
    description: Bucket or database, V(proxmox) unless set. For V(influxdb) over HTTP.
    type: str
  token:
    description: Access token, or C(USER:PASSWORD) for a server of version 1. Proxmox VE does not show it, see
      O(update_password). For V(influxdb) over HTTP.
    type: str
  api_path_prefix:
    description: What comes before C(/api/v2) in the URL. For V(influxdb) over HTTP.
    type: str
  max_body_size:
    description: Bytes that are sent at once, 25000000 unless set. For V(influxdb) over HTTP.
    type: int
  verify_certificate:
    description: Whether the server's certificate must be trusted, true unless set. For V(influxdb) over HTTPS.
    type: bool
  otel_protocol:
    description: Protocol, V(https) unless set. For V(opentelemetry).
    type: str
    choices: [https, http]
  otel_path:
    description: Path of the URL, V(/v1/metrics) unless set. For V(opentelemetry).
    type: str
  otel_timeout:
    description: Seconds to wait for the server, 1 to 10, 5 unless set. For V(opentelemetry).
    type: int
  otel_headers:
    description: Headers of the request, as a dictionary of names and values or as Proxmox VE has it (JSON in base64).
      All of them, an empty dictionary removes them. They often hold a token, so they are not shown. For
      V(opentelemetry).
    type: raw
  otel_resource_attributes:
    description: Attributes that go with every metric, as a dictionary or as Proxmox VE has it (JSON in base64). All of
      them, an empty dictionary removes them. For V(opentelemetry).
    type: raw
  otel_verify_ssl:
    description: Whether the server's certificate must be trusted, true unless set. For V(opentelemetry).
    type: bool
  otel_max_body_size:
    description: Bytes that are sent at once, 10000000 unless set. For V(opentelemetry).
    type: int
  otel_compression:
    description: How requests are compressed, V(gzip) unless set. For V(opentelemetry).
    type: str
    choices: [gzip, none]
  update_password:
    description: Whether O(token) is written every time (V(always)), which is a change every time, or only when the
      server is new (V(on_create)).
    type: str
    choices: [always, on_create]
    default: on_create
"""

EXAMPLES = r"""
- name: Metrics go to InfluxDB
  onprem.cloud.pve_metric_server:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    id: influx
    type: influxdb
    server: influx.example.com
    port: 8086
    influxdbproto: https
    organization: example
    bucket: pve
    token: "{{ vault_influxdb_token }}"

- name: Metrics go to an OpenTelemetry collector
  onprem.cloud.pve_metric_server:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: ansible
    api_token_secret: "{{ vault_pve_token_secret }}"
    id: collector
    type: opentelemetry
    server: otel.example.com
    port: 4318
    otel_headers:
      Authorization: "Bearer {{ vault_otel_token }}"
    otel_resource_attributes:
      site: basement
"""

RETURN = r"""
action:
  description: What was done, V(create), V(update), V(delete) or V(none). In check mode, what would be done.
  type: str
  returned: success
  sample: create
metric_server:
  description: The server as Proxmox VE has it afterwards, without secrets. Empty if it is not there.
  type: dict
  returned: success
  sample: {"id": "influx", "type": "influxdb", "server": "influx.example.com", "port": 8086, "influxdbproto": "https"}
"""

import base64
import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    BOOL,
    INT,
    RAW,
    SECRET,
    STR,
    Boolean,
    Invalid,
    Number,
    Option,
    Text,
    choice,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import Resource, Table, argument_spec, run

BELONGS = {
    "graphite": ("mtu", "timeout", "proto", "path"),
    "influxdb": (
        *("mtu", "timeout", "influxdbproto", "organization", "bucket", "token", "api_path_prefix"),
        *("max_body_size", "verify_certificate"),
    ),
    "opentelemetry": (
        *("otel_protocol", "otel_path", "otel_timeout", "otel_headers", "otel_resource_attributes"),
        *("otel_verify_ssl", "otel_max_body_size", "otel_compression"),
    ),
}


class Encoded(Text):
    """Names and values, as a dictionary or as JSON in base64."""

    def parse(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            try:
                value = json.loads(base64.b64decode(str(value), validate=True).decode())
            except ValueError:
                value = None
        if not isinstance(value, dict):
            raise Invalid("it is neither a dictionary nor one as JSON in base64")
        return {str(name): str(item) for name, item in sorted(value.items())}

    def format(self, value: dict[str, str]) -> str:
        return base64.b64encode(json.dumps(value).encode()).decode()


TABLE = Table(
    noun="metric server",
    path="/cluster/metrics/server",
    id="id",
    detail=True,
    required=("type", "server", "port"),
    belongs=BELONGS,
    options={
        "type": Option({**STR, "choices": list(BELONGS)}, Text(tuple(BELONGS)), fixed=True),
        "server": Option(STR, Text()),
        "port": Option(INT, Number(1, 65536)),
        "disable": Option(BOOL, Boolean(), False),
        "mtu": Option(INT, Number(512, 65536), 1500),
        "timeout": Option(INT, Number(0), 1),
        "proto": choice("udp", "tcp", default="udp"),
        "path": Option(STR, Text(), "proxmox"),
        "influxdbproto": choice("udp", "http", "https", default="udp"),
        "organization": Option(STR, Text(), "proxmox"),
        "bucket": Option(STR, Text(), "proxmox"),
        "token": Option(SECRET, Text(), secret=True),
        "api_path_prefix": Option(STR, Text(), ""),
        "max_body_size": Option(INT, Number(1), 25_000_000),
        "verify_certificate": Option(BOOL, Boolean(), True),
        "otel_protocol": choice("https", "http", default="https"),
        "otel_path": Option(STR, Text(), "/v1/metrics"),
        "otel_timeout": Option(INT, Number(1, 10), 5),
        "otel_headers": Option({**RAW, "no_log": True}, Encoded(), {}, hidden=True),
        "otel_resource_attributes": Option(RAW, Encoded(), {}),
        "otel_verify_ssl": Option(BOOL, Boolean(), True),
        "otel_max_body_size": Option(INT, Number(1024), 10_000_000),
        "otel_compression": choice("gzip", "none", default="gzip"),
    },
)


class MetricServer(Resource):
    """A server; the API wants its address with every write, and creates it where it will be."""

    def validate(self) -> None:
        self.check_kind()
        if self.wanted.get("token", "") is None:
            self.problem("token is empty, and Proxmox VE does not tell whether there is one: give another one")

    def create(self) -> Any:
        return self.client.post(self.item_path, **self.values(self.sets))

    def update(self) -> Any:
        for name in ("server", "port"):
            self.sets.setdefault(name, self.current(name))
        return super().update()


def main() -> None:
    run(AnsibleModule(argument_spec(TABLE), supports_check_mode=True), TABLE, MetricServer)


if __name__ == "__main__":
    main()
