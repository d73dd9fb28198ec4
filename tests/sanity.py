# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection, install it, and check what was built and what was installed (`make sanity`).

The archive must pass galaxy-importer, which decides on Ansible Galaxy whether it is taken in, without a complaint. The
installed collection must pass ansible-test sanity, and antsibull-docs must find its documentation right, down to each
option and return value that another text names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".cache/collection"
CACHE = Path("~/.ansible/test/cache").expanduser()
# galaxy-importer would run ansible-lint once more, with fewer rules than `make lint`.
ENVIRONMENT = {**os.environ, "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "no"}
# The version that ansible-test of ansible-core 2.19 bootstraps its virtual environments with.
PIP = "24.2"
GET_PIP = """\
import pathlib
import sys

sys.path.insert(0, str(next(pathlib.Path(__file__).parent.glob("pip-*.whl"))))
from pip._internal.cli.main import main

sys.exit(main(["install", *(a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel"))]))
"""


def run(*argv: str, cwd: Path = ROOT) -> None:
    done = subprocess.run(argv, cwd=cwd, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def complaints(*argv: str, cwd: Path) -> str:
    """What a check said if it was not content, and nothing if it was."""
    done = subprocess.run(
        argv, cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    # galaxy-importer takes in what it warns of.
    content = done.returncode == 0 and not re.search("^(WARNING|ERROR)", done.stdout, re.MULTILINE)
    return "" if content else f"{' '.join(argv)}\n{done.stdout}"


def provide_pip() -> None:
    """ansible-test fetches get-pip.py from a site of its own; the package registry has all that it needs."""
    script = CACHE / f"get_pip_{PIP.replace('.', '_')}.py"
    if not script.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), f"pip=={PIP}")
        script.write_text(GET_PIP)


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    run("ansible-galaxy", "collection", "build", "--force", "--output-path", str(WORK), str(ROOT))
    archive = next(WORK.glob("onprem-cloud-*.tar.gz"))
    run("ansible-galaxy", "collection", "install", "--force", "--no-deps", "-p", str(WORK), str(archive))
    installed = WORK / "ansible_collections/onprem/cloud"
    # Inside a checkout, ansible-test asks git for the files; the installed copy becomes a repository of its own.
    run("git", "init", "--quiet", ".", cwd=installed)
    run("git", "add", "--all", cwd=installed)
    provide_pip()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    # ansible-test leaves a processor idle most of the time.
    with ThreadPoolExecutor() as beside:
        others = [
            beside.submit(complaints, sys.executable, "-m", "galaxy_importer.main", archive.name, cwd=WORK),
            beside.submit(
                complaints, "antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", ".",
                cwd=installed,
            ),
        ]  # fmt: skip
        test = ["ansible-test", "sanity", "--color", "no", "--python", version]
        failed = subprocess.run(test, cwd=installed, check=False).returncode
    print("galaxy-importer and antsibull-docs", flush=True)
    sys.exit("\n".join(filter(None, (other.result() for other in others))) or failed)


if __name__ == "__main__":
    main()
