"""The page of ``scae app``: what is chosen and shown. What is asked is in ``trials.py``."""

import html
import sys
import traceback
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from ...console import fault_of
from ...data.image_files import extensions
from ...errors import CheckpointError, TrainingError
from ..pictures import NOISE, UNCHANGED
from .trials import KINDS, WHOLE, Trials, photograph

FONTS = ['system-ui', 'sans-serif']  # nothing is fetched
MONOSPACED = ['ui-monospace', 'monospace']
THEME = gr.themes.Default(font=FONTS, font_mono=MONOSPACED).set(
    block_info_text_color='*neutral_600', block_info_text_color_dark='*neutral_300')
CSS = """
.gradio-container { max-width: 1400px !important; }
#checkpoint input { text-overflow: ellipsis; padding-right: 2rem; }
#clean img, #corrupted img, #reconstruction img, #segmented img, #square img {
  width: 100%; height: 100%; object-fit: contain; }
#square img { image-rendering: pixelated; }
#message { position: sticky; top: 0; z-index: 20; background: var(--body-background-fill); }
#message .said { margin: 0; padding: 8px 12px; border-left: 4px solid #2b7a4b; font-variant-numeric: tabular-nums; }
#message .fault { border-color: #c0392b; }
#examples .grid-container { grid-template-columns: repeat(3, minmax(0, 1fr)) !important; }
#maps .image-container > button { justify-content: flex-start; overflow-x: auto; }
#maps .image-frame { justify-content: flex-start; }
#maps img { min-width: 820px; }
"""
FAULTS = CheckpointError, TrainingError, ValueError, OSError  # that a line says all of
GAUSSIAN, BLOCKS, PAINTED, AS_IT_IS = 'Gaussian noise', 'random blocks', 'painted holes', 'none: it is noisy already'
PAINTED_SIDE = 640  # pixels of the longer side of what is painted on
HOLES = '#ff2d95'  # the colour that holes are painted in
SIZES = [('128', 128), ('256', 256), ('512', 512), ('1024', 1024), ('as it is', WHOLE)]
EMPTY = 'Choose a photograph first.'
UNEXPECTED = 'This went wrong in a way that nobody foresaw; the terminal in which `scae app` runs says how.'


