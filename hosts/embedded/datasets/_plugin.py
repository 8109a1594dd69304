"""All that these data sets take from the plug-in: errors, lists of pictures, splits, few shots."""

from loreal_plugin.data import register_plugin_datasets
from loreal_plugin.data.base import FewShotMixin
from loreal_plugin.data.folder import read_classnames
from loreal_plugin.data.items import ClassPictures, Item, class_pictures, pictures_in
from loreal_plugin.data.splits import Split, draw_split, hold_out
from loreal_plugin.data.storage import read_json_file, read_lines
from loreal_plugin.errors import DataError

__all__ = [
    "ClassPictures",
    "DataError",
    "FewShotMixin",
    "Item",
    "Split",
    "class_pictures",
    "draw_split",
    "hold_out",
    "pictures_in",
    "read_classnames",
    "read_json_file",
    "read_lines",
    "register_plugin_datasets",
]
