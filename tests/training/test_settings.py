"""Hyper-parameters: their ranges, and the options made of them."""

import argparse
import dataclasses
import math
from typing import Any

import pytest

from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining
from scae_zoo.methods.probing import Probing
from scae_zoo.methods.segmenting import Segmenting
from scae_zoo.training.settings import Settings, add_options, from_options, option

ALL = (Pretraining, FineTuning, Segmenting, Probing)


def beyond(field: dataclasses.Field) -> list[Any]:
    """Values that the field may not have."""
    meta = field.metadata
    values = [] if meta['low'] is None else [meta['low'] - 1]
    values += [] if meta['high'] is None else [meta['high'] + 1]
    values += [] if meta['above'] is None else [meta['above']]
    values += [math.nan, math.inf] if isinstance(field.default, float) else []
    return values + ['none'] * bool(meta['choices'] or field.name in ('opt', 'corruption'))


@pytest.mark.parametrize(('cls', 'name', 'value'), [
    (cls, field.name, value) for cls in ALL for field in dataclasses.fields(cls) for value in beyond(field)])
def test_range(cls: type[Settings], name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f'^{option(name)}[ :]'):
        cls(**{name: value})


@pytest.mark.parametrize('opt', ['adahessian', 'bnbadam', 'fusedlamb', 'kron'])
def test_optimisers_that_cannot_go_on_are_refused(opt: str) -> None:
    with pytest.raises(ValueError, match='--opt must be one of .*adamw.*lamb'):
        FineTuning(opt=opt)


@pytest.mark.parametrize('cls', ALL)
def test_round_trip(cls: type[Settings]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, cls())
    assert from_options(cls, parser.parse_args([])) == cls()
    text = '--epochs 3 --lr 0.25 --ema 0.5 --seed 7 --sched multistep --no-flip'
    expected = cls().replace(epochs=3, lr=0.25, ema=0.5, seed=7, sched='multistep', flip=False)
    assert from_options(cls, parser.parse_args(text.split())) == expected
    for field in dataclasses.fields(cls):
        assert option(field.name) in parser.format_help()


def test_wrong_type_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Pretraining())
    for text in ('--epochs 1.5', '--lr fast', '--sched linear'):
        with pytest.raises(SystemExit):
            parser.parse_args(text.split())
        assert text.split()[0] in capsys.readouterr().err
