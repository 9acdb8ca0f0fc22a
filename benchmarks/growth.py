"""How time and memory grow: with the side of an image, the images of a batch, the processes and the images of a folder.

    python benchmarks/growth.py --json growth.json --plot growth.png
    python benchmarks/growth.py sides --network scae_springenberg9/8 --json growth.json    # an eighth of the channels

Each point is measured in a fresh process of one thread: CPU seconds, so that what else the machine does counts little,
and the most memory above what the process took before. The processes' images/s are by the clock. A line is fitted to
the logarithms of the upper half of a curve's points; its slope, the exponent, stands beside that of the law that is
expected. What another run has written into the file of --json is kept where this one measures something else.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from growth_points import QUESTIONS, Curve, Point, Question

# torch, timm and matplotlib are imported where they are used: on Linux a new process begins with the peak of its parent

A_FOLDER = 1000  # images
PROCESSES, AS_MANY = 'processes', '1 process of 2 threads'


def fresh(question: str, size: int, args: argparse.Namespace) -> Point:
    """A point, measured by a process of its own."""
    script = Path(__file__).with_name('growth_points.py')
    done = subprocess.run([sys.executable, str(script), question, str(size), args.network, args.folder],
                          stdout=subprocess.PIPE, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    if done.returncode:
        raise SystemExit(f'growth: error: {question} {size}: could not be measured')
    return {'size': size, **json.loads(done.stdout.splitlines()[-1])}


def make_images(folder: str, first: int, end: int) -> None:
    """Empty files, which have the names of images: nothing that is measured here opens one."""
    for number in range(first, end):
        if number == first or number % A_FOLDER == 0:
            os.makedirs(below := os.path.join(folder, f'{number // A_FOLDER:04}'), exist_ok=True)
        os.close(os.open(os.path.join(below, f'{number % A_FOLDER:04}.png'), os.O_CREAT | os.O_WRONLY))


def measure(question: Question, sizes: Sequence[int], args: argparse.Namespace) -> dict[str, Any]:
    """A question's points, but for those that would take too long by the law that is expected."""
    points: list[Point] = []
    with tempfile.TemporaryDirectory() as args.folder:
        for size in sizes:
            last = points[-1] if points else None
            if last and max(last[curve.key] * (size / last['size']) ** curve.expected for curve in question.curves
                            if curve.unit == 's') > args.most_seconds:
                break
            if question.name == 'images':
                make_images(args.folder, last['size'] if last else 0, size)
            points.append(fresh(question.name, size, args))
            print(f'{question.name} {size}: {points[-1]}', file=sys.stderr, flush=True)
    left_out = [size for size in sizes if not points or size > points[-1]['size']]
    return {'question': question.name, 'network': args.network * question.has_network, 'points': points,
            'left_out': left_out, 'exponents': {curve.key: exponent(points, curve) for curve in question.curves}}


def measure_processes(args: argparse.Namespace) -> dict[str, Any]:
    """Images a second of `scae pretrain`, with as many threads over all processes."""
    from scae_zoo.experiments.sample_images import write_classes
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_classes(Path(folder, 'data'), 32, args.batch_size * 4, ('a', 'b'))
        for processes, threads in ((1, 1), (1, 2), (2, 1)):
            out = Path(folder, f'{processes}x{threads}')
            command = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(processes)]
            subprocess.run(
                [sys.executable, *command, '-m', 'scae_zoo', 'pretrain', f'{folder}/data', '--model', args.network,
                 '--epochs', '4', '--batch-size', str(args.batch_size), '--held-back', '0', '--device', 'cpu',
                 '--out', str(out)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, 'OMP_NUM_THREADS': str(threads), 'SCAE_ZOO_CACHE': f'{folder}/cache'})
            rows = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
            name = f'{processes} process{"es" * (processes > 1)} of {threads} thread{"s" * (threads > 1)}'
            rates[name] = statistics.median(row['images_per_second'] for row in rows[1:])
    return {'question': PROCESSES, 'network': args.network, 'batch_size': args.batch_size, 'images_per_second': rates}


