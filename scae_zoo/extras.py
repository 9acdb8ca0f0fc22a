"""The packages of the extras, which using the pretrained networks does without."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def training_extra() -> Iterator[None]:
    """Turn the failed import of what only training and evaluation need into a message that says how to get it."""
    try:
        yield
    except ImportError as error:
        raise _missing(error.name, 'train') from None


def require_installed(*packages: str, extra: str = 'train') -> None:
    """Refuse, before the training or other long work, what could not be measured after it."""
    for package in packages:
        if find_spec(package) is None:
            raise _missing(package, extra)


def _missing(package: str | None, extra: str) -> ValueError:
    return ValueError(f"this needs {package}: pip install 'scae-zoo[{extra}]'")
