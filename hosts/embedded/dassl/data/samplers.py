"""The order in which a loader visits the pictures of a split."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

from torch.utils.data import RandomSampler, Sampler, SequentialSampler
from yacs.config import CfgNode

from dassl._plugin import ConfigError
from dassl.data.datasets import Datum
from dassl.utils import check_availability


def _indices_by(data_source: Sequence[Datum], attribute: str) -> dict[int, list[int]]:
    """Return the positions of the items by the value of one attribute."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(data_source):
        groups[getattr(item, attribute)].append(index)
    return dict(groups)


class _GroupSampler(Sampler[int]):
    """Fills each batch with equally many random items of some groups, until a group runs out."""

    def __init__(self, groups: dict[int, list[int]], groups_per_batch: int, per_group: int) -> None:
        self.groups = groups
        self.groups_per_batch = groups_per_batch
        self.per_group = per_group
        # an estimate: the draw decides which group runs out first
        self.length = len(list(iter(self)))

    def __len__(self) -> int:
        return self.length

    def choose(self, available: list[int]) -> list[int]:
        """Return the groups of the next batch."""
        return random.sample(available, self.groups_per_batch)

    def goes_on(self, left: dict[int, list[int]]) -> bool:
        """Tell whether another batch can be filled; by default all groups need enough items."""
        return all(len(items) >= self.per_group for items in left.values())

    def __iter__(self) -> Iterator[int]:
        left = {group: random.sample(items, len(items)) for group, items in self.groups.items()}
        order: list[int] = []
        while self.goes_on(left):
            available = [group for group, items in left.items() if len(items) >= self.per_group]
            for group in self.choose(available):
                order += [left[group].pop() for _ in range(self.per_group)]
        return iter(order)


class RandomDomainSampler(_GroupSampler):
    """Each batch: `n_domain` random domains (below 1: all of them) with equally many pictures."""

    def __init__(self, data_source: Sequence[Datum], batch_size: int, n_domain: int) -> None:
        groups = _indices_by(data_source, "domain")
        n_domain = n_domain if n_domain and n_domain > 0 else len(groups)
        if n_domain > len(groups) or batch_size % n_domain:
            raise ConfigError(
                f"a batch of {batch_size} cannot be shared by {n_domain} of {len(groups)} domains"
            )
        super().__init__(groups, n_domain, batch_size // n_domain)


class SeqDomainSampler(RandomDomainSampler):
    """Each batch: all domains in ascending order with equally many random pictures."""

    def __init__(self, data_source: Sequence[Datum], batch_size: int) -> None:
        super().__init__(data_source, batch_size, 0)

    def choose(self, available: list[int]) -> list[int]:
        """Return all domains that are left, in ascending order."""
        return sorted(available)


class RandomClassSampler(_GroupSampler):
    """Each batch: `batch_size // n_ins` random classes, `n_ins` pictures each; few repeat."""

    def __init__(self, data_source: Sequence[Datum], batch_size: int, n_ins: int) -> None:
        groups = _indices_by(data_source, "label")
        per_batch = batch_size // n_ins
        if not 1 <= per_batch <= len(groups):
            raise ConfigError(
                f"a batch of {batch_size} cannot hold {n_ins} pictures a class ({len(groups)}"
                " classes)"
            )
        filled = {label: items * -(-n_ins // len(items)) for label, items in groups.items()}
        super().__init__(filled, per_batch, n_ins)

    def goes_on(self, left: dict[int, list[int]]) -> bool:
        """Say whether enough classes have enough pictures left for another batch."""
        return sum(len(items) >= self.per_group for items in left.values()) >= self.groups_per_batch


def build_sampler(
    sampler_type: str,
    cfg: CfgNode | None = None,
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 32,
    n_domain: int = 0,
    n_ins: int = 16,
) -> Sampler[int]:
    """Return the sampler of that name over `data_source`; `cfg` is not read."""
    makers = {
        "RandomSampler": lambda: RandomSampler(data_source),
        "SequentialSampler": lambda: SequentialSampler(data_source),
        "RandomDomainSampler": lambda: RandomDomainSampler(data_source, batch_size, n_domain),
        "SeqDomainSampler": lambda: SeqDomainSampler(data_source, batch_size),
        "RandomClassSampler": lambda: RandomClassSampler(data_source, batch_size, n_ins),
    }
    check_availability(sampler_type, list(makers), kind="sampler")
    return makers[sampler_type]()
