"""The training loop: any task, any number of processes; killed at any moment it goes on bit for bit."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.task import TrainingTask
from timm.utils import unwrap_model
from tqdm import tqdm

from ..errors import TrainingError
from .batches import BaseBatches, seed_of
from .captured import CapturedStep, check_capturable
from .distributed import World, synchronise_batch_norm
from .muon import FITTED
from .precision import fast_forward
from .run_folder import RunFolder
from .settings import Optimization
from .tasks import counted

SAVE_SECONDS = 60.
MILESTONES = 0.5, 0.75  # shares of the run at which the multistep schedule divides the learning rate by 10
FUSED = frozenset({'adam', 'adamw', 'sgd', 'nesterov', 'momentum'})
OnEpoch = Callable[[dict[str, Any], torch.nn.Module], dict[str, float]]
OnPass = Callable[[dict[str, Any]], None]


def fit(
        task: TrainingTask,
        batches: BaseBatches,
        settings: Optimization,
        run: RunFolder,
        world: World,
        *,
        compile_model: bool = False,
        capture: bool = False,
        on_epoch: OnEpoch | None = None,
        on_pass: OnPass | None = None,
        save_seconds: float = SAVE_SECONDS,
        layer_decay: float | None = None,
) -> torch.nn.Module:
    """Train to the end, from the state in ``run`` where there is one.

    All that is random is a function of (seed, epoch, step), and the state holds the rest, so that a run that was killed
    ends with the same bits as one that was not, on the same machine (on a GPU, as far as its kernels repeat theirs).

    Args:
        task: Holds the model, in the precision of its weights; the forward pass runs in bfloat16 where that pays.
        batches: What the task is fed.
        settings: Schedule and optimiser.
        run: Where the state is kept; only the main process writes.
        world: This process's place.
        compile_model: Use ``torch.compile``.
        capture: Have the GPU do each step as one CUDA graph; one process, with an optimiser that is ``capturable``.
        on_epoch: Called in the main process after an epoch with its row of the log and the model; what it returns joins
            the row.
        on_pass: Called in the main process with the whole row, after the state is saved where that is due.
        save_seconds: The state is saved when this time has passed, and at the end.
        layer_decay: Learning rate of a layer relative to the next one's, of a model with timm's ``group_matcher``.

    Returns:
        The trained model (its moving average, where one was asked for).

    Raises:
        TrainingError: The loss or a weight is not finite any more, or the state cannot be read or written.
        ValueError: A step cannot be captured: there is no GPU, or more than one process, or of this optimiser.
    """
    return _Loop(task, batches, settings, run, world, compile_model, capture, on_epoch, on_pass, save_seconds,
                 layer_decay).run()


def train_mode(model: torch.nn.Module) -> None:
    """Put a network into training mode, but for what is frozen: norms there keep their statistics."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


