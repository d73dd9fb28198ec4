# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from testinfra.backend.base import CommandResult
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

INVENTORY = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"
CONVERGE = Path(__file__).parents[1] / "converge.yml"
PASSWORD = yaml.safe_load(CONVERGE.read_text())[0]["vars"]["test_password"]
CONFIGURATION = "/etc/mysql/mariadb.conf.d/90-onprem.cnf"


@pytest.fixture(scope="module")
def primary() -> Host:
    return AnsibleRunner(INVENTORY).get_host("primary")


@pytest.fixture(scope="module")
def replica() -> Host:
    return AnsibleRunner(INVENTORY).get_host("replica")


def converge(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ansible-playbook", "-i", INVENTORY, str(CONVERGE), *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0"},
    )


def sql(host: Host, statement: str) -> str:
    return host.check_output("mariadb --batch --skip-column-names --execute %s", statement)


def log_in(
    client: Host, server: str, user: str, statement: str, *options: str, password: str = PASSWORD
) -> CommandResult:
    """Log in from another machine, as the client does it by default: it verifies the server's certificate."""
    return client.run(
        f"MYSQL_PWD=%s mariadb --host %s --user %s --batch --skip-column-names {shlex.join(options)} --execute %s",
        password,
        server,
        user,
        statement,
    )


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def running_since(host: Host) -> str:
    return host.check_output("systemctl show --property ActiveEnterTimestampMonotonic,MainPID mariadb")


def certificate_shown(host: Host) -> str:
    shown = "openssl s_client -starttls mysql -unix /run/mysqld/mysqld.sock </dev/null 2>/dev/null"
    return host.check_output(f"{shown} | openssl x509 -noout -serial")


def status(replica: Host, field: str) -> str:
    lines = replica.check_output("mariadb --execute 'SHOW SLAVE STATUS\\G'").splitlines()
    return next(line.split(": ", 1)[1] for line in lines if line.strip().startswith(f"{field}: "))


def metrics(host: Host) -> str:
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9104/metrics').read().decode())"
    return host.check_output("python3 -c %s", script)


def assert_row_arrives(primary: Host, replica: Host, seconds: float) -> None:
    row = sql(primary, "INSERT INTO shop.goods () VALUES (); SELECT LAST_INSERT_ID()")
    assert eventually(lambda: sql(replica, f"SELECT COUNT(*) FROM shop.goods WHERE id = {row}") == "1", seconds)


@pytest.fixture(scope="module", autouse=True)
def goods(primary: Host) -> None:
    sql(primary, "CREATE TABLE IF NOT EXISTS shop.goods (id INT AUTO_INCREMENT PRIMARY KEY)")


def test_a_row_arrives_within_two_seconds(primary: Host, replica: Host) -> None:
    assert_row_arrives(primary, replica, 2)


def test_data_that_was_there_before_has_arrived(replica: Host) -> None:
    assert sql(replica, "SELECT word, old.twice(4) FROM old.kept") == "before\t8"


def test_replication_is_encrypted_and_verified(primary: Host, replica: Host) -> None:
    assert status(replica, "Master_SSL_Allowed") == status(replica, "Master_SSL_Verify_Server_Cert") == "Yes"
    encrypted = log_in(replica, "primary", "replication", "SHOW STATUS LIKE 'Ssl_version'")
    assert encrypted.stdout == "Ssl_version\tTLSv1.3\n", encrypted.stderr
    assert "Access denied" in log_in(replica, "primary", "replication", "SELECT 1", "--skip-ssl").stderr


def test_an_account_that_has_to_use_tls_cannot_do_without(replica: Host) -> None:
    assert log_in(replica, "primary", "strict", "SELECT 1").succeeded
    assert "Access denied" in log_in(replica, "primary", "strict", "SELECT 1", "--skip-ssl").stderr


def test_the_replica_refuses_writes_and_runs_no_events(primary: Host, replica: Host) -> None:
    answer = log_in(primary, "replica", "shop", "INSERT INTO shop.goods () VALUES ()")
    assert "--read-only" in answer.stderr
    assert sql(replica, "SELECT @@event_scheduler") == "OFF"


def test_an_account_reaches_its_database_only(replica: Host) -> None:
    assert log_in(replica, "primary", "shop", "INSERT INTO shop.goods () VALUES ()").succeeded
    assert "denied" in log_in(replica, "primary", "shop", "SELECT * FROM old.kept").stderr
    assert "denied" in log_in(replica, "primary", "shop", "SELECT 1", password="wrong").stderr


def test_new_databases_collate_as_the_old_ones(primary: Host) -> None:
    sql(primary, "CREATE OR REPLACE DATABASE plain CHARACTER SET utf8mb4")
    collation = "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = '%s'"
    assert sql(primary, collation % "plain") == sql(primary, collation % "shop") == "utf8mb4_unicode_ci"


