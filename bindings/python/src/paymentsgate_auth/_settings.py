"""Settings as Python writes them, turned into the library's names and texts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypedDict

from ._error import check, make
from ._library import Handle, Text, library
from ._store import Store, set_store

Value = str | int | os.PathLike[str] | Store
"""A boolean is an ``int`` to the type checker, and becomes ``true`` or ``false``."""


class Settings(TypedDict, total=False):
    """The settings as keywords: a dot of the library's name is an underscore. See docs/settings.md."""

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
    store: str | Store
    store_key: str
    store_key_file: str | os.PathLike[str]
    store_accept_plain: bool
    on_store_down: Literal["private", "fail"]
    durability: Literal["relaxed", "strict"]
    on_ambiguous: Literal["issue", "replay", "fail"]
    keep_warm: bool


class Setting(NamedTuple):
    """A row of the library's table of settings."""

    name: str
    """The library's own; as a keyword it has an underscore for a dot."""
    type: str
    """``text``, ``secret``, ``path``, ``url``, ``boolean``, ``milliseconds`` and so on."""
    default: str
    """Empty where it has none."""
    range: str
    """The values that it takes, in words."""
    description: str
    """What it does."""


def settings() -> list[Setting]:
    """The table of settings of the library that is loaded."""
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
    """Settings in the library's own form."""

    has_store = False


Chosen = list[tuple[bytes, Text | Store]]


def texts(settings: Mapping[str, Value]) -> Chosen:
    """The names and values that ``pg_config_set_sized`` takes, and a store."""
    return [
        (_name(name).encode("utf-8", "surrogatepass"), _text(name, value)) for name, value in settings.items()
    ]


def new_config(settings: Chosen, *, from_env: bool = False) -> Config:
    """Settings for the library. Those given come after the variables."""
    config = Config(library.pg_config_new(), library.pg_config_free)
    if from_env:
        check(library.pg_config_set_from_env, config)
    for name, value in settings:
        if isinstance(value, Text):
            check(library.pg_config_set_sized, config, name, value, len(value))
        else:
            set_store(config, value)
            config.has_store = True
    return config


def base_url(settings: Chosen, *, from_env: bool = False) -> str:
    """Where the service is, as :func:`new_config` is told: the library does not give settings back."""
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
    # C would take a NUL for the end, and perhaps know what stands before it.
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
