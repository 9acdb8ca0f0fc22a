"""``scae publish``, against a server of the Hub's protocol."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import yaml

from scae_zoo import Scae, create_autoencoder, create_segmenter
from scae_zoo.checkpoints.card import model_card
from scae_zoo.checkpoints.finding import WEIGHTS
from scae_zoo.checkpoints.writing import write

from ..support.checkpoint_folders import ARCHITECTURE, edit
from ..support.hub import CUT, hub, python
from ..support.networks import SHIPPED, randomize
from ..support.training_commands import run

PUBLISH = 'import sys; from scae_zoo.cli import main; sys.exit(main(["publish", *sys.argv[1:]]))'
AT_ONCE = 'import time; time.sleep = lambda seconds: None\n'  # the client waits before it asks again


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a segmenter, with what does not belong to it."""
    folder = tmp_path_factory.mktemp('saved') / f'{ARCHITECTURE}.mine'
    torch.manual_seed(0)
    randomize(create_segmenter(ARCHITECTURE, 3, 'random', act_layer='silu')).save_pretrained(folder)
    (folder / 'diary.txt').write_text('mine')
    (folder / 'notes').mkdir()
    (folder / 'notes' / 'model.safetensors').write_text('mine')
    return folder


def sent(folder: Path) -> dict[str, bytes]:
    names = [*json.loads((folder / 'manifest.json').read_text())['files'], 'manifest.json']
    return {name: (folder / name).read_bytes() for name in names}


def contents(repository: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in repository.iterdir()}


def test_published_and_loaded_again(folder: Path, tmp_path: Path) -> None:
    """By this package, timm and transformers: the same outputs everywhere."""
    load = f"""
import huggingface_hub, timm, torch, scae_zoo
x = torch.linspace(-2, 2, 3 * 40 * 33).view(1, 3, 40, 33)
local = scae_zoo.ScaeSegmenter.from_pretrained({str(folder)!r})
assert torch.equal(scae_zoo.ScaeSegmenter.from_pretrained('me/mine')(x), local(x))
again = scae_zoo.create_segmenter({ARCHITECTURE!r}, pretrained=True, weights='hf-hub:me/mine').eval()
assert torch.equal(again(x), local(x))
pooled = timm.create_model('hf-hub:me/mine', pretrained=True).eval()(x)
assert torch.equal(pooled, local.encoder(x))
try:
    import transformers
except ImportError:
    print('not installed')
else:
    model = transformers.AutoModel.from_pretrained(huggingface_hub.snapshot_download('me/mine')).eval()
    torch.testing.assert_close(model(x).pooler_output, pooled)
"""
    with hub(tmp_path / 'mine') as address:
        result = python(PUBLISH, tmp_path / 'home', address, str(folder), 'me/mine')
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[-1] == f'published: {address}/me/mine/commit/{"0123456789" * 4}'
        assert contents(tmp_path / 'mine') == sent(folder)
        loaded = python(load, tmp_path / 'home', address, token='')
    assert loaded.returncode == 0, loaded.stderr


def test_pushed_without_a_folder(tmp_path: Path) -> None:
    text = f"""
import pathlib, scae_zoo
model = scae_zoo.Scae.from_pretrained({SHIPPED!r})
print(model.push_to_hub('me/mine', private=True, model_card_kwargs={{'summary': 'Mine.'}}))
figures = pathlib.Path({str(tmp_path)!r}, 'mine', 'metrics.json')
figures.write_text('{{}}')  # of an earlier checkpoint
model.push_to_hub('me/mine', allow_patterns='README.md', model_card_kwargs={{'summary': 'Only the card.'}})
assert figures.exists()
model.push_to_hub('me/mine', model_card_kwargs={{'summary': 'Again mine.'}})
assert not figures.exists()
"""
    with hub(tmp_path / 'mine') as address:
        result = python(text, tmp_path / 'home', address)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(f'{address}/me/mine/commit/')
        assert address.private
    assert 'Again mine.' in (tmp_path / 'mine' / 'README.md').read_text()
    model, expected = (Scae.from_pretrained(place).state_dict() for place in (tmp_path / 'mine', SHIPPED))
    assert all(torch.equal(model[key], expected[key]) for key in expected)


