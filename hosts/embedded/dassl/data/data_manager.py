"""Loaders of a data set's splits, and the picture set they read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision.transforms as T
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from dassl._plugin import ConfigError, DataError
from dassl.utils import read_image

from .datasets import Datum, build_dataset
from .samplers import build_sampler
from .transforms import INTERPOLATION_MODES, build_transform

Transform = Callable[[Image.Image], Any]


class DatasetWrapper(Dataset):
    """Pictures of a split as dicts: `img`, `label`, `domain`, `impath`, `index` (and `img0` when
    asked for).

    A list of transforms gives `img`, `img2`, ...; K_TRANSFORMS above 1 gives a list of K augmented
    copies.
    """

    def __init__(
        self,
        cfg: CfgNode,
        data_source: Sequence[Datum],
        transform: Transform | Sequence[Transform] | None = None,
        is_train: bool = False,
    ) -> None:
        copies = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        if transform is None and copies > 1:
            raise ConfigError(
                f"DATALOADER.K_TRANSFORMS is {copies}, but there is no transform to repeat"
            )
        self.cfg, self.is_train = cfg, is_train
        self.data_source, self.transform, self.k_tfm = data_source, transform, copies
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        self.to_tensor = self._plain_transform()

    def _plain_transform(self) -> T.Compose:
        """Return the transform of `img0`: resized to the input size, not augmented."""
        size, mode = self.cfg.INPUT.SIZE, INTERPOLATION_MODES[self.cfg.INPUT.INTERPOLATION]
        steps = [T.Resize(size, interpolation=mode), T.ToTensor()]
        if "normalize" in self.cfg.INPUT.TRANSFORMS:
            steps.append(T.Normalize(mean=self.cfg.INPUT.PIXEL_MEAN, std=self.cfg.INPUT.PIXEL_STD))
        return T.Compose(steps)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        image = read_image(item.impath)
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        transforms = (
            self.transform if isinstance(self.transform, (list, tuple)) else [self.transform]
        )
        for number, transform in enumerate(transforms, start=1):
            output["img" if number == 1 else f"img{number}"] = self._augmented(transform, image)
        if self.return_img0:
            output["img0"] = self.to_tensor(image)
        return output

    def _augmented(self, transform: Transform | None, image: Image.Image) -> Any:
        """Return the transformed picture, or a list of K of them."""
        if transform is None:
            return image
        copies = [transform(image) for _ in range(self.k_tfm)]
        return copies[0] if len(copies) == 1 else copies


def build_data_loader(
    cfg: CfgNode,
    sampler_type: str = "SequentialSampler",
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 64,
    n_domain: int = 0,
    n_ins: int = 2,
    tfm: Transform | Sequence[Transform] | None = None,
    is_train: bool = True,
    dataset_wrapper: type[DatasetWrapper] | None = None,
) -> DataLoader:
    """Return a loader; in training the last, incomplete batch is dropped unless it is the only one.

    Order, worker seeds and augmentation all come from PyTorch's global generator, so a seed fixes
    them.

    Raises:
        DataError: when there is nothing to load.
    """
    if not data_source:
        raise DataError(
            f"{cfg.DATASET.NAME}: the {'training' if is_train else 'test'} split has no pictures"
        )
    wrapper = dataset_wrapper or DatasetWrapper
    return DataLoader(
        wrapper(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size=batch_size,
        sampler=build_sampler(sampler_type, cfg, data_source, batch_size, n_domain, n_ins),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
    )


class DataManager:
    """The data set of a configuration with a loader for each of its splits."""

    def __init__(
        self,
        cfg: CfgNode,
        custom_tfm_train: Transform | None = None,
        custom_tfm_test: Transform | None = None,
        dataset_wrapper: type[DatasetWrapper] | None = None,
    ) -> None:
        self.dataset = dataset = build_dataset(cfg)
        self._tfm = {
            True: self._transform(cfg, True, custom_tfm_train),
            False: self._transform(cfg, False, custom_tfm_test),
        }
        self._wrapper = dataset_wrapper
        loaders = cfg.DATALOADER
        self.train_loader_x = self._train_loader(cfg, loaders.TRAIN_X, dataset.train_x)
        settings_u = loaders.TRAIN_X if loaders.TRAIN_U.SAME_AS_X else loaders.TRAIN_U
        self.train_loader_u = (
            self._train_loader(cfg, settings_u, dataset.train_u) if dataset.train_u else None
        )
        self.val_loader = self._test_loader(cfg, dataset.val) if dataset.val else None
        self.test_loader = self._test_loader(cfg, dataset.test)
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @property
    def num_classes(self) -> int:
        """Number of classes of the data set."""
        return self.dataset.num_classes

    @property
    def num_source_domains(self) -> int:
        """Number of source domains in the configuration."""
        return self._num_source_domains

    @property
    def lab2cname(self) -> dict[int, str]:
        """From label to class name."""
        return self.dataset.lab2cname

    def show_dataset_summary(self, cfg: CfgNode) -> None:
        """Print a table with the size of each split."""
        dataset = self.dataset
        rows = [("Dataset", cfg.DATASET.NAME)]
        rows += [("Source", str(cfg.DATASET.SOURCE_DOMAINS))] if cfg.DATASET.SOURCE_DOMAINS else []
        rows += [("Target", str(cfg.DATASET.TARGET_DOMAINS))] if cfg.DATASET.TARGET_DOMAINS else []
        rows.append(("# classes", f"{self.num_classes:,}"))
        for name in ("train_x", "train_u", "val", "test"):
            items = getattr(dataset, name)
            if items:
                rows.append((f"# {name}", f"{len(items):,}"))
        left, right = (max(len(row[side]) for row in rows) for side in (0, 1))
        rule = f"{'-' * left}  {'-' * right}"
        print("\n".join([rule, *(f"{name:<{left}}  {value}" for name, value in rows), rule]))

    @staticmethod
    def _transform(cfg: CfgNode, is_train: bool, custom: Transform | None) -> Transform | None:
        if custom is None:
            return build_transform(cfg, is_train=is_train)
        print(f"* Using custom transform for {'training' if is_train else 'testing'}")
        return custom

    def _train_loader(self, cfg: CfgNode, settings: CfgNode, items: Sequence[Datum]) -> DataLoader:
        return build_data_loader(
            cfg,
            sampler_type=settings.SAMPLER,
            data_source=items,
            batch_size=settings.BATCH_SIZE,
            n_domain=settings.N_DOMAIN,
            n_ins=settings.N_INS,
            tfm=self._tfm[True],
            is_train=True,
            dataset_wrapper=self._wrapper,
        )

    def _test_loader(self, cfg: CfgNode, items: Sequence[Datum]) -> DataLoader:
        return build_data_loader(
            cfg,
            sampler_type=cfg.DATALOADER.TEST.SAMPLER,
            data_source=items,
            batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=self._tfm[False],
            is_train=False,
            dataset_wrapper=self._wrapper,
        )