def test_the_binary_log_is_purged_by_age_even_without_a_replica(primary: Host) -> None:
    answer = sql(primary, "SELECT @@binlog_format, @@binlog_expire_logs_seconds, @@slave_connections_needed_for_purge")
    assert answer == f"ROW\t{7 * 86400}\t0"


def test_no_secret_is_readable(replica: Host) -> None:
    credentials = replica.file("/etc/mysql/onprem-replication.cnf")
    assert (credentials.user, credentials.mode) == ("root", 0o600)


def test_metrics_answer(primary: Host, replica: Host) -> None:
    assert "\nmysql_up 1\n" in metrics(primary)
    assert "\nmysql_binlog_size_bytes" in metrics(primary)
    assert "\nmysql_slave_status_slave_sql_running{" in metrics(replica)


def test_a_hand_edit_is_shown_and_only_that(primary: Host) -> None:
    before = running_since(primary)
    primary.check_output(f"sed -i 's/^max_connections = .*/max_connections = 7/' {CONFIGURATION}")
    shown = converge("--check", "--diff", "--tags", "mariadb").stdout
    assert "-max_connections = 7" in shown
    assert shown.count("changed: [") == 1
    # The run repairs it, and everything else that it changes here takes no restart either.
    serial = certificate_shown(primary)
    changes = {
        "test_memory_mb": 760,
        "test_replication_password": "changed",
        "test_shop_password": "changed",
        "tls_certificate_validity_days": 400,
        "tls_renewal_days": 380,
    }
    result = converge("--tags", "tls,mariadb", "-e", json.dumps(changes))
    assert result.returncode == 0, result.stdout
    assert certificate_shown(primary) != serial
    assert not primary.file(CONFIGURATION).contains("max_connections = 7")
    assert sql(primary, "SELECT @@innodb_buffer_pool_size") == str(256 * 1048576)
    assert running_since(primary) == before


def test_a_changed_password_counts(primary: Host, replica: Host) -> None:
    assert log_in(replica, "primary", "shop", "SELECT 1", password="changed").succeeded
    assert not log_in(replica, "primary", "shop", "SELECT 1").succeeded
    sql(replica, "STOP SLAVE; START SLAVE")
    assert_row_arrives(primary, replica, 10)


def test_a_wiped_replica_is_seeded_from_the_running_primary(primary: Host, replica: Host) -> None:
    before = running_since(primary)
    rows = sql(primary, "SELECT COUNT(*) FROM shop.goods")
    replica.check_output("rm -rf /var/lib/mysql/*")
    result = converge("--tags", "mariadb")
    assert result.returncode == 0, result.stdout
    assert sql(replica, "SELECT COUNT(*) FROM shop.goods") == rows
    assert sql(replica, "SELECT word, old.twice(4) FROM old.kept") == "before\t8"
    assert_row_arrives(primary, replica, 2)
    assert running_since(primary) == before
    assert "\nmysql_up 1\n" in metrics(replica)


def test_a_replica_that_stopped_at_an_error_is_left_alone(primary: Host, replica: Host) -> None:
    row = sql(primary, "SELECT MAX(id) + 100 FROM shop.goods")
    sql(replica, f"SET sql_log_bin = 0; INSERT INTO shop.goods VALUES ({row})")
    sql(primary, f"INSERT INTO shop.goods VALUES ({row})")
    assert eventually(lambda: status(replica, "Slave_SQL_Running") == "No", 10)
    result = converge("--limit", "replica", "--tags", "mariadb")
    assert result.returncode != 0
    assert f"Duplicate entry '{row}'" in result.stdout
    assert status(replica, "Slave_SQL_Running") == "No"


def test_a_server_with_data_becomes_a_replica_only_when_told(primary: Host, replica: Host) -> None:
    sql(replica, "STOP SLAVE; RESET SLAVE ALL; SET sql_log_bin = 0; CREATE DATABASE own")
    result = converge("--limit", "replica", "--tags", "mariadb")
    assert result.returncode != 0
    assert "replicates from nobody and holds" in result.stdout
    assert "own" in sql(replica, "SHOW DATABASES").split()
    result = converge("--limit", "replica", "--tags", "mariadb", "-e", "mariadb_replica_reseed=true")
    assert result.returncode == 0, result.stdout
    assert "own" not in sql(replica, "SHOW DATABASES").split()
    assert replica.check_output("ls -d /var/lib/mysql.*/own")
    assert_row_arrives(primary, replica, 2)


def test_an_unfinished_seed_is_done_again(primary: Host, replica: Host) -> None:
    sql(replica, "STOP SLAVE; RESET SLAVE ALL; SET sql_log_bin = 0; DROP TABLE shop.goods")
    replica.check_output("touch /var/lib/mysql/.onprem-seed")
    result = converge("--limit", "replica", "--tags", "mariadb")
    assert result.returncode == 0, result.stdout
    assert_row_arrives(primary, replica, 2)
    assert not replica.file("/var/lib/mysql/.onprem-seed").exists
