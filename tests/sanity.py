# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection, install it, and run ansible-test sanity on what was installed (`make sanity`)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".cache/collection"
CACHE = Path("~/.ansible/test/cache").expanduser()
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
    run("ansible-test", "sanity", "--color", "no", "--python", version, cwd=installed)


if __name__ == "__main__":
    main()
