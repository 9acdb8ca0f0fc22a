"""The ``scae`` command. A command's module is imported when it is called: to import all takes seconds."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module

from ..console import STOPPED, console, fault_of
from ..errors import CheckpointError, TrainingError
from ..version import __version__

COMMANDS = {  # the module of each, what it does, and an example
    'list': ('listing', 'List the checkpoints that can be loaded, and what was measured on them.',
             'scae list --json'),
    'info': ('listing', "Show a model's layers, size, files, recipe and measured figures.",
             'scae info scae_springenberg9'),
    'reconstruct': ('pictures', (
        'Corrupt images, reconstruct them, and write pictures input | corrupted | reconstruction.\n\n'
        'With --corruption none they are reconstructed as they are, and the reconstructions are written alone,\n'
        'with the colour profile, transparency and resolution of the image, and grey where it is grey.'),
        'scae reconstruct photo.jpg --corruption gaussian:25 -o pictures'),
    'demo': ('pictures', 'Denoise a real photograph, and fill one in of which a quarter is missing; needs no network.',
             'scae demo -o pictures'),
    'predict': ('answers', (
        'Say what is in photographs: the class of each, or the class of each pixel.\n\n'
        'A classifier gives a table: file, class, probability; of many labels a probability for each class.\n'
        'A segmenter gives a mask for each photograph, a PNG of the same name: class indices, shown in colours.\n'
        'Stopped or killed, it goes on with the same command; so do embed and reconstruct.'),
        'scae predict photos/ --model runs/classifier -o predictions.csv'),
    'embed': ('answers', (
        'Write the features that a network has of photographs, or find the photographs nearest to one.\n\n'
        'Given a file that it wrote in place of photographs, it searches that.'),
        'scae embed photos/ --model scae_springenberg9 -o features.safetensors --like photo.jpg'),
    'app': ('app', (
        'Serve a page to try the networks on photographs, in a browser; needs no network.\n\n'
        'What an auto-encoder makes of noise, of missing blocks and of painted holes, the classes of a classifier,\n'
        'the colours of a segmenter, feature maps, and the photographs most like one. It listens on this machine\n'
        'alone, keeps neither photographs nor results, and ends with Ctrl-C.'),
        'scae app --model runs/photos --features features.safetensors'),
    'export': ('exporting', (
        'Write a network as a file that runs without this package: ONNX, or a .pt2 of torch.export.\n\n'
        'It takes any number of images of any size from 17 x 17 up, and is compared with PyTorch before it is kept.'),
        'scae export scae_springenberg9 --normalize -o model.onnx'),
    'features': ('features', (
        "Draw an encoder's feature maps of images (Figure 4 of the paper).\n\n"
        'A row an image: it, and the maps of one layer that are strongest over all images.'),
        'scae features photo.jpg other.jpg --model scae_springenberg9 --layer 5 -o maps.png'),
    'pretrain': ('training', (
        'Train an auto-encoder on images without labels.\n\n'
        'It learns to undo the corruption of random crops (--corruption). The run ends with a checkpoint, encoder and\n'
        'decoder, that the other commands take with --from. Stopped or killed, it goes on with the same command.\n'
        'Several GPUs or machines: torchrun --nproc-per-node N -m scae_zoo pretrain ...'),
        'scae pretrain photos/ --epochs 8 -o runs/photos'),
    'finetune': ('training', (
        'Train a classifier from a pre-trained encoder.\n\n'
        'One label an image: a sub-folder a class. Many labels an image: a labels.csv with the header\n'
        '"image,CLASS,CLASS,..." and a row an image of 1, 0, or nothing for what is not to be counted.'),
        'scae finetune labelled/ --from runs/photos --epochs 40 -o runs/classifier'),
    'segment': ('training', (
        'Train a segmenter from a pre-trained auto-encoder.\n\n'
        'DATA has images/ and masks/, a mask of the same name for each image: grey or palette PNG, the value of a\n'
        'pixel its class, 255 not counted. A classes.txt may name the classes, one a line. Of masks that have other\n'
        'values, --mask-values says which is which class; of masks in colours classes.txt does, with a line\n'
        '"NAME RED GREEN BLUE" for each class, such as "road 128 64 128". The colour of "void" is not counted.'),
        'scae segment masked/ --from runs/photos --epochs 40 -o runs/segmenter'),
    'evaluate': ('measuring', (
        'Measure a checkpoint on images.\n\n'
        'How well an auto-encoder removes noise (PSNR, SSIM) or fills in masked blocks (PSNR; labels are not looked\n'
        "at), a classifier's accuracy on central crops or its mean average precision over 10 random crops, a\n"
        "segmenter's mean IoU; the card's figure is printed beside it."),
        'scae evaluate runs/classifier --data labelled/'),
    'probe': ('measuring', (
        "Train a linear classifier and a reconstruction of the image on each layer's frozen output.\n\n"
        'Writes probes.png (Figure 2 of the paper), probes.md and probes.json.'),
        'scae probe runs/photos runs/classifier --data labelled/ -o runs/probes'),
    'publish': ('publishing', (
        'Upload a checkpoint to a repository of the Hugging Face Hub, which is made if need be.\n\n'
        'Weights, configuration, recipe, figures and the card go there; hf-hub:USER/REPOSITORY then loads it. Needs\n'
        '`hf auth login`, or a token that may write in $HF_TOKEN. Cut off, it goes on with the same command.\n'
        'What an earlier checkpoint left there is replaced, or removed where this one has no such file; others stay.'),
        'scae publish runs/classifier me/classifier --private'),
}


class Paragraphs(argparse.HelpFormatter):
    """Wraps a description by the paragraph, and breaks no option within its name; an example stays as it is."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(' '.join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return '\n\n'.join(part if '\n ' in part else '\n'.join(self._split_lines(part, width))
                           for part in text.split('\n\n'))


def parser_for(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line: it knows all commands, and the options of the one that is called."""
    parser = argparse.ArgumentParser(
        prog='scae', description='Convolutional denoising auto-encoders with symmetric shortcuts: use the pretrained '
                                 'ones, or train on your own images.')
    parser.add_argument('--version', action='version', version=f'scae_zoo {__version__}')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    subs = {name: commands.add_parser(
        name, help=text.split('\n')[0], description=text, epilog=f'example:\n  {example}',
        formatter_class=Paragraphs)
        for name, (_, text, example) in COMMANDS.items()}

    def command(name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        subs[name].set_defaults(run=run, refuse=subs[name].error)
        return subs[name]

    called = next((word for word in argv if not word.startswith('-')), '')
    if called in COMMANDS:
        import_module(f'.{COMMANDS[called][0]}', __name__).add_commands(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    0: done, 1: some images failed, 2: nothing could be done, 130: stopped, 141: nobody reads the output any more.
    """
    try:
        with console():
            return _run(sys.argv[1:] if argv is None else argv)
    except BrokenPipeError:  # as `| head` leaves behind
        return 141
    except OSError as error:  # what is printed is lost
        with suppress(OSError):
            print(f'scae: error: {error}', file=sys.stderr)
        return 2


def _run(argv: Sequence[str]) -> int:
    args, unknown = parser_for(argv).parse_known_args(argv)
    if unknown:
        args.refuse(f'unrecognized arguments: {" ".join(unknown)}')  # with the usage of the command, not of them all
    args.argv = argv
    try:
        return args.run(args)
    except BrokenPipeError:
        raise
    except (CheckpointError, TrainingError, ValueError, OSError) as error:  # such as a folder that may not be read
        print(f'scae: error: {fault_of(error)}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'scae: {STOPPED}', file=sys.stderr)
        return 130
