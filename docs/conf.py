# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx on what antsibull-docs writes of the collection (`make docs-site`)."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

project = "onprem.cloud"
copyright = "The onprem.cloud contributors"
html_title = html_short_title = "onprem.cloud"
extensions = ["sphinx_antsibull_ext"]
html_theme = "sphinx_ansible_theme"
html_copy_source = False
html_show_sphinx = False
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
nitpicky = True

ANSIBLE = "https://docs.ansible.com/ansible/latest"
PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}


def link_to_ansible(app: Any, env: Any, node: Any, content: Any) -> nodes.reference | None:
    """What Ansible's own documentation has is linked to by its known address, since its index may be out of reach."""
    target = node["reftarget"]
    plugin = re.fullmatch(r"ansible_collections\.ansible\.builtin\.(\w+?_[a-z]+)(__.*)?", target)
    page = f"collections/ansible/builtin/{plugin[1]}.html" if plugin else PAGES.get(target)
    return nodes.reference("", "", content, refuri=f"{ANSIBLE}/{page}") if page else None


def setup(app: Any) -> None:
    app.connect("missing-reference", link_to_ansible)
