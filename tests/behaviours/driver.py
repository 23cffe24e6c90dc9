"""The Python driver of the table of behaviours. Its protocol is in README.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from paymentsgate_auth import Client, PaymentsGateError, Session, Token

Answer = dict[str, object]
UNSUPPORTED: Answer = {"status": "unsupported"}


class Driver:
    """What the commands so far have left: settings, a client, a session, the last token."""

    def __init__(self) -> None:
        self.settings: dict[str, str] = {}
        self.make: Callable[[dict[str, str]], Client] = Client
        self.client: Client | None = None
        self.session: Session | None = None
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
                self.session = self.client.session(self.settings)
                return {"status": "PG_OK"}
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
            case "health", []:
                return {"status": "PG_OK", "health": json.dumps(session.health())}
            case "close", [timeout]:
                session.close(seconds(timeout))
            case _:
                return UNSUPPORTED
        return {"status": "PG_OK"}

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
                print(key, str(value).encode().hex(), sep="\t")
        print(flush=True)


if __name__ == "__main__":
    main()
