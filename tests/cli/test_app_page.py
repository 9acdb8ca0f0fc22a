"""``scae app`` in a browser: a photograph goes in, what a network makes of it comes out; nobody else is asked."""

import json
import os
import re
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import numpy as np
import pytest
import torch
from PIL import Image

from scae_zoo.cli import main
from scae_zoo.cli.app import HOST, serving
from scae_zoo.cli.app.trials import Trials

from ..support.networks import DEFAULT, SHIPPED
from ..support.photographs import write_photographs, write_segmenter
from ..support.pictures import save
from ..support.processes import Process
from ..support.training_commands import run

pytest.importorskip('gradio', reason='gradio is not installed')

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
         '--disable-component-update', '--disable-sync', '--no-first-run']
SECONDS = 120  # that an answer may take on a busy machine


class App(NamedTuple):
    """A page that is served."""

    process: Process
    url: str
    scratch: Path


def serve(*args: str) -> int:
    """``scae app``, which says on stderr whom else it asks."""
    def watch(event: str, values: tuple[Any, ...]) -> None:
        if event == 'socket.connect' and isinstance(values[1], tuple) and values[1][0] not in ('127.0.0.1', '::1'):
            print(f'asks {values[1]}', file=sys.stderr)
        if event == 'socket.getaddrinfo' and values[0] not in ('127.0.0.1', 'localhost', None):
            print(f'asks {values[0]}', file=sys.stderr)

    sys.addaudithook(watch)
    return main(['app', '--port', '0', *args])


def start(folder: Path, *args: str) -> App:
    (folder / 'scratch').mkdir(parents=True)
    process = Process(folder / 'log', serve, *args, TMPDIR=str(folder / 'scratch'))
    ends = time.monotonic() + SECONDS
    while not (found := re.search(r'http://\S+', process.output.read_text() if process.output.exists() else '')):
        assert process.returncode is None, process.errors.read_text()
        assert time.monotonic() < ends, process.errors.read_text()
        time.sleep(0.1)
    return App(process, found.group(), folder / 'scratch')


def end(app: App) -> None:
    os.kill(app.process.pid, signal.SIGTERM)
    assert app.process.wait(60).returncode == 0, app.process.errors.read_text()
    assert list(app.scratch.iterdir()) == []


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_segmenter(tmp_path_factory.mktemp('segmenter'))


@pytest.fixture(scope='module')
def app(tmp_path_factory: pytest.TempPathFactory, segmenter: Path) -> Iterator[App]:
    folder = tmp_path_factory.mktemp('app')
    features = folder / 'features.safetensors'
    assert run('embed', write_photographs(folder / 'photographs'), '--model', SHIPPED, '-o', features) == 1
    started = start(folder / 'app', '--features', str(features), '--model', str(segmenter))
    yield started
    end(started)
    errors = started.process.errors.read_text()
    assert 'Traceback' not in errors
    assert 'asks ' not in errors


@pytest.fixture(scope='module')
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    if CHROMIUM is None:
        pytest.skip('there is no chromium')
    with playwright.sync_playwright() as engine:
        context = engine.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp('browser')), executable_path=CHROMIUM, args=FLAGS,
            viewport={'width': 1280, 'height': 900})
        context.set_default_timeout(1000 * SECONDS)
        yield context
        context.close()


@pytest.fixture
def page(browser: Any, app: App) -> Iterator[Any]:
    page = browser.new_page()
    asked: list[str] = []
    page.on('request', lambda request: asked.append(request.url))
    page.goto(app.url)
    page.wait_for_selector('#photograph input[type=file]', state='attached')
    yield page
    page.close()
    assert {urlparse(url).hostname for url in asked if not url.startswith(('data:', 'blob:'))} == {'127.0.0.1'}


def choose(page: Any, name: str) -> None:
    page.get_by_label('Checkpoint').click()
    page.get_by_role('option', name=name).first.click()


def upload(page: Any, path: Path) -> None:
    page.set_input_files('#photograph input[type=file]', str(path))
    page.wait_for_function('name => document.querySelector("#message").innerText.includes(name)', arg=path.name)


