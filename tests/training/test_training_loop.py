"""The training loop: what it returns, how it goes on, and when it stops."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scae_zoo.data.image_set import ImageSet
from scae_zoo.errors import TrainingError
from scae_zoo.factory import create_encoder
from scae_zoo.pixels import normalize
from scae_zoo.training.augmentation import RandomCrop
from scae_zoo.training.batches import Batches, Plain
from scae_zoo.training.distributed import World
from scae_zoo.training.loop import fit
from scae_zoo.training.precision import precision
from scae_zoo.training.run_folder import RunFolder
from scae_zoo.training.settings import Optimization
from scae_zoo.training.tasks import SegmentationTask, classification_task

from ..support.random_kills import random_kills

HALF = (0.5, 0.5, 0.5)
Change = Callable[[torch.nn.Module], object]


class Stopped(Exception):
    """Takes the place of a kill."""


def train(
        folder: Path,
        *,
        images: int = 8,
        stop_at: int | None = None,
        poison_at: int | None = None,
        change: Change = lambda model: None,
        on_epoch: Callable[[dict[str, Any], torch.nn.Module], dict[str, float]] | None = None,
        compile_model: bool = False,
        layer_decay: float | None = None,
        save_seconds: float = 0,
        rank: int = 0,
        **settings: Any,
) -> tuple[torch.nn.Module, list[dict[str, Any]]]:
    """Train a classifier on noise; the model and the log."""
    torch.manual_seed(0)
    model = create_encoder('scae_springenberg9', None, num_classes=2, drop_rate=0.2)
    change(model)
    noise = torch.randint(256, (images, 3, 19, 19), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    calls = 0

    def prepare(crops: torch.Tensor, targets: torch.Tensor, _: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise Stopped
        return normalize(crops, HALF, HALF) * (math.nan if calls == poison_at else 1), targets

    world = World(rank, 1, torch.device('cpu'))
    optimization = Optimization(**{'epochs': 2, 'batch_size': 4, 'warmup': 0., **settings})
    batches = Batches(ImageSet(noise, torch.arange(images) % 2, ('a', 'b')), optimization, RandomCrop(17), prepare,
                      world._replace(rank=0))
    run = RunFolder(folder, {'lr': optimization.lr})
    with run.held():
        trained = fit(classification_task(model, False, world.device), batches, optimization, run, world,
                      compile_model=compile_model, on_epoch=on_epoch, save_seconds=save_seconds,
                      layer_decay=layer_decay)
        return trained, run.load_state()[1]['history'] if world.is_main else []


def assert_identical(a: torch.nn.Module, b: torch.nn.Module) -> None:
    torch.testing.assert_close(dict(a.state_dict()), dict(b.state_dict()), rtol=0, atol=0)


def test_random_kills(tmp_path: Path) -> None:
    """One at any moment, one while the run saves, one while it writes its checkpoint."""
    kills = list(random_kills(3, tmp_path))
    assert all(killed.identical for killed in kills), kills


@pytest.mark.parametrize('opt', ['adam', 'sgd', 'lamb', 'adan', 'lion', 'adafactorbv', 'muon'])
def test_goes_on_within_an_epoch(tmp_path: Path, opt: str) -> None:
    """Weights and log are those of an uninterrupted run, whatever the optimiser's state is made of."""
    settings = dict(opt=opt, ema=0.9, images=16, weight_decay=0.01, layer_decay=0.9)
    reference, log = train(tmp_path / 'whole', **settings)
    for stop_at in (3, 4):
        with pytest.raises(Stopped):
            train(tmp_path / 'parts', stop_at=stop_at, **settings)
    model, parts = train(tmp_path / 'parts', **settings)
    assert_identical(model, reference)
    assert [row['loss'] for row in parts] == [row['loss'] for row in log]