def upper_half(points: Sequence[Point], curve: Curve) -> list[tuple[float, float]]:
    """The (size, value) that the exponent is fitted to."""
    values = [(point['size'], point[curve.key]) for point in points if point.get(curve.key, 0) > 0]
    return values[min(len(values) // 2, max(0, len(values) - 2)):]


def exponent(points: Sequence[Point], curve: Curve) -> float | None:
    """The slope of the logarithms; None of fewer than two points."""
    logs = [(math.log(size), math.log(value)) for size, value in upper_half(points, curve)]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope if len(logs) > 1 else None


def table(question: Question, result: Mapping[str, Any]) -> list[str]:
    """Its curves as a table in Markdown, a curve a row, the exponent first."""
    points = result['points']
    lines = [f'| {question.across} | exponent | expected | ' + ' | '.join(f'{p["size"]:,}' for p in points) + ' |',
             '| --- ' * (3 + len(points)) + '|']
    for curve in question.curves:
        slope = result['exponents'][curve.key]
        values = (f'{point[curve.key]:.3g}' if curve.key in point else '' for point in points)
        lines.append(f'| {curve.name} ({curve.unit}) | {"-" if slope is None else f"{slope:.2f}"} | '
                     f'{curve.expected:g} | {" | ".join(values)} |')
    if result['left_out']:
        lines.append(f'\nleft out, as it would take too long: {", ".join(f"{s:,}" for s in result["left_out"])}')
    return lines


def processes_table(result: Mapping[str, Any]) -> list[str]:
    rates = result['images_per_second']
    base = rates[AS_MANY]
    return ['| | ratio | expected | images/s |', '| --- | --- | --- | --- |', *(
        f'| {name} | {rate / base:.2f} | {expected} | {rate:.1f} |'
        for (name, rate), expected in zip(rates.items(), ('>= 0.5', '1', '<= 1'), strict=True))]


def plot(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Time above and memory below, each curve with the law that is expected of it, as a PNG."""
    from matplotlib.figure import Figure

    from scae_zoo.methods.pictures import save_figure
    order = [*QUESTIONS, PROCESSES]
    results = sorted(results, key=lambda result: order.index(result['question']))
    figure = Figure(figsize=(5 * len(results), 8), layout='constrained')
    for (upper, lower), result in zip(figure.subplots(2, len(results), squeeze=False).T, results, strict=True):
        upper.set_title(', '.join(filter(None, (result['question'], result['network']))))
        if result['question'] == PROCESSES:
            rates = result['images_per_second']
            upper.bar([name.replace(' of ', '\nof ') for name in rates], list(rates.values()))
            upper.axhline(rates[AS_MANY], linestyle='--', linewidth=1, label='expected at most, on two cores')
            upper.set_ylabel('images/s of `scae pretrain`')
            upper.legend(fontsize=8)
            lower.axis('off')
            continue
        question, points = QUESTIONS[result['question']], result['points']
        for axes, unit, label in ((upper, 's', 'CPU seconds'), (lower, 'MB', 'MB')):
            for i, curve in enumerate(each for each in question.curves if each.unit == unit):
                values = [(p['size'], p[curve.key]) for p in points if p.get(curve.key, 0) > 0]
                fitted, slope = upper_half(points, curve), result['exponents'][curve.key]
                if not values:
                    continue
                name = curve.name if slope is None else f'{curve.name}: {slope:.2f} (expected {curve.expected:g})'
                axes.plot(*zip(*values, strict=True), color=f'C{i}', marker='o', markersize=4, label=name)
                scale = math.exp(statistics.mean(math.log(y) - curve.expected * math.log(x) for x, y in fitted))
                axes.plot([x for x, _ in values], [scale * x ** curve.expected for x, _ in values], color=f'C{i}',
                          linestyle='--', linewidth=1)
            axes.set(xscale='log', yscale='log', xlabel=question.across, ylabel=label)
            axes.set_xticks([p['size'] for p in points], [f'{p["size"]:,}' for p in points], rotation=30)
            axes.minorticks_off()
            axes.yaxis.set_major_formatter('{x:g}')
            axes.grid(alpha=0.3)
            axes.legend(fontsize=8)
    figure.suptitle('measured (dots) and the law that is expected (dashed); exponents of the upper half of the points')
    save_figure(figure, path)


def whole_number(text: str) -> int:
    """An argument type: from 1 up. The one of the package would import torch."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 1 up')
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*QUESTIONS, PROCESSES]
    parser.add_argument('questions', nargs='*', metavar='QUESTION', help=f'{", ".join(names)} (default: all)')
    parser.add_argument('--network', default='scae_springenberg9', metavar='NAME[/N]',
                        help='with an N-th of its channels (default: %(default)s)')
    for name, sizes in (('sides', [2 ** k for k in range(5, 13)]), ('batches', [2 ** k for k in range(9)]),
                        ('images', [10 ** k for k in range(3, 7)])):
        parser.add_argument(f'--{name}', nargs='+', type=whole_number, metavar='N', default=sizes,
                            help=f'(default: {sizes[0]} to {sizes[-1]})')
    parser.add_argument('--batch-size', type=whole_number, default=64, help='of the processes (default: %(default)s)')
    parser.add_argument('--most-seconds', type=float, default=40,
                        help='leave out what would take longer by the law (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write what was measured')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='draw it, and what is in the file of --json')
    args = parser.parse_args()
    if unknown := set(args.questions) - set(names):
        parser.error(f'{min(unknown)} is none of {", ".join(names)}')
    results = json.loads(args.json.read_text()) if args.json and args.json.is_file() else {}
    for name in (each for each in names if each in (args.questions or names)):
        if name == PROCESSES:
            result = measure_processes(args)
            lines = processes_table(result)
        else:
            result = measure(QUESTIONS[name], sorted(getattr(args, 'images' if name == 'cache' else name)), args)
            lines = table(QUESTIONS[name], result)
        title = f'{name}, {result["network"]}'.removesuffix(', ')
        results[title] = result
        print(f'{title}\n', *lines, '', sep='\n', flush=True)
        if args.json:
            args.json.write_text(json.dumps(results, indent=2) + '\n')
    if args.plot:
        plot(list(results.values()), args.plot)


if __name__ == '__main__':
    main()
