"""Scalars and pictures of a run for TensorBoard, where they are asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .runs import RunOptions


@contextmanager
def tensorboard_writer(options: RunOptions) -> Iterator[Any]:
    """A SummaryWriter, or None where none was asked for.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    if not (options.tensorboard and options.world.is_main):
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("--tensorboard needs TensorBoard: pip install 'scae-zoo[tensorboard]'") from None
    with SummaryWriter(str(options.out / 'tensorboard')) as writer:
        yield writer


def write_scalars(writer: Any, row: dict[str, Any]) -> None:
    """Draw an epoch's row of the log, where there is a writer."""
    for key, value in row.items() if writer else ():
        if key != 'epoch':
            writer.add_scalar(key, value, row['epoch'])
