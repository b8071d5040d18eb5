"""A pytest plugin (`-p tests.embedded_servers`): real servers for the session, in a new folder.

Loaded before pytest-django reads the settings, so the environment is set on import. However
pytest ends, the servers end with it: their keepers watch a lock that dies with the process.
"""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from modelpilot import embedded

DATA = Path(tempfile.mkdtemp(prefix="mp-"))


def forget_the_developers_environment() -> None:
    for name in list(os.environ):
        plain = name.removesuffix("_FILE")
        ours = name.startswith(("MODELPILOT_", "STRIPE_", "EMAIL_"))
        if ours or plain in ("DATABASE_URL", "REDIS_URL", "TRUSTED_PROXIES"):
            del os.environ[name]


forget_the_developers_environment()
os.environ["MODELPILOT_DATA"] = str(DATA)
os.environ["MODELPILOT_LOG_LEVEL"] = "WARNING"
# Nothing in the tests may look for weights on the network.
os.environ["HF_HUB_OFFLINE"] = "1"


# Speed for safety: these data need not survive a power cut.
SERVERS = embedded.Servers(DATA, durable=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        help="histories and orders of the money tests in full number: minutes, not seconds",
    )
    parser.addoption(
        "--seed",
        type=int,
        default=random.randrange(10**9),
        help="what tests that draw lots begin with (default: by chance, and printed at the end)",
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    seed = config.getoption("--seed")
    terminalreporter.write_line(f"Lots were drawn from seed {seed}; --seed {seed} draws the same.")


def pytest_sessionstart(session: pytest.Session) -> None:
    if not session.config.option.collectonly:
        SERVERS.start()


def pytest_unconfigure() -> None:
    SERVERS.stop()
    shutil.rmtree(DATA, ignore_errors=True)
