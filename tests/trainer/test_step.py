"""How far a training is, which the mix bridge goes by."""

from __future__ import annotations

import pytest

from loreal_plugin.errors import ConfigError
from loreal_plugin.method.bridge import mix_weight
from loreal_plugin.trainer.step import training_progress


def authors_weight(epoch: int, epochs: int, start: float, maximum: float) -> float:
    """Return the authors' rule as it reads: epochs count from 0, nothing changes within one."""
    done = (epoch + 1) / epochs
    if start <= 0:
        return maximum
    return 0.0 if done <= start else maximum * (done - start) / (1 - start)


@pytest.mark.parametrize("start", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("maximum", [1.0, 0.6])
def test_weight_of_every_epoch_is_that_of_the_authors(start: float, maximum: float):
    for epochs in (1, 7, 50):
        for epoch in range(epochs):
            found = {
                mix_weight(
                    training_progress("epoch", epoch=epoch, epochs=epochs, batch=b, batches=5),
                    start,
                    maximum,
                )
                for b in range(5)
            }
            assert found == {authors_weight(epoch, epochs, start, maximum)}


def test_progress_by_step_goes_from_0_to_1():
    place = {"epochs": 3, "batches": 4}
    found = [
        training_progress("step", epoch=e, batch=b, **place) for e in range(3) for b in range(4)
    ]
    assert found[0] == 0 and found[-1] == 1
    assert all(b - a == pytest.approx(1 / 11) for a, b in zip(found, found[1:], strict=False))
    assert training_progress("step", epoch=0, epochs=1, batch=0, batches=1) == 0


def test_an_unknown_grain_is_refused():
    with pytest.raises(ConfigError, match="unknown MIX_STEPS 'epochs'; did you mean 'epoch'"):
        training_progress("epochs", epoch=0, epochs=1, batch=0, batches=1)
