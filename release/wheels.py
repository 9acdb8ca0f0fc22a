"""Build what a release publishes: the wheel of scae_zoo, and one of data alone for each checkpoint that it leaves out.

    python release/wheels.py dist

A package index takes files of up to 100 MB. What ``exclude-package-data`` in pyproject.toml leaves out of the wheel
becomes a distribution of its own: a checkpoint's folder, an entry point by which scae_zoo finds it, and no code. Needs
setuptools, and no network.

It stands beside the package since it works on a checkout alone; the folder is not called ``packaging`` or ``build``,
which would hide the libraries of these names.
"""

import email
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
LIMIT = 95_000_000  # bytes of a file

PROJECT = '''
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{distribution}"
version = "{version}"
description = "Weights of {checkpoint}, a checkpoint of scae_zoo"
readme = "README.md"
license = "Apache-2.0"
license-files = ["LICENSE"]

[project.entry-points."scae_zoo.weights"]
"{checkpoint}" = "{package}"

[tool.setuptools]
packages = ["{package}"]
package-data = {{ "{package}" = ["{checkpoint}/*"] }}

[tool.distutils.bdist_wheel]
compression = "stored"  # weights hardly shrink
'''
README = '''# {distribution}

The weights of `{checkpoint}`, a checkpoint of scae_zoo {version} for which its own wheel has no room; no code.
`pip install 'scae-zoo[{extra}]'` installs them, and scae_zoo finds them by the checkpoint's name, without a network.
scae_zoo {version} has the sha256 of each file, and checks it.

What the checkpoint is for, its figures and how it was made: `{package}/{checkpoint}/README.md`.
'''


def extra_of(checkpoint: str) -> str:
    """The extra of scae_zoo that installs a checkpoint's distribution: its architecture."""
    return checkpoint.partition('.')[0].removeprefix('scae_')


def distribution_of(checkpoint: str) -> str:
    return f'scae-zoo-{checkpoint.removeprefix("scae_")}'.replace('.', '-').replace('_', '-')


def build(project: Path) -> Path:
    """The wheel of a project, in its folder. A process of its own: setuptools builds in the working directory."""
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = subprocess.run([sys.executable, '-c', code], cwd=project, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{done.stderr}{project.name}: no wheel; the lines above say why (it needs setuptools>=77)')
    return project / done.stdout.splitlines()[-1]


def link(project: Path, *files: str) -> Path:
    """A folder with links to files of the checkout: what a build writes stays out of that."""
    project.mkdir()
    for file in files:
        (project / file).symlink_to(ROOT / file)
    return project


def build_data(folder: Path, checkpoint: str, version: str) -> Path:
    distribution, extra = distribution_of(checkpoint), extra_of(checkpoint)
    package = f'scae_zoo_weights_{checkpoint.removeprefix("scae_").replace(".", "_")}'
    words = {'distribution': distribution, 'package': package, 'checkpoint': checkpoint, 'version': version,
             'extra': extra}
    project = link(folder / distribution, 'LICENSE')
    (project / 'pyproject.toml').write_text(PROJECT.format(**words))
    (project / 'README.md').write_text(README.format(**words))
    (project / package).mkdir()
    (project / package / checkpoint).symlink_to(ROOT / 'scae_zoo' / 'weights' / checkpoint)
    return build(project)


def build_all(folder: Path) -> list[Path]:
    """The wheels of scae_zoo and its data, built in a folder."""
    wheel = build(link(folder / 'scae-zoo', 'pyproject.toml', 'README.md', 'LICENSE', 'scae_command.py', 'scae_zoo'))
    with ZipFile(wheel) as archive:
        held = {Path(file).parent.name for file in archive.namelist()}
        metadata, = (file for file in archive.namelist() if file.endswith('.dist-info/METADATA'))
        about = email.message_from_bytes(archive.read(metadata))
    left_out = json.loads((ROOT / 'scae_zoo' / 'weights' / 'manifest.json').read_text()).keys() - held
    version = about['Version']
    named = {line for line in about.get_all('Requires-Dist', []) if line.startswith('scae-zoo-')}
    needed = {f'{distribution_of(name)}=={version}; extra == "{extra_of(name)}"' for name in left_out}
    if named != needed:
        sys.exit(f'pyproject.toml: the extras of weights should name {", ".join(sorted(needed))}')
    return [wheel, *(build_data(folder, name, version) for name in sorted(left_out))]


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        wheels = build_all(Path(folder))
        for wheel in wheels:
            if wheel.stat().st_size > LIMIT:
                sys.exit(f'{wheel.name}: {wheel.stat().st_size:,} bytes are more than {LIMIT:,}; '
                         'leave out a checkpoint (exclude-package-data in pyproject.toml)')
        for wheel in wheels:
            wheel = wheel.replace(out / wheel.name)
            print(f'{wheel}  {wheel.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit('usage: python release/wheels.py FOLDER')
    main(Path(sys.argv[1]))
