"""Steps as CUDA graphs: on a GPU they are the steps that they were recorded from; elsewhere, what they ask for is seen
to be so."""

import contextlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import timm.optim.adamw
import timm.optim.muon
import timm.optim.nadamw
import torch
from timm.optim import create_optimizer_v2
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scae_zoo import create_autoencoder
from scae_zoo.data.image_set import ImageSet
from scae_zoo.factory import create_encoder, create_segmenter
from scae_zoo.training import captured, loop, muon
from scae_zoo.training.augmentation import GrowingCrop
from scae_zoo.training.batches import Batches, Plain
from scae_zoo.training.distributed import World
from scae_zoo.training.loop import fit
from scae_zoo.training.muon import FITTED
from scae_zoo.training.run_folder import RunFolder
from scae_zoo.training.settings import Optimization
from scae_zoo.training.tasks import DenoisingTask, SegmentationTask, classification_task

from ..support.recipe_runs import narrow_networks

CPU = torch.device('cpu')
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU, of which CUDA graphs are')
HALF = (0.5, 0.5, 0.5)


class Stopped(Exception):
    """Takes the place of a kill."""


class ReadsBack(Exception):
    """A number was taken from the device to the CPU."""


class NothingReadBack(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise ReadsBack(func)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize('make', [
    lambda: (DenoisingTask(create_autoencoder('scae_springenberg9')), torch.zeros(2, 3, 16, 16)),
    lambda: (classification_task(create_encoder('scae_springenberg9', None, num_classes=3, drop_rate=0.5), False, CPU),
             torch.tensor([0, 2])),
    lambda: (classification_task(create_encoder('scae_springenberg9', None, num_classes=3), True, CPU),
             torch.tensor([[0., 1., -1.], [1., 0., 0.]])),
    lambda: (SegmentationTask(create_segmenter('scae_springenberg9', num_classes=3)),
             torch.full((2, 16, 16), 255, dtype=torch.uint8)),
], ids=['denoising', 'classes', 'labels', 'segmentation'])
def test_losses_and_gradients_read_nothing_back(make: Callable[[], tuple[Any, torch.Tensor]]) -> None:
    task, target = make()
    with NothingReadBack():
        task(torch.randn(2, 3, 16, 16), target)['loss'].backward()
    with pytest.raises(ReadsBack), NothingReadBack():
        target.sum().item()


@pytest.mark.parametrize('opt', [*FITTED.values(), 'adam', 'adamw'])
def test_optimisers_read_nothing_back(opt: str) -> None:
    """On tensors of a GPU that are nothing but their shapes, with learning rates that are tensors."""
    with FakeTensorMode():
        params = [torch.nn.Parameter(torch.empty(shape, device='cuda'))
                  for shape in ((8, 6, 3, 3), (8, 6, 3, 3), (5, 12), (7,))]
        optimizer = create_optimizer_v2([{'params': params}], opt, 0.1, 0.2)
        optimizer.defaults['capturable'] = True
        optimizer.param_groups[0].update(capturable=True, lr=torch.empty((), device='cuda'))
        for param in params:
            param.grad = torch.empty_like(param)
        optimizer.step()
        with pytest.raises(DataDependentOutputException):
            params[0].sum().item()


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Muon steps by shapes, but in float32: bfloat16 might make two steps of rates in double and single precision."""
    monkeypatch.setattr(muon, 'step_for', lambda device, group: muon._step_by_shapes)
    orthogonal = muon._orthogonal
    monkeypatch.setattr(muon, '_orthogonal', lambda matrices, group, _: orthogonal(matrices, group, torch.float32))


def test_muon_takes_a_rate_that_is_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that a GPU takes, to the steps that it takes with a number."""
    as_on_a_gpu(monkeypatch)
    results = []
    for lr in (0.1, torch.tensor(0.1)):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(8, 6, 3, 3)) for _ in range(2)]
        optimizer = create_optimizer_v2([{'params': params}], 'scaemuon', 0.5, 0.2)
        optimizer.param_groups[0]['lr'] = lr
        for _ in range(2):
            for param in params:
                param.grad = param.detach().sin()
            optimizer.step()
        results.append(params)
    torch.testing.assert_close(*results)


