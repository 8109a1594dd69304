"""`python -m loreal_plugin.cli.sweep_worker`: a process that makes the runs of a sweep.

A sweep starts it by this name. So the rooms below the command line need not import it.
"""

from __future__ import annotations

from loreal_plugin.cli.main import main
from loreal_plugin.devices import use_one_device
from loreal_plugin.sweep.worker import serve

if __name__ == "__main__":
    use_one_device()
    serve(main)
