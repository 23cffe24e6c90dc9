"""Keeps a PaymentsGate API session alive through libpaymentsgate_auth.

>>> with Session(base_url="https://…", credentials_file="credentials.json") as session:
...     headers = {"Authorization": f"Bearer {session.token().access_token}"}
"""

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
)
from ._library import library_version
from ._session import Session
from ._settings import Settings
from ._token import Token

__all__ = [
    "Client",
    "Closed",
    "ConfigurationError",
    "DeadlineExceeded",
    "Fate",
    "InvalidCall",
    "NetworkError",
    "PaymentsGateError",
    "Refused",
    "RejectedFresh",
    "ServiceError",
    "Session",
    "Settings",
    "Status",
    "Token",
    "library_version",
]
