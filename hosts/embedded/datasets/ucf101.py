"""UCF101: 101 actions, each video shown by its middle frame."""

from __future__ import annotations

import re

from dassl.data.datasets import DATASET_REGISTRY

from datasets._plugin import DataError, Item, Split, hold_out, read_lines
from datasets.base import FewShotDataset


def spaced(action: str) -> str:
    """Return "Apply_Eye_Makeup" for "ApplyEyeMakeup": folder and class name of middle frames."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", action)


@DATASET_REGISTRY.register()
class UCF101(FewShotDataset):
    """`ucf101/UCF-101-midframes/<Class_Name>/*.jpg` and three lists, `ucfTrainTestlist/`."""

    dataset_dir = "ucf101"
    image_folder = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"

    def draw(self) -> Split:
        """Return the published test list 01, and train list 01 divided."""
        path = self.need("ucfTrainTestlist/classInd.txt")
        pairs = [line.split() for line in read_lines(path, "class names")]
        try:
            labels = {action: int(number) - 1 for number, action in pairs}
        except ValueError as error:
            raise DataError(f"{path}: expected lines '<class id> <action>'") from error
        train, val = hold_out(self.read_part("trainlist01.txt", labels))
        return Split(train, val, self.read_part("testlist01.txt", labels))

    def read_part(self, name: str, labels: dict[str, int]) -> list[Item]:
        """Return the items of lines `<Action>/<video>.avi [<class id>]`."""
        path = self.need(f"ucfTrainTestlist/{name}")
        items = []
        for line in read_lines(path, "video list"):
            action, _, video = line.split()[0].partition("/")
            if action not in labels:
                raise DataError(f"{path}: '{line}' is of an action that is not in classInd.txt")
            picture = self.image_dir / spaced(action) / video.replace(".avi", ".jpg")
            items.append(Item(str(picture), labels[action], spaced(action)))
        return items
