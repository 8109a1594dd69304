"""Attaching a host: the one place that puts a stranger's checkout on the path, without touching its files."""

from loreal_plugin.attach.host import AttachedHost, attach_host, detach_host

__all__ = ["AttachedHost", "attach_host", "detach_host"]
