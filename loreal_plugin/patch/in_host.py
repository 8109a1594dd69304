"""What the lines of a patched `train.py` call, in the process of `python train.py`.

`train.py` is `__main__` there. It is attached like any host, under its own name `train`, in two
steps: `prepare` before it imports anything of Dassl, `attach` when all that it defines is there.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import TracebackType

from loreal_plugin.attach import attach_host
from loreal_plugin.attach.compat import allowed_names
from loreal_plugin.attach.inspect_host import inspect_host, installed_dassl, methods_of
from loreal_plugin.attach.shims import ALL_FACTS, SHIMS
from loreal_plugin.contract import get_contract
from loreal_plugin.devices import use_one_device
from loreal_plugin.errors import HostError, LorealError


def prepare(train_file: str) -> None:
    """Make Dassl importable as it is on today's torch, and write no byte code into the host; one
    CUDA device stays in sight.

    Args:
        train_file: the host's train.py.
    """
    sys.dont_write_bytecode = True
    sys.excepthook = _one_line_for_ours
    use_one_device()
    host = Path(train_file).resolve().parent
    if os.environ.get("DASSL"):
        sys.path.insert(1, str(Path(os.environ["DASSL"]).expanduser().resolve()))
    methods = methods_of(host)
    if not methods:
        raise HostError(
            f"host {host} has no trainer with a contract row any more; `loreal unpatch` it"
        )
    inspection = inspect_host(host, get_contract(methods[0]), dassl_root(host))
    allowed = allowed_names(facts.name for facts in ALL_FACTS)
    for shim in SHIMS:
        if shim.before_import and shim.name in allowed and shim.needed(inspection):
            shim.apply(inspection)


def attach() -> None:
    """Attach the host of the train.py that runs as `__main__`, with all trainers it can have."""
    main = sys.modules["train"] = sys.modules["__main__"]
    host = Path(str(main.__file__)).resolve().parent
    for method in methods_of(host):
        attach_host(host, method, dassl=dassl_root(host))
        importlib.import_module(get_contract(method).loreal_module)


def dassl_root(host: Path) -> Path | None:
    """Return the folder of the `dassl` package that train.py imports; None where there is none."""
    if (host / "dassl" / "__init__.py").is_file():
        return host
    return installed_dassl()


def _one_line_for_ours(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print what a user can act on as one line, and anything else with its traceback."""
    if isinstance(error, LorealError):
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
