"""The dock that describes the installation."""

from .installation_dock import InstallationDock


class CheckInstallation(InstallationDock):
    """Show versions, device, threads, models and memory, to copy into a report."""