def test_dry_run_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('publish', SHIPPED, 'me/mine', '--dry-run', '--private') == 0  # the tests have no network
    first, *rows, total = capsys.readouterr().out.splitlines()
    assert first == f'{SHIPPED} would go to me/mine (private):'
    files = {path.name: path.stat().st_size for path in (WEIGHTS / SHIPPED).iterdir()}
    assert [row.split() for row in rows] == [[name, f'{files[name]:,}', 'bytes'] for name in sorted(files)]
    assert total.strip() == f'{len(files)} files, {sum(files.values()) / 1e6:.1f} MB'


@pytest.mark.parametrize(('part', 'status', 'fault'), [
    ('/repos/create', 401, 'there is no token, or the Hub does not know it (401). Ways out: log in with'),
    ('/commit/', 409, 'somebody else is changing it (409). Ways out: try again in a minute'),
    ('/repos/create', 429, 'the Hub was asked too often (429). Ways out: try again in some minutes'),
    ('/commit/', 503, 'the Hub has a fault of its own (503). Ways out: try again later'),
    ('/commit/', CUT, 'the connection broke, or there is none ('),
])
def test_faults_of_the_hub(folder: Path, tmp_path: Path, part: str, status: int, fault: str) -> None:
    """A line each; and then the same command publishes it."""
    with hub(tmp_path / 'mine', faults={part: status}) as address:
        result = python(PUBLISH, tmp_path / 'home', address, str(folder), 'me/mine')
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f'scae: error: me/mine: could not be published: {fault}')
    assert line.endswith('; then do the same again: what has arrived is not sent twice')
    assert 'Traceback' not in result.stderr


def test_goes_on_after_a_cut(folder: Path, tmp_path: Path) -> None:
    """What has arrived is not sent again; where all is there, no commit is made. Other files stay, and are named."""
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'other.txt').write_text('theirs')
    oid = json.loads((folder / 'manifest.json').read_text())['files']['decoder.safetensors']['sha256']
    faults = {f'/storage/{oid}': CUT}
    with hub(tmp_path / 'mine', faults=faults) as address:
        first = python(AT_ONCE + PUBLISH, tmp_path / 'home', address, str(folder), 'me/mine')
        assert first.returncode == 2
        assert 'could not be published: the connection broke' in first.stderr.splitlines()[-1]
        assert len(address.objects) == 1
        faults.clear()
        address.requests.clear()
        second = python(PUBLISH, tmp_path / 'home', address, str(folder), 'me/mine')
        assert second.returncode == 0, second.stderr
        assert len([request for request in address.requests if request.startswith('PUT')]) == 1
        assert contents(tmp_path / 'mine') == {**sent(folder), 'other.txt': b'theirs'}
        assert second.stdout.splitlines()[-1] == 'it holds other files, too, which were left as they are: other.txt'
        address.requests.clear()
        third = python(PUBLISH, tmp_path / 'home', address, str(folder), 'me/mine')
        assert third.returncode == 0, third.stderr
        assert not [request for request in address.requests if 'PUT' in request or '/commit/' in request]
        public = python(PUBLISH, tmp_path / 'home', address, str(folder), 'me/mine', '--private')
        assert public.returncode == 2
        assert 'me/mine: is public already; make it private' in public.stderr
        theirs = python(PUBLISH, tmp_path / 'home', address, str(folder), 'you/mine')
        assert theirs.returncode == 2
        assert 'you/mine: could not be published: the token may not write there (403)' in theirs.stderr.splitlines()[-1]


def test_published_though_the_rest_is_not_known(folder: Path, tmp_path: Path) -> None:
    with hub(tmp_path / 'mine', faults={'/tree/': 500}, since='/commit/') as address:
        result = python(AT_ONCE + PUBLISH, tmp_path / 'home', address, str(folder), 'me/mine')
    assert result.returncode == 0, result.stderr
    assert f'published: {address}/me/mine/commit/' in result.stdout
    assert ('scae: warning: me/mine: is published, but what else it holds could not be listed: the Hub has a fault of '
            'its own (500). Ways out: try again later') in result.stderr.splitlines()[-1]
    assert contents(tmp_path / 'mine') == sent(folder)


