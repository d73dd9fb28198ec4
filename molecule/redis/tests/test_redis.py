# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = ["client"]

INVENTORY = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"
PLAY: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "converge.yml").read_text())[0]
INSTANCES: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in PLAY["vars"]["redis_instances"]}
SECRETS = [PLAY["vars"]["redis_monitor_password"]] + [
    user["password"] for instance in INSTANCES.values() for user in instance.get("users", [])
]


@pytest.fixture(scope="module")
def cache() -> Host:
    return AnsibleRunner(INVENTORY).get_host("cache")


def instance_of(variables: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in variables["redis_instances"] if entry["name"] == name)


def converge(tmp_path: Path, *options: str, change: Any = None) -> subprocess.CompletedProcess[str]:
    """Run the scenario's play, with its variables changed."""
    play = copy.deepcopy(PLAY)
    play["roles"] = play["roles"][:1]
    if change:
        change(play["vars"])
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play], sort_keys=False))
    return subprocess.run(
        ["ansible-playbook", *options, "-i", INVENTORY, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_PIPELINING": "1"},
    )


def ask(client: Host, name: str, command: str, user: str = "", password: str = "") -> str:
    """What an instance answers somebody on another machine."""
    if not user:
        user = INSTANCES[name]["users"][0]["name"]
    secret = password or next(entry["password"] for entry in INSTANCES[name]["users"] if entry["name"] == user)
    return client.run(
        "REDISCLI_AUTH=%s redis-cli --no-auth-warning -h cache -p %s --user %s " + command,
        secret,
        str(INSTANCES[name]["port"]),
        user,
    ).stdout.strip()


def fill(client: Host, name: str) -> str:
    """Set 1200 keys of 10 KiB, more than an instance holds, and return what was answered to the last."""
    user = INSTANCES[name]["users"][0]
    script = (
        f"value=$(printf %010240d 0); (echo AUTH {user['name']} {user['password']};"
        ' seq 1200 | sed "s/.*/SET filler:& $value/")'
        f" | redis-cli -h cache -p {INSTANCES[name]['port']} | grep . | tail -n 1"
    )
    return client.check_output("sh -c %s", script)


def test_nobody_gets_in_without_a_password(host: Host) -> None:
    for name in ("frappe-cache", "frappe-queue", "nextcloud"):
        assert "NOAUTH" in host.run("redis-cli -h cache -p %s DBSIZE", str(INSTANCES[name]["port"])).stdout


def test_a_wrong_password_is_refused(host: Host) -> None:
    assert "NOAUTH" in ask(host, "nextcloud", "SET bowbo:1 x", password="queue-secret-of-the-test")


def test_a_user_sees_only_its_prefix(host: Host) -> None:
    assert ask(host, "nextcloud", "SET bowbo:greeting hello") == "OK"
    assert ask(host, "nextcloud", "GET bowbo:greeting") == "hello"
    assert "NOPERM" in ask(host, "nextcloud", "GET bowbo:greeting", user="maro")
    assert "NOPERM" in ask(host, "nextcloud", "SET maro:greeting x")
    assert "NOPERM" in ask(host, "nextcloud", "CONFIG GET '*'")


def test_the_monitor_sees_no_key(host: Host) -> None:
    secret = PLAY["vars"]["redis_monitor_password"]
    assert "maxmemory_policy:allkeys-lru" in ask(host, "nextcloud", "INFO memory", user="monitor", password=secret)
    for command in ("GET bowbo:greeting", "KEYS '*'", "FLUSHALL", "CONFIG SET maxmemory 1", "SHUTDOWN", "ACL LIST"):
        assert "NOPERM" in ask(host, "nextcloud", command, user="monitor", password=secret), command


def test_the_exporter_shows_every_instance(host: Host, cache: Host) -> None:
    for name in ("frappe-cache", "frappe-queue", "nextcloud"):
        port = INSTANCES[name]["port"]
        cache.check_output("redis-admin %s ACL LOG RESET", name)
        url = f"http://cache:9121/scrape?target=redis://127.0.0.1:{port}"
        code = f"import urllib.request as u; print(u.urlopen({url!r}).read().decode())"
        metrics = host.check_output("python3 -c %s", code)
        assert "\nredis_up 1" in metrics
        assert f'tcp_port="{port}"' in metrics
        assert '\nredis_exporter_last_scrape_error{err=""} 0' in metrics
        # It has asked for nothing that its user may not do.
        assert cache.check_output("redis-admin %s ACL LOG", name) == ""


def test_no_secret_is_in_the_open(cache: Host) -> None:
    admin = cache.check_output("cat /etc/onprem/redis/admin.password")
    readable = cache.check_output(
        "find /etc /var/lib /var/log /run /usr/local -xdev -type f -perm -o+r -exec grep -lsE %s {} + || true",
        "|".join([*SECRETS, admin]),
    )
    assert readable == ""
    on_disk = cache.check_output("grep -rlsE %s /etc/redis /var/lib/redis || true", "|".join([*SECRETS, admin]))
    assert on_disk == ""
    for place in ("ps axeww", "journalctl --no-pager"):
        assert not [secret for secret in [*SECRETS, admin] if secret in cache.check_output(place)], place
    assert cache.file("/etc/redis/users-nextcloud.acl").mode == 0o640
    assert cache.file("/etc/prometheus/redis-passwords.json").mode == 0o640
    assert cache.file("/etc/onprem/redis/admin.password").mode == 0o600


def test_the_cache_evicts_and_the_queue_refuses(host: Host, cache: Host) -> None:
    assert fill(host, "frappe-cache") == "OK"
    assert re.search(r"evicted_keys:[1-9]", cache.check_output("redis-admin frappe-cache INFO stats"))
    assert fill(host, "frappe-queue").startswith("OOM")
    assert re.search(r"evicted_keys:0\b", cache.check_output("redis-admin frappe-queue INFO stats"))
    assert ask(host, "frappe-queue", "EXISTS filler:1") == "1"


def test_the_queue_survives_a_restart_and_the_cache_forgets(host: Host, cache: Host) -> None:
    kept = int(ask(host, "frappe-queue", "DBSIZE"))
    assert kept > 0
    assert int(ask(host, "frappe-cache", "DBSIZE")) > 0
    cache.check_output("systemctl restart redis-server@frappe-queue redis-server@frappe-cache redis-server@nextcloud")
    assert int(ask(host, "frappe-queue", "DBSIZE")) == kept
    assert ask(host, "frappe-cache", "DBSIZE") == "0"
    assert ask(host, "nextcloud", "GET bowbo:greeting") == "hello"


def test_a_killed_queue_loses_nothing_it_has_logged(host: Host, cache: Host) -> None:
    ask(host, "frappe-queue", "DEL filler:1 filler:2 filler:3")
    assert ask(host, "frappe-queue", "SET job:1 paid") == "OK"
    cache.check_output("sleep 2; systemctl kill -s KILL redis-server@frappe-queue; sleep 2")
    assert ask(host, "frappe-queue", "GET job:1") == "paid"


def test_the_package_instance_does_not_run(cache: Host) -> None:
    assert not cache.service("redis-server").is_enabled
    assert not cache.service("redis-server").is_running
    assert len(cache.process.filter(comm="redis-server")) == 3


def test_changes_apply_live_and_lose_nothing(host: Host, cache: Host, tmp_path: Path) -> None:
    def change(variables: dict[str, Any]) -> None:
        entry = instance_of(variables, "nextcloud")
        entry |= {"maxmemory_mb": 20, "maxmemory_policy": "noeviction", "persistence": "aof"}
        entry["users"][0]["password"] = "another-secret-of-the-test"
        entry["users"][1]["rules"] = "~maro:* ~bowbo:* +@all -@dangerous"
        instance_of(variables, "frappe-cache")["maxmemory_mb"] = 12

    ask(host, "frappe-cache", "SET warm yes")
    before = cache.check_output("pgrep -x redis-server | sort")
    result = converge(tmp_path, change=change)
    assert result.returncode == 0, result.stdout
    assert cache.check_output("pgrep -x redis-server | sort") == before
    assert ask(host, "frappe-cache", "GET warm") == "yes"
    assert ask(host, "nextcloud", "GET bowbo:greeting", password="another-secret-of-the-test") == "hello"
    assert ask(host, "nextcloud", "GET bowbo:greeting", user="maro") == "hello"
    assert "NOAUTH" in ask(host, "nextcloud", "GET bowbo:greeting")
    settings = cache.check_output("redis-admin nextcloud CONFIG GET maxmemory maxmemory-policy")
    assert "20971520" in settings
    assert "noeviction" in settings
    # From snapshots to an append-only file, and through a restart.
    cache.check_output("systemctl restart redis-server@nextcloud")
    assert ask(host, "nextcloud", "GET bowbo:greeting", user="maro") == "hello"
    # And back.
    result = converge(tmp_path)
    assert result.returncode == 0, result.stdout
    assert ask(host, "nextcloud", "GET bowbo:greeting") == "hello"
    cache.check_output("systemctl restart redis-server@nextcloud")
    assert ask(host, "nextcloud", "GET bowbo:greeting") == "hello"


def test_a_hand_edit_is_shown_and_repaired(host: Host, cache: Host, tmp_path: Path) -> None:
    cache.check_output("sed -i 's/^maxmemory-policy .*/maxmemory-policy volatile-lru/' /etc/redis/redis-nextcloud.conf")
    shown = converge(tmp_path, "--check", "--diff")
    assert shown.returncode == 0, shown.stdout
    assert re.findall(r"^[-+](?![-+]).*", shown.stdout, re.MULTILINE) == [
        "-maxmemory-policy volatile-lru",
        "+maxmemory-policy allkeys-lru",
    ]
    assert "changed=1 " in shown.stdout
    assert "changed=1 " in converge(tmp_path).stdout
    assert "allkeys-lru" in cache.check_output("grep maxmemory-policy /etc/redis/redis-nextcloud.conf")
    assert not [secret for secret in SECRETS if secret in shown.stdout]


def test_an_instance_is_stopped_and_its_data_kept(host: Host, cache: Host, tmp_path: Path) -> None:
    def change(variables: dict[str, Any]) -> None:
        entry = instance_of(variables, "frappe-queue")
        entry.clear()
        entry |= {"name": "frappe-queue", "state": "absent"}

    assert ask(host, "frappe-queue", "SET job:1 paid") == "OK"
    result = converge(tmp_path, change=change)
    assert result.returncode == 0, result.stdout
    assert "refused" in host.run("redis-cli -h cache -p 6380 PING").stderr
    assert not cache.service("redis-server@frappe-queue").is_enabled
    result = converge(tmp_path)
    assert result.returncode == 0, result.stdout
    assert ask(host, "frappe-queue", "GET job:1") == "paid"


BAD_INPUT = {
    "port": ("frappe-queue", {"port": 6379}, "frappe-cache and frappe-queue share port 6379"),
    "name": ("frappe-queue", {"name": "nextcloud"}, "Two entries of redis_instances are named nextcloud"),
    "memory": ("frappe-cache", {"maxmemory_mb": 2000}, "add up to 2024 MiB and the machine has 1024 MiB"),
    "eviction": ("frappe-queue", {"maxmemory_policy": "allkeys-lru"}, "frappe-queue would be kept on disk"),
    "policy": ("frappe-queue", {"maxmemory_policy": "lru"}, "must be one of"),
    "rules": ("nextcloud", {"users": [{"name": "a", "password": "b", "rules": "~* >c"}]}, "set a password"),
}


@pytest.mark.parametrize(("name", "values", "sentence"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_refused(name: str, values: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    result = converge(tmp_path, "--check", change=lambda variables: instance_of(variables, name).update(values))
    assert result.returncode != 0
    assert sentence in re.sub(r"\s+", " ", result.stdout + result.stderr)


def test_rules_that_redis_does_not_know_change_nothing(host: Host, cache: Host, tmp_path: Path) -> None:
    def change(variables: dict[str, Any]) -> None:
        instance_of(variables, "nextcloud")["users"][0]["rules"] = "~* +@nonsense"

    before = cache.check_output("sha256sum /etc/redis/users-nextcloud.acl")
    assert converge(tmp_path, change=change).returncode != 0
    assert cache.check_output("sha256sum /etc/redis/users-nextcloud.acl") == before
    assert ask(host, "nextcloud", "GET bowbo:greeting") == "hello"
