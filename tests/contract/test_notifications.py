# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where notifications go, and which of them."""

from __future__ import annotations

import base64
import json

import pytest

from tests.contract.life import Life, limited, lives, nothing, whole_life
from tests.lab.cluster import ENDPOINTS, MATCHERS

ENDPOINT, MATCHER = "pve_notification_endpoint", "pve_notification_matcher"
SECRET = "correct-horse-battery-staple"
OTHER = "another-horse-and-its-staple"
SMTP = {
    "name": "office",
    "type": "smtp",
    "server": "mail.example.com",
    "from_address": "pve@example.com",
    "mailto": ["ops@example.com"],
    "username": "pve",
    "password": SECRET,
}
WEBHOOK = {
    "name": "chat",
    "type": "webhook",
    "method": "post",
    "url": "https://chat.example.com/{{ title }}",
    "header": {"Content-Type": "application/json", "X-Key": "{{ secrets.key }}"},
    "body": '{"text": "{{ title }}"}',
    "secret": {"key": SECRET},
}
GOTIFY = {"name": "phone", "type": "gotify", "server": "https://gotify.example.com", "token": SECRET}


LIVES = (
    Life(
        ENDPOINT,
        {"name": "local-mail"},
        {
            "type": "sendmail",
            "mailto": ["ops@example.com", "boss@example.com"],
            "mailto_user": ["root@pam"],
            "comment": "on the node",
        },
        {
            "mailto": ["ops@example.com"],
            "mailto_user": ["root@pam", "ada@pve"],
            "comment": "elsewhere",
            "disable": True,
            "from_address": "pve@example.com",
            "author": "The cluster",
        },
        spellings=[
            {"mailto": ["boss@example.com", "ops@example.com", "ops@example.com"]},
            {"mailto": "ops@example.com,boss@example.com"},
            {"disable": False},
            {"type": None},
            {"comment": " on the node "},
        ],
        removed=["comment", "from_address", "author", "mailto_user"],
    ),
    Life(
        ENDPOINT,
        {"name": "office"},
        {**SMTP, "port": 2525},
        {
            "server": "192.0.2.25",
            "from_address": "cluster@example.com",
            "mailto": ["ops@example.com", "boss@example.com"],
            "port": 26,
            "mode": "starttls",
            "comment": "through the office",
            "author": "The cluster",
        },
        spellings=[{"mode": "tls"}, {"port": "2525"}, {"password": OTHER}],
        removed=["comment", "author"],
    ),
    Life(
        ENDPOINT,
        {"name": "phone"},
        GOTIFY,
        {"server": "https://192.0.2.26", "comment": "on call", "disable": True},
        spellings=[{"token": OTHER}, {"comment": ""}],
        removed=["comment"],
    ),
    Life(
        ENDPOINT,
        {"name": "chat"},
        WEBHOOK,
        {
            "url": "https://192.0.2.27/hook",
            "method": "put",
            "header": {"Content-Type": "text/plain", "X-Key": "{{ secrets.key }}"},
            "body": "{{ title }}",
            "secret": {"key": SECRET, "user": OTHER},
            "comment": "the team",
            "disable": True,
        },
        spellings=[
            {"header": {"X-Key": "{{ secrets.key }}", "Content-Type": "application/json"}},
            {"secret": {"key": OTHER}},
        ],
        removed=["comment", "header", "body", "secret"],
    ),
    Life(
        MATCHER,
        {"name": "backups"},
        {
            "target": ["mail-to-root"],
            "comment": "failed backups",
            "match_severity": ["error, warning", "info"],
            "match_field": ["exact:type=vzdump,replication", "regex:hostname=^pve.*$"],
            "match_calendar": ["mon..fri 8-17", "sat 10-12"],
        },
        {
            "comment": "all backups",
            "disable": True,
            "target": [],
            "mode": "any",
            "invert_match": True,
            "match_field": ["exact:type=vzdump"],
            "match_severity": ["info,notice"],
            "match_calendar": ["sun 8-17"],
        },
        spellings=[
            {"match_severity": ["info", "warning,error"]},
            {"match_field": ["regex:hostname=^pve.*$", "exact:type=replication, vzdump"]},
            {"match_calendar": ["sat  10-12", "mon..fri  8-17"]},
            {"mode": "all"},
            {"disable": False, "invert_match": False},
        ],
        removed=["comment", "target", "match_field", "match_severity", "match_calendar"],
    ),
    Life(
        MATCHER,
        {"name": "default-matcher"},
        {"comment": "the cluster's mail", "match_severity": "error,warning"},
        {"disable": True, "mode": "any", "target": []},
        spellings=[{"match_severity": ["warning,error"]}],
        removed=["comment", "match_severity"],
    ),
)


@lives(*LIVES)
def test_whole_life(run, life):
    whole_life(run, life)