def picture(page: Any, place: str) -> np.ndarray:
    """The picture that is shown there, once it is."""
    page.wait_for_function(
        'place => { const i = document.querySelector(place + " img"); return i && i.complete && i.naturalWidth }',
        arg=place)
    with Image.open(BytesIO(page.request.get(page.get_attribute(f'{place} img', 'src')).body())) as image:
        return np.asarray(image.convert('RGB'))


def said(page: Any, words: str) -> str:
    """The message, once it has these words in it."""
    page.wait_for_function('words => document.querySelector("#message").innerText.includes(words)', arg=words)
    return page.inner_text('#message')


def test_a_photograph_goes_in_and_a_reconstruction_comes_out(page: Any, tmp_path: Path) -> None:
    choose(page, SHIPPED)
    upload(page, photo := save(tmp_path / 'photo.png', 1, (64, 48)))
    page.click('#reconstruct')
    before, after = map(float, re.findall(r'([\d.]+) dB', said(page, 'PSNR')))
    assert before < after
    assert 'The network took' in page.inner_text('#message')
    assert '64 × 48 pixels' in page.inner_text('#message')
    with Image.open(photo) as image:
        assert (picture(page, '#clean') == np.asarray(image.convert('RGB'))).all()
    assert picture(page, '#reconstruction').shape == (48, 64, 3)
    assert (picture(page, '#reconstruction') != picture(page, '#corrupted')).any()


def test_an_example_is_segmented(page: Any, segmenter: Path) -> None:
    page.click('#examples button >> nth=0')
    said(page, 'grace_hopper.png')
    page.click('#segment')
    said(page, 'The network took')
    assert picture(page, '#segmented').shape[1] >= 256


def test_classes_maps_and_neighbours(page: Any, tmp_path: Path) -> None:
    choose(page, DEFAULT)
    upload(page, save(tmp_path / 'photo.png', 2, (64, 48)))
    page.click('#classify')
    said(page, 'The network took')
    assert len(re.findall(r'\d+%', page.inner_text('#classes'))) == 5
    page.get_by_role('tab', name='Feature maps').click()
    page.click('#draw')
    said(page, 'layer 8 of 8')
    assert picture(page, '#maps').shape[1] > 800
    page.get_by_role('tab', name='Nearest').click()
    page.click('#find')
    said(page, 'The network took')
    page.wait_for_selector('#nearest img')
    assert page.locator('#nearest img').count() == 6


def test_painted_holes_are_filled(page: Any, tmp_path: Path) -> None:
    choose(page, SHIPPED)
    upload(page, save(tmp_path / 'photo.png', 3, (64, 64)))
    page.get_by_label('painted holes').check()
    page.click('#reconstruct')
    said(page, 'Nothing is painted yet')
    box = page.locator('#painting canvas').first.bounding_box()
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    page.mouse.move(x - 20, y)
    page.mouse.down()
    page.mouse.move(x + 20, y, steps=5)
    page.mouse.up()
    page.click('#reconstruct')
    said(page, 'PSNR')
    masked = (picture(page, '#corrupted') != picture(page, '#clean')).any(2)
    assert 0.005 < masked.mean() < 0.6


@pytest.mark.parametrize(('name', 'content'), [
    ('notes.txt', b'nothing to see'), ('notes.png', b'nothing to see'), ('half.jpg', None)])
def test_a_wrong_file_gets_a_message(page: Any, tmp_path: Path, name: str, content: bytes | None) -> None:
    choose(page, SHIPPED)
    if content is None:
        Image.effect_noise((256, 256), 80).save(noise := tmp_path / 'noise.jpg')
        content = noise.read_bytes()[:2000]
    (tmp_path / name).write_bytes(content)
    page.set_input_files('#photograph input[type=file]', str(tmp_path / name))
    page.get_by_text(re.compile('is no image that can be read|cannot be read|Invalid file type')).first.wait_for()
    assert 'Traceback' not in page.inner_text('body')


def test_nothing_is_asked_without_a_photograph(page: Any) -> None:
    choose(page, SHIPPED)
    page.click('#reconstruct')
    assert said(page, 'Choose a photograph first')


