"""Other HTTP clients with a session's token, behind one interface."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import requests

from paymentsgate_auth import AsyncSession, Session
from paymentsgate_auth import aiohttp as our_aiohttp
from paymentsgate_auth import httpx as our_httpx
from paymentsgate_auth import requests as our_requests

Config = dict[str, str]


@dataclass(frozen=True)
class Answer:
    status: int
    text: str


Ask = Callable[..., Answer]
"""(method, url, body) to an answer; a body is bytes, a file, or an iterator that can be read once."""


@contextmanager
def by_httpx(settings: Config) -> Iterator[Ask]:
    with (
        Session(settings) as session,
        httpx.Client(
            base_url=session.base_url,
            auth=our_httpx.SessionAuth(session),
            verify=trust(settings),
            follow_redirects=True,
            trust_env=False,
        ) as client,
    ):

        def ask(method: str, url: str, body: Any = None) -> Answer:
            answer = client.request(method, url, content=body, headers=JSON)
            return Answer(answer.status_code, answer.text)

        yield ask


@contextmanager
def by_async_httpx(settings: Config) -> Iterator[Ask]:
    session = AsyncSession(settings)
    client = httpx.AsyncClient(
        base_url=session.base_url,
        auth=our_httpx.SessionAuth(session),
        verify=trust(settings),
        follow_redirects=True,
        trust_env=False,
    )
    with loop() as run:

        async def ask(method: str, url: str, body: Any = None) -> Answer:
            # httpx.AsyncClient accepts no files.
            content = in_turn(body) if isinstance(body, Iterator) else body
            answer = await client.request(method, url, content=content, headers=JSON)
            return Answer(answer.status_code, answer.text)

        yield lambda *asked: run(ask(*asked))
        run(client.aclose())
        run(session.close())


@contextmanager
def by_requests(settings: Config) -> Iterator[Ask]:
    with Session(settings) as session, requests.Session() as client:
        client.auth = our_requests.SessionAuth(session)
        client.verify = settings["tls.ca_file"]
        client.trust_env = False

        def ask(method: str, url: str, body: Any = None) -> Answer:
            url = url if "://" in url else session.base_url + url
            answer = client.request(method, url, data=body, headers=JSON, timeout=20)
            return Answer(answer.status_code, answer.text)

        yield ask


@contextmanager
def by_aiohttp(settings: Config) -> Iterator[Ask]:
    with loop() as run:

        async def opened() -> tuple[AsyncSession, aiohttp.ClientSession]:
            session = AsyncSession(settings)
            connector = aiohttp.TCPConnector(ssl=trust(settings))
            middlewares = [our_aiohttp.SessionMiddleware(session)]
            return session, aiohttp.ClientSession(
                session.base_url, connector=connector, middlewares=middlewares, headers=JSON
            )

        session, client = run(opened())

        async def ask(method: str, url: str, body: Any = None) -> Answer:
            data = in_turn(body) if isinstance(body, Iterator) and not isinstance(body, io.IOBase) else body
            async with client.request(method, url, data=data) as answer:
                return Answer(answer.status, await answer.text())

        yield lambda *asked: run(ask(*asked))
        run(client.close())
        run(session.close())


JSON = {"Content-Type": "application/json"}
CLIENTS: dict[str, Callable[[Config], AbstractContextManager[Ask]]] = {
    "httpx": by_httpx,
    "async httpx": by_async_httpx,
    "requests": by_requests,
    "aiohttp": by_aiohttp,
}
REWINDS_FILES = {"requests", "aiohttp"}


def trust(settings: Config) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings["tls.ca_file"])


async def in_turn(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@contextmanager
def loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """One event loop for several calls. Each call has a time limit."""
    own = asyncio.new_event_loop()
    try:
        yield lambda work: own.run_until_complete(asyncio.wait_for(work, 20))
        own.run_until_complete(own.shutdown_asyncgens())
    finally:
        own.close()