@lives(*LIVES)
def test_the_documented_privileges_are_enough_and_necessary(run, life):
    privileges = {"Mapping_Modify": "/mapping/notifications"}
    if life.module == ENDPOINT:
        privileges["Sys_AccessNetwork"] = "/"
    whole_life(run, limited(run, life, **privileges))
    for privilege in privileges:
        fewer = limited(run, life, **{name: path for name, path in privileges.items() if name != privilege})
        assert "privilege" in run.fails(life.module, {**fewer.ident, **life.created})


def endpoints(run, kind):
    return run.api.pve.area(f"{ENDPOINTS}/{kind}")


def hidden(run, *results):
    """No secret in what a module says, neither as it was given nor as the API takes it."""
    for secret in (SECRET, OTHER):
        for text in (secret, base64.b64encode(secret.encode()).decode()):
            assert text not in run.output
            assert text not in json.dumps(results)


@pytest.mark.parametrize(
    ("given", "secret", "kind", "key"),
    [(SMTP, "password", "smtp", "password"), (GOTIFY, "token", "gotify", "token")],
    ids=["password", "token"],
)
def test_a_secret_is_written_at_first_and_when_asked_for(run, given, secret, kind, key):
    results = [run(ENDPOINT, given), run(ENDPOINT, {**given, secret: OTHER})]
    assert not results[1]["changed"]
    assert endpoints(run, kind)[given["name"]][key] == SECRET
    always = {**given, secret: OTHER, "update_password": "always"}
    results += [run(ENDPOINT, always, check=True), run(ENDPOINT, always)]
    assert results[2]["changed"]
    assert results[2]["diff"] == results[3]["diff"]
    assert endpoints(run, kind)[given["name"]][key] == OTHER
    hidden(run, *results)


def test_secrets_of_a_webhook(run):
    results = [run(ENDPOINT, WEBHOOK)]
    encoded = base64.b64encode(SECRET.encode()).decode()
    assert endpoints(run, "webhook")["chat"]["secret"] == [f"name=key,value={encoded}"]
    always = {**WEBHOOK, "secret": {"key": OTHER}, "update_password": "always"}
    results += [run(ENDPOINT, always, check=True), run(ENDPOINT, always)]
    assert results[1]["changed"]
    assert results[1]["diff"] == results[2]["diff"]
    encoded = base64.b64encode(OTHER.encode()).decode()
    assert endpoints(run, "webhook")["chat"]["secret"] == [f"name=key,value={encoded}"]
    results.append(run(ENDPOINT, {**WEBHOOK, "secret": {"other": SECRET}}))
    assert results[3]["diff"] == {"before": {"secret": ["key"]}, "after": {"secret": ["other"]}}
    hidden(run, *results)


def test_a_removed_username_takes_its_password_along(run):
    run(ENDPOINT, SMTP)
    assert run(ENDPOINT, {"name": "office", "username": ""})["changed"]
    assert "password" not in endpoints(run, "smtp")["office"]
    assert not run(ENDPOINT, {"name": "office", "username": ""})["changed"]


def test_what_another_hand_changed_comes_back(run):
    run(ENDPOINT, WEBHOOK)
    endpoints(run, "webhook")["chat"].update(method="get", header=[], secret=[])
    assert run(ENDPOINT, WEBHOOK)["diff"]["before"] == {"method": "get"}
    assert not run(ENDPOINT, WEBHOOK)["changed"]
    assert endpoints(run, "webhook")["chat"]["secret"] != []


def test_a_conflict_is_planned_again_on_fresh_data(run, monkeypatch):
    run(ENDPOINT, SMTP)
    update, calls = type(run.api.pve).record_update, []

    def another_was_quicker(self, area, ident, values):
        if not calls:
            endpoints(run, "smtp")["office"]["comment"] = "theirs"
        calls.append(values)
        return update(self, area, ident, values)

    monkeypatch.setattr(type(run.api.pve), "record_update", another_was_quicker)
    run(ENDPOINT, {"name": "office", "port": 26})
    assert len(calls) == 2
    assert endpoints(run, "smtp")["office"]["port"] == 26
    assert endpoints(run, "smtp")["office"]["comment"] == "theirs"


def test_the_built_in_target_comes_back_as_it_was(run):
    root = {"name": "mail-to-root"}
    nothing(run, Life(ENDPOINT, root, {}, {}), {}, state="absent")
    assert run(ENDPOINT, {**root, "disable": True, "comment": "quiet"})["notification_endpoint"]["disable"] == 1
    predicted = run(ENDPOINT, {**root, "state": "absent"}, check=True)
    real = run(ENDPOINT, {**root, "state": "absent"})
    assert real["changed"]
    assert predicted["diff"] == real["diff"]
    assert real["notification_endpoint"]["origin"] == "builtin"
    assert not run(ENDPOINT, {**root, "state": "absent"})["changed"]


