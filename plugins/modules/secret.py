#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: secret
short_description: Keep a secret that something else has made
version_added: 0.1.0
author:
  - The onprem.cloud contributors (@onprem-cloud)
description:
  - Keeps a value on the controller, where the lookup P(onprem.cloud.secret#lookup) reads it, for what is made elsewhere
    and shown once, such as the secret of an API token.
  - The file appears with its whole content and is on the disk when the task ends. It is of mode 0600, and encrypted
    when a vault password is configured for the run.
  - The task runs on the controller, whatever host it is for. Set C(no_log) on it.
options:
  name:
    description: Name of the secret, as the lookup has it.
    type: str
    required: true
  value:
    description: The secret, one line of text. It takes the place of another value that is kept under this name.
    type: str
    required: true
  directory:
    description: The directory that keeps the secrets, as the lookup has it. What C(secrets_directory) says by default.
    type: str
attributes:
  check_mode:
    description: Nothing is written, and a change is predicted.
    support: full
  diff_mode:
    description: A secret is never shown.
    support: none
seealso:
  - plugin: onprem.cloud.secret
    plugin_type: lookup
  - module: onprem.cloud.pve_token
"""

EXAMPLES = r"""
- name: A token for the automation
  onprem.cloud.pve_token:
    api_backend: local
    userid: automation@pve
    tokenid: site
  register: token
  no_log: true

- name: Its secret is kept
  onprem.cloud.secret:
    name: pve_api_token_secret
    value: "{{ token.secret }}"
  when: token.secret is defined
  no_log: true
"""

RETURN = r"""
path:
  description: The file that keeps the secret.
  type: str
  returned: success
  sample: /home/ada/site/.secrets/pve_api_token_secret.txt
"""
