"""What is published: wheels that an index takes, and that have every checkpoint where there is no checkout."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from release import wheels
from scae_zoo.checkpoints import finding
from scae_zoo.version import __version__

from .support.processes import ROOT, Process, code

# every checkpoint gives the numbers that it gives in the checkout, of which nothing but these numbers is in sight
LOAD_ALL = """
import runpy, sys
root, site = sys.argv[1:]
sys.path[:] = [site, *(path for path in sys.path if path not in ('', root))]

def refuse(event, _):
    assert event not in ('socket.connect', 'socket.getaddrinfo'), event

sys.addaudithook(refuse)
golden = runpy.run_path(f'{root}/tests/models/test_golden.py')
golden['test_every_checkpoint_has_golden_outputs']()
for name in golden['GOLDEN']:
    golden['test_outputs'](name)
print(sys.modules['scae_zoo'].__file__, *(name for name in sys.modules if name.startswith('scae_zoo_weights')))
"""


def test_every_checkpoint_loads_without_the_checkout_and_a_network(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dist = tmp_path / 'dist'
    wheels.main(dist)
    apart = [name for name in finding.names() if name.startswith(('scae_swwae.', 'scae_vgg16.'))]
    assert sorted(path.name for path in dist.iterdir()) == [f'{name}-{__version__}-py3-none-any.whl' for name in (
        'scae_zoo', *(wheels.distribution_of(name).replace('-', '_') for name in apart))]
    assert max(path.stat().st_size for path in dist.iterdir()) <= 95_000_000
    site = tmp_path / 'site'
    for wheel in dist.iterdir():
        with ZipFile(wheel) as archive:  # as pip does, but for the script `scae`
            archive.extractall(site)
    monkeypatch.chdir(tmp_path)
    result = Process(tmp_path / 'log', code, LOAD_ALL, str(ROOT), str(site)).wait()
    assert result.returncode == 0, result.stderr
    assert result.stdout == f'{site / "scae_zoo" / "__init__.py"}\n'


def test_a_wheel_that_no_index_takes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(folder: Path) -> list[Path]:
        with (folder / 'large.whl').open('wb') as file:
            file.truncate(wheels.LIMIT + 1)
        return [folder / 'large.whl']

    monkeypatch.setattr(wheels, 'build_all', too_large)
    with pytest.raises(SystemExit, match='^large.whl: 95,000,001 bytes are more than 95,000,000; leave out '):
        wheels.main(tmp_path / 'dist')
    assert not list((tmp_path / 'dist').iterdir())