class Dtypes(TorchDispatchMode):
    """The types of all tensors that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **kwargs or {})
        self.seen |= {x.dtype for x in tree_leaves(result) if isinstance(x, torch.Tensor)}
        return result


@pytest.mark.parametrize('bfloat16', [True, False])
def test_bfloat16_where_the_processor_has_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bfloat16: bool) -> None:
    """In the forward pass and in Muon. Where there is none it is emulated here, and
    only here."""
    monkeypatch.delenv('ONEDNN_MAX_CPU_ISA', raising=False)
    monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: False)
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: bfloat16)
    with Dtypes() as dtypes:
        train(tmp_path, opt='muon', images=4, epochs=1)
    assert torch.float32 in dtypes.seen
    assert (torch.bfloat16 in dtypes.seen) == bfloat16


@pytest.mark.parametrize(('allowed', 'has'), [
    ('AVX2', False), ('avx512_core', False), ('AVX512_CORE_VNNI', False), ('AVX512_CORE_BF16', True),
    ('AVX10_1_512_AMX', True), ('ALL', True)])
def test_no_bfloat16_where_onednn_may_not_use_it(monkeypatch: pytest.MonkeyPatch, allowed: str, has: bool) -> None:
    """It would emulate it."""
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: True)
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', allowed)
    assert precision(torch.device('cpu')) == (torch.bfloat16 if has else torch.float32)


@pytest.mark.parametrize(('seconds', 'steps'), [(0, [1, 2, 3, 4]), (math.inf, [4])])
def test_state_is_saved_when_it_is_time(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, steps: list[int]) -> None:
    """And at the end, with the log: two passes of two steps."""
    save, saved = RunFolder.save_state, []

    def noting(self: RunFolder, tensors: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
        saved.append(record['step'])
        save(self, tensors, record)

    monkeypatch.setattr(RunFolder, 'save_state', noting)
    _, log = train(tmp_path, save_seconds=seconds)
    assert saved == steps
    assert [row['epoch'] for row in log] == [1, 2]


@pytest.mark.parametrize(('settings', 'expected'), [
    (dict(sched='constant'), [1] * 8),
    (dict(sched='constant', warmup=0.5), [0.25, 0.4375, 0.625, 0.8125, 1, 1, 1, 1]),
    (dict(sched='cosine'), [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)]),
    (dict(sched='multistep'), [1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01]),  # timm's milestones are one step early
    (dict(warmup=0.01, epochs=1), [1]),
])
def test_schedule(tmp_path: Path, settings: dict[str, Any], expected: list[float]) -> None:
    _, log = train(tmp_path, lr=0.5, **{'images': 4, 'epochs': 8, **settings})
    assert [row['lr'] / 0.5 for row in log] == pytest.approx(expected)


def test_moving_average(tmp_path: Path) -> None:
    """After two steps it is 2^(-2/3) of the second step's weights and statistics, the rest the first's."""
    settings = dict(images=4, sched='constant')
    first, second = (train(tmp_path / str(n), epochs=n, **settings)[0].state_dict() for n in (1, 2))
    seen = []
    average, _ = train(tmp_path / 'ema', ema=0.9, on_epoch=lambda _, model: seen.append(model) or {}, **settings)
    assert seen == [average, average]
    for key, value in average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.lerp(first[key], second[key], 2 ** (-2 / 3)))


@pytest.mark.usefixtures('_float32')
def test_accumulated_parts_add_up(tmp_path: Path) -> None:
    """Up to rounding, where the norms' statistics are fixed; else each part is normalised by its own."""
    def freeze_norms(model: torch.nn.Module) -> None:
        model.head.drop.p = 0.
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.requires_grad_(False)

    settings = dict(images=6, batch_size=6, epochs=1, opt='momentum', lr=1., change=freeze_norms)
    start, _ = train(tmp_path / '0', **settings | {'lr': 1e-30})
    whole, parts, uneven = (train(tmp_path / str(n), accumulate=n, **settings)[0] for n in (1, 2, 4))
    for before, a, *others in zip(*(m.parameters() for m in (start, whole, parts, uneven)), strict=True):
        for b in others:
            assert (a - b).norm() <= 1e-4 * (a - before).norm()