def test_an_encoder_takes_the_place_of_a_segmenter(folder: Path, tmp_path: Path) -> None:
    """What others have put there stays, and the card that they may have written on the Hub."""
    encoder = tmp_path / 'encoder'
    timm.models._hub.save_for_hf(timm.create_model(ARCHITECTURE, num_classes=5), encoder, safe_serialization=True)
    mine = tmp_path / 'mine'
    with hub(mine) as address:
        assert python(PUBLISH, tmp_path / 'home', address, str(folder), 'me/mine').returncode == 0
        for name in ('recipe.yaml', 'metrics.json', 'other.txt'):
            (mine / name).write_text('{}')
        card = (mine / 'README.md').read_bytes()
        result = python(PUBLISH, tmp_path / 'home', address, str(encoder), 'me/mine')
        assert result.returncode == 0, result.stderr
        assert contents(mine) == {**contents(encoder), 'README.md': card, 'other.txt': b'{}'}
        loaded = python("""
import timm, scae_zoo
assert timm.create_model('hf-hub:me/mine', pretrained=True).num_classes == 5
""", tmp_path / 'home', address)
    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.parametrize(('file', 'change', 'fault'), [
    ('decoder.safetensors', None, 'decoder.safetensors: not found'),
    ('decoder.safetensors', lambda state: {**state, 'head.bias': torch.ones(4)}, 'head.bias is (4,) in the file'),
    ('model.safetensors', lambda state: {**state, 'blocks.1.bn.bias': torch.ones(4)}, 'blocks.1.bn.bias is (4,) in'),
    ('config.json', lambda config: {**config, 'decoder': {'shortcuts': True, 'num_classes': 4}}, 'does not fit'),
])
def test_what_could_not_be_loaded_is_not_sent(
        file: str, change: Callable | None, fault: str, folder: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    """Of a folder without a manifest, whose files nobody has recorded."""
    copy = Path(shutil.copytree(folder, tmp_path / 'copy'))
    (copy / 'manifest.json').unlink()
    assert run('publish', copy, 'me/mine', '--dry-run') == 0
    capsys.readouterr()
    if change is None:
        (copy / file).unlink()
    else:
        edit(copy / file, change)
    assert run('publish', copy, 'me/mine') == 2  # the tests have no network
    output = capsys.readouterr()
    assert output.err.count('\n') == 1
    assert fault in output.err
    assert 'goes to' not in output.out


def test_local_paths_are_named_before_they_are_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = shlex.join(['scae', 'pretrain', '/data/photos', '--test=/data/test images', '-o', '~/runs', '--x', '1/2'])
    recipe = {'command': command, 'url': 'https://example.org/x'}
    model = create_autoencoder(ARCHITECTURE)
    card = model_card('mine', ARCHITECTURE, 'autoencoder', command=command)
    write(tmp_path / 'mine', model.encoder, model.decoder, recipe=recipe, card=card)
    assert run('publish', tmp_path / 'mine', 'me/mine', '--dry-run') == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        'local paths that its readers see, in README.md, manifest.json, recipe.yaml: /data/photos, /data/test, ~/runs')
    assert yaml.safe_load((tmp_path / 'mine' / 'recipe.yaml').read_text()) == recipe


@pytest.mark.parametrize(('name', 'fault'), [
    ('mine', 'does not say whose repository it is; give USER/REPOSITORY'),
    ('me/mine/yours', 'is no name of a repository'), ('me/-mine', 'is no name of a repository')])
def test_a_name_that_cannot_be(name: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run('publish', SHIPPED, name)
    assert stopped.value.code == 2
    assert fault in capsys.readouterr().err.splitlines()[-1]


def test_a_damaged_checkpoint_is_not_sent(checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (checkpoint_folder / 'README.md').open('a') as file:
        file.write('more')
    assert run('publish', checkpoint_folder, 'me/mine') == 2
    assert 'README.md: has' in capsys.readouterr().err
