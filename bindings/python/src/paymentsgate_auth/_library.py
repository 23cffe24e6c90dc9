"""Loads the shared library, declares its functions, and frees the objects that it returns."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from ctypes import (
    CDLL,
    POINTER,
    c_bool,
    c_char_p,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

_ABI_VERSION = 1
_SONAME = f"libpaymentsgate_auth.so.{_ABI_VERSION}"
_VARIABLE = "PAYMENTSGATE_AUTH_LIB"
_LONGEST_MS = 2**63 - 1

_OUT = POINTER(c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    # name: (result type, argument types …)
    "pg_abi_version": (c_uint32,),
    "pg_version": (c_char_p,),
    "pg_status_name": (c_char_p, c_int32),
    "pg_config_new": (c_void_p,),
    "pg_config_set": (c_int32, c_void_p, c_char_p, c_char_p, _OUT),
    "pg_config_set_sized": (c_int32, c_void_p, c_char_p, c_char_p, c_size_t, _OUT),
    "pg_config_set_from_env": (c_int32, c_void_p, _OUT),
    "pg_config_free": (None, c_void_p),
    "pg_config_set_store": (c_int32, c_void_p, c_void_p, _OUT),
    "pg_reply_record": (c_int32, c_void_p, c_uint64, c_char_p, c_size_t),
    "pg_reply_failure": (c_int32, c_void_p, c_char_p),
    "pg_store_check": (c_int32, c_void_p, _OUT),
    "pg_store_retire": (c_int32, c_void_p, c_int64, _OUT),
    "pg_setting_count": (c_size_t,),
    "pg_setting_name": (c_char_p, c_size_t),
    "pg_setting_type": (c_char_p, c_size_t),
    "pg_setting_default": (c_char_p, c_size_t),
    "pg_setting_range": (c_char_p, c_size_t),
    "pg_setting_description": (c_char_p, c_size_t),
    "pg_client_new": (c_int32, c_void_p, _OUT, _OUT),
    "pg_client_free": (None, c_void_p),
    "pg_issue_token": (c_int32, c_void_p, c_char_p, c_char_p, c_int64, _OUT, _OUT),
    "pg_issue_token_sized": (
        *(c_int32, c_void_p),
        *(c_char_p, c_size_t, c_char_p, c_size_t),
        *(c_int64, _OUT, _OUT),
    ),
    "pg_refresh_token": (c_int32, c_void_p, c_char_p, c_char_p, c_int64, _OUT, _OUT),
    "pg_refresh_token_sized": (
        *(c_int32, c_void_p),
        *(c_char_p, c_size_t, c_char_p, c_size_t),
        *(c_int64, _OUT, _OUT),
    ),
    "pg_issue_token_start": (c_int32, c_void_p, c_void_p, c_uint64, c_char_p, c_char_p, c_int64, _OUT),
    "pg_refresh_token_start": (c_int32, c_void_p, c_void_p, c_uint64, c_char_p, c_char_p, c_int64, _OUT),
    "pg_session_open": (c_int32, c_void_p, c_void_p, _OUT, _OUT),
    "pg_session_token": (c_int32, c_void_p, c_int64, _OUT, _OUT),
    "pg_session_token_lasting": (c_int32, c_void_p, c_int64, c_int64, _OUT, _OUT),
    "pg_session_copy_access_token": (
        *(c_int32, c_void_p, c_int64),
        *(c_char_p, c_size_t, POINTER(c_size_t), _OUT),
    ),
    "pg_session_generation_word": (c_void_p, c_void_p),
    "pg_session_token_start": (c_int32, c_void_p, c_void_p, c_uint64, c_int64, c_int64, _OUT),
    "pg_session_refresh": (c_int32, c_void_p, c_int64, _OUT, _OUT),
    "pg_session_refresh_start": (c_int32, c_void_p, c_void_p, c_uint64, c_int64, _OUT),
    "pg_session_subscribe": (c_int32, c_void_p, c_void_p, c_uint64, c_int32, _OUT),
    "pg_session_request": (
        *(c_int32, c_void_p),
        *(c_char_p, c_char_p, POINTER(c_char_p), c_char_p, c_size_t),
        *(c_int64, _OUT, _OUT),
    ),
    "pg_session_request_start": (
        *(c_int32, c_void_p, c_void_p, c_uint64),
        *(c_char_p, c_char_p, POINTER(c_char_p), c_char_p, c_size_t),
        *(c_int64, _OUT),
    ),
    "pg_session_reject": (c_int32, c_void_p, c_void_p, c_int32, _OUT),
    "pg_session_set_credentials": (c_int32, c_void_p, c_char_p, c_char_p, _OUT),
    "pg_session_set_credentials_sized": (
        *(c_int32, c_void_p),
        *(c_char_p, c_size_t, c_char_p, c_size_t, _OUT),
    ),
    "pg_session_health": (c_int32, c_void_p, _OUT, _OUT),
    "pg_client_metrics": (c_int32, c_void_p, _OUT, _OUT),
    "pg_session_close": (c_int32, c_void_p, c_int64, _OUT),
    "pg_session_ref": (c_void_p, c_void_p),
    "pg_session_free": (None, c_void_p),
    "pg_text_free": (None, c_void_p),
    "pg_queue_new": (c_int32, _OUT, _OUT),
    "pg_queue_fd": (c_int32, c_void_p, POINTER(c_int32), _OUT),
    "pg_queue_poll": (c_int32, c_void_p, c_int64, _OUT, _OUT),
    "pg_queue_cancel": (c_int32, c_void_p, c_uint64, _OUT),
    "pg_queue_free": (None, c_void_p),
    "pg_event_kind": (c_int32, c_void_p),
    "pg_event_id": (c_uint64, c_void_p),
    "pg_event_status": (c_int32, c_void_p),
    "pg_event_error": (c_void_p, c_void_p),
    "pg_event_token": (c_void_p, c_void_p),
    "pg_event_response": (c_void_p, c_void_p),
    "pg_event_log_level": (c_int32, c_void_p),
    "pg_event_text": (c_char_p, c_void_p),
    "pg_event_free": (None, c_void_p),
    "pg_response_status": (c_int32, c_void_p),
    "pg_response_body": (c_void_p, c_void_p),
    "pg_response_body_length": (c_size_t, c_void_p),
    "pg_response_header": (c_char_p, c_void_p, c_char_p),
    "pg_response_header_count": (c_size_t, c_void_p),
    "pg_response_header_name": (c_char_p, c_void_p, c_size_t),
    "pg_response_header_value": (c_char_p, c_void_p, c_size_t),
    "pg_response_ref": (c_void_p, c_void_p),
    "pg_response_free": (None, c_void_p),
    "pg_token_access_token": (c_char_p, c_void_p),
    "pg_token_access_token_length": (c_size_t, c_void_p),
    "pg_token_refresh_token": (c_char_p, c_void_p),
    "pg_token_refresh_token_length": (c_size_t, c_void_p),
    "pg_token_fingerprint": (c_char_p, c_void_p),
    "pg_token_lifetime_ms": (c_int64, c_void_p),
    "pg_token_lifetime_disagreement_ms": (c_int64, c_void_p),
    "pg_token_remaining_ms": (c_int64, c_void_p),
    "pg_token_generation": (c_uint64, c_void_p),
    "pg_token_ref": (c_void_p, c_void_p),
    "pg_token_free": (None, c_void_p),
    "pg_error_status": (c_int32, c_void_p),
    "pg_error_text": (c_char_p, c_void_p),
    "pg_error_http_status": (c_int32, c_void_p),
    "pg_error_server_code": (c_char_p, c_void_p),
    "pg_error_server_message": (c_char_p, c_void_p),
    "pg_error_server_details": (c_char_p, c_void_p),
    "pg_error_retry_after_ms": (c_int64, c_void_p),
    "pg_error_cause": (c_int32, c_void_p),
    "pg_error_is_retryable": (c_bool, c_void_p),
    "pg_error_needs_credentials": (c_bool, c_void_p),
    "pg_error_refresh_token_fate": (c_int32, c_void_p),
    "pg_error_free": (None, c_void_p),
}


def _find() -> str:
    """Beside this module (as in a wheel), else the path in the variable, else the system's library path."""
    beside = Path(__file__).with_name(_SONAME)
    if beside.exists():
        return str(beside)
    return os.environ.get(_VARIABLE) or _SONAME


