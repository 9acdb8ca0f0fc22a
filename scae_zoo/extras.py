"""The packages of the ``[train]`` extra, which using the pretrained networks does without."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def training_extra() -> Iterator[None]:
    """Turn the failed import of what only training and evaluation need into a message that says how to get it."""
    try:
        yield
    except ImportError as error:
        raise ValueError(f"this needs {error.name}: pip install 'scae-zoo[train]'") from None


def require_installed(*packages: str) -> None:
    """Refuse, before the training, what could not be measured after it."""
    with training_extra():
        for package in packages:
            if find_spec(package) is None:
                raise ModuleNotFoundError(name=package)
