"""Converts settings from Python values into the library's names and texts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypedDict

from ._error import PaymentsGateError, Status, check, make
from ._library import Handle, Text, library
from ._store import Store, set_store

Value = str | int | os.PathLike[str] | Store
"""The type checker accepts a boolean as ``int``. It becomes ``true`` or ``false``."""


class Settings(TypedDict, total=False):
    """The settings as keywords: a dot in the library's name becomes an underscore. See docs/settings.md."""

    base_url: str
    credentials_file: str | os.PathLike[str]
    account_id: str
    public_key: str
    public_key_file: str | os.PathLike[str]
    connect_timeout_ms: int
    issue_timeout_ms: int
    refresh_timeout_ms: int
    request_timeout_ms: int
    tls_ca_file: str | os.PathLike[str]
    tls_system_roots: bool
    tls_client_cert_file: str | os.PathLike[str]
    tls_client_key_file: str | os.PathLike[str]
    proxy: str
    user_agent: str
    send_bearer_on_refresh: bool
    max_response_bytes: int
    request_max_response_bytes: int
    access_token: str
    refresh_token: str
    access_token_expires_in_s: int
    static_token: str
    store: str | Store
    store_mode: Literal["private", "group"]
    store_key: str
    store_key_file: str | os.PathLike[str]
    store_accept_plain: bool
    on_store_down: Literal["private", "fail"]
    durability: Literal["relaxed", "strict"]
    on_ambiguous: Literal["issue", "replay", "fail"]
    keep_warm: bool


class Setting(NamedTuple):
    """One row of the library's table of settings."""

    name: str
    """The library's name. As a keyword it has an underscore instead of a dot."""
    type: str
    """``text``, ``secret``, ``path``, ``url``, ``boolean``, ``milliseconds`` and so on."""
    default: str
    """Empty: there is no default."""
    range: str
    """The permitted values, in words."""
    description: str
    """What it does."""


def settings() -> list[Setting]:
    """The table of settings of the loaded library."""
    columns = (
        library.pg_setting_name,
        library.pg_setting_type,
        library.pg_setting_default,
        library.pg_setting_range,
        library.pg_setting_description,
    )
    return [
        Setting(*(column(row).decode() for column in columns)) for row in range(library.pg_setting_count())
    ]


class Config(Handle):
    """A ``pg_config``."""

    has_store = False


Chosen = list[tuple[bytes, Text | Store]]


def texts(settings: Mapping[str, Value]) -> Chosen:
    """The names and values for ``pg_config_set_sized``, and a store object if there is one."""
    return [
        (_name(name).encode("utf-8", "surrogatepass"), _text(name, value)) for name, value in settings.items()
    ]


def new_config(settings: Chosen, *, from_env: bool = False) -> Config:
    """Makes a ``pg_config``. The given settings override the variables."""
    config = Config(library.pg_config_new(), library.pg_config_free)
    if from_env:
        _set_from_env(config)
    for name, value in settings:
        if isinstance(value, Text):
            check(library.pg_config_set_sized, config, name, value, len(value))
        else:
            set_store(config, value)
            config.has_store = True
    return config


def _set_from_env(config: Config) -> None:
    # From Python's copy of the environment: C must not read its own while another thread changes it.
    for name in _names():
        variable = f"PAYMENTSGATE_{name.upper().replace('.', '_')}"
        given = os.environ.get(variable)
        if given is None:
            continue
        value = Text(given)
        del given
        try:
            check(library.pg_config_set_sized, config, name.encode(), value, len(value))
        except PaymentsGateError as error:
            raise type(error)(_of_variable(error, name, variable), status=error.status) from None


def _of_variable(error: PaymentsGateError, name: str, variable: str) -> str:
    """The text of the library's own error for a variable."""
    if error.status == Status.INVALID_UTF8:
        return f"the environment variable {variable} is not UTF-8"
    return str(error).replace(f"{name} = ", f"{variable} = ", 1)


def base_url(settings: Chosen, *, from_env: bool = False) -> str:
    """The URL of the service in these settings. The library cannot return it."""
    given = [
        text._as_parameter_.decode()
        for name, text in settings
        if name == b"base_url" and isinstance(text, Text)
    ]
    return str((given or [os.environ.get("PAYMENTSGATE_BASE_URL", "") if from_env else ""])[-1])


def new_client(config: Handle) -> Handle:
    return make(library.pg_client_free, library.pg_client_new, config)


def _name(name: str) -> str:
    known = {each.replace(".", "_"): each for each in _names()}
    # C would end the name at a NUL, and the part before it may be the name of a setting.
    return known.get(name, name).replace("\0", "\N{REPLACEMENT CHARACTER}")


def _names() -> list[str]:
    return [library.pg_setting_name(index).decode() for index in range(library.pg_setting_count())]


def _text(name: str, value: Value) -> Text | Store:
    match value:
        case bool():
            return Text(str(value).lower())
        case str() | int():
            return Text(str(value))
        case os.PathLike():
            return Text(os.fsdecode(value))
        case Store() if name == "store":
            return value
    wanted = "a str, a path or a Store" if name == "store" else "a str, int, bool or path"
    raise TypeError(f"the setting {name} must be {wanted}, not {type(value).__name__}")