def _load() -> Any:
    path = _find()
    library: Any
    try:
        library = CDLL(path)
    except OSError as error:
        if "static TLS" in str(error):
            raise ImportError(
                f"cannot load {path}: {error}. Libraries that were loaded before have taken the memory that "
                "glibc reserves for thread-local variables. Import paymentsgate_auth before them, or start "
                "Python with the environment variable GLIBC_TUNABLES=glibc.rtld.optional_static_tls=8192"
            ) from None
        raise ImportError(
            f"cannot load {path}: {error}. Looked first for {Path(__file__).with_name(_SONAME)}, then at the "
            f"variable {_VARIABLE} ({os.environ.get(_VARIABLE) or 'not set'}), then for {_SONAME} on the "
            f"system's library path. Install paymentsgate-auth (make install, then ldconfig), or set "
            f"{_VARIABLE} to the path of the library"
        ) from None
    try:
        version = library.pg_abi_version()
    except AttributeError:
        raise ImportError(f"{path} is not paymentsgate-auth: it has no pg_abi_version") from None
    if version != _ABI_VERSION:
        raise ImportError(
            f"{path} has ABI {version}, but this package was made for ABI {_ABI_VERSION}: install matching "
            f"versions of package and library, or set {_VARIABLE} to the path of the right library"
        )
    for name in _SIGNATURES:
        if not hasattr(library, name):
            raise ImportError(
                f"{path} has no {name}: it is older than this package. Install matching versions of package "
                f"and library, or set {_VARIABLE} to the path of the right library"
            )
    for name, (answer, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = answer, arguments
    return library


library = _load()


class Handle:
    """Owns an object of the library, and frees it when the last reference is gone.

    A call in progress holds a reference too. So closing needs no lock, which could stay locked in a forked
    child.
    """

    def __init__(self, pointer: c_void_p | int, free: Callable[[Any], None]) -> None:
        self._as_parameter_: Any = pointer
        self._free = free

    def free(self) -> None:
        """Frees the object now, which only the caller uses. PyPy collects garbage late."""
        # Finalizers run in any order, and a later one may call the library with this object. The library
        # refuses NULL.
        pointer, self._as_parameter_ = self._as_parameter_, None
        self._free(pointer)

    def __del__(self) -> None:
        self.free()


class Text:
    """A text or bytes to pass to the library. A traceback with local variables does not show its content."""

    def __init__(self, text: str | bytes) -> None:
        # Lone surrogates become bytes that are not UTF-8, and the library refuses them.
        self._as_parameter_ = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text

    def __len__(self) -> int:
        return len(self._as_parameter_)


def without_nul(text: Text | None) -> Text | None:
    """A text for a function that takes no length.

    C would end the text at the first NUL. So a text with a NUL becomes an empty one: the library refuses both
    with the same error.
    """
    return Text("") if text and b"\0" in text._as_parameter_ else text


def milliseconds(seconds: float | None) -> int:
    """A time in the library's unit. None means the library's default."""
    if seconds is None:
        return -1
    if seconds < 0:
        # The library refuses -2, but would take -1 as the default.
        return -2
    return math.ceil(min(seconds * 1000, _LONGEST_MS))


def text_from(value: bytes | None) -> str | None:
    """Copies a text of the library."""
    return None if value is None else value.decode()


def library_version() -> str:
    """The version of the loaded library, for example ``0.1.0``."""
    return str(library.pg_version().decode())
