"""``paymentsgate-auth-session``: shows a session with the settings of the environment."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from . import PaymentsGateError, Session, library_version


def main(arguments: list[str] | None = None) -> None:
    """Runs one command. Exits with 1 if it fails."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except PaymentsGateError as error:
        sys.exit(f"{error.status_name}: {error}")


def _parser() -> argparse.ArgumentParser:
    settings = argparse.ArgumentParser(add_help=False)
    settings.add_argument(
        "--set",
        metavar="NAME=VALUE",
        type=_setting,
        action="append",
        default=[],
        help="a setting, which overrides the environment (PAYMENTSGATE_BASE_URL and so on)",
    )
    settings.add_argument(
        "--timeout", type=float, default=30, metavar="SECONDS", help="how long to wait for a token (30)"
    )
    parser = argparse.ArgumentParser(
        prog="paymentsgate-auth-session",
        description="Shows a PaymentsGate session with settings from the environment.",
        epilog="The command line for operators (login, doctor, agent) is another package: "
        "pip install paymentsgate-auth-cli",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    status = commands.add_parser(
        "status",
        parents=[settings],
        help="whether a session gets a token, from its store or the service, and its health; no secret",
    )
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=_status)
    token = commands.add_parser("token", parents=[settings], help="print a working access token (a secret)")
    token.set_defaults(run=_token)
    version = commands.add_parser("version", help="the version of the loaded library")
    version.set_defaults(run=lambda _: print(library_version()))
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("write NAME=VALUE")
    return name, value


def _status(options: argparse.Namespace) -> None:
    with Session.from_env(dict(options.set)) as session:
        try:
            session.token(options.timeout)
        finally:
            # The health also says why there is no token.
            health = {"base_url": session.base_url, **session.health()}
            if options.json:
                print(json.dumps(health, indent=2))
            else:
                print(*(f"{name:<30}  {value}" for name, value in _lines(health)), sep="\n")


def _lines(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """One line for each value, with the path of names to it."""
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{above}{name}.")
        else:
            lines.append((above + name, value if isinstance(value, str) else json.dumps(value)))
    return lines


def _token(options: argparse.Namespace) -> None:
    with Session.from_env(dict(options.set)) as session:
        print(session.access_token(options.timeout))


if __name__ == "__main__":
    main()
