# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.backend.base import CommandResult
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

testinfra_hosts = ["application"]

INVENTORY = os.environ["MOLECULE_EPHEMERAL_DIRECTORY"] + "/inventory"
SCENARIO = Path(__file__).parents[1]
SITES: list[dict[str, Any]] = yaml.safe_load((SCENARIO / "files/sites.yml").read_text())
# Says hello through the proxy by a WebSocket and prints what comes back.
WEBSOCKET = """
import socket, ssl
raw = socket.create_connection(("proxy", 443))
raw = ssl.create_default_context().wrap_socket(raw, server_hostname="app.example.test")
raw.sendall(b"GET /live HTTP/1.1\\r\\nHost: app.example.test\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n")
answer = b""
while b"\\r\\n\\r\\n" not in answer:
    answer += raw.recv(4096)
raw.sendall(b"\\x81\\x05hello")
print(answer.decode().splitlines()[0], b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer, raw.recv(4096))
"""
# Logs in as a person does: the form, its token, and the page behind it.
LOGIN = """
import html, http.cookiejar, re, sys, urllib.error, urllib.parse, urllib.request
user, password = sys.argv[1:]
url = "https://phpmyadmin.example.test/"
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
def field(name, page):
    return html.unescape(re.search(f'name="{name}" value="([^"]*)"', page).group(1))
page = opener.open(url).read().decode()
form = {"pma_username": user, "pma_password": password, "server": "1"}
form |= {name: field(name, page) for name in ("token", "set_session")}
page = opener.open(url + "index.php?route=/", urllib.parse.urlencode(form).encode()).read().decode()
print(re.sub(r"<[^>]+>|\\\\s+", " ", page))
if "logged_in:true" in page:
    print("DATABASES", opener.open(url + "index.php?route=/server/databases").read().decode())
"""


@pytest.fixture(scope="module")
def proxy() -> Host:
    return AnsibleRunner(INVENTORY).get_host("proxy")


@pytest.fixture(scope="module", autouse=True)
def _names() -> None:
    """The names lead to the proxy, as the site's DNS would have it."""
    host = AnsibleRunner(INVENTORY).get_host("application")
    names = " ".join(name for site in SITES for name in [*site["names"], *site.get("aliases", [])])
    host.check_output(f"echo $(getent hosts proxy | cut -d' ' -f1) {names} stranger.example.test >> /etc/hosts")


