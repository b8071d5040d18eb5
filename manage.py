#!/usr/bin/env python
"""The command line: `manage.py help` lists the commands, `manage.py up` starts everything."""

import os
import sys

from django.core.management import execute_from_command_line

# These bring their own servers, or need none. The others get the embedded ones for as long as
# they run; where `up` runs already, that only means not to stop them underneath.
WITHOUT_SERVERS = set(
    "up node pod check doctor models backup restore help version diffsettings".split()
)


def needs_servers(arguments: list[str]) -> bool:
    commands = [argument for argument in arguments if not argument.startswith("-")]
    if not commands or {"-h", "--help", "--version"} & set(arguments):
        return False
    return commands[0] not in WITHOUT_SERVERS


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelpilot.settings")  # noqa: TID251
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    from modelpilot import embedded

    try:
        settings.DATA  # noqa: B018 - reads them all
    except ImproperlyConfigured as error:
        sys.exit(f"Wrong settings: {error}")
    if not needs_servers(sys.argv[1:]):
        execute_from_command_line(sys.argv)
        return
    try:
        with embedded.running(settings):
            execute_from_command_line(sys.argv)
    except embedded.ServerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
