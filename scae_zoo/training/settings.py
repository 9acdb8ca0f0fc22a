"""Hyper-parameters as data: one declaration gives the default, the check, the help text and the command-line option."""

import argparse
import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

from timm.optim import list_optimizers

MOST_NEED = ('epochs', 'crop', 'init')
FIRST_CROP_HELP = 'side of the crops in the first pass, which grows to --crop, and the images with it: saves time'
SettingsT = TypeVar('SettingsT', bound='Settings')


def setting(
        default: Any,
        text: str,
        *,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        choices: tuple[str, ...] | None = None,
) -> Any:
    """A field of ``Settings``: its default, what it means, and the values that it may have (``low`` and ``high`` are
    allowed, ``above`` is not)."""
    return dataclasses.field(
        default=default, metadata=dict(text=text, low=low, high=high, above=above, choices=choices))


def option(name: str) -> str:
    """``batch_size`` to ``--batch-size``."""
    return '--' + name.replace('_', '-')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every set of hyper-parameters; checks each value when it is made.

    Raises:
        ValueError: A value is out of range; the message names the option.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, meta = getattr(self, field.name), field.metadata
            if value is None:
                continue
            if meta['choices'] and value not in meta['choices']:
                raise ValueError(f'{option(field.name)} must be one of {", ".join(meta["choices"])}, not {value!r}')
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f'{option(field.name)} must be a finite number, not {value}')
            for bound, wrong, words in (
                    ('low', lambda v, b: v < b, 'at least'), ('high', lambda v, b: v > b, 'at most'),
                    ('above', lambda v, b: v <= b, 'more than')):
                if meta[bound] is not None and wrong(value, meta[bound]):
                    raise ValueError(f'{option(field.name)} must be {words} {meta[bound]}, not {value}')

    def replace(self: SettingsT, **changes: Any) -> SettingsT:
        return dataclasses.replace(self, **changes)


def _value_type(annotation: Any) -> Any:
    if isinstance(annotation, types.UnionType):
        return next(a for a in typing.get_args(annotation) if a is not types.NoneType)
    return annotation


def add_options(
        parser: argparse._ActionsContainer,
        settings: Settings,
        needed: argparse._ActionsContainer | None = None,
) -> None:
    """An option for each field, with the defaults of ``settings``; ``needed`` takes those that most runs need."""
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        default = getattr(settings, field.name)
        shown = '' if default is None else f' (default: {default})'.replace('%', '%%')
        kwargs: dict[str, Any] = dict(default=default, help=field.metadata['text'] + shown)
        if hints[field.name] is bool:
            kwargs['action'] = argparse.BooleanOptionalAction
        else:
            kwargs |= dict(type=_value_type(hints[field.name]), choices=field.metadata['choices'])
            kwargs['metavar'] = None if field.metadata['choices'] else field.name.upper()
        group = needed if needed is not None and field.name in MOST_NEED else parser
        group.add_argument(option(field.name), **kwargs)


def from_options(cls: type[SettingsT], args: argparse.Namespace) -> SettingsT:
    """The settings that the options of ``add_options`` were given."""
    return cls(**{field.name: getattr(args, field.name) for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimization(Settings):
    """What the training loop needs to know, whatever it trains."""

    epochs: int = setting(30, 'passes over the images', low=1)
    batch_size: int = setting(128, 'images a step, over all processes and accumulated parts', low=1)
    accumulate: int = setting(1, 'parts that a batch is split into, one after the other, to save memory', low=1)
    opt: str = setting('muon', "optimiser, a name of timm's (muon, adam, adamw, sgd, lamb, ...)")
    lr: float = setting(3e-3, 'peak learning rate', above=0)
    weight_decay: float = setting(0., 'weight decay of everything but biases and norms', low=0)
    sched: str = setting('cosine', 'learning rate schedule', choices=('cosine', 'multistep', 'constant'))
    warmup: float = setting(0.03, 'share of the run in which the learning rate rises', low=0, high=1)
    clip_grad: float | None = setting(None, 'largest norm of the gradient', above=0)
    ema: float | None = setting(None, 'decay a step of the moving average of the weights, which rises to this as '
                                      '1 - STEP^(-2/3)', low=0, high=1)
    crop: int | None = setting(None, "side of the crops in pixels; the model's input size where not given", low=17)
    flip: bool = setting(True, 'mirror half of the crops')
    seed: int = setting(0, 'seed of everything random', low=0, high=2 ** 63 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        # those left out need a library of their own or second derivatives, have a state of more than tensors, or are
        # what stands in for one of timm's
        known = [str(name) for name in list_optimizers(exclude_filters=[
            'adahessian', 'bnb*', 'fused*', 'kron*', 'scae*'])]
        if self.opt not in known:
            raise ValueError(f'--opt must be one of {", ".join(known)}, not {self.opt!r}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervised(Optimization):
    """What training on labelled images has besides, classifiers and segmenters alike."""

    weight_decay: float = setting(0.05, 'weight decay of everything but biases and norms', low=0)
    min_scale: float = setting(1., 'least factor by which an image is scaled before it is cropped', above=0)
    max_scale: float = setting(1., 'greatest such factor', above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_scale > self.max_scale:
            raise ValueError(f'--min-scale {self.min_scale} is more than --max-scale {self.max_scale}')