def test_a_text_of_severities_is_one_condition(run):
    """Two conditions would have to hold both, and no notification has two severities."""
    run(MATCHER, {"name": "bad", "match_severity": "warning,error", "match_field": "exact:type=vzdump,replication"})
    stored = run.api.pve.area(MATCHERS)["bad"]
    assert stored["match-severity"] == ["error,warning"]
    assert stored["match-field"] == ["exact:type=replication,vzdump"]


def test_the_built_in_matcher_comes_back_as_it_was(run):
    matcher = {"name": "default-matcher"}
    nothing(run, Life(MATCHER, matcher, {}, {}), {}, state="absent")
    run(MATCHER, {**matcher, "disable": True, "target": [], "match_field": "exact:type=vzdump"})
    predicted = run(MATCHER, {**matcher, "state": "absent"}, check=True)
    real = run(MATCHER, {**matcher, "state": "absent"})
    assert real["changed"]
    assert predicted["diff"] == real["diff"]
    assert real["notification_matcher"]["origin"] == "builtin"
    assert not run(MATCHER, {**matcher, "state": "absent"})["changed"]


def test_a_target_in_use_stays_and_says_who_uses_it(run):
    run(ENDPOINT, GOTIFY)
    run(MATCHER, {"name": "night", "target": ["phone"]})
    assert "cannot delete 'phone', referenced by: night" in run.fails(ENDPOINT, {"name": "phone", "state": "absent"})
    run(MATCHER, {"name": "night", "state": "absent"})
    assert run(ENDPOINT, {"name": "phone", "state": "absent"})["changed"]


def test_what_another_hand_did_to_a_matcher_is_undone(run):
    given = {"name": "night", "target": ["mail-to-root"], "match_severity": ["error"]}
    run(MATCHER, given)
    run.api.pve.area(MATCHERS)["night"].update({"match-severity": ["info"], "mode": "any"})
    assert run(MATCHER, given)["diff"] == {
        "before": {"match_severity": ["info"]},
        "after": {"match_severity": ["error"]},
    }
    assert run.api.pve.area(MATCHERS)["night"]["mode"] == "any"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"match_severity": "errors"}, ["match_severity", "'errors'", "info, notice, warning, error, unknown"]),
        ({"match_field": ["type=vzdump"]}, ["match_field", "'type=vzdump'", "exact:FIELD=VALUE"]),
        ({"target": ["nobody"]}, ["endpoint 'nobody' does not exist"]),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_a_matcher_that_cannot_be_is_not_made(run, given, words):
    message = run.fails(MATCHER, {"name": "night", **given})
    assert [word for word in words if word not in message] == []
    assert "night" not in run.api.pve.area(MATCHERS)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "new"}, ["'new'", "type is missing", "sendmail, smtp, gotify, webhook"]),
        ({"name": "new", "type": "smtp", "mailto": ["a@b.c"]}, ["server is missing", "from_address is missing"]),
        ({"name": "new", "type": "gotify", "server": "http://x"}, ["token is missing", "'gotify'"]),
        ({"name": "new", "type": "webhook"}, ["url is missing", "method is missing"]),
        ({"name": "new", "type": "sendmail"}, ["nobody would get a mail", "mailto or mailto_user"]),
        (
            {"name": "new", "type": "sendmail", "mailto": ["a@b.c"], "token": "abcdef"},
            ["token does not belong", "gotify"],
        ),
        ({"name": "mail-to-root", "type": "smtp"}, ["'mail-to-root'", "'sendmail'", "cannot be changed to 'smtp'"]),
        ({"name": "mail-to-root", "mailto_user": []}, ["nobody would get a mail"]),
        ({"name": "office", "server": ""}, ["server is empty"]),
        ({"name": "office", "password": ""}, ["password is empty", "username"]),
        ({"name": "office", "port": 70000}, ["port", "70000", "65535"]),
    ],
    ids=lambda given: given["name"] if isinstance(given, dict) else "",
)
def test_bad_input_is_refused_before_anything_is_written(run, given, words):
    run(ENDPOINT, SMTP)
    run.api.requests()
    message = run.fails(ENDPOINT, given)
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


PVESH = """#!/bin/sh
calls="$(dirname "$0")/calls"
echo "$@" >> "$calls"
case "$1 $2" in
  "get /cluster/notifications/targets")
    if grep -q ^create "$calls"; then echo '[{"name":"new","type":"sendmail"}]'; else echo '[]'; fi ;;
  "get /cluster/notifications/endpoints/sendmail/new") echo '{"name":"new","mailto":["a@b.c","d@e.f"]}' ;;
esac
"""


def test_pvesh_gets_a_list_item_by_item(run, tmp_path, monkeypatch):
    program = tmp_path / "pvesh"
    program.write_text(PVESH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    given = {"api_backend": "local", "name": "new", "type": "sendmail", "mailto": ["d@e.f", "a@b.c"]}
    assert run(ENDPOINT, given)["changed"]
    assert "-mailto a@b.c -mailto d@e.f" in (tmp_path / "calls").read_text()
