"""A server of the Hugging Face Hub's protocol, as far as its client uses it to download and upload."""

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from .processes import Process, code

REVISION = '0123456789' * 4
TOKEN = 'hf_mine'
CUT = 0  # in the place of a fault's status: the connection is broken

# it is imported, and has read them, before the process is forked
READ_VARIABLES = 'import importlib, huggingface_hub.constants; importlib.reload(huggingface_hub.constants)\n'


class Hub(str):
    """Its address; and what it was asked and has, to be looked at."""

    requests: list[str]
    objects: dict[str, bytes]  # what was uploaded to large file storage, by sha256
    private: bool


@contextmanager
def hub(folder: Path, cut_off: str = '', faults: Mapping[str, int] | None = None, since: str = '') -> Iterator[Hub]:
    """Serves a folder as the repository me/mine, which is made when it is asked for.

    Args:
        folder: The folder.
        cut_off: A file in the middle of whose download the connection breaks.
        faults: By the part of an address: the status that it is answered with, or ``CUT``.
        since: The part of an address that is asked for before there are faults.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            api, _, rest = self.path.partition('?')[0].partition('/api/models/me/mine')
            path = folder / self.path.partition('/resolve/')[2].partition('/')[2]
            if self.fails():
                return
            if self.path.startswith('/me/mine/resolve/') and path.is_file():
                self.answer_file(path.read_bytes(), path.name)
            elif not api and folder.is_dir() and rest in ('', '/revision/main'):
                self.answer({'id': 'me/mine', 'sha': REVISION, 'private': here.private, 'siblings': []})
            elif not api and folder.is_dir() and rest.startswith('/tree/'):
                self.answer([{'type': 'file', 'path': path.name, 'size': path.stat().st_size, 'oid': REVISION}
                             for path in folder.iterdir()])
            else:
                fault = 'EntryNotFound' if self.path.startswith('/me/mine/') else 'RepoNotFound'
                self.answer({}, 404, {'X-Error-Code': fault})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers['Content-Length']))
            if self.fails():
                return
            if self.headers.get('Authorization') != f'Bearer {TOKEN}':
                self.answer({'error': 'Invalid username or password.'}, 401)
            elif self.path == '/api/repos/create':
                self.create(json.loads(body))
            elif self.path == '/api/validate-yaml':
                self.answer({'errors': [], 'warnings': []})
            elif self.path.endswith('/preupload/main'):
                self.answer({'files': [self.mode(file['path']) for file in json.loads(body)['files']]})
            elif self.path.endswith('/objects/batch'):
                self.answer({'objects': [{**each, **self.action(each['oid'])} for each in json.loads(body)['objects']]})
            else:
                self.commit(body)

        def commit(self, body: bytes) -> None:
            for operation in map(json.loads, body.splitlines()):
                value = operation['value']
                if operation['key'] == 'file':
                    (folder / value['path']).write_bytes(base64.b64decode(value['content']))
                elif operation['key'] == 'lfsFile':
                    (folder / value['path']).write_bytes(here.objects[value['oid']])
                elif operation['key'] == 'deletedFile':
                    (folder / value['path']).unlink()
            self.answer({'commitUrl': f'{here}/me/mine/commit/{REVISION}', 'commitOid': REVISION})

        def do_PUT(self) -> None:
            length = int(self.headers['Content-Length'])
            if self.fails():
                return
            body = self.rfile.read(length)
            here.objects[self.path.rpartition('/')[2]] = body
            self.answer({})

        def create(self, asked: dict[str, Any]) -> None:
            if asked['organization'] != 'me':
                self.answer({'error': 'You may not'}, 403)
            elif folder.is_dir():
                self.answer({'url': f'{here}/me/mine', 'error': 'You already created this repository'}, 409)
            else:
                folder.mkdir()
                here.private = asked.get('visibility') == 'private' or asked.get('private', False)
                self.answer({'url': f'{here}/me/mine'})

        @staticmethod
        def mode(name: str) -> dict[str, Any]:
            large = name.endswith('.safetensors')
            entry: dict[str, Any] = {'path': name, 'uploadMode': 'lfs' if large else 'regular', 'shouldIgnore': False}
            if (folder / name).is_file():
                data = (folder / name).read_bytes()
                found = hashlib.sha256(data) if large else hashlib.sha1(b'blob %d\0' % len(data) + data)  # as git does
                entry['oid'] = found.hexdigest()
            return entry

        @staticmethod
        def action(oid: str) -> dict[str, Any]:
            return {} if oid in here.objects else {'actions': {'upload': {'href': f'{here}/storage/{oid}'}}}

        def fails(self) -> bool:
            here.requests.append(f'{self.command} {self.path}')
            if since and not any(since in request for request in here.requests[:-1]):
                return False
            for part, status in (faults or {}).items():
                if part in self.path:
                    if status == CUT:
                        self.close_connection = True
                        self.connection.close()
                    else:
                        self.answer({'error': 'a fault'}, status)
                    return True
            return False

        def answer(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            for key, text in (headers or {}).items():
                self.send_header(key, text)
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            if self.command != 'HEAD':
                self.wfile.write(body)

        def answer_file(self, body: bytes, name: str) -> None:
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.send_header('ETag', f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header('X-Repo-Commit', REVISION)
            self.end_headers()
            if self.command == 'GET':
                self.wfile.write(body[:len(body) // 2] if name == cut_off else body)

        def log_message(self, *_: object) -> None:
            pass

        def finish(self) -> None:
            with suppress(OSError, ValueError):  # of a connection that was broken
                super().finish()

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        here = Hub(f'http://127.0.0.1:{server.server_port}')
        here.requests, here.objects, here.private = [], {}, False
        Thread(target=server.serve_forever, daemon=True).start()
        yield here
        server.shutdown()


def python(
        text: str,
        home: Path,
        address: str,
        *args: str,
        offline: bool = False,
        token: str = TOKEN,
) -> 'subprocess.CompletedProcess[str]':
    """A program that talks to it; ``home`` is where the client keeps its cache."""
    own = {'HF_ENDPOINT': address, 'HF_HOME': str(home), 'HF_HUB_CACHE': str(home / 'hub'), 'NO_PROXY': '127.0.0.1',
           'HF_HUB_OFFLINE': str(int(offline)), 'HF_HUB_DISABLE_PROGRESS_BARS': '1', 'HF_TOKEN': token,
           'HF_HUB_DISABLE_XET': '1'}  # storage of large files by LFS, whose protocol is plain
    return Process(home.with_suffix('.log'), code, READ_VARIABLES + text, *args, **own).wait()
