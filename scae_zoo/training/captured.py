"""Steps of training as CUDA graphs, and batches that are made ready beside them: a step of a small network is many
hundred short kernels, each of which a GPU has ended before the CPU has started the next."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from .distributed import World

WARM_UP = 3  # steps before a capture: CUDA's libraries set themselves up in the first ones, which cannot be captured

Batch = tuple[torch.Tensor, torch.Tensor]
Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class CapturedStep:
    """A step that the GPU does as it was once recorded, from a batch and learning rates to the weights and the loss.

    Each call is a step of training. The first few of a batch's shape run as they are, then one is recorded; what is
    random draws from torch's own generator, as seeded before the call.

    Args:
        step: Forward pass, backward pass and the optimiser's step of (input, target); gives the loss. It leaves no
            gradient, and reads no value back from the GPU.
        optimizer: The one that it takes, before its first step or before its state is loaded. Its learning rates are
            those at the call.
        device: The GPU.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        for options in (optimizer.defaults, *optimizer.param_groups):
            options['capturable'] = True  # it counts its steps on the GPU
        # torch warns of steps that are not captured, which the first ones are not
        optimizer._warned_capturable_if_run_uncaptured = True  # type: ignore[attr-defined]
        self._step, self._optimizer, self._device = step, optimizer, device
        self._rates = torch.zeros(len(optimizer.param_groups), device=device)
        self._captured, self._beside = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self._begin(None)

    def _begin(self, shapes: tuple[torch.Size, torch.Size] | None) -> None:
        self._shapes = shapes
        self._graph: torch.cuda.CUDAGraph | None = None
        self._images = self._target = self._loss = torch.empty(0)
        self._warm = 0

    def batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches, each made on a stream of its own while the GPU is at the step before it."""
        current = torch.cuda.current_stream(self._device)
        self._beside.wait_stream(current)

        def following() -> Batch | None:
            with torch.cuda.stream(self._beside):
                return next(batches, None)

        coming, last = following(), None
        while coming is not None:
            current.wait_stream(self._beside)
            for x in coming:
                x.record_stream(current)
            yield coming
            ended = torch.cuda.Event()
            ended.record(current)
            if last is not None:
                last.synchronize()  # or the CPU would run ahead by hundreds of steps, whose batches all take memory
            last, coming = ended, following()

    def __call__(self, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss, which the next call may overwrite."""
        if (images.shape, target.shape) != self._shapes:  # crops that grow
            self._begin((images.shape, target.shape))
        for rate, group in zip(self._rates, self._optimizer.param_groups, strict=True):
            rate.fill_(group['lr'])
        if self._warm < WARM_UP:
            self._warm += 1
            return self._run(images, target)
        if self._graph is None:
            self._capture(images, target)
        assert self._graph is not None
        self._images.copy_(images)
        self._target.copy_(target)
        self._graph.replay()
        return self._loss

    @contextmanager
    def _rates_on_device(self) -> Iterator[None]:
        """Have the optimiser read its learning rates where a graph can, whenever it runs."""
        groups = self._optimizer.param_groups
        values = [group['lr'] for group in groups]
        try:
            for group, rate in zip(groups, self._rates, strict=True):
                group['lr'] = rate
            yield
        finally:
            for group, value in zip(groups, values, strict=True):
                group['lr'] = value

    def _run(self, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """A step as it is, on the stream that will be captured."""
        current = torch.cuda.current_stream(self._device)
        self._captured.wait_stream(current)
        with torch.cuda.stream(self._captured), self._rates_on_device():
            loss = self._step(images, target)
        current.wait_stream(self._captured)
        for x in (images, target):
            x.record_stream(self._captured)
        loss.record_stream(current)
        return loss

    def _capture(self, images: torch.Tensor, target: torch.Tensor) -> None:
        """Record a step, which does not run it."""
        self._images, self._target = images.clone(), target.clone()
        graph = torch.cuda.CUDAGraph()
        # errors of this thread alone: another one may be reading the next images
        with self._rates_on_device(), torch.cuda.graph(
                graph, stream=self._captured, capture_error_mode='thread_local'):
            self._loss = self._step(self._images, self._target)
        self._graph = graph


def check_capturable(optimizer: torch.optim.Optimizer, world: World) -> None:
    """Whether the steps of an optimiser can be captured here.

    Raises:
        ValueError: There is no GPU, or there are more processes, or the optimiser counts its steps elsewhere.
    """
    if world.size > 1 or world.device.type != 'cuda':
        raise ValueError('CUDA graphs are for one process with a GPU')
    if 'capturable' not in optimizer.defaults:
        raise ValueError(f'{type(optimizer).__name__} cannot be captured in a CUDA graph; take muon or adamw')
