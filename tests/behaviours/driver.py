"""The Python driver of the table of behaviours. Its protocol is in README.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from paymentsgate_auth import Client, EventKind, PaymentsGateError, Session, Subscription, Token

Answer = dict[str, object]
UNSUPPORTED: Answer = {"status": "unsupported"}
CREDENTIALS = "credentials_file", "account_id", "public_key", "public_key_file"


class Driver:
    """What the commands so far have left: settings, a client, a session, the last token."""

    def __init__(self) -> None:
        self.settings: dict[str, str] = {}
        self.make: Callable[[dict[str, str]], Client] = Client
        self.client: Client | None = None
        self.session: Session | None = None
        self.news: Subscription | None = None
        self.token: Token | None = None

    def obey(self, command: str, words: list[str]) -> Answer:
        match command, words:
            case "set", [name, value]:
                # Python checks settings when the client is made.
                self.settings[self.text(name) or ""] = self.text(value) or ""
                return {"status": "PG_OK"}
            case "env", []:
                self.make = Client.from_env
                return {"status": "PG_OK"}
            case "client", []:
                self.client = self.make(self.settings)
                return {"status": "PG_OK"}
            case "issue", [account, key, timeout] if self.client:
                given = self.text(account), self.text(key)
                return self.keep(self.client.issue(*given, timeout=seconds(timeout)))
            case "refresh", [access, refresh, timeout] if self.client and refresh != "-":
                token, bearer = self.text(refresh) or "", self.text(access)
                return self.keep(self.client.refresh(token, access_token=bearer, timeout=seconds(timeout)))
            case "open", [] if self.client:
                return self.open(self.client, self.settings)
            case "open_pair", [access, refresh, expires_in] if self.client and "-" not in (access, refresh):
                pair = {"access_token": self.text(access) or "", "refresh_token": self.text(refresh) or ""}
                if (age := self.text(expires_in)) is not None:
                    pair["access_token_expires_in_s"] = age
                without = {name: text for name, text in self.settings.items() if name not in CREDENTIALS}
                return self.open(self.make(without), {**without, **pair})
        return self.obey_session(self.session, command, words) if self.session else UNSUPPORTED

    def obey_session(self, session: Session, command: str, words: list[str]) -> Answer:
        match command, words:
            case "token", [timeout, min_remaining]:
                token = session.token(seconds(timeout), int(min_remaining) / 1000)
                return {**self.keep(token), "generation": token.generation}
            case "reject", [http_status] if self.token:
                session.reject(self.token, int(http_status))
            case "credentials", [account, key] if "-" not in words:
                session.set_credentials(self.text(account) or "", self.text(key) or "")
            case "request", [method, path, headers, body, timeout]:
                return self.request(session, method, path, headers, body, timeout)
            case "subscribe", [level]:
                self.news = session.subscribe(int(level))
            case "events", [] if self.news:
                return events(self.news)
            case "health", []:
                return {"status": "PG_OK", "health": json.dumps(session.health())}
            case "close", [timeout]:
                session.close(seconds(timeout))
            case _:
                return UNSUPPORTED
        return {"status": "PG_OK"}

    def open(self, client: Client, settings: dict[str, str]) -> Answer:
        self.session, self.news = client.session(settings), None
        return {"status": "PG_OK"}

    def request(
        self, session: Session, method: str, path: str, headers: str, body: str, timeout: str
    ) -> Answer:
        lines = (self.text(headers) or "").split("\n")
        content = self.text(body)
        response = session.request(
            self.text(method) or "",
            self.text(path) or "",
            headers=None if headers == "-" else list(zip(lines[::2], lines[1::2], strict=True)),
            body=None if content is None else content.encode("utf-8", "surrogateescape"),
            timeout=seconds(timeout),
        )
        return {
            "status": "PG_OK",
            "response_status": response.status,
            "response_type": response.headers.get("content-type"),
            "response_body": response.body.decode("utf-8", "surrogateescape"),
        }

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
            "status": "PG_OK",
            "fingerprint": token.fingerprint,
            "access_length": len(token.access_token),
            "refresh_length": len(token.refresh_token or ""),
            "lifetime_ms": round(token.lifetime * 1000),
            "disagreement_ms": round(token.lifetime_disagreement * 1000),
            "remaining_ms": round(token.remaining * 1000),
        }


def events(news: Subscription) -> Answer:
    """All that wait."""
    waiting = list(iter(lambda: news.poll(0), None))
    pairs = [event.token for event in waiting if event.kind is EventKind.ROTATED and event.token]
    return {
        "status": "PG_OK",
        "events": ",".join(event.kind.name.lower() for event in waiting),
        "kept": sum(token.refresh_token is not None for token in pairs),
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
        "retryable": int(error.retryable),
        "needs_credentials": int(error.needs_credentials),
        "fate": int(error.fate),
    }


def main() -> None:
    driver = Driver()
    for line in sys.stdin:
        command, *words = line.rstrip("\n").split("\t")
        try:
            answer = driver.obey(command, words)
        except PaymentsGateError as error:
            answer = failure(error)
        for key, value in answer.items():
            if value is not None:
                print(key, str(value).encode("utf-8", "surrogateescape").hex(), sep="\t")
        print(flush=True)


if __name__ == "__main__":
    main()
