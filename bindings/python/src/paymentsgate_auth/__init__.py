"""Keeps a PaymentsGate API session alive through libpaymentsgate_auth.

>>> with Session(base_url="https://…", credentials_file="credentials.json") as session:
...     headers = {"Authorization": f"Bearer {session.token().access_token}"}
"""

import logging as _logging

from ._async_client import AsyncClient
from ._async_session import AsyncSession
from ._client import Client
from ._error import (
    Closed,
    ConfigurationError,
    DeadlineExceeded,
    Fate,
    InvalidCall,
    NetworkError,
    PaymentsGateError,
    Refused,
    RejectedFresh,
    ServiceError,
    Status,
    StoreError,
)
from ._event import Event, EventKind, LogLevel
from ._library import library_version
from ._provider import AsyncTokenProvider, TokenProvider
from ._response import Headers, Response
from ._session import Session
from ._settings import Setting, Settings, settings
from ._static import AsyncStaticSession, StaticSession
from ._store import Record, Store, check_store
from ._subscription import AsyncSubscription, Subscription
from ._token import Token

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncSession",
    "AsyncStaticSession",
    "AsyncSubscription",
    "AsyncTokenProvider",
    "Client",
    "Closed",
    "ConfigurationError",
    "DeadlineExceeded",
    "Event",
    "EventKind",
    "Fate",
    "Headers",
    "InvalidCall",
    "LogLevel",
    "NetworkError",
    "PaymentsGateError",
    "Record",
    "Refused",
    "RejectedFresh",
    "Response",
    "ServiceError",
    "Session",
    "Setting",
    "Settings",
    "StaticSession",
    "Status",
    "Store",
    "StoreError",
    "Subscription",
    "Token",
    "TokenProvider",
    "check_store",
    "library_version",
    "settings",
]

# The program decides where the log goes. Without a handler, Python would write warnings to stderr.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())
