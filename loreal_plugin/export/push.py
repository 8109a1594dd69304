"""A packed run on the Hugging Face hub; needs `pip install 'loreal-plugin[hub]'`."""

from __future__ import annotations

import importlib
from pathlib import Path

from loreal_plugin.errors import ConfigError, LorealError, one_line


def push(folder: Path, repo: str, *, public: bool = False) -> str:
    """Upload a packed run and return its address; who uploads is as `hf auth login` left it.

    Args:
        repo: `owner/name`; it is made where it is not there.
        public: a repository that is made now is open to everybody.

    Raises:
        ConfigError: huggingface_hub is not installed, or `repo` is no `owner/name`.
        LorealError: the hub refused.
    """
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise ConfigError(f"--push takes OWNER/NAME, not '{repo}'")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ConfigError(
            f"huggingface_hub cannot be imported ({error}); pip install 'loreal-plugin[hub]'"
        ) from None
    api = hub.HfApi()
    try:
        address = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=str(folder), commit_message="loreal pack")
    except Exception as error:  # the library has no one base for what a hub and a network refuse
        raise LorealError(
            f"the hub did not take {folder}: {one_line(error)}; hf auth login, then"
            f" loreal pack again or hf upload {repo} {folder}"
        ) from error
    return str(address)
