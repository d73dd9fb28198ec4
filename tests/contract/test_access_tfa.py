# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Second factors."""

from __future__ import annotations

import base64
import urllib.parse

import pytest
from ansible_collections.onprem.cloud.plugins.modules.pve_tfa import code

from tests.contract import pvesh
from tests.contract.life import Life, whole_life

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
OTHER = "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"
PHONE = {"userid": "ada@pve", "description": "phone"}


@pytest.fixture(autouse=True)
def ada(run):
    run("pve_user", {"userid": "ada@pve", "password": "ada's secret"})


@pytest.fixture
def login(run, monkeypatch):
    """As whom second factors can be changed; logging in is no request that the tests are about."""
    api, requests = run.api, run.api.requests
    monkeypatch.setattr(api, "requests", lambda: [item for item in requests() if item.path != "/access/ticket"])
    api.pve.password = "what root types"
    return {"api_password": api.pve.password}


def enrolled(run):
    (entry,) = run.api.pve.factors["ada@pve"].values()
    uri = urllib.parse.urlparse(entry["uri"])
    return urllib.parse.unquote(uri.path), dict(urllib.parse.parse_qsl(uri.query))


@pytest.mark.parametrize(
    ("moment", "algorithm", "expected"),
    [
        (59, "sha1", "94287082"),
        (1111111109, "sha1", "07081804"),
        (20000000000, "sha1", "65353130"),
        (59, "sha256", "46119246"),
        (1234567890, "sha256", "91819424"),
        (59, "sha512", "90693936"),
        (2000000000, "sha512", "38618901"),
    ],
)
def test_codes_are_those_of_rfc_6238(moment, algorithm, expected):
    length = {"sha1": 20, "sha256": 32, "sha512": 64}[algorithm]
    seed = base64.b32encode((b"1234567890" * 7)[:length]).decode().rstrip("=")
    assert code(seed, moment, 8, 30, algorithm) == expected


def test_whole_life(run, login):
    given = {"secret": SECRET, "enable": True}
    spellings = [{"secret": f" {SECRET[:8].lower()}-{SECRET[8:]} "}]
    whole_life(run, Life("pve_tfa", {**PHONE, **login}, given, {"enable": False}, spellings))


def test_what_is_enrolled_is_what_an_app_takes(run, login):
    run("pve_tfa", {**PHONE, **login, "secret": SECRET})
    label, query = enrolled(run)
    assert label == "/Proxmox VE:ada@pve"
    assert query == {"secret": SECRET, "issuer": "Proxmox VE", "digits": "6", "period": "30", "algorithm": "SHA1"}


def test_other_forms_of_codes_are_enrolled_too(run, login):
    how = {"digits": 8, "period": 60, "algorithm": "sha512", "issuer": "Büro"}
    run("pve_tfa", {**PHONE, **login, "secret": SECRET, **how})
    label, query = enrolled(run)
    assert label == "/Büro:ada@pve"
    assert query == {"secret": SECRET, "issuer": "Büro", "digits": "8", "period": "60", "algorithm": "SHA512"}


def test_another_secret_replaces_the_first_only_when_told_so(run, login):
    run("pve_tfa", {**PHONE, **login, "secret": SECRET, "enable": False})
    assert not run("pve_tfa", {**PHONE, **login, "secret": OTHER})["changed"]
    run.api.requests()
    again = {**PHONE, **login, "secret": OTHER, "update_password": "always"}
    assert run("pve_tfa", again, check=True)["diff"]["after"] == {"secret": "(hidden)"}
    assert enrolled(run)[1]["secret"] == SECRET
    run.api.requests()
    assert run("pve_tfa", again)["diff"]["after"] == {"secret": "(hidden)"}
    assert [request.method for request in run.api.writes()] == ["POST", "PUT", "DELETE"]
    assert enrolled(run)[1]["secret"] == OTHER
    (entry,) = run.api.pve.factors["ada@pve"].values()
    assert entry["enable"] == 0


