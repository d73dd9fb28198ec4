# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of AdGuard Home for the node exporter's directory.

It counts by the hour of the clock, so the figures of the current hour are counters that start again with every hour.
"""

from __future__ import annotations

import base64
import json
import sys
import urllib.request
from pathlib import Path

url, account, password_file, target = sys.argv[1:]
password = Path(password_file).read_text().strip()
login = base64.b64encode(f"{account}:{password}".encode()).decode()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def read(path: str) -> dict:
    request = urllib.request.Request(f"{url}/control/{path}", headers={"Authorization": f"Basic {login}"})
    with opener.open(request, timeout=10) as answer:
        return json.load(answer)


lines = []


def figure(name: str, kind: str, text: str, values: dict[str, float]) -> None:
    lines.append(f"# HELP adguard_home_{name} {text}")
    lines.append(f"# TYPE adguard_home_{name} {kind}")
    lines.extend(f"adguard_home_{name}{labels} {value}" for labels, value in values.items())


try:
    status, stats = read("status"), read("stats?recent=3600000")
except (OSError, ValueError) as error:
    print(f"AdGuard Home does not tell: {error}", file=sys.stderr)
    figure("up", "gauge", "Whether AdGuard Home answers and serves DNS.", {"": 0})
else:
    figure("up", "gauge", "Whether AdGuard Home answers and serves DNS.", {"": int(status["running"])})
    figure("protection_enabled", "gauge", "Whether anything is blocked.", {"": int(status["protection_enabled"])})
    figure("queries_total", "counter", "Queries in this hour.", {"": stats["num_dns_queries"]})
    blocked = {
        f'{{by="{by}"}}': stats[key]
        for by, key in (
            ("lists", "num_blocked_filtering"),
            ("safe_browsing", "num_replaced_safebrowsing"),
            ("parental_control", "num_replaced_parental"),
        )
    }
    figure("blocked_queries_total", "counter", "Queries in this hour that were blocked.", blocked)
    mean = {"": stats["avg_processing_time"]}
    figure("processing_seconds", "gauge", "Mean time that a query of this hour took.", mean)

path = Path(target)
new = path.with_suffix(".new")
new.write_text("\n".join(lines) + "\n")
new.chmod(0o644)
new.replace(path)
