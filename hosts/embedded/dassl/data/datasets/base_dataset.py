"""One picture (`Datum`) and a data set with its splits (`DatasetBase`)."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Hashable, Sequence

from dassl._plugin import ConfigError, DataError


class Datum:
    """A picture file with its label, domain and class name; immutable by convention.

    The attribute names and this module's path are part of the family's file format: the saved
    few-shot splits (`split_fewshot/*.pkl`) are pickled lists of these.
    """

    def __init__(
        self, impath: str = "", label: int = 0, domain: int = 0, classname: str = ""
    ) -> None:
        if not isinstance(impath, str):
            raise TypeError(f"the picture's path has to be a str, not {type(impath).__name__}")
        if not os.path.isfile(impath):
            raise DataError(
                f"picture '{impath}' of class '{classname}' is missing; is the data set complete?"
            )
        self._impath, self._classname = impath, classname
        self._label, self._domain = label, domain

    @property
    def impath(self) -> str:
        """Path of the file."""
        return self._impath

    @property
    def label(self) -> int:
        """Number of the class, from 0."""
        return self._label

    @property
    def domain(self) -> int:
        """Number of the domain, from 0."""
        return self._domain

    @property
    def classname(self) -> str:
        """Name of the class, as it goes into prompts."""
        return self._classname

    def __repr__(self) -> str:
        of = f"label={self._label}, domain={self._domain}, classname={self._classname!r}"
        return f"Datum({self._impath!r}, {of})"


class DatasetBase:
    """Lists of Datum for training (labelled, unlabelled), validation and test.

    Classes and their names are those of the labelled training list. A subclass reads its files,
    then calls `super().__init__` with the lists.
    """

    dataset_dir = ""  # folder under cfg.DATASET.ROOT
    domains: Sequence[str] = []

    def __init__(
        self,
        train_x: list[Datum] | None = None,
        train_u: list[Datum] | None = None,
        val: list[Datum] | None = None,
        test: list[Datum] | None = None,
    ) -> None:
        if not train_x:
            raise DataError(
                f"{type(self).__name__}: the training list is empty, so there are no classes"
            )
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)
        self._num_classes = self.get_num_classes(train_x)
        self._train_x, self._train_u = train_x, train_u
        self._val, self._test = val, test

    @property
    def train_x(self) -> list[Datum]:
        """Labelled training pictures."""
        return self._train_x

    @property
    def train_u(self) -> list[Datum] | None:
        """Unlabelled training pictures."""
        return self._train_u

    @property
    def val(self) -> list[Datum] | None:
        """Validation pictures."""
        return self._val

    @property
    def test(self) -> list[Datum] | None:
        """Test pictures."""
        return self._test

    @property
    def num_classes(self) -> int:
        """Number of classes: the largest label plus one."""
        return self._num_classes

    @property
    def lab2cname(self) -> dict[int, str]:
        """From label to class name."""
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        """Class names in the order of their labels."""
        return self._classnames

    @staticmethod
    def get_num_classes(data_source: Sequence[Datum]) -> int:
        """Return the largest label plus one."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: Sequence[Datum]) -> tuple[dict[int, str], list[str]]:
        """Return the names by label, and the names in the order of the labels."""
        names = {item.label: item.classname for item in data_source}
        return names, [names[label] for label in sorted(names)]

    def check_input_domains(
        self, source_domains: Sequence[str], target_domains: Sequence[str]
    ) -> None:
        """Raise ConfigError unless both lists have entries and name domains of this data set."""
        for key, chosen in (("SOURCE_DOMAINS", source_domains), ("TARGET_DOMAINS", target_domains)):
            if not chosen:
                raise ConfigError(f"DATASET.{key} is empty; choose from {', '.join(self.domains)}")
            self.is_input_domain_valid(chosen)

    def is_input_domain_valid(self, input_domains: Sequence[str]) -> None:
        """Raise ConfigError when a name is no domain of this data set."""
        for domain in input_domains:
            if domain not in self.domains:
                raise ConfigError(f"unknown domain '{domain}' (known: {', '.join(self.domains)})")

    def generate_fewshot_dataset(
        self, *data_sources: list[Datum], num_shots: int = -1, repeat: bool = False
    ) -> list[Datum] | list[list[Datum]] | tuple[list[Datum], ...]:
        """Return `num_shots` pictures of each class of each list (a single list for a single
        argument).

        Drawn with Python's `random`, class by class in order of first appearance, so that a seed
        gives the same pictures as it does in the rest of the family. A class with fewer pictures
        gives all of them, or with `repeat` draws with replacement. `num_shots` below 1 returns the
        lists as they are.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        print(f"Creating a {num_shots}-shot dataset")
        drawn = [self._draw(source, num_shots, repeat) for source in data_sources]
        return drawn[0] if len(drawn) == 1 else drawn

    def _draw(self, source: list[Datum], num_shots: int, repeat: bool) -> list[Datum]:
        """Return the few-shot version of one list."""
        chosen: list[Datum] = []
        for items in self.split_dataset_by_label(source).values():
            if len(items) >= num_shots:
                chosen += random.sample(items, num_shots)
            else:
                chosen += random.choices(items, k=num_shots) if repeat else items
        return chosen

    def split_dataset_by_label(self, data_source: Sequence[Datum]) -> dict[int, list[Datum]]:
        """Return the pictures of each label, labels in order of first appearance."""
        return _group(data_source, "label")

    def split_dataset_by_domain(self, data_source: Sequence[Datum]) -> dict[int, list[Datum]]:
        """Return the pictures of each domain, domains in order of first appearance."""
        return _group(data_source, "domain")


def _group(items: Sequence[Datum], attribute: str) -> dict[Hashable, list[Datum]]:
    """Return the items by the value of one attribute."""
    groups: dict[Hashable, list[Datum]] = defaultdict(list)
    for item in items:
        groups[getattr(item, attribute)].append(item)
    return groups