@pytest.mark.usefixtures('_float32')
@pytest.mark.parametrize('kind', ['masks', 'many labels'])
def test_parts_weigh_what_is_counted_in_them(tmp_path: Path, kind: str) -> None:
    """The first image has little of it, the second nothing: split up, the batch teaches the same."""
    pixels = torch.randint(256, (4, 3, 17, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if kind == 'masks':
        targets = (pixels[:, 0] > 128).byte()
        targets[0, 2:], targets[1] = 255, 255
        layers = [torch.nn.Conv2d(3, 2, 1)]
    else:
        targets = torch.tensor([[1., -1, -1], [-1, -1, -1], [0, 1, 0], [1, 1, 1]])
        layers = [torch.nn.Flatten(), torch.nn.Linear(3 * 17 * 17, 3)]
    world = World(0, 1, torch.device('cpu'))
    ends = []
    for parts in (1, 2, 4):
        torch.manual_seed(0)
        model = torch.nn.Sequential(*copy.deepcopy(layers))
        settings = Optimization(epochs=2, batch_size=4, accumulate=parts, opt='sgd', lr=0.1, flip=False)
        batches = Batches(ImageSet(pixels, targets, ('a', 'b', 'c')), settings, RandomCrop(17, flip=False),
                          Plain(HALF, HALF), world)
        task = SegmentationTask(model, world.device) if kind == 'masks' else classification_task(
            model, True, world.device)
        run = RunFolder(tmp_path / str(parts), {})
        with run.held():
            trained = fit(task, batches, settings, run, world)
        assert not torch.equal(trained[-1].weight, layers[-1].weight)
        ends.append((trained.state_dict(), run.load_state()[1]['history'][-1]['loss']))
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0])


def test_frozen_blocks_stay(tmp_path: Path) -> None:
    """Their norms' statistics too."""
    torch.manual_seed(0)
    before = create_encoder('scae_springenberg9', None, num_classes=2)
    model, _ = train(tmp_path, change=lambda model: model.blocks.requires_grad_(False))
    assert_identical(model.blocks, before.blocks)
    assert not torch.equal(model.head.fc.weight, before.head.fc.weight)


def test_layer_decay(tmp_path: Path) -> None:
    """Adam's first step moves a weight by its layer's learning rate."""
    torch.manual_seed(0)
    before = create_encoder('scae_springenberg9', None, num_classes=2)
    model, _ = train(tmp_path, images=4, epochs=1, opt='adam', lr=1e-3, layer_decay=0.5)
    moved = [(a - b).abs().max().item() for a, b in zip(model.parameters(), before.parameters(), strict=True)
             if a.ndim > 1]
    # the gradient fades towards the image, and with it Adam's step falls below the learning rate
    assert moved[-3:] == pytest.approx([1e-3 / 4, 1e-3 / 2, 1e-3], rel=0.05)


@pytest.mark.usefixtures('_fresh_compiler')
def test_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state has the model's own names: what was begun compiled goes on uncompiled."""
    compiler = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda model, **_: compiler(model, backend='eager'))
    reference, _ = train(tmp_path / 'plain', ema=0.9)
    compiled, _ = train(tmp_path / 'compiled', ema=0.9, compile_model=True)
    assert_identical(compiled, reference)
    with pytest.raises(Stopped):
        train(tmp_path / 'parts', ema=0.9, compile_model=True, stop_at=3)
    assert_identical(train(tmp_path / 'parts', ema=0.9)[0], reference)


def test_diverged(tmp_path: Path) -> None:
    """The state before is kept, and the same command comes to the same end."""
    for _ in range(2):
        with pytest.raises(TrainingError, match='loss is not finite from step 2 on; the state before it is kept'):
            train(tmp_path, images=4, lr=1e30)
        tensors, record = RunFolder(tmp_path, {}).load_state()
        assert record['step'] == 1
        assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_not_a_number_at_once(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='step 1 on; no state was saved yet'):
        train(tmp_path, poison_at=1)
    train(tmp_path)


def test_weights_overflow_in_the_last_step(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='a weight is not finite at step 1'):
        train(tmp_path, images=4, epochs=1, opt='momentum', lr=3e38,
              change=lambda model: torch.nn.init.normal_(model.head.fc.weight, std=100))


def test_no_bfloat16_where_a_gpu_would_emulate_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a T4 does: PyTorch says that it has it, unless it is asked not to count that."""
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True, has=has: (
            has or including_emulation))
        assert precision(torch.device('cuda')) == (torch.bfloat16 if has else torch.float32)