class _Loop:
    def __init__(self, task, batches, settings, run, world, compile_model, capture, on_epoch, on_pass, save_seconds,
                 layer_decay) -> None:
        self.task: TrainingTask = task
        self.batches: BaseBatches = batches
        self.settings: Optimization = settings
        self.folder: RunFolder = run
        self.world: World = world
        self.on_epoch: OnEpoch | None = on_epoch
        self.on_pass: OnPass | None = on_pass
        self.save_seconds: float = save_seconds
        task.to(world.device)
        model = task.get_trainable_module()
        assert model is not None
        model.to(memory_format=torch.channels_last)
        if world.size > 1:
            synchronise_batch_norm(model, world.device)
        fused: dict[str, Any] = {'fused': True} if settings.opt in FUSED else {}
        self.optimizer = create_optimizer_v2(
            model, FITTED.get(settings.opt, settings.opt), settings.lr, settings.weight_decay, layer_decay=layer_decay,
            **fused)
        epochs, steps = settings.epochs, len(batches)
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer, settings.sched, epochs, warmup_epochs=settings.warmup * epochs,
            warmup_lr=settings.lr / max(1., settings.warmup * epochs * steps),  # from 0 the first step would be lost
            decay_milestones=[epochs * share for share in MILESTONES],  # type: ignore[misc]
            step_on_epochs=False, updates_per_epoch=steps)
        if settings.ema is not None:
            task.setup_ema(settings.ema, use_warmup=True)
        self.captured: CapturedStep | None = None
        if capture:
            check_capturable(self.optimizer, world)
            self.captured = CapturedStep(self._update, self.optimizer, world.device)
        self.step = 0
        self.seconds = 0.  # of training, over all that a run was interrupted
        self._clock = self._saved = time.monotonic()
        self.history: list[dict[str, Any]] = []
        # the epoch's sum over all processes, on the device: reading a value each step would make the GPU wait
        self.loss = torch.zeros((), device=world.device)
        self.bad_step = torch.full((), -1, device=world.device)
        if run.has_state:
            self._load()
        if compile_model:
            task.compile()
        if world.size > 1:
            task.prepare_distributed([world.device.index] if world.device.type == 'cuda' else None)

    def run(self) -> torch.nn.Module:
        steps = len(self.batches)
        first = self.step // steps
        try:
            for epoch in range(first, self.settings.epochs):
                self._train_epoch(epoch, steps)
        finally:
            self.captured = None  # a graph holds the memory of a whole step
        return unwrap_model(self.task.get_trainable_module(ema=self.task.has_ema()))

    def _train_epoch(self, epoch: int, steps: int) -> None:
        train_mode(self.task)
        done = self.step % steps
        started = time.monotonic()
        with tqdm(
                total=steps * self.batches.batch_size, initial=done * self.batches.batch_size,
                desc=f'epoch {epoch + 1}/{self.settings.epochs}', unit=' images', unit_scale=True, mininterval=1,
                disable=None if self.world.is_main else True, leave=False) as progress:
            batches = self.batches.epoch(epoch, done)
            for images, target in self.captured.batches(batches) if self.captured else batches:
                self._train_step(images, target)
                progress.update(self.batches.batch_size)
                if self._is_time_to_save() and self.step % steps:  # after the last step the row joins it
                    self._save()
        loss = self.loss.item() / steps  # waits for the GPU
        speed = (steps - done) * self.batches.batch_size / (time.monotonic() - started)
        row: dict[str, Any] = {
            'epoch': epoch + 1,
            'loss': loss,
            'lr': max(group['lr'] for group in self.optimizer.param_groups),
            'images_per_second': round(speed) if speed >= 100 else round(speed, 2),
        }
        self._check_finite()
        self.loss.zero_()
        if self.world.is_main and self.on_epoch is not None:
            row |= self.on_epoch(row, unwrap_model(self.task.get_trainable_module(ema=self.task.has_ema())))
        row['seconds'] = round(self.seconds + time.monotonic() - self._clock, 1)
        self.history.append(row)
        if self.world.is_main:
            tqdm.write('  '.join(
                (f'{key} {value:.4g}' if isinstance(value, float) else f'{key} {value}') + ' %' * (key == 'validation')
                for key, value in row.items()))
        if self._is_time_to_save() or epoch + 1 == self.settings.epochs:
            self._save()
        if self.world.is_main and self.on_pass is not None:
            self.on_pass(dict(row))

    def _train_step(self, images: torch.Tensor, target: torch.Tensor) -> None:
        torch.manual_seed(seed_of(self.settings.seed, self.step, self.world.rank))  # dropout
        self.scheduler.step_update(self.step)
        self.loss += (self.captured or self._update)(images, target)
        self.step += 1
        self.bad_step = torch.where((self.bad_step < 0) & ~self.loss.isfinite(), self.step, self.bad_step)
        self.task.update_ema(step=self.step)

    def _update(self, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """One step of the weights; the loss. It is what a graph can hold: it reads nothing back from the device."""
        parts = self.settings.accumulate
        pairs = list(zip(images.chunk(parts), target.chunk(parts), strict=True))  # fewer than asked for, if few images
        total = counted(target).clamp(min=1)
        whole = torch.zeros((), device=self.world.device)
        for i, (x, y) in enumerate(pairs):
            with contextlib.nullcontext() if i == len(pairs) - 1 else self.task.no_sync():
                with fast_forward(self.world.device):
                    loss = self.task(x, y)['loss'] * (counted(y) / total)
                loss.backward()
            whole += self.world.mean(loss.detach())
        if self.settings.clip_grad is not None:
            torch.nn.utils.clip_grad_norm_(self.task.get_clip_parameters(), self.settings.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return whole

    def _check_finite(self) -> None:
        if (step := int(self.bad_step)) >= 0:
            what = f'the loss is not finite from step {step} on'
        elif not torch.stack([p.isfinite().all() for p in self.task.parameters()]).all():
            what = f'a weight is not finite at step {self.step}'
        else:
            return
        kept = 'the state before it is kept' if self.folder.has_state else 'no state was saved yet'
        raise TrainingError(f'{self.folder.folder}: {what}; {kept}; start again in another folder with a lower --lr')

    def _is_time_to_save(self) -> bool:
        return time.monotonic() - self._saved >= self.save_seconds

    def _save(self) -> None:
        if not self.world.is_main:
            return
        self._check_finite()
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        state = self.task.get_checkpoint_state()
        if self.task.has_ema():
            state |= self.task.get_checkpoint_state(ema=True)
        tensors = {f'{part}.{key}': value for part, entries in state.items() for key, value in entries.items()}
        tensors['loss'] = self.loss
        numbers = {}
        optimizer = self.optimizer.state_dict()
        # the groups as well: some optimisers, such as lamb, count their steps there
        for kind, each in (('state', optimizer['state'].items()), ('group', enumerate(optimizer['param_groups']))):
            for index, entries in each:
                for key, value in entries.items():
                    if isinstance(value, torch.Tensor):
                        tensors[f'optimizer.{kind}.{index}.{key}'] = value
                    elif isinstance(value, int | float):
                        numbers[f'{kind}.{index}.{key}'] = value
        self.folder.save_state(tensors, {
            'step': self.step, 'seconds': self.seconds, 'history': self.history, 'optimizer': numbers})
        self._saved = time.monotonic()

    def _load(self) -> None:
        tensors, record = self.folder.load_state()
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            part, _, name = key.partition('.')
            parts.setdefault(part, {})[name] = value
        self.task.load_checkpoint_state(parts['state_dict'])
        if self.task.has_ema():
            self.task.load_checkpoint_state(parts['state_dict_ema'], ema=True)
        found: dict[str, dict[int, dict[str, Any]]] = {'state': {}, 'group': {}}
        for name, value in {**record['optimizer'], **parts.get('optimizer', {})}.items():
            kind, index, key = name.split('.', 2)
            found[kind].setdefault(int(index), {})[key] = value
        # the fused optimiser reads memory in order: a moment must lie in memory as its channels_last parameter does
        parameters = [p for group in self.optimizer.param_groups for p in group['params']]
        for number, moments in found['state'].items():
            for key, value in moments.items():
                if isinstance(value, torch.Tensor) and value.shape == parameters[number].shape:
                    moments[key] = torch.empty_like(parameters[number]).copy_(value)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), 'state': found['state']})
        for i, group in enumerate(self.optimizer.param_groups):
            # this run may be captured, or not be, whatever the one before was
            group.update({key: value for key, value in found['group'][i].items() if key != 'capturable'})
        self.loss.copy_(parts['loss'][''])
        self.step, self.seconds, self.history = record['step'], record['seconds'], record['history']
