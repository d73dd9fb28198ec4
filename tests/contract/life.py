# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole life of an object, the same for every module: what a module is and does in each case, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.contract.running import Run

Values = dict[str, Any]


@dataclass(frozen=True)
class Life:
    """What the life of a module's objects is tried with."""

    module: str
    ident: Values  # the options that name the object
    created: Values  # the options that it is created with
    changes: Values  # option: another value, each changed alone
    spellings: list[Values] = field(default_factory=list)  # the created options, written otherwise
    removed: list[str] = field(default_factory=list)  # options that an empty value takes away
    kept_requests: int = 3  # what a run without changes may ask
    once: bool = False  # there is one, it can be neither created nor deleted

    def __str__(self) -> str:
        return self.module


EMPTY = {list: [], dict: {}, str: "", int: "", bool: ""}


def both(run: Run, life: Life, options: Values, **state: Any) -> Values:
    """A real run whose prediction was right; its result."""
    given = {**life.ident, **options, **state}
    run.api.requests()
    predicted = run(life.module, given, check=True)
    assert run.api.writes() == []
    real = run(life.module, given)
    assert predicted["changed"] == real["changed"]
    assert predicted["diff"] == real["diff"]
    return real


def nothing(run: Run, life: Life, options: Values, **state: Any) -> None:
    """A run that finds nothing to do, says so, and asks little."""
    run.api.requests()
    result = run(life.module, {**life.ident, **options, **state})
    assert not result["changed"], result
    requests = run.api.requests()
    assert [request for request in requests if request.method != "GET"] == []
    assert len(requests) <= life.kept_requests, requests
    assert "/version" not in [request.path for request in requests]


def whole_life(run: Run, life: Life) -> None:
    """Create, no-op, each option changed alone and taken away, delete, delete again."""
    if not life.once:
        nothing(run, life, {}, state="absent")
    assert both(run, life, life.created)["changed"]
    nothing(run, life, life.created)
    nothing(run, life, {})
    for spelling in life.spellings:
        nothing(run, life, {**life.created, **spelling})
    for option, value in life.changes.items():
        result = both(run, life, {option: value})
        assert result["changed"], option
        assert set(result["diff"]["before"]) | set(result["diff"]["after"]) == {option}
        nothing(run, life, {option: value})
        # What somebody else changed comes back, and nothing else with it.
        if option in life.created:
            assert both(run, life, life.created)["changed"], option
            nothing(run, life, life.created)
    for option in life.removed:
        value = life.created.get(option, life.changes.get(option))
        run(life.module, {**life.ident, option: value})
        assert both(run, life, {option: EMPTY[type(value)]})["changed"], option
        nothing(run, life, {option: EMPTY[type(value)]})
    if not life.once:
        assert both(run, life, {}, state="absent")["changed"]
        nothing(run, life, {}, state="absent")


def limited(run: Run, life: Life, **privileges: str) -> Life:
    """The same life, led with a token of a user who has these privileges (`Sys_Audit="/"`) and no others."""
    user, token, secret = "limited@pve", "life", "0b7a3c8e-4f7f-4d0c-9a55-6c1f2f1f5a10"
    run.api.pve.apitokens[f"{user}!{token}"] = secret
    run.api.pve.acl = {}
    for privilege, path in privileges.items():
        run.api.pve.grant(user, path, privilege.replace("_", "."))
    login = {"api_user": user, "api_token_id": token, "api_token_secret": secret}
    return replace(life, ident={**life.ident, **login})


def lives(*table: Life) -> Any:
    """The decorator of a test that takes each life in turn."""
    return pytest.mark.parametrize("life", table, ids=str)