def test_two_people_at_once(browser: Any, app: App, tmp_path: Path) -> None:
    pages = [browser.new_page() for _ in range(2)]
    for number, page in enumerate(pages):
        page.goto(app.url)
        choose(page, SHIPPED)
        upload(page, save(tmp_path / f'{number}.png', number, (64 + 16 * number, 48)))
    for page in pages:
        page.click('#reconstruct')
    for number, page in enumerate(pages):
        said(page, 'PSNR')
        assert picture(page, '#reconstruction').shape == (48, 64 + 16 * number, 3)
        page.close()


def test_it_answers_this_machine_alone_and_takes_no_address_that_is_taken(
        app: App, capsys: pytest.CaptureFixture[str]) -> None:
    with urllib.request.urlopen(app.url) as answer:
        assert "default-src 'self'" in answer.headers['Content-Security-Policy']
    with pytest.raises(urllib.error.HTTPError, match='400'):
        urllib.request.urlopen(urllib.request.Request(app.url, headers={'Host': 'elsewhere.example'}))
    port = str(urlparse(app.url).port)
    assert main(['app', '--port', port]) == 2
    assert '--port 0 for a free one' in capsys.readouterr().err
    assert main(['app', '--port', '99999']) == 2
    assert 'up to 65535' in capsys.readouterr().err


def status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_no_file_is_opened_but_what_was_uploaded(app: App, tmp_path: Path) -> None:
    """Nor is anybody asked for one, which the fixture looks at."""
    (tmp_path / 'secret.png').write_bytes(b'secret')
    for path in (str(tmp_path / 'secret.png'), f'{app.scratch}/../../secret', 'https://example.com/x.png', '\0'):
        for function in range(12):
            asked = {'data': [{'path': path, 'meta': {'_type': 'gradio.FileData'}}] * 3, 'fn_index': function,
                     'session_hash': 'x'}
            assert status(urllib.request.Request(
                f'{app.url}gradio_api/queue/join', json.dumps(asked).encode(),
                {'Content-Type': 'application/json'})) == 403
    assert status(urllib.request.Request(f'{app.url}gradio_api/file={tmp_path}/secret.png')) in (403, 404)
    assert not list(app.scratch.rglob('secret*'))


def test_pages_from_elsewhere_can_ask_for_nothing(app: App) -> None:
    form = (b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n1\r\n--x--\r\n')
    headers = {'Content-Type': 'multipart/form-data; boundary=x'}
    upload, own = f'{app.url}gradio_api/upload', app.url.rstrip('/')
    for origin, expected in ((own, 200), ('http://evil.example', 403), ('http://127.0.0.1:1', 403), ('null', 403)):
        assert status(urllib.request.Request(upload, form, headers | {'Origin': origin})) == expected


def test_it_ends_while_a_network_computes(browser: Any, tmp_path: Path) -> None:
    Image.new('RGB', (5000, 5000)).save(photo := tmp_path / 'large.png')
    app = start(tmp_path / 'app')
    page = browser.new_page()
    page.goto(app.url)
    choose(page, SHIPPED)
    upload(page, photo)
    page.get_by_label('as it is').check()
    page.click('#reconstruct')
    page.wait_for_selector('#reconstruction .progress-text, #reconstruction .wrap.generating, #reconstruction .wrap')
    time.sleep(3)
    end(app)
    page.close()
    assert 'no photograph and no result is kept' in app.process.output.read_text()


def test_what_was_uploaded_is_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient
    monkeypatch.setattr(serving, 'FORGET_SECONDS', 6)
    monkeypatch.setattr(serving, 'LARGEST_FILE', '2kb')
    with (serving._scratch() as folder,
          TestClient(serving.application(Trials(torch.device('cpu')), folder, HOST), f'http://{HOST}') as client):
        assert client.post('/gradio_api/upload', files={'files': ('large.png', bytes(3000))}).status_code == 413
        answer = client.post('/gradio_api/upload', files={'files': ('small.png', bytes(1000))})
        uploaded = Path(answer.json()[0])
        assert folder in uploaded.parents
        assert uploaded.is_file()
        ends = time.monotonic() + 30
        while uploaded.exists():
            assert time.monotonic() < ends
            time.sleep(0.2)
    assert not folder.exists()
