"""A packed run on the Hugging Face hub; needs `pip install 'loreal-plugin[hub]'`."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

from loreal_plugin.errors import ConfigError, LorealError, one_line


def hub_for(repo: str) -> Any:
    """Return the library of the hub, for a check before anything is written.

    Args:
        repo: `owner/name`.

    Raises:
        ConfigError: huggingface_hub is not installed, or `repo` is no `owner/name`.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo, re.ASCII):
        raise ConfigError(f"--push takes OWNER/NAME, not '{repo}'")
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ConfigError(
            f"huggingface_hub cannot be imported ({error}); pip install 'loreal-plugin[hub]'"
        ) from None


def push(folder: Path, repo: str, *, public: bool = False) -> str:
    """Upload a packed run and return its address; who uploads is as `hf auth login` left it.

    Args:
        repo: `owner/name`; it is made where it is not there.
        public: a repository that is made now is open to everybody.

    Raises:
        ConfigError: as `hub_for`.
        LorealError: the hub refused; the packed run stays.
    """
    api = hub_for(repo).HfApi()
    try:
        address = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=str(folder), commit_message="loreal pack")
    except Exception as error:  # the library has no one base for what a hub and a network refuse
        again = f"hf upload {repo} {shlex.quote(str(folder))}{'' if public else ' --private'}"
        raise LorealError(
            f"the hub did not take {folder}: {one_line(error)}; hf auth login, then {again}"
        ) from error
    return str(address)
