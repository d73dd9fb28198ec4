from __future__ import annotations

import time

import pytest

testinfra_hosts = ["machine"]

READ = "python3 -c \"import urllib.request as u; print(u.urlopen('http://machine:9100/metrics').read().decode())\""


@pytest.fixture
def metrics(client):
    return lambda: client.check_output(READ).splitlines()


def value(lines: list[str], metric: str) -> float | None:
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(metric)), None)


def test_the_machine_is_measured(metrics):
    lines = metrics()
    assert value(lines, "node_load1 ") is not None
    assert value(lines, "node_memory_MemTotal_bytes ") > 0
    mounts = [line for line in lines if line.startswith("node_filesystem_size_bytes")]
    assert any('mountpoint="/"' in line for line in mounts)
    assert not any('mountpoint="/proc' in line or 'mountpoint="/etc/' in line for line in mounts)
    assert all(
        value(lines, f'node_scrape_collector_success{{collector="{name}"}}') == 1
        for name in ("systemd", "textfile", "filesystem")
    )


def test_the_hosts_hardware_is_not(metrics):
    assert not [line for line in metrics() if line.startswith(("node_disk_", "node_hwmon_", "node_md_", "node_zfs_"))]


def test_a_service_that_stops_is_seen(host, metrics):
    state = 'node_systemd_unit_state{name="cron.service",state="active",'
    assert value(metrics(), state) == 1
    host.check_output("systemctl stop cron")
    try:
        assert value(metrics(), state) == 0
    finally:
        host.check_output("systemctl start cron")


def test_figures_of_scripts_are_served(host, metrics):
    now = int(time.time())
    file = "/var/lib/prometheus/node-exporter/backup.prom"
    host.check_output(f"echo backup_success_timestamp_seconds {now} > {file}")
    try:
        assert value(metrics(), "backup_success_timestamp_seconds ") == now
    finally:
        host.check_output(f"rm {file}")
