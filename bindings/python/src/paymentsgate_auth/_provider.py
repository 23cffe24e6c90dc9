"""What the modules for HTTP clients need of a session. Programs can annotate their own parameters with it."""

from __future__ import annotations

from typing import Protocol

from ._token import Token


class ProviderBase(Protocol):
    """Shared by the blocking and the async provider."""

    @property
    def base_url(self) -> str:
        """The URL of the service for which the token is valid."""
        ...

    def reject(self, token: Token, http_status: int = 401) -> None:
        """Reports that the service answered ``http_status`` to a request with ``token``. Does not block.

        A 401 withdraws the token, if it is the current one. Raises
        :class:`~paymentsgate_auth.RejectedFresh` if there is no other token yet.
        """
        ...


class TokenProvider(ProviderBase, Protocol):
    """Provides tokens for requests to one service.

    :class:`~paymentsgate_auth.Session` is one, and :class:`~paymentsgate_auth.StaticSession` replaces it in
    tests.
    """

    def token(self, timeout: float | None = None, min_remaining: float = 0) -> Token:
        """Returns a token, as :meth:`Session.token <paymentsgate_auth.Session.token>`."""
        ...


class AsyncTokenProvider(ProviderBase, Protocol):
    """A :class:`TokenProvider` whose token is awaited.

    :class:`~paymentsgate_auth.AsyncSession` is one, and :class:`~paymentsgate_auth.AsyncStaticSession`
    replaces it in tests. ``token`` must be an ``async def``.
    """

    async def token(self, timeout: float | None = None, min_remaining: float = 0) -> Token:
        """Returns a token, as :meth:`Session.token <paymentsgate_auth.Session.token>`."""
        ...
