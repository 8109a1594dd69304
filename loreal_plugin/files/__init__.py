"""Files that are written whole or not at all, digests, and the verified store.

- `archives`: zips and tars from elsewhere, unpacked safely.
- `atomic`: bytes, text, JSON, links; what a killed process left is found and removed.
- `caches`: what they may take, the oldest entries removed; what is said of one that cannot be
  written.
- `checked_json`: objects with their own hash.
- `folders`: made as a whole and renamed to their place.
- `listing`: the pictures of a folder.
- `locks`: between processes.
- `manifest`: hashes of files that a record vouches for.
- `documents`: parts of a document that a command fills in.
- `packed`: a run that somebody packed.
- `schema`: whether a value is valid under a JSON Schema.
- `tensors`: safetensors and checkpoints of torch, hashes of tensors (imports torch).
- `store`: tensors with a note that says what they belong to (imports torch).
- `sealed`, `torch_files`: what torch wrote, read without running it (imports torch).
"""

from loreal_plugin.digests import digest, digest_bytes, digest_file, digest_sources
from loreal_plugin.files.atomic import (
    is_read_only,
    read_json,
    remove_leftovers,
    remove_unfinished,
    replacing,
    write_bytes,
    write_json,
    write_link,
    write_text,
)
from loreal_plugin.files.checked_json import read_checked, write_checked
from loreal_plugin.files.documents import replace_between

__all__ = [
    "digest",
    "digest_bytes",
    "digest_file",
    "digest_sources",
    "is_read_only",
    "read_checked",
    "read_json",
    "remove_leftovers",
    "remove_unfinished",
    "replace_between",
    "replacing",
    "write_bytes",
    "write_checked",
    "write_json",
    "write_link",
    "write_text",
]
