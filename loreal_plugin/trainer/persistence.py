"""Saving, loading and resuming stage 3: the half of `LorealMixin` that touches checkpoint files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from loreal_plugin.attributes import dataset_of
from loreal_plugin.errors import CheckpointError
from loreal_plugin.method.correction import correction_from_tensors
from loreal_plugin.options import INFERENCE_ONLY
from loreal_plugin.trainer import checkpoint as files

# Options that a resumed run may change: places, and how the same numbers are computed.
FREE_ON_RESUME = (
    "alpha_dir",
    "beta_dir",
    "cache_dir",
    "attributes",
    "text_path",
    "class_chunk",
    "memory_budget_mb",
    *(name.lower() for name in INFERENCE_ONLY),
)


class PersistenceMixin:
    """Checkpoints of the meta-nets; with LOREAL off the host's own."""

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Save the meta-nets and all that a resumed run needs, under `<directory>/loreal/`."""
        if not self.loreal_enabled:
            super().save_model(epoch, directory, is_best, val_result, model_name)
            return
        tensors, plain = files.pack_optimizer(self.optim)
        tensors |= dict(self.model.meta_nets.state_dict().items())
        means = {"means.alpha": self.model.means.alpha, "means.beta": self.model.means.beta}
        tensors |= {name: value for name, value in means.items() if value is not None}
        tensors |= self.model.drift.tensors() if self.model.drift else {}
        record = {
            "identity": self.identity,
            "epoch": epoch + 1,
            "val_result": val_result,
            "phi": self.options.phi,
            "dataset": dataset_of(self.cfg),
            "classnames": list(self.dm.dataset.classnames),
            "learned": {name: s.fingerprint() for name, s in self.model.students.items()},
            "options": vars(self.options),
            "words": list(self.words),
            "view_seed": self.data.seed,
            "optimizer": plain,
            "scaler": self.scaler.state_dict() if self.scaler else None,
        }
        names = [files.file_name(epoch + 1)] if not model_name else [files.BEST]
        for name in [*names, *([files.BEST] if is_best and files.BEST not in names else [])]:
            path = files.write_checkpoint(Path(directory) / files.NAME, name, tensors, record)
            print(f"Checkpoint saved to {path}")

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the meta-nets of an epoch (None: the best, else the last).

        Raises:
            CheckpointError: missing, broken, or of another method, backbone, K, D_s or attribute
                list.
        """
        if not self.loreal_enabled:
            super().load_model(directory, epoch=epoch)
            return
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        path = files.find_checkpoint(Path(directory), epoch)
        tensors, record = files.read_checkpoint(path)
        skip = self._take_words(record)
        files.check_identity(path, record, self.identity, skip)
        self._take_tensors(tensors)
        self.loaded = Path(directory), record
        if record["phi"] != self.options.phi:
            print(
                f"Note: {path} was trained for phi {record['phi']}, this run tests at"
                f" {self.options.phi}"
            )
        print(
            f"Load {path} to {files.NAME} (epoch={record['epoch']},"
            f" val_result={record['val_result']})"
        )

    def resume_model_if_exist(self, directory: str) -> int:
        """Return the epoch to go on from, with everything as it was after the one before.

        Raises:
            CheckpointError: the checkpoint belongs to other options, classes or students.
        """
        if not self.loreal_enabled:
            return super().resume_model_if_exist(directory)
        path = files.latest_checkpoint(Path(directory))
        if path is None:
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        tensors, record = files.read_checkpoint(path)
        files.check_identity(path, record, self.identity)
        self._check_same_run(path, record)
        self._take_tensors(tensors)
        files.unpack_optimizer(self.optim, tensors, record["optimizer"])
        if self.scaler is not None and record["scaler"]:
            self.scaler.load_state_dict(record["scaler"])
        files.replay_schedule(self.sched, record["epoch"])
        self.data.seed = record["view_seed"]
        self.train_loader_x = self.data.view_loader(pin_memory=self.device.type == "cuda")
        print(f"Previous epoch: {record['epoch']}")
        return record["epoch"]

    def _check_same_run(self, path: Path, record: dict[str, Any]) -> None:
        """Raise CheckpointError where a resumed run would be another run."""
        mine = {
            "classnames": list(self.dm.dataset.classnames),
            "words": [w if isinstance(w, str) else list(w) for w in self.words],
            "learned": {name: s.fingerprint() for name, s in self.model.students.items()},
            **{k: v for k, v in vars(self.options).items() if k not in FREE_ON_RESUME},
        }
        theirs = {
            **record["options"],
            **{key: record[key] for key in ("classnames", "words", "learned")},
        }
        differ = [
            f"{key} was {theirs.get(key)!r}, is {value!r}"
            for key, value in mine.items()
            if theirs.get(key) != value
        ]
        if differ:
            raise CheckpointError(
                f"training cannot go on from {path}: {'; '.join(differ)}; choose another output"
                " folder"
            )

    def _take_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put a checkpoint's meta-nets and training means in place."""
        own = self.model.meta_nets.state_dict()
        self.model.meta_nets.load_state_dict({name: tensors[name] for name in own})
        self.model.means.alpha, self.model.means.beta = (
            tensors.get("means.alpha"),
            tensors.get("means.beta"),
        )
        self.model.drift = correction_from_tensors(tensors)

    def _take_words(self, record: dict[str, Any]) -> tuple[str, ...]:
        """On another dataset, choose whose words the slots hold; return what need not agree.

        Meta-net k learned the source's k-th word: with `source` that word goes into the slot,
        unless the attribute file was named; with `target` the tested dataset's own.
        """
        o = self.options
        if record["dataset"] == dataset_of(self.cfg) or o.attribute_scope == "class":
            return ()
        if o.test_attributes == "target":
            return ("attributes",)
        if not o.attributes and record["words"] != list(self.words):
            self.words = record["words"]
            self.identity["attributes"] = list(self.words)
            self.model.set_words(self.words)
            print(f"Attributes of the source dataset: {', '.join(self.words)}")
        return ()

    def best_of_interrupted_run(self) -> float:
        """Return the validation result of the best checkpoint that the interrupted run left."""
        path = Path(self.cfg.RESUME or self.cfg.OUTPUT_DIR) / files.NAME / files.BEST
        value = files.read_checkpoint(path)[1]["val_result"] if path.is_file() else None
        return float("-inf") if value is None else value