def page(trials: Trials, examples: Sequence[tuple[Path, str]], folder: Path, forget_seconds: int) -> gr.Blocks:
    """The page.

    Args:
        trials: The networks.
        examples: Files to try, and what they show.
        folder: Where pictures are drawn.
        forget_seconds: How long the files of a page are kept.
    """
    choices = trials.choices()
    name = choices[0][1]
    with gr.Blocks(title='scae_zoo', analytics_enabled=False, delete_cache=(forget_seconds // 6, forget_seconds),
                   fill_width=True) as blocks:
        gr.Markdown('# scae_zoo\nConvolutional denoising auto-encoders, and classifiers and segmenters trained from '
                    'them. Nothing is kept: not the photograph, and not what the network makes of it.')
        model = gr.Dropdown(choices, value=name, label='Checkpoint', info=_about(trials, name), filterable=False,
                            elem_id='checkpoint')
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                file = gr.File(label='Photograph, or an example below', file_types=sorted(extensions()), height=160,
                               elem_id='photograph')
                gallery = gr.Gallery(
                    [(str(path), words) for path, words in examples], show_label=False, columns=3, height=130,
                    container=False, allow_preview=False, interactive=False, buttons=[], object_fit='cover',
                    elem_id='examples')
                size = gr.Radio(SIZES, value=256, label='Scaled down to a shorter side of, in pixels')
            with gr.Column(scale=3, min_width=320):
                message = gr.HTML(elem_id='message')
                with gr.Tabs():
                    with gr.Tab('Answer'):
                        _answers(trials, model, file, size, message)
                    with gr.Tab('Feature maps'):
                        _maps(trials, folder, model, file, message)
                    if trials.searched is not None:
                        with gr.Tab('Nearest'):
                            _nearest(trials, file, message)

        def picked(event: gr.SelectData) -> str:
            return str(examples[event.index][0])

        gallery.select(picked, None, file, **QUIET)
    return blocks


QUIET: dict[str, Any] = {'api_visibility': 'private', 'show_progress': 'hidden', 'queue': False}
ASKED: dict[str, Any] = {'api_visibility': 'private', 'concurrency_id': 'network', 'concurrency_limit': 1}


def _answers(trials: Trials, model: gr.Dropdown, file: gr.File, size: gr.Radio, message: gr.HTML) -> None:
    """What a network of the chosen kind makes of the photograph."""
    first = trials.checkpoint(model.value)
    way, sigma, share, block = _ways(trials.noise(model.value))

    with gr.Group(visible=first.kind == 'autoencoder') as restoring:
        kind = gr.Radio([GAUSSIAN, BLOCKS, PAINTED, AS_IT_IS], value=way, label='What is to be undone')
        noise = gr.Slider(0, 100, sigma, step=1, label='Sigma of the noise, of 255', visible=way == GAUSSIAN)
        with gr.Row(visible=way == BLOCKS) as blocks:
            shares = gr.Slider(0, 0.9, share, step=0.05, label='Share of the area that is masked', min_width=200)
            blocked = gr.Slider(1, 64, block, step=1, label='Side of a block, in pixels', min_width=200)
        with gr.Column(visible=way == PAINTED) as painting:
            editor = gr.ImageEditor(
                label='Paint holes', type='numpy', sources=(), transforms=(), layers=False,
                brush=gr.Brush(default_size=16, colors=[HOLES], default_color=HOLES, color_mode='fixed'),
                eraser=gr.Eraser(default_size=24), buttons=[], height=420, elem_id='painting')
        restore = gr.Button('Reconstruct', variant='primary', elem_id='reconstruct')
        with gr.Row():
            shown = [gr.Image(label=label, format='png', interactive=False, buttons=['fullscreen', 'download'],
                              height=300, min_width=220, elem_id=identity) for label, identity in (
                ('Photograph', 'clean'), ('What the network gets', 'corrupted'), ('Reconstruction', 'reconstruction'))]
    with gr.Group(visible=first.kind == 'classifier') as classifying:
        top = gr.Slider(1, 20, 5, step=1, label='Classes that are shown')
        classify = gr.Button('Classify', variant='primary', elem_id='classify')
        with gr.Row():
            square = gr.Image(label='What the network sees: the middle', interactive=False, buttons=[], height=260,
                              min_width=220, scale=1, elem_id='square')
            classes = gr.Label(label='Probabilities', min_width=280, scale=2, elem_id='classes')
    with gr.Column(visible=first.kind == 'segmenter') as segmenting:
        segment = gr.Button('Segment', variant='primary', elem_id='segment')
        overlay = gr.Image(label='Its classes', format='png', interactive=False, buttons=['fullscreen', 'download'],
                           height=560, elem_id='segmented')

    def chosen(model: str) -> tuple[Any, ...]:
        found = trials.checkpoint(model)
        way, sigma, share, block = _ways(trials.noise(model))
        return (*(gr.update(visible=found.kind == each) for each in ('autoencoder', 'classifier', 'segmenter')),
                way, sigma, share, block, gr.update(info=_about(trials, model)))

    def show_way(way: str) -> tuple[Any, ...]:
        return tuple(gr.update(visible=way == each) for each in (GAUSSIAN, BLOCKS, PAINTED))

    def look(file: str | None) -> tuple[Any, ...]:
        if file is None:
            return None, None
        pixels = photograph(Path(file))
        preview = Image.fromarray(pixels)
        preview.thumbnail((PAINTED_SIDE, PAINTED_SIDE))
        height, width = pixels.shape[:2]
        return {'background': preview, 'layers': [], 'composite': None}, _said(
            f'{Path(file).name}: {width:,} × {height:,} pixels')

    def reconstruct(file: str, model: str, size: int, way: str, sigma: float, share: float, block: float,
                    painted: dict[str, Any] | None) -> tuple[Any, ...]:
        noise = {GAUSSIAN: f'gaussian:{sigma:g}', BLOCKS: f'block:{share:g}:{block:.0f}'}.get(way, UNCHANGED)
        found = trials.reconstruct(model, Path(file), noise, size, _holes(painted) if way == PAINTED else None)
        quality = '' if found.before is None or found.after is None else (
            f'PSNR {_decibel(found.before)} before, {_decibel(found.after)} after. ')
        return found.clean, found.corrupted, found.reconstruction, _said(
            f'{quality}{_took(found.seconds, found.clean)}{_hint(way, trials.noise(model))}')

    def classified(file: str, model: str, top: float) -> tuple[Any, ...]:
        found = trials.classify(model, Path(file), int(top))
        return found.square, found.classes, _said(_took(found.seconds, found.square))

    def segmented(file: str, model: str, size: int) -> tuple[Any, ...]:
        picture, seconds = trials.segment(model, Path(file), size)
        return picture, _said(_took(seconds))

    groups = [restoring, classifying, segmenting]
    model.change(_guarded(chosen, 8, needs_file=False), model,
                 [*groups, kind, noise, shares, blocked, model, message], **QUIET)
    kind.change(show_way, kind, [noise, blocks, painting], **QUIET)
    file.change(_guarded(look, 1, needs_file=False), file, [editor, message], api_visibility='private',
                concurrency_limit=2, show_progress='minimal')
    restore.click(_guarded(reconstruct, 3), [file, model, size, kind, noise, shares, blocked, editor],
                  [*shown, message], show_progress_on=shown, **ASKED)
    classify.click(_guarded(classified, 2), [file, model, top], [square, classes, message],
                   show_progress_on=classes, **ASKED)
    segment.click(_guarded(segmented, 1), [file, model, size], [overlay, message],
                  show_progress_on=overlay, **ASKED)


def _maps(trials: Trials, folder: Path, model: gr.Dropdown, file: gr.File, message: gr.HTML) -> None:
    """An encoder's feature maps of the photograph."""
    last, default = trials.layers(model.value)
    with gr.Row():
        layer = gr.Slider(1, last, default, step=1, label='Layer', min_width=200)
        number = gr.Slider(1, 16, 8, step=1, label='Maps: those that are strongest', min_width=200)
    button = gr.Button('Draw', variant='primary', elem_id='draw')
    picture = gr.Image(label='Feature maps', format='png', interactive=False, buttons=['fullscreen', 'download'],
                       elem_id='maps')

    def chosen(model: str) -> tuple[Any, ...]:
        last, default = trials.layers(model)
        return gr.update(maximum=last, value=default),

    def drawn(file: str, model: str, layer: float, number: float) -> tuple[Any, ...]:
        path = folder / f'{uuid.uuid4().hex}.png'
        try:
            words, seconds = trials.maps(model, Path(file), int(layer), int(number), path)
            with Image.open(path) as image:
                image.load()
        finally:
            path.unlink(missing_ok=True)
        return image, _said(f'{words}. The network and the drawing took {seconds:.2f} s.')

    model.change(_guarded(chosen, 1, needs_file=False), model, [layer, message], **QUIET)
    button.click(_guarded(drawn, 1), [file, model, layer, number], [picture, message], show_progress_on=picture,
                 **ASKED)


def _nearest(trials: Trials, file: gr.File, message: gr.HTML) -> None:
    """The photographs of ``--features`` that are most like this one."""
    assert trials.searched is not None
    features, checkpoint = trials.searched
    total = len(features.files)
    number = gr.Slider(1, max(2, min(30, total)), min(8, total), step=1,
                       label=f'How many, of {total:,}; by {checkpoint.name}')
    button = gr.Button('Find', variant='primary', elem_id='find')
    pictures = gr.Gallery(label='Most like it first, from -1 to 1', columns=4, height='auto', interactive=False,
                          buttons=[], object_fit='contain', elem_id='nearest')

    def found(file: str, number: float) -> tuple[Any, ...]:
        others, seconds = trials.nearest(Path(file), int(number))
        missing = [each.path.name for each in others if each.picture is None]
        words = f' No longer there, or unreadable: {", ".join(missing)}.' if missing else ''
        return [(each.picture, f'{each.cosine:.3f}  {each.path.name}') for each in others if each.picture], _said(
            _took(seconds) + words)

    button.click(_guarded(found, 1), [file, number], [pictures, message], show_progress_on=pictures, **ASKED)


def _about(trials: Trials, model: str) -> str:
    """A checkpoint's kind, and what was measured of it."""
    checkpoint = trials.checkpoint(model)
    return '; '.join(filter(None, (KINDS[checkpoint.kind], checkpoint.headline)))


def _guarded(ask: Callable[..., tuple[Any, ...]], outputs: int, needs_file: bool = True) -> Callable[..., Any]:
    """What is asked, so that whatever goes wrong is said on the page, in the last of what is returned: a message after
    ``outputs`` others, which are then empty; with ``needs_file`` the first argument is the photograph."""
    def guarded(*args: Any) -> tuple[Any, ...]:
        kept = tuple([None if needs_file else gr.skip()] * outputs)
        if needs_file and args[0] is None:
            return *kept, _said(EMPTY, fault=True)
        try:
            answer = ask(*args)
        except (MemoryError, torch.OutOfMemoryError):
            return *kept, _said('There is not enough memory for that: choose a smaller size.', fault=True)
        except FAULTS as error:
            return *kept, _said(fault_of(error), fault=True)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return *kept, _said(UNEXPECTED, fault=True)
        # what has nothing to say leaves the message: it may come after what was asked later
        return answer if len(answer) > outputs else (*answer, gr.skip())

    return guarded


def _said(text: str, fault: bool = False) -> str:
    return f'<p class="said{" fault" * fault}" role="{"alert" if fault else "status"}">{html.escape(text)}</p>'


def _hint(way: str, trained: str) -> str:
    """What to expect of an auto-encoder that is asked for something else than it was made for."""
    fills = _ways(trained)[0] == BLOCKS
    if fills and way == GAUSSIAN:
        return ' This one has learned to fill in blocks, not to remove noise.'
    return ' This one has learned to remove noise, not to fill in.' * (not fills and way in (BLOCKS, PAINTED))


def _took(seconds: float, pixels: np.ndarray | None = None) -> str:
    size = '' if pixels is None else f' for {pixels.shape[1]:,} × {pixels.shape[0]:,} pixels'
    return f'The network took {seconds:.2f} s{size}.'


def _decibel(value: float) -> str:
    return 'without end' if value == float('inf') else f'{value:.2f} dB'


def _ways(noise: str) -> tuple[str, float, float, int]:
    """A corruption as it is chosen on the page: the way, sigma, share and side of the blocks, where it names them."""
    kind, *numbers = noise.split(':')
    sigma, share, block = float(NOISE.partition(':')[2]), 0.25, 16
    if kind == 'block':
        return BLOCKS, sigma, float(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 4
    return GAUSSIAN, sigma, share, block


def _holes(painted: dict[str, Any] | None) -> np.ndarray:
    """Where something is painted, H x W bool."""
    layers = [layer[..., 3] > 0 for layer in (painted or {}).get('layers', ())]
    return np.logical_or.reduce(layers) if layers else np.zeros((1, 1), dtype=bool)
