"""Attaching a host: the one place that puts a stranger's checkout on the path, without touching its
files.
"""

from loreal_plugin.attach.host import (
    AttachedHost,
    ShimState,
    attach_host,
    describe_shims,
    detach_host,
    format_shims,
)

__all__ = [
    "AttachedHost",
    "ShimState",
    "attach_host",
    "describe_shims",
    "detach_host",
    "format_shims",
]
