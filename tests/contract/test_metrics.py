# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where metrics go."""

from __future__ import annotations

import base64
import json

import pytest

from tests.contract.life import Life, limited, lives, whole_life
from tests.lab.cluster import METRICS

MODULE = "pve_metric_server"
SECRET = "correct-horse-battery-staple"
OTHER = "another-horse-and-its-staple"
HEADERS = {"Authorization": f"Bearer {SECRET}", "X-Site": "basement"}
GRAPHITE = {"id": "graphs", "type": "graphite", "server": "192.0.2.40", "port": 2003}
INFLUX = {
    "id": "influx",
    "type": "influxdb",
    "server": "influx.example.com",
    "port": 8086,
    "influxdbproto": "https",
    "token": SECRET,
}
OTEL = {"id": "otel", "type": "opentelemetry", "server": "192.0.2.42", "port": 4318, "otel_headers": HEADERS}


def encoded(values):
    return base64.b64encode(json.dumps(values).encode()).decode()


LIVES = (
    Life(
        MODULE,
        {"id": "graphs"},
        GRAPHITE,
        {
            "server": "graphite.example.com",
            "port": 2004,
            "disable": True,
            "proto": "tcp",
            "path": "cluster.one",
            "timeout": 3,
            "mtu": 9000,
        },
        spellings=[
            {"port": "2003"},
            {"disable": False},
            {"proto": "udp", "path": "proxmox", "timeout": 1, "mtu": 1500},
            {"path": ""},
        ],
        removed=["path"],
    ),
    Life(
        MODULE,
        {"id": "influx"},
        INFLUX,
        {
            "server": "192.0.2.41",
            "port": 8087,
            "influxdbproto": "http",
            "organization": "example",
            "bucket": "pve",
            "api_path_prefix": "/influx",
            "max_body_size": 1000,
            "verify_certificate": False,
            "timeout": 5,
            "mtu": 1400,
            "disable": True,
        },
        spellings=[
            {"token": OTHER},
            {"organization": "proxmox", "bucket": "proxmox", "max_body_size": 25000000},
            {"verify_certificate": True, "api_path_prefix": ""},
        ],
        removed=["organization", "bucket", "api_path_prefix"],
    ),
    Life(
        MODULE,
        {"id": "otel"},
        {**OTEL, "otel_resource_attributes": {"site": "basement", "rack": 2}},
        {
            "server": "otel.example.com",
            "port": 4317,
            "otel_protocol": "http",
            "otel_path": "/metrics",
            "otel_timeout": 10,
            "otel_headers": {"X-Site": "attic"},
            "otel_resource_attributes": {"site": "attic"},
            "otel_verify_ssl": False,
            "otel_max_body_size": 4096,
            "otel_compression": "none",
            "disable": True,
        },
        spellings=[
            {"otel_headers": dict(reversed(HEADERS.items()))},
            {"otel_headers": encoded(HEADERS)},
            {"otel_resource_attributes": {"rack": "2", "site": "basement"}},
            {"otel_protocol": "https", "otel_path": "/v1/metrics", "otel_timeout": 5, "otel_compression": "gzip"},
            {"otel_verify_ssl": True, "otel_max_body_size": 10000000},
        ],
        removed=["otel_headers", "otel_resource_attributes", "otel_path"],
    ),
)


@lives(*LIVES)
def test_whole_life(run, life):
    whole_life(run, life)


@lives(*LIVES)
def test_the_documented_privileges_are_enough_and_necessary(run, life):
    privileges = {"Sys_Modify": "/", "Sys_Audit": "/"}
    whole_life(run, limited(run, life, **privileges))
    for privilege in privileges:
        fewer = limited(run, life, **{name: path for name, path in privileges.items() if name != privilege})
        assert "privilege" in run.fails(life.module, {**fewer.ident, **life.created})


def servers(run):
    return run.api.pve.area(METRICS)


def test_the_token_is_written_at_first_and_when_asked_for(run):
    results = [run(MODULE, INFLUX), run(MODULE, {**INFLUX, "token": OTHER})]
    assert not results[1]["changed"]
    assert servers(run)["influx"]["token"] == SECRET
    always = {**INFLUX, "token": OTHER, "update_password": "always"}
    results += [run(MODULE, always, check=True), run(MODULE, always)]
    assert results[2]["changed"]
    assert results[2]["diff"] == results[3]["diff"]
    assert servers(run)["influx"]["token"] == OTHER
    for secret in (SECRET, OTHER):
        assert secret not in run.output
        assert secret not in json.dumps(results)


def test_headers_are_compared_and_not_shown(run):
    created = run(MODULE, OTEL)
    changed = run(MODULE, {**OTEL, "otel_headers": {"Authorization": f"Bearer {OTHER}"}})
    assert changed["diff"] == {"before": {"otel_headers": "(hidden)"}, "after": {"otel_headers": "(hidden)"}}
    for secret in (SECRET, OTHER, encoded(HEADERS)):
        assert secret not in run.output
        assert secret not in json.dumps([created, changed])


def test_what_another_hand_changed_comes_back_and_nothing_else(run):
    run(MODULE, GRAPHITE)
    servers(run)["graphs"].update(port=1, proto="tcp")
    run.api.requests()
    assert run(MODULE, GRAPHITE)["diff"] == {"before": {"port": 1}, "after": {"port": 2003}}
    assert [write.params for write in run.api.writes()] == [{"server": "192.0.2.40", "port": "2003"}]
    assert servers(run)["graphs"]["proto"] == "tcp"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"id": "new"}, ["'new'", "type is missing", "server is missing", "port is missing"]),
        ({"id": "graphs", "bucket": "pve"}, ["bucket does not belong to type 'graphite'", "influxdb"]),
        ({"id": "graphs", "type": "influxdb"}, ["'graphs'", "'graphite'", "cannot be changed to 'influxdb'"]),
        ({"id": "graphs", "server": ""}, ["server is empty"]),
        ({"id": "graphs", "mtu": 100}, ["mtu", "100", "512"]),
        ({"id": "influx", "token": ""}, ["token is empty"]),
        ({"id": "otel", "otel_headers": "secret words"}, ["otel_headers", "JSON in base64"]),
        ({"id": "otel", "otel_timeout": 60}, ["otel_timeout", "60", "10"]),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, dict) else "",
)
def test_bad_input_is_refused_before_anything_is_written(run, given, words):
    for server in (GRAPHITE, INFLUX, OTEL):
        run(MODULE, server)
    run.api.requests()
    message = run.fails(MODULE, given)
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []
