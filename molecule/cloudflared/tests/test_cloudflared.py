# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody outside sees of the published names. cloudflared and Cloudflare's network are stand-ins (../*.py)."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = ["outside"]

INVENTORY = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"
PLAY: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "converge.yml").read_text())[0]
CREDENTIALS = PLAY["vars"]["cloudflared_credentials"]
SECRET = CREDENTIALS["TunnelSecret"]
TOKEN = base64.b64encode(
    json.dumps({"a": CREDENTIALS["AccountTag"], "t": CREDENTIALS["TunnelID"], "s": SECRET}).encode()
).decode()
ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request("http://127.0.0.1/" + sys.argv[2], headers={"Host": sys.argv[1]})
try:
    print(urllib.request.urlopen(request, timeout=5).read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"""


# With the one outside, so that all tests run in their order.
@pytest.fixture(scope="module")
def tunnel(host: Host) -> Host:
    return AnsibleRunner(INVENTORY).get_host("tunnel")


def converge(tmp_path: Path, *options: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Run the scenario's play, with its variables changed."""
    play = copy.deepcopy(PLAY)
    play["vars"] |= changes
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play], sort_keys=False))
    return subprocess.run(
        ["ansible-playbook", "--diff", *options, "-i", INVENTORY, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_PIPELINING": "1"},
    )


def said(run: subprocess.CompletedProcess[str]) -> str:
    return re.sub(r"\s+", " ", run.stdout + run.stderr)


def visit(outside: Host, hostname: str, path: str = "") -> str:
    return outside.check_output("python3 -c %s %s %s", ASK, hostname, path)


def test_published_names_are_served_and_nothing_else(host: Host) -> None:
    assert visit(host, "cloud.example.com") == "This is cloud."
    assert visit(host, "any.shops.example.com") == "This is shop."
    assert visit(host, "cloud.example.com", "missing") == "404"
    assert visit(host, "other.example.com") == "404"


def test_it_runs_without_root_and_keeps_its_secret(tunnel: Host) -> None:
    assert tunnel.check_output("ps -o user= -p $(systemctl show -P MainPID cloudflared)") == "cloudflared"
    credentials = tunnel.file("/etc/cloudflared/credentials.json")
    assert (credentials.user, credentials.mode) == ("cloudflared", 0o600)
    assert SECRET not in tunnel.check_output("ps axeww; journalctl --no-pager")
    assert tunnel.check_output(f"grep -rlsF {SECRET} /etc /opt") == "/etc/cloudflared/credentials.json"
    assert "127.0.0.1:20241" in tunnel.check_output("ss -Hlnt sport = :20241")


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"hostname": "b.example.com", "service": "127.0.0.1:80"}, "is an invalid address"),
        (
            {"hostname": "b.example.com", "service": "http://127.0.0.1", "originRequest": {"caPol": "x"}},
            "field caPol not found",
        ),
    ],
)
def test_rules_that_cloudflared_refuses_change_nothing(
    host: Host, tunnel: Host, tmp_path: Path, rule: dict[str, Any], sentence: str
) -> None:
    before = tunnel.file("/etc/cloudflared/config.yml").content_string
    run = converge(tmp_path, cloudflared_ingress=[rule, *PLAY["vars"]["cloudflared_ingress"]])
    assert run.returncode != 0
    assert sentence in said(run)
    assert tunnel.file("/etc/cloudflared/config.yml").content_string == before
    assert visit(host, "cloud.example.com") == "This is cloud."


CLOUD = {"hostname": "cloud.example.com", "service": "http://127.0.0.1:8001"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cloudflared_token": TOKEN}, "give either cloudflared_token"),
        ({"cloudflared_token": TOKEN[:-4], "cloudflared_credentials": {}}, "cloudflared_token is no tunnel's token"),
        ({"cloudflared_credentials": {"TunnelID": "x"}}, "cloudflared_credentials has to be the content"),
        ({"cloudflared_ingress": [CLOUD, CLOUD]}, "has cloud.example.com twice"),
        ({"cloudflared_ingress": [{**CLOUD, "hostname": "Cloud"}]}, "has the hostname 'Cloud'"),
        ({"cloudflared_origin_request": {"caPool": "/etc/none.crt"}}, "caPool names /etc/none.crt"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_done(
    tunnel: Host, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    run = converge(tmp_path, **changes)
    assert run.returncode != 0
    assert sentence in said(run)
    assert "changed=0 " in run.stdout
    assert SECRET not in run.stdout


def test_a_change_is_shown_and_made(host: Host, tmp_path: Path) -> None:
    changes = {"cloudflared_ingress": [{**CLOUD, "service": "http://127.0.0.1:8002"}]}
    shown = converge(tmp_path, "--check", **changes)
    assert shown.returncode == 0, shown.stdout
    assert "-  service: http://127.0.0.1:8001" in shown.stdout
    assert visit(host, "cloud.example.com") == "This is cloud."
    run = converge(tmp_path, **changes)
    assert run.returncode == 0, run.stdout
    assert visit(host, "cloud.example.com") == "This is shop."
    assert visit(host, "any.shops.example.com") == "404"
    assert converge(tmp_path).returncode == 0


def test_an_upgrade_goes_on_serving(host: Host, tunnel: Host, tmp_path: Path) -> None:
    run = converge(tmp_path, cloudflared_version="2026.8.2")
    assert run.returncode == 0, run.stdout
    assert visit(host, "cloud.example.com") == "This is cloud."
    metrics = (
        "python3 -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:20241/metrics').read().decode())\""
    )
    assert 'version="2026.8.2"' in tunnel.check_output(metrics)
    assert "changed=0 " in converge(tmp_path, cloudflared_version="2026.8.2").stdout


def test_a_secret_that_cloudflare_refuses_fails_the_run(tunnel: Host, tmp_path: Path) -> None:
    changes = {"cloudflared_credentials": {**CREDENTIALS, "TunnelSecret": "bm90IHRoZSBzZWNyZXQ="}}
    run = converge(tmp_path, **changes, cloudflared_connection_seconds=4)
    assert run.returncode != 0
    assert "Status code was 503" in said(run)


def test_a_token_replaces_the_credentials(tunnel: Host, tmp_path: Path) -> None:
    changes = {"cloudflared_token": TOKEN, "cloudflared_credentials": {}, "cloudflared_ingress": []}
    run = converge(tmp_path, **changes)
    assert run.returncode == 0, run.stdout
    token = tunnel.file("/etc/cloudflared/token")
    assert (token.user, token.mode) == ("cloudflared", 0o600)
    assert not tunnel.file("/etc/cloudflared/credentials.json").exists
    assert TOKEN not in tunnel.check_output("ps axeww; journalctl --no-pager") + run.stdout
    assert "changed=0 " in converge(tmp_path, **changes).stdout
