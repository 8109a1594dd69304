"""Attaching a host: a stranger's checkout comes on the path, and its files are not touched."""

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
