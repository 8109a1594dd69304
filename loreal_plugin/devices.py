"""One process sees one CUDA device, unless the user says otherwise.

The public hosts spread their model over every device that a process sees (`nn.DataParallel`). That
changes what they compute, and MaPLe then ends in an error. So the command line leaves one device
visible before anything of CUDA runs. Only the variable is read and set here. PyTorch is asked one
question, and only where a number was named and nothing else says which devices there are.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import MutableMapping
from itertools import takewhile
from pathlib import Path

from loreal_plugin.errors import ConfigError

VARIABLE = "LOREAL_DEVICE"
VISIBLE = "CUDA_VISIBLE_DEVICES"
ALL, CPU = "all", "cpu"
_DRIVER = Path("/proc/driver/nvidia/gpus")

_choice = "as the environment has it"


def visible_devices(env: MutableMapping[str, str] = os.environ) -> list[str]:
    """Return the names of the CUDA devices that a process would see; none where that is not known.

    They are those of CUDA_VISIBLE_DEVICES, else the numbers of what the driver lists.
    """
    if VISIBLE in env:
        names = [name.strip() for name in env[VISIBLE].split(",") if name.strip()]
        return list(takewhile(lambda name: name != "-1", names))  # as CUDA reads it
    count = len(list(_DRIVER.iterdir())) if _DRIVER.is_dir() else 0
    return [str(number) for number in range(count)]


def use_one_device(env: MutableMapping[str, str] = os.environ) -> str:
    """Let this process see the device of LOREAL_DEVICE, or the first; return in words which it is.

    It has to run before CUDA is used. What the process starts sees the same device.

    Raises:
        ConfigError: LOREAL_DEVICE is no number of a visible device, `cpu` or `all`.
    """
    global _choice
    # torchrun starts one process for each device and numbers them
    wanted = env.get(VARIABLE, env.get("LOCAL_RANK", "")).strip().lower()
    names = visible_devices(env)
    if wanted == ALL:
        _choice = f"every visible device ({', '.join(names) or 'none known'}): {VARIABLE}=all"
    elif wanted == CPU:
        env[VISIBLE] = ""
        _choice = f"the processor: {VARIABLE}=cpu"
    elif VISIBLE in env and not names:
        _number(wanted, names)
        _refuse_missing(env, f"{VISIBLE} is '{env[VISIBLE]}', which hides every CUDA device")
        _choice = f"no CUDA device: {VISIBLE} is '{env[VISIBLE]}'"
    else:
        number = _number(wanted, names)
        env[VISIBLE] = names[number] if names else str(number)
        if not names:
            _refuse_missing(env, _torch_finds_none(env))
        if wanted:
            env[VARIABLE] = "0"  # for what this process starts: the only one that is left
        many = f"one CUDA device of {len(names)}" if names else "at most one CUDA device"
        _choice = f"{many}, {VISIBLE}={env[VISIBLE]} ({VARIABLE} chooses)"
    return _choice


def device_choice() -> str:
    """Return in words what this process may use, as `use_one_device` settled it."""
    return _choice


def _refuse_missing(env: MutableMapping[str, str], found: str) -> None:
    """Raise ConfigError where a number was named and no device was found; `found` says how."""
    wanted = env.get(VARIABLE, "").strip()
    if wanted and found:
        raise ConfigError(
            f"{VARIABLE}={wanted} was asked for, and {found}; unset {VARIABLE}, or set it to cpu,"
            " to use the processor"
        )


def _torch_finds_none(env: MutableMapping[str, str]) -> str:
    """Return in words that PyTorch finds no visible device; empty: it does, or nobody asked."""
    if not env.get(VARIABLE) or importlib.util.find_spec("torch") is None:
        return ""
    import torch

    if torch.cuda.is_available():
        return ""
    built = " (built without CUDA)" if not torch.backends.cuda.is_built() else ""
    return f"PyTorch {torch.__version__}{built} finds no CUDA device of this number"


def _number(wanted: str, names: list[str]) -> int:
    """Return the number of the device that a value of LOREAL_DEVICE means."""
    text = wanted.removeprefix("cuda:") or "0"
    if not text.isdecimal():
        raise ConfigError(
            f"{VARIABLE} must be the number of a visible CUDA device, 'cpu' or 'all', not"
            f" '{wanted}'"
        )
    if names and int(text) >= len(names):
        raise ConfigError(
            f"{VARIABLE}={wanted} was asked for, and the CUDA devices that are visible are"
            f" {', '.join(f'{i} ({name})' for i, name in enumerate(names))}; choose one of these"
            " numbers, cpu or all"
        )
    return int(text)
