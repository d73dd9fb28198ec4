# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""API tokens."""

from __future__ import annotations

import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, Unreachable

from tests.contract.life import Life, lives, whole_life

TOKEN = {"userid": "ada@pve", "tokenid": "ansible"}
NAME = "ada@pve!ansible"


@pytest.fixture(autouse=True)
def ada(run):
    run("pve_user", {"userid": "ada@pve"})


@lives(
    Life(
        "pve_token",
        TOKEN,
        {"comment": "Deploys", "expire": 1999999999, "privsep": True},
        {"comment": "Deploys and checks", "expire": 0, "privsep": False},
        spellings=[{"comment": " Deploys "}, {"privsep": "on"}],
        removed=["comment"],
    ),
)
def test_whole_life(run, life):
    whole_life(run, life)


def test_the_secret_is_returned_once_and_works(run):
    created = run("pve_token", TOKEN)
    assert created["full_tokenid"] == NAME
    assert run.api.pve.apitokens[NAME] == created["secret"]
    assert "secret" not in run("pve_token", TOKEN)
    assert "secret" not in run("pve_token", {**TOKEN, "comment": "x"})
    own = {"api_user": "ada@pve", "api_token_id": "ansible", "api_token_secret": created["secret"]}
    assert not run("pve_token", {**TOKEN, **own})["changed"]


def test_the_secret_is_in_nothing_but_its_own_result(run):
    created = run("pve_token", TOKEN)
    assert run.output.count(created.pop("secret")) == 1
    assert run.api.pve.apitokens[NAME] not in str(created)


def test_check_mode_makes_no_secret(run):
    predicted = run("pve_token", {**TOKEN, "comment": "x"}, check=True)
    assert predicted["diff"]["after"] == {"comment": "x"}
    assert "secret" not in predicted
    assert NAME not in run.api.pve.apitokens


def test_regenerate_makes_another_secret_and_nothing_else(run):
    first = run("pve_token", {**TOKEN, "comment": "Deploys", "privsep": False})["secret"]
    again = {**TOKEN, "regenerate": True}
    predicted = run("pve_token", again, check=True)
    assert run.api.pve.apitokens[NAME] == first
    result = run("pve_token", again)
    assert predicted["diff"] == result["diff"]
    assert result["diff"]["after"] == {"secret": "(hidden, another one)"}
    assert result["secret"] == run.api.pve.apitokens[NAME] != first
    assert result["token"] == {"comment": "Deploys", "privsep": 0, "expire": 0}


def test_regenerate_makes_one_secret_for_a_new_token(run):
    run.api.requests()
    result = run("pve_token", {**TOKEN, "regenerate": True})
    assert [request.method for request in run.api.writes()] == ["POST"]
    assert result["secret"] == run.api.pve.apitokens[NAME]


def test_regenerate_and_a_change_are_one_request(run):
    run("pve_token", TOKEN)
    run.api.requests()
    result = run("pve_token", {**TOKEN, "regenerate": True, "comment": "Deploys"})
    assert [request.params for request in run.api.writes()] == [{"comment": "Deploys", "regenerate": "1"}]
    assert result["secret"] == run.api.pve.apitokens[NAME]


def test_a_secret_that_was_lost_on_the_way_is_made_again(run, monkeypatch):
    post, lost = Client.post, []

    def lose(client, path, **data):
        lost.append(post(client, path, **data)["value"])
        raise Unreachable("The connection broke.")

    monkeypatch.setattr(Client, "post", lose)
    result = run("pve_token", {**TOKEN, "comment": "Deploys"})
    assert len(lost) == 1
    assert result["secret"] == run.api.pve.apitokens[NAME]
    assert result["secret"] not in lost
    assert result["diff"]["after"] == {"comment": "Deploys"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tokenid": "t"}, ["token 'ada@pve!t'", "at least two"]),
        ({"tokenid": "1st"}, ["token 'ada@pve!1st'", "begin with a letter"]),
        ({"userid": "ada"}, ["token 'ada!ansible'", "realm", "automation@pve"]),
        ({"expire": -5}, ["token 'ada@pve!ansible'", "expire", "-5", "at least 0"]),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_token_that_cannot_be_is_refused_before_the_first_write(run, given, words, check):
    run.api.requests()
    message = run.fails("pve_token", {**TOKEN, **given}, check=check)
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


def test_a_token_of_a_user_who_is_yet_to_be_created(run):
    other = {**TOKEN, "userid": "bob@pve"}
    assert run("pve_token", other, check=True)["action"] == "create"
    assert not run("pve_token", {**other, "state": "absent"})["changed"]
    assert "no such user ('bob@pve')" in run.fails("pve_token", other)


def test_a_token_gets_back_what_another_hand_changed(run):
    run("pve_token", {**TOKEN, "privsep": True})
    run.api.pve.user_tokens["ada@pve"]["ansible"]["privsep"] = 0
    assert run("pve_token", {**TOKEN, "privsep": True})["diff"] == {
        "before": {"privsep": False},
        "after": {"privsep": True},
    }
    assert run.api.pve.user_tokens["ada@pve"]["ansible"]["privsep"] == 1
