"""Serves the page of ``scae app``: on this machine alone unless told otherwise, asks nobody else, keeps nothing."""

import ipaddress
import json
import os
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...training.run_folder import stopped_by_signals
from .examples import write_examples
from .trials import Trials

LARGEST_FILE = '100mb'  # that is taken
WAITING = 16  # requests at most
FORGET_SECONDS = 3600  # after which the files of a page are deleted, if it does not end before
GRACE_SECONDS = 2  # for open pages, at the end
HEADERS = {
    'content-security-policy': (  # whatever the page is made of, it asks this server alone
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; frame-ancestors 'none'"),
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
}
UPLOAD = '/gradio_api/upload'
MOST_ASKED = 2 ** 22  # bytes of another request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


def serve(trials: Trials, host: str, port: int) -> None:
    """Serve the page until it is stopped.

    Raises:
        ValueError: There is no such address, or somebody else listens there.
    """
    with (closing(_listening(host, port)) as listening, stopped_by_signals(), _scratch() as folder,
          suppress(KeyboardInterrupt)):
        _serve(trials, folder, host, listening)
    print('ended; no photograph and no result is kept')


def _serve(trials: Trials, folder: Path, host: str, listening: socket.socket) -> None:
    import uvicorn  # with Gradio, which reads the environment when it is imported
    address, port = listening.getsockname()[:2]
    is_local = ipaddress.ip_address(address).is_loopback
    server = uvicorn.Server(uvicorn.Config(
        application(trials, folder, host if is_local else None), log_level='warning',
        timeout_graceful_shutdown=GRACE_SECONDS))
    shown = f'[{host}]' if ':' in host else host
    print(f'page        http://{shown}:{port}/', flush=True)
    if not is_local:
        print(f'scae: warning: --host {host}: whoever reaches this machine can use the page', file=sys.stderr)
    print('It ends with Ctrl-C.', flush=True)
    server.run(sockets=[listening])


def application(trials: Trials, folder: Path, local_host: str | None) -> Any:
    """What answers requests.

    Args:
        trials: The networks.
        folder: For files that pages need.
        local_host: What this machine calls itself; None where others may ask.
    """
    import gradio
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    from .page import CSS, THEME, page

    (folder / 'examples').mkdir(exist_ok=True)
    blocks = page(trials, write_examples(folder / 'examples'), folder, FORGET_SECONDS)
    blocks.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # else a page elsewhere could have its own name mean this machine, and ask from a browser here
    if local_host is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=['127.0.0.1', 'localhost', '[::1]', local_host])
    app = gradio.mount_gradio_app(
        app, blocks, path='/', footer_links=[], run_history=False, allowed_paths=[], show_error=False,
        max_file_size=LARGEST_FILE, ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, css=CSS,
        theme=THEME)

    async def answer(scope: Message, receive: Receive, send: Callable[[Message], Awaitable[None]]) -> None:
        if (fault := await _fault_of(scope, receive := _Kept(receive), folder)) is not None:
            await PlainTextResponse(fault, 403)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await app(scope, receive, with_headers)

    return answer


class _Kept:
    """The messages of a request, which can be looked at before they are received."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.waiting = receive, list[Message]()

    async def __call__(self) -> Message:
        return self.waiting.pop(0) if self.waiting else await self.receive()

    async def body(self, most: int) -> bytes:
        """The request's body, or the first of it, from ``most`` bytes on."""
        kept, size = list[Message](), 0
        while not kept or (kept[-1].get('more_body') and size <= most):
            kept.append(await self())
            size += len(kept[-1].get('body', b''))
        self.waiting = kept
        return b''.join(message.get('body', b'') for message in kept)


async def _fault_of(scope: Message, request: _Kept, folder: Path) -> str | None:
    """Why a request is not answered; None where it is.

    A browser sends to this address whatever a page from elsewhere tells it to, and says in ``Origin`` where that is
    from. Gradio opens the file, or asks the server, that the ``path`` in a request names: here only what is in
    ``folder``, that is, was uploaded.
    """
    if scope['type'] != 'http':
        return None
    headers = {key: value.decode('latin-1') for key, value in scope['headers']}
    if (origin := headers.get(b'origin')) is not None and urlsplit(origin).netloc != headers.get(b'host'):
        return f'{origin} is not this page'
    if scope['method'] in ('GET', 'HEAD', 'OPTIONS') or scope['path'] == UPLOAD:
        return None
    body = await request.body(MOST_ASKED)
    if len(body) > MOST_ASKED:
        return 'this is too long for a request'
    try:
        is_ours = all(Path(os.path.realpath(path)).is_relative_to(folder) for path in _paths(json.loads(body or '0')))
    except (ValueError, RecursionError):
        return 'this request cannot be read'
    return None if is_ours else 'a photograph must be uploaded first'


def _paths(asked: Any) -> Iterator[str]:
    """The files that a request names, wherever they are in it."""
    if isinstance(asked, dict):
        if asked.get('path') is not None:
            yield str(asked['path'])
        asked = list(asked.values())
    if isinstance(asked, list):
        for each in asked:
            yield from _paths(each)


def _listening(host: str, port: int) -> socket.socket:
    if not host:
        raise ValueError('--host is empty: give an address; 0.0.0.0 is every network that this machine is in')
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ':' in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise ValueError(f'--host {host} --port {port}: nothing can listen there ({reason}); give another port, or '
                         '--port 0 for a free one') from None


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for all that is written, which is removed at the end; with the environment that Gradio reads."""
    before = tempfile.tempdir, dict(os.environ)
    with tempfile.TemporaryDirectory(prefix='scae_app_', ignore_cleanup_errors=True) as name:
        folder = Path(os.path.realpath(name))
        tempfile.tempdir = str(folder)
        os.environ |= {
            'GRADIO_TEMP_DIR': str(folder / 'pages'), 'GRADIO_EXAMPLES_CACHE': str(folder / 'unused'),
            'GRADIO_ANALYTICS_ENABLED': 'False', 'GRADIO_ALLOWED_PATHS': '', 'HF_HUB_DISABLE_TELEMETRY': '1'}
        try:
            yield folder
        finally:
            tempfile.tempdir = before[0]
            os.environ.clear()
            os.environ.update(before[1])
