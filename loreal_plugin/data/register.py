"""Putting the plug-in's datasets into a host's registry."""

from __future__ import annotations

from typing import Any

from loreal_plugin.data.base import FewShotMixin
from loreal_plugin.data.demo import DEMO_TARGET_MIXINS, DemoHeldoutMixin, DemoMixin
from loreal_plugin.data.folder import FolderMixin
from loreal_plugin.errors import HostError

PLUGIN_DATASETS: dict[str, type[FewShotMixin]] = {
    "Folder": FolderMixin,
    "Demo": DemoMixin,
    "DemoHeldout": DemoHeldoutMixin,
    **DEMO_TARGET_MIXINS,
}


def register_plugin_datasets(registry: Any, dataset_base: type, datum: type) -> list[str]:
    """Register the plug-in's datasets in a host's dataset registry and return the names added now.

    Datasets of ours that are already there are left alone.

    Args:
        registry: `dassl.data.datasets.DATASET_REGISTRY`.
        dataset_base: `dassl.data.datasets.DatasetBase`.
        datum: `dassl.data.datasets.Datum`.

    Raises:
        HostError: the host has another dataset of that name; nothing is registered then.
    """
    names = registry.registered_names()
    present = {name: registry.get(name) for name in PLUGIN_DATASETS if name in names}
    foreign = [n for n, found in present.items() if not issubclass(found, PLUGIN_DATASETS[n])]
    if foreign:
        raise HostError(
            f"the host already has its own dataset {', '.join(foreign)}; rename it there to use the"
            " plug-in's"
        )
    added = [name for name in PLUGIN_DATASETS if name not in present]
    for name in added:
        # The registry takes the class's own name, so the class is made under the name users type.
        registry.register(type(name, (PLUGIN_DATASETS[name], dataset_base), {"datum_class": datum}))
    return added
