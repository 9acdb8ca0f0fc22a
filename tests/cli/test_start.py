"""What starts without waiting for torch and timm to be imported."""

import subprocess
import sys

import pytest

from scae_zoo import __version__

from ..support.networks import DEFAULT
from ..support.processes import ROOT

CODE = """
import sys
import scae_command
sys.argv = ['scae', *sys.argv[1:]]
try:
    status = scae_command.main()
except SystemExit as stopped:
    status = stopped.code
rooms = {m.split('.')[1] for m in sys.modules if m.startswith('scae_zoo.')}
print(status, *sorted({m.partition('.')[0] for m in sys.modules} & {
    'torch', 'timm', 'torchvision', 'matplotlib', 'gradio'}),
      *sorted(rooms - {'cli', 'console', 'errors', 'places', 'version'}), file=sys.stderr)
"""


def start(*args: str) -> 'subprocess.CompletedProcess[str]':
    return subprocess.run([sys.executable, '-c', CODE, *args], cwd=ROOT, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(('option', 'shown'), [('--help', 'pretrain'), ('--version', f'scae_zoo {__version__}\n')])
def test_words_alone_need_no_torch(option: str, shown: str) -> None:
    result = start(option)
    assert shown in result.stdout
    assert result.stderr == '0\n'


def test_the_list_needs_torch_alone() -> None:
    result = start('list')
    assert DEFAULT in result.stdout
    assert result.stderr == '0 torch checkpoints models\n'
