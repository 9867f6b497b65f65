"""Which setting was the limit that a tool's message mentions. Pure.

Terraform says what it waited for, but not which setting limits the wait: the timeouts of the OpenStack modules are settings.
"""

import re

_BLANKS = re.compile(r"[\s│╷╵]+")
_SETTINGS = (
    (
        r"waiting for openstack_blockstorage_volume_v3 \S{1,80} to become ready: (?:timeout|context deadline exceeded)",
        "openstack_volume_create_s",
    ),
    (
        r"waiting for openstack_blockstorage_volume_v3 \S{1,80} to delete: (?:timeout|context deadline exceeded)",
        "openstack_volume_delete_s",
    ),
    (
        r"waiting for openstack_networking_port_v2 \S{1,80} to become available: (?:timeout|context deadline exceeded)",
        "openstack_port_create_s",
    ),
    (
        r"waiting for openstack_networking_port_v2 \S{1,80} to delete: (?:timeout|context deadline exceeded)",
        "openstack_port_delete_s",
    ),
    (r"waiting for instance \(\S{1,80}\) to become ready: (?:timeout|context deadline exceeded)", "openstack_server_create_s"),
    (r"waiting for instance \(\S{1,80}\) to delete: (?:timeout|context deadline exceeded)", "openstack_server_delete_s"),
    (r"terraform apply took longer than", "create_timeout_s"),
    (r"terraform destroy took longer than", "delete_timeout_s"),
)
_PATTERNS = tuple((re.compile(pattern), setting) for pattern, setting in _SETTINGS)


def limit_named(text: str) -> str:
    """The text, with the name of the setting that was the limit where it mentions one; takes time linear in its length."""
    plain = _BLANKS.sub(" ", text).lower()
    found = next((setting for pattern, setting in _PATTERNS if pattern.search(plain)), "")
    return f"{text} (the setting {found} is the limit)" if found and found not in text else text
