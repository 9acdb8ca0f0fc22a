"""Serves the page of ``scae app``: on this machine alone unless told otherwise, asks nobody else, keeps nothing."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

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

Message = MutableMapping[str, Any]


def serve(trials: Trials, host: str, port: int) -> int:
    """Serve the page until it is stopped; returns the exit status.

    Raises:
        ValueError: There is no such address, or somebody else listens there.
    """
    with (closing(_listening(host, port)) as listening, _ended_by_signals(), _scratch() as folder,
          suppress(KeyboardInterrupt)):
        _serve(trials, folder, host, listening)
    print('ended; no photograph and no result is kept')
    return 0


def _serve(trials: Trials, folder: Path, host: str, listening: socket.socket) -> None:
    import uvicorn  # with Gradio, which reads the environment when it is imported
    server = uvicorn.Server(uvicorn.Config(
        application(trials, folder, host), log_level='warning', timeout_graceful_shutdown=GRACE_SECONDS))
    shown = f'[{host}]' if ':' in host else host
    print(f'page        http://{shown}:{listening.getsockname()[1]}/', flush=True)
    if not _is_local(host):
        print(f'scae: warning: --host {host}: whoever reaches this machine can use the page', file=sys.stderr)
    print('It ends with Ctrl-C.', flush=True)
    server.run(sockets=[listening])


def application(trials: Trials, folder: Path, host: str) -> Any:
    """What answers requests; ``folder`` is for files that pages need."""
    import gradio
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from .page import CSS, THEME, page

    (folder / 'examples').mkdir(exist_ok=True)
    blocks = page(trials, write_examples(folder / 'examples'), folder, FORGET_SECONDS)
    blocks.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if _is_local(host):  # or a page elsewhere could have its own name mean this machine, and ask from a browser here
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=['127.0.0.1', 'localhost', '[::1]', host])
    app = gradio.mount_gradio_app(
        app, blocks, path='/', footer_links=[], run_history=False, allowed_paths=[], show_error=False,
        max_file_size=LARGEST_FILE, ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, css=CSS,
        theme=THEME)

    async def answer(scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        async def with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await app(scope, receive, with_headers)

    return answer


def _is_local(host: str) -> bool:
    return host in ('localhost', '::1') or host.startswith('127.')


def _listening(host: str, port: int) -> socket.socket:
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


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End as by Ctrl-C, and so remove what was written, when the process is asked to end or its terminal is closed."""
    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