def test_enrolments_with_other_descriptions_and_of_other_kinds_are_left_alone(run, login):
    run("pve_tfa", {**PHONE, **login, "secret": SECRET})
    run.api.pve.factors["ada@pve"]["key"] = {"id": "key", "type": "webauthn", "description": "phone", "created": 9}
    run("pve_tfa", {**PHONE, **login, "description": "tablet", "secret": OTHER})
    run("pve_tfa", {**PHONE, **login, "state": "absent"})
    left = {(entry["type"], entry["description"]) for entry in run.api.pve.factors["ada@pve"].values()}
    assert left == {("webauthn", "phone"), ("totp", "tablet")}


def test_users_change_their_own_with_their_password(run):
    own = {"api_user": "ada@pve", "api_password": "ada's secret"}
    assert run("pve_tfa", {**PHONE, **own, "secret": SECRET})["changed"]
    assert run("pve_tfa", {**PHONE, **own, "enable": False})["changed"]
    assert run("pve_tfa", {**PHONE, **own, "state": "absent"})["changed"]
    assert "ada's secret" not in run.output


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("given", [{"secret": OTHER, "description": "tablet"}, {"enable": False}, {"state": "absent"}])
def test_a_token_is_refused_before_the_first_write(run, login, given, check):
    run("pve_tfa", {**PHONE, **login, "secret": SECRET})
    run.api.requests()
    message = run.fails("pve_tfa", {**PHONE, **given}, check=check)
    assert [word for word in ("of 'ada@pve'", "API token", "api_password", "'local'") if word not in message] == []
    assert run.api.writes() == []


PVESH = """#!/bin/sh
calls="$(dirname "$0")/calls"
echo "$@" >> "$calls"
case "$1" in
  get) if grep -q ^set "$calls"; then echo '[{"id":"1","type":"totp","description":"phone","enable":0}]'
       else echo '[{"id":"1","type":"totp","description":"phone"}]'; fi ;;
esac
"""


def test_root_on_the_node_needs_no_password(run, tmp_path, monkeypatch):
    program = tmp_path / "pvesh"
    program.write_text(PVESH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert run("pve_tfa", {**PHONE, "enable": False, "api_backend": "local"})["changed"]
    calls = (tmp_path / "calls").read_text()
    assert "set /access/tfa/ada@pve/1 -enable 0" in calls
    assert "-password" not in calls


def test_root_on_the_node_enrolls_without_a_secret_on_a_command_line(run, tmp_path, monkeypatch):
    calls = pvesh.stand_in(run.api, tmp_path, monkeypatch)
    assert run("pve_tfa", {**PHONE, "secret": SECRET, "api_backend": "local"})["changed"]
    assert enrolled(run)[1]["secret"] == SECRET
    assert "perl -e" in calls.read_text()
    assert [word for word in (SECRET, "otpauth", "-value") if word in calls.read_text()] == []
    refused = {"userid": "ghost@pve", "description": "phone", "secret": SECRET, "api_backend": "local"}
    assert "no such user ('ghost@pve')" in run.fails("pve_tfa", refused)
    assert SECRET not in run.output


def test_a_token_that_finds_nothing_to_do_succeeds(run, login):
    run("pve_tfa", {**PHONE, **login, "secret": SECRET})
    assert not run("pve_tfa", {**PHONE, "secret": SECRET, "enable": True})["changed"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["secret is missing"]),
        ({"secret": "not base 32: 0189"}, ["secret", "not base32", "A to Z"]),
        ({"secret": SECRET, "period": 0}, ["period is 0", "such as 30"]),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_second_factor_that_cannot_be_is_refused_before_the_first_write(run, login, given, words, check):
    run.api.requests()
    message = run.fails("pve_tfa", {**PHONE, **login, **given}, check=check)
    assert [word for word in ["second factor 'phone' of 'ada@pve'", *words] if word not in message] == []
    assert run.api.writes() == []
    assert "0189" not in message


def test_no_secret_of_a_second_factor_is_shown(run, login):
    run("pve_tfa", {**PHONE, **login, "secret": SECRET})
    run("pve_tfa", {**PHONE, **login, "secret": OTHER, "update_password": "always"})
    run("pve_tfa", {**PHONE, **login, "secret": OTHER.lower(), "enable": False})
    run.fails("pve_tfa", {**PHONE, **login, "userid": "ghost@pve", "secret": SECRET})
    assert [secret for secret in (SECRET, OTHER, OTHER.lower(), "otpauth") if secret in run.output] == []