def converge(change: Any = None, *options: str, role: str = "reverse_proxy") -> subprocess.CompletedProcess[str]:
    extra = ["--tags", role, *(["-e", json.dumps(change)] if change else [])]
    return subprocess.run(
        ["ansible-playbook", "-i", INVENTORY, str(SCENARIO / "converge.yml"), *extra, *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0"},
    )


def changed(**values: Any) -> dict[str, Any]:
    """The sites, the first of them with other values."""
    return {"reverse_proxy_sites": [{**SITES[0], **values}, *SITES[1:]]}


def curl(host: Host, *arguments: str) -> CommandResult:
    return host.run("curl --silent --show-error --max-time 20 " + " ".join(["%s"] * len(arguments)), *arguments)


def told(host: Host, *arguments: str) -> dict[str, Any]:
    """What the application says reached it."""
    answer: dict[str, Any] = json.loads(curl(host, "--fail", *arguments).stdout)
    return answer


def status(host: Host, *arguments: str) -> str:
    return curl(host, "--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}", *arguments).stdout.strip()


def test_a_name_is_served_over_tls_and_plain_http_is_sent_there(host: Host) -> None:
    assert told(host, "https://app.example.test/some/path?x=1")["path"] == "/some/path?x=1"
    assert told(host, "https://application.example.test/")["headers"]["host"] == "application.example.test"
    assert status(host, "http://app.example.test/some?x=1") == "301 https://app.example.test/some?x=1"
    assert (
        curl(host, "--write-out", "%{http_version}", "--output", "/dev/null", "https://app.example.test/").stdout == "2"
    )


def test_a_name_that_nobody_published_is_refused(host: Host) -> None:
    assert "unrecognized name" in curl(host, "https://stranger.example.test/").stderr
    assert status(host, "http://stranger.example.test/") == "404"


def test_old_tls_is_refused(host: Host) -> None:
    client = "openssl s_client -connect proxy:443 -servername app.example.test %s </dev/null"
    assert host.run(client, "-tls1_2").succeeded
    assert not host.run(client, "-tls1_1").succeeded


def test_every_answer_has_the_security_headers_once(host: Host) -> None:
    def headers(url: str) -> list[str]:
        return curl(host, "--head", "--request", "GET", url).stdout.lower().split("\r\n")

    usual = headers("https://cloud.example.test/")
    assert "strict-transport-security: max-age=31536000" in usual
    assert "x-content-type-options: nosniff" in usual
    assert "x-frame-options: sameorigin" in usual
    assert not [line for line in usual if line.startswith("server: nginx/")]
    # What the application says itself counts.
    strict = headers("https://cloud.example.test/strict")
    assert [line for line in strict if line.startswith("x-frame-options")] == ["x-frame-options: deny"]
    # Unless the site says otherwise.
    own = headers("https://app.example.test/strict")
    assert "content-security-policy: default-src 'self'" in own
    assert not [line for line in own if line.startswith("x-frame-options")]


def test_the_application_knows_its_client_whatever_that_claims(host: Host) -> None:
    claims = ("--header", "X-Forwarded-For: 203.0.113.9", "--header", "X-Real-IP: 203.0.113.9")
    headers = told(host, *claims, "https://app.example.test/")["headers"]
    address = host.check_output("getent hosts application | cut -d' ' -f1")
    assert (headers["x-forwarded-for"], headers["x-real-ip"]) == (address, address)
    assert (headers["x-forwarded-proto"], headers["x-forwarded-host"]) == ("https", "app.example.test")


def test_a_trusted_proxy_is_believed(host: Host) -> None:
    address = host.check_output("getent hosts application | cut -d' ' -f1")
    assert converge({"reverse_proxy_trusted_proxies": [address]}).returncode == 0
    headers = told(host, "--header", "X-Forwarded-For: 203.0.113.9", "https://app.example.test/")["headers"]
    assert headers["x-forwarded-for"] == "203.0.113.9"
    assert converge().returncode == 0


def test_uploads_are_limited_where_the_site_says_so(host: Host) -> None:
    host.check_output("truncate --size 5M /root/upload")
    upload = ("--data-binary", "@/root/upload", "--header", "Expect:")
    assert status(host, *upload, "https://app.example.test/") == "413"
    assert told(host, *upload, "https://cloud.example.test/")["length"] == 5242880


def test_a_websocket_goes_through(host: Host) -> None:
    assert host.check_output("python3 -c %s", WEBSOCKET) == "HTTP/1.1 101 Switching Protocols True b'\\x81\\x05hello'"


def test_an_application_that_is_down_is_left_out(host: Host) -> None:
    for _attempt in range(6):
        assert told(host, "https://cloud.example.test/")["port"] == 8000


def test_an_application_with_tls_is_verified(host: Host) -> None:
    assert told(host, "https://secure.example.test/")["port"] == 8443
    assert told(host, "https://secure.example.test/plain/x")["port"] == 8000
    assert status(host, "https://doubtful.example.test/") == "502"


def test_a_site_is_for_its_networks_only(host: Host) -> None:
    assert status(host, "https://internal.example.test/") == "403"


def test_static_sites_aliases_and_redirects(host: Host, proxy: Host) -> None:
    proxy.check_output("mkdir -p /srv/static && echo hello > /srv/static/index.html && echo other > /srv/static/file")
    assert curl(host, "https://static.example.test/").stdout == "hello\n"
    assert curl(host, "https://static.example.test/file").stdout == "other\n"
    assert curl(host, "https://static.example.test/no/such/page").stdout == "hello\n"
    assert status(host, "https://old.example.test/x?y=1") == "301 https://app.example.test/x?y=1"
    assert status(host, "https://moved.example.test/x") == "301 https://static.example.test/x"


def test_the_status_is_for_the_machine_itself(host: Host, proxy: Host) -> None:
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8081/status').read().decode())"
    assert "Active connections" in proxy.check_output("python3 -c %s", code)
    assert not curl(host, "http://proxy:8081/status").succeeded


def test_a_renewed_certificate_is_shown(host: Host, proxy: Host) -> None:
    client = "openssl s_client -connect proxy:443 -servername app.example.test </dev/null 2>/dev/null"
    shown = f"{client} | openssl x509 -noout -serial"
    before = host.check_output(shown)
    proxy.check_output("rm /etc/onprem/tls/app.example.test.crt && systemctl start onprem-certificates && sleep 1")
    assert host.check_output(shown) != before
    assert told(host, "https://app.example.test/")["port"] == 8000


def test_a_hand_edit_is_shown_and_repaired(host: Host, proxy: Host) -> None:
    proxy.check_output("sed -i 's/client_max_body_size 1m;/client_max_body_size 9m;/' /etc/nginx/conf.d/onprem.conf")
    result = converge(None, "--check", "--diff")
    assert re.findall(r"^[-+](?![-+]).*", result.stdout, re.MULTILINE) == [
        "-    client_max_body_size 9m;",
        "+    client_max_body_size 1m;",
    ]
    # The file, and the reload.
    assert "changed=2 " in converge().stdout


BAD_INPUT = {
    "twice": ({"names": ["cloud.example.test"]}, "cloud.example.test stands in more than one place"),
    "name": ({"names": ["https://app.example.test"]}, "will not do"),
    "both": ({"root": "/srv"}, "must have exactly one of upstreams, root and redirect"),
    "upstream": ({"upstreams": ["application:8000"]}, "must be of the form http://ADDRESS:PORT"),
    "mixed": ({"upstreams": ["http://a:1", "https://b:2"]}, "all upstreams of one site or path of the same kind"),
    "network": ({"allowed_networks": ["intranet"]}, "intranet is no address and no network"),
    "certificate": ({"certificate": "/etc/no.crt", "key": "/etc/no.key"}, "/etc/no.crt, /etc/no.key is not there"),
    "host": ({"upstreams": ["http://nobody.example.test:1"]}, "host not found in upstream"),
}


@pytest.mark.parametrize(("values", "sentence"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_refused_and_the_sites_stay(
    host: Host, proxy: Host, values: dict[str, Any], sentence: str
) -> None:
    before = proxy.check_output("sha256sum /etc/nginx/conf.d/onprem.conf")
    result = converge(changed(**values))
    assert result.returncode != 0
    assert sentence in re.sub(r"\s+", " ", result.stdout + result.stderr)
    assert proxy.check_output("sha256sum /etc/nginx/conf.d/onprem.conf") == before
    assert told(host, "https://app.example.test/")["port"] == 8000


def test_a_site_that_is_no_longer_listed_is_no_longer_served(host: Host) -> None:
    assert converge({"reverse_proxy_sites": SITES[1:]}).returncode == 0
    assert "unrecognized name" in curl(host, "https://app.example.test/").stderr
    assert told(host, "https://cloud.example.test/")["port"] == 8000
    assert converge().returncode == 0


def test_probes_see_what_users_see(host: Host) -> None:
    def probe(hostname: str, target: str = "https://proxy/") -> dict[str, float]:
        url = f"http://127.0.0.1:9115/probe?module=web&target={target}&hostname={hostname}"
        lines = curl(host, "--fail", url).stdout.splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    open_to_all = probe("app.example.test")
    assert open_to_all["probe_success"] == 1
    assert 89 < (open_to_all["probe_ssl_earliest_cert_expiry"] - time.time()) / 86400 < 91
    assert probe("moved.example.test")["probe_success"] == 1
    for broken in ("doubtful.example.test", "internal.example.test", "stranger.example.test"):
        assert probe(broken)["probe_success"] == 0
    # An answer without TLS, and one with a certificate of another name, are none.
    assert probe("application", "http://application:8000/")["probe_success"] == 0
    assert probe("app.example.test", "https://application:8443/")["probe_success"] == 0
    assert probe("application", "https://application:8443/")["probe_success"] == 1


def test_phpmyadmin_logs_in_to_the_database_and_shows_it(host: Host) -> None:
    page = host.check_output("python3 -c %s ada only-for-this-scenario", LOGIN)
    assert "DATABASES" in page
    assert 'data-filter-row="SHOP"' in page


def test_phpmyadmin_refuses_a_wrong_password_and_root(host: Host) -> None:
    assert "Access denied for user" in host.check_output("python3 -c %s ada wrong", LOGIN)
    assert "Access denied" in host.check_output("python3 -c %s root anything", LOGIN)


def test_phpmyadmin_is_reached_through_the_proxy_only(host: Host) -> None:
    assert status(host, "http://application/") == "403"
    assert status(host, "https://phpmyadmin.example.test/") == "200"
    for inside in ("libraries/", "templates/", "vendor/", "setup/"):
        assert status(host, f"https://phpmyadmin.example.test/{inside}") == "403"


def test_phpmyadmin_without_its_database_is_refused_before_anything_changes(host: Host) -> None:
    server = {"name": "shop", "host": "application", "port": 3999}
    result = converge({"phpmyadmin_servers": [server]}, role="phpmyadmin")
    assert result.returncode != 0
    assert "the database server shop does not answer on application port 3999" in re.sub(r"\s+", " ", result.stdout)
    assert "changed=1" not in converge(role="phpmyadmin").stdout
