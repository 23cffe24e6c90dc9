"""A client for programs with an event loop."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ._async_session import AsyncSession
from ._client import ClientBase, Texts, refresh_texts, text
from ._event import token_from
from ._library import library, milliseconds, without_nul
from ._loop import operations
from ._settings import Settings, Value, texts
from ._token import Token
from ._typing import Self, Unpack


class AsyncClient(ClientBase):
    """A :class:`~paymentsgate_auth.Client` whose calls are awaited.

    It works with asyncio and with trio. It is not bound to an event loop: several loops may use it, in
    several threads at once or one after the other. Canceling a task cancels its call.
    """

    async def issue(
        self, account_id: str | None = None, public_key: str | None = None, *, timeout: float | None = None
    ) -> Token:
        """Obtains a first pair with credentials, as :meth:`Client.issue`."""
        given = (text(account_id), text(public_key))
        del account_id, public_key
        return await self._call(library.pg_issue_token_start, given, timeout)

    async def refresh(
        self, token: Token | str, *, access_token: str | None = None, timeout: float | None = None
    ) -> Token:
        """Obtains the next pair with a refresh token, as :meth:`Client.refresh`.

        If the task is canceled, the refresh token may be spent: never present it again, issue a new pair. Use
        ``asyncio.shield``, or a shielded scope of trio, to get the answer in any case.
        """
        bearer = text(access_token)
        del access_token
        given = refresh_texts(token, bearer)
        del token
        return await self._call(library.pg_refresh_token_start, given, timeout)

    def session(
        self, settings: Mapping[str, Value] | None = None, /, **keywords: Unpack[Settings]
    ) -> AsyncSession:
        """Opens a session that uses this client's connections, as :meth:`Client.session`."""
        chosen = texts({**(settings or {}), **keywords})  # type: ignore[dict-item]
        del settings, keywords
        return self._session(AsyncSession, chosen)

    async def _call(self, start: Any, given: Texts, timeout: float | None) -> Token:
        handle, (first, second) = self._open_handle(), map(without_nul, given)
        event = await operations().perform(start, handle, first, second, milliseconds(timeout))
        return token_from(event)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