class Recorded(TorchDispatchMode):
    """What a CUDA graph is, on a CPU: operations on tensors, which are done again on the same memory. While they are
    recorded nothing changes that was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.made: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise ReadsBack(func)
        for x in _tensors((args, kwargs)):
            memory = x.untyped_storage().data_ptr()
            if memory not in self.made and memory not in self.before:
                self.before[memory] = x, _whole(x).clone()
        result = func(*args, **kwargs)
        self.made |= {x.untyped_storage().data_ptr() for x in _tensors(result)} - set(self.before)
        self.calls.append((func, args, kwargs, result))  # which keeps the memory of each
        return result

    def restore(self) -> None:
        for x, value in self.before.values():
            _whole(x).copy_(value)

    def replay(self) -> None:
        with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, recorded in self.calls:
                for old, new in zip(_tensors(recorded), _tensors(func(*args, **kwargs)), strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]


def _whole(x: torch.Tensor) -> torch.Tensor:
    """All of the memory that a tensor is in."""
    return torch.empty(0, dtype=x.dtype).set_(x.detach().untyped_storage())


class Stream:
    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait_stream(self, other: 'Stream') -> None:
        pass


class Event:
    def record(self, stream: Stream) -> None:
        pass

    def synchronize(self) -> None:
        pass


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    """Where there is no GPU, its graphs are recorded and replayed on the CPU; those that were."""
    made: list[Recorded] = []

    @contextmanager
    def graph(recorded: Recorded, **_: Any) -> Iterator[None]:
        made.append(recorded)
        with torch.random.fork_rng(devices=[]), recorded:
            yield
        recorded.restore()

    monkeypatch.setattr(torch.cuda, 'Stream', Stream)
    monkeypatch.setattr(torch.cuda, 'Event', Event)
    monkeypatch.setattr(torch.cuda, 'stream', lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, 'current_stream', Stream)
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', Recorded)
    monkeypatch.setattr(torch.cuda, 'graph', graph)
    monkeypatch.setattr(torch.Tensor, 'record_stream', lambda *_: None)
    monkeypatch.setattr(loop, 'check_capturable', lambda *_: None)
    monkeypatch.setattr(loop, 'fast_forward', lambda _: nullcontext())  # float32, for the same reason
    as_on_a_gpu(monkeypatch)
    for module in (timm.optim.adamw, timm.optim.nadamw, timm.optim.muon):
        monkeypatch.setattr(module, '_check_capturable_devices', lambda *_: None)
    return made


def train(
        folder: Path,
        device: torch.device,
        capture: bool,
        *,
        passes: int = 3,
        images: int = 20,
        **settings: Any,
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Train on noise in crops that grow; the weights and the log. ``passes`` of three are done."""
    torch.manual_seed(0)
    with narrow_networks():
        model = create_encoder('scae_springenberg9', None, num_classes=2, drop_rate=0.2)
    noise = torch.randint(256, (images, 3, 19, 19), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    optimization = Optimization(**{'epochs': 3, 'batch_size': 4, 'warmup': 0.2, 'seed': 1, **settings})
    world = World(0, 1, device)
    batches = Batches(ImageSet(noise, torch.arange(images) % 2, ('a', 'b')), optimization,
                      GrowingCrop(17, first_size=13, epochs=3), Plain(HALF, HALF), world)
    run = RunFolder(folder, {})

    def stop(row: dict[str, Any]) -> None:
        if row['epoch'] == passes < 3:
            raise Stopped

    with run.held():
        with contextlib.suppress(Stopped):
            fit(classification_task(model, False, device), batches, optimization, run, world, capture=capture,
                on_pass=stop, save_seconds=0 if passes < 3 else math.inf)  # a state that is saved waits for the GPU
        return {key: value.cpu() for key, value in model.state_dict().items()}, run.load_state()[1]['history']


SETTINGS = [{'opt': 'muon'}, {'opt': 'adamw', 'clip_grad': 0.5, 'accumulate': 2}, {'opt': 'adam', 'ema': 0.9}]


def assert_same(ours: tuple[Any, Any], theirs: tuple[Any, Any]) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-3, atol=1e-4)
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert a['loss'] == pytest.approx(b['loss'], rel=1e-3)
        assert a['lr'] == b['lr']


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_recorded_steps_train_as_others_do(
        tmp_path: Path, graphs: list[Recorded], settings: dict[str, Any]) -> None:
    """Their gradients, rates, dropout, and counts of steps; a graph a size of the crops."""
    others = train(tmp_path / 'eager', CPU, False, **settings)
    assert not graphs
    assert_same(train(tmp_path / 'captured', CPU, True, **settings), others)
    assert len(graphs) == 3


@pytest.mark.parametrize('first', [True, False])
def test_a_run_goes_on_captured_or_not(tmp_path: Path, graphs: list[Recorded], first: bool) -> None:
    others = train(tmp_path / 'eager', CPU, False, opt='muon')
    train(tmp_path / 'parts', CPU, first, passes=1, opt='muon')
    assert_same(train(tmp_path / 'parts', CPU, not first, opt='muon'), others)
    assert len(graphs) == (1 if first else 2)


@ON_GPU
@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_a_graph_trains_as_its_steps_do(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    """To a few times what two runs without one differ by, which is nothing where the kernels repeat their bits."""
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)
    gpu = torch.device('cuda', 0)
    (a, log), (b, other), (ours, captured_log) = (
        train(tmp_path / str(i), gpu, i == 2, images=80, **settings) for i in range(3))
    for key, value in a.items():
        noise = (value.float() - b[key].float()).abs().max().item()
        torch.testing.assert_close(ours[key], value, rtol=1e-2, atol=1e-3 + 4 * noise, msg=lambda text, key=key: (
            f'{key}: {text}\n{log}\n{other}\n{captured_log}'))


@pytest.mark.parametrize(('opt', 'world', 'message'), [
    ('muon', World(0, 1, CPU), '^CUDA graphs are for one process with a GPU$'),
    ('muon', World(0, 2, torch.device('cuda', 0)), '^CUDA graphs are for one process with a GPU$'),
    ('lamb', World(0, 1, torch.device('cuda', 0)), '^Lamb cannot be captured in a CUDA graph; take muon or adamw$'),
])
def test_what_cannot_be_captured_is_refused(opt: str, world: World, message: str) -> None:
    optimizer = create_optimizer_v2([{'params': [torch.nn.Parameter(torch.ones(2, 2))]}], FITTED.get(opt, opt), 0.1)
    with pytest.raises(ValueError, match=message):
        captured.check_capturable(optimizer, world)
