"""The Python driver of the table of behaviours; with the word `async` its interface for event loops."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from memory_store import MemoryStore

from paymentsgate_auth import (
    AsyncClient,
    AsyncSession,
    AsyncSubscription,
    Client,
    PaymentsGateError,
    Response,
    Session,
    Subscription,
    Token,
    check_store,
    library_version,
    settings,
)
from paymentsgate_auth._settings import Value

Answer = dict[str, object]
Result = TypeVar("Result")
OK: Answer = {"status": "PG_OK"}
UNSUPPORTED: Answer = {"status": "unsupported"}
CREDENTIALS = "credentials_file", "account_id", "public_key", "public_key_file"


class Driver:
    """The results of the commands so far: settings, a client, a session, the last token."""

    def __init__(self, face: type[Client] | type[AsyncClient]) -> None:
        self.face = face
        self.settings: dict[str, Value] = {}
        self.make: Callable[[dict[str, Value]], Client | AsyncClient] = face
        self.client: Client | AsyncClient | None = None
        self.session: Session | AsyncSession | None = None
        self.news: Subscription | AsyncSubscription | None = None
        self.token: Token | None = None
        self.under_way: asyncio.Task[Answer] | None = None

    async def obey(self, command: str, words: list[str]) -> Answer:
        match command, words:
            case "set", [name, value]:
                # Python checks settings when the client is made.
                self.settings[self.text(name) or ""] = self.text(value) or ""
            case "env", []:
                self.make = self.face.from_env
            case "client", []:
                self.client = self.make(self.settings)
            case "store", [kind]:
                self.settings["store"] = store(kind)
            case "check_store", [kind]:
                check_store(store(kind))
            case "issue", [account, key, timeout] if self.client:
                given = self.text(account), self.text(key)
                return self.keep(await settled(self.client.issue(*given, timeout=seconds(timeout))))
            case "refresh", [access, refresh, timeout] if self.client and refresh != "-":
                token, bearer = self.text(refresh) or "", self.text(access)
                pair = self.client.refresh(token, access_token=bearer, timeout=seconds(timeout))
                return self.keep(await settled(pair))
            case "open", [] if self.client:
                self.open(self.client, self.settings)
            case "open_pair", [access, refresh, expires_in] if self.client and "-" not in (access, refresh):
                texts = {"access_token": self.text(access) or "", "refresh_token": self.text(refresh) or ""}
                if (age := self.text(expires_in)) is not None:
                    texts["access_token_expires_in_s"] = age
                without = {name: text for name, text in self.settings.items() if name not in CREDENTIALS}
                self.open(self.make(without), {**without, **texts})
            case "metrics", [] if self.client:
                return {**OK, "metrics": self.client.metrics()}
            case "version", []:
                return {**OK, "version": library_version()}
            case "settings", []:
                return {**OK, "settings": "\n".join("\t".join(setting) for setting in settings())}
            case "start", [command, *words] if self.face is AsyncClient:
                self.under_way = asyncio.ensure_future(self.obey(command, words))
                # The task starts when this one waits.
                await asyncio.sleep(0)
            case "cancel", [] if self.under_way:
                self.under_way.cancel()
            case "end", [] if self.under_way:
                try:
                    return await self.under_way
                except asyncio.CancelledError:
                    return {"status": "canceled"}
            case _:
                return await self.obey_session(self.session, command, words) if self.session else UNSUPPORTED
        return OK

    async def obey_session(self, session: Session | AsyncSession, command: str, words: list[str]) -> Answer:
        match command, words:
            case "token", [timeout, min_remaining]:
                token = session.token(seconds(timeout), int(min_remaining) / 1000)
                return self.keep(await settled(token))
            case "renew", [timeout]:
                return self.keep(await settled(session.refresh(seconds(timeout))))
            case "reject", [http_status] if self.token:
                session.reject(self.token, int(http_status))
            case "credentials", [account, key] if "-" not in words:
                session.set_credentials(self.text(account) or "", self.text(key) or "")
            case "request", [method, path, headers, body, timeout]:
                lines, content = (self.text(headers) or "").split("\n"), self.text(body)
                response = session.request(
                    self.text(method) or "",
                    self.text(path) or "",
                    headers=None if headers == "-" else list(zip(lines[::2], lines[1::2], strict=True)),
                    body=None if content is None else content.encode("utf-8", "surrogateescape"),
                    timeout=seconds(timeout),
                )
                return answered(await settled(response))
            case "subscribe", [level]:
                self.news = session.subscribe(int(level))
            case "events", [] if self.news:
                return await self.events(self.news)
            case "health", []:
                return {**OK, "health": json.dumps(session.health())}
            case "close", [timeout]:
                await settled(session.close(seconds(timeout)))
            case _:
                return UNSUPPORTED
        return OK

    def open(self, client: Client | AsyncClient, settings: dict[str, Value]) -> None:
        self.session, self.news = client.session(settings), None

    def text(self, word: str) -> str | None:
        if word == "@access":
            return self.token.access_token if self.token else None
        if word == "@refresh":
            return self.token.refresh_token if self.token else None
        if word == "-":
            return None
        return bytes.fromhex(word.removeprefix("x")).decode("utf-8", "surrogateescape")

    def keep(self, token: Token) -> Answer:
        self.token = token
        return {
            **OK,
            "fingerprint": token.fingerprint,
            "access_length": len(token.access_token),
            "refresh_length": len(token.refresh_token or ""),
            "lifetime_ms": round(token.lifetime * 1000),
            "disagreement_ms": round(token.lifetime_disagreement * 1000),
            "remaining_ms": round(token.remaining * 1000),
            "generation": token.generation,
        }

    async def events(self, news: Subscription | AsyncSubscription) -> Answer:
        """Takes all waiting events. A pair that the host keeps becomes the last token."""
        waiting = []
        while event := await settled(news.poll(0)):
            waiting.append(event)
        kept = [event.token for event in waiting if event.token and event.token.refresh_token]
        self.token = kept[-1] if kept else self.token
        lines = [f"{event.level.name.lower()} {event.text}" for event in waiting if event.text is not None]
        return {
            **OK,
            "events": ",".join(event.kind.name.lower() for event in waiting),
            "kept": len(kept),
            "log": "\n".join(lines),
        }


async def settled(result: Result | Awaitable[Result]) -> Result:
    """The answer of a call, for both interfaces."""
    return await result if isinstance(result, Awaitable) else result


def store(kind: str) -> MemoryStore:
    store = MemoryStore()
    store.ignores_versions = kind == "forgetful"
    store.error = OSError("the disk is full") if kind == "down" else None
    return store


def answered(response: Response) -> Answer:
    names = sorted(response.headers)
    headers = [f"{name}: {value}" for name in names for value in response.headers.get_all(name)]
    return {
        **OK,
        "response_status": response.status,
        "response_type": response.headers.get("content-type"),
        "response_headers": "\n".join(headers),
        "response_body": response.body.decode("utf-8", "surrogateescape"),
    }


def seconds(milliseconds: str) -> float | None:
    return None if milliseconds == "-1" else int(milliseconds) / 1000


def failure(error: PaymentsGateError) -> Answer:
    return {
        "status": error.status_name,
        "text": error.text,
        "http_status": error.http_status,
        "server_code": error.server_code,
        "server_message": error.server_message,
        "server_details": error.server_details,
        "retry_after_ms": None if error.retry_after is None else round(error.retry_after * 1000),
        "cause": f"PG_ERR_{error.cause.name}" if error.cause else None,
        "retryable": int(error.retryable),
        "needs_credentials": int(error.needs_credentials),
        "fate": int(error.fate),
    }


def at_once(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Runs a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    raise AssertionError("the blocking face has something to await")


def play(driver: Driver, run: Callable[[Coroutine[Any, Any, Answer]], Answer]) -> None:
    for line in sys.stdin:
        command, *words = line.rstrip("\n").split("\t")
        try:
            answer = run(driver.obey(command, words))
        except PaymentsGateError as error:
            answer = failure(error)
        for key, value in answer.items():
            if value is not None:
                print(key, str(value).encode("utf-8", "surrogateescape").hex(), sep="\t")
        print(flush=True)


def main() -> None:
    if sys.argv[1:] == ["async"]:
        loop = asyncio.new_event_loop()
        play(Driver(AsyncClient), loop.run_until_complete)
        loop.close()
    else:
        play(Driver(Client), at_once)


if __name__ == "__main__":
    main()
