"""The vendor's client with the tokens of a session. Made for `paymentsgate` 1.5.16.

Without a session, that client obtains a pair for each request (the blocking one), cannot refresh a pair, and
gives up when a token is refused. The settings are the same as in the other examples. The client reads its
certificate authorities from SSL_CERT_FILE.
"""

import json
import sys

from paymentsgate import ApiClient, Credentials
from paymentsgate.client import ApiAsyncClient
from paymentsgate.exceptions import APIError
from paymentsgate.tokens import AccessToken
from paymentsgate.transport import Request, Response

from paymentsgate_auth import AsyncSession, PaymentsGateError, RejectedFresh, Session, Token

# The session has the credentials.
NONE = Credentials(account_id="", public_key="")


class SessionClient(ApiClient):
    """`ApiClient` with the tokens of a `Session`. The session stays open when this client is gone."""

    def __init__(self, session: Session, **options: object) -> None:
        super().__init__(NONE, baseUrl=session.base_url, **options)
        self._session = session

    def get_token(self) -> AccessToken:
        return AccessToken(self._session.access_token(timeout=self.timeout))

    def _send_request(self, request: Request) -> Response:
        token = self._session.token(timeout=self.timeout)
        response = super()._send_request(request)
        if is_refused(self._session, token, response):
            response = super()._send_request(request)
        return response


class AsyncSessionClient(ApiAsyncClient):
    """`ApiAsyncClient` with the tokens of an `AsyncSession`."""

    def __init__(self, session: AsyncSession, **options: object) -> None:
        super().__init__(NONE, baseUrl=session.base_url, **options)
        self._session = session

    async def get_token(self) -> AccessToken:
        return AccessToken(await self._session.access_token(timeout=self.timeout))

    async def _send_request(self, request: Request) -> Response:
        token = await self._session.token(timeout=self.timeout)
        response = await super()._send_request(request)
        if is_refused(self._session, token, response):
            response = await super()._send_request(request)
        return response


def is_refused(session: Session | AsyncSession, token: Token, response: Response) -> bool:
    """Reports the token to the session if the service refused it. True: a newer token may be accepted."""
    if response.status_code != 401:
        return False
    try:
        session.reject(token)
    except RejectedFresh:
        return False
    return True


def main() -> None:
    with Session.from_env(user_agent="example-python/1.0") as session:
        client = SessionClient(session)
        for asset in client.Assets().assets:
            print(f"wallet   {asset.total} {asset.currency.code.value}")
        print(f"deal     {client.Status('7').status.name.value}")
        print(f"issued   {json.dumps(session.health()['counters']['issues'])} for both")


if __name__ == "__main__":
    try:
        main()
    except (PaymentsGateError, APIError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
