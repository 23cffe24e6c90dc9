"""Issues and refreshes PaymentsGate tokens through libpaymentsgate_auth.

>>> with Client(base_url="https://…", credentials_file="credentials.json") as client:
...     token = client.issue()
...     token = client.refresh(token)
"""

from ._client import Client
from ._error import (
    ConfigurationError,
    DeadlineExceeded,
    Fate,
    InvalidCall,
    NetworkError,
    PaymentsGateError,
    Refused,
    ServiceError,
    Status,
)
from ._library import library_version
from ._settings import Settings
from ._token import Token

__all__ = [
    "Client",
    "ConfigurationError",
    "DeadlineExceeded",
    "Fate",
    "InvalidCall",
    "NetworkError",
    "PaymentsGateError",
    "Refused",
    "ServiceError",
    "Settings",
    "Status",
    "Token",
    "library_version",
]
