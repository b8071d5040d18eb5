"""Make the fixture of 0.2.0 anew: `python -m tests.upgrade`, in a checkout with its history."""

import tempfile
from pathlib import Path

from tests.embedded_servers import forget_the_developers_environment
from tests.upgrade import past


def main() -> None:
    forget_the_developers_environment()
    with tempfile.TemporaryDirectory(prefix="mp-past-") as folder:
        old, facts = past.lived(Path(folder))
        past.keep(old.data, facts)
    print(f"{past.FIXTURE}: {len(facts.jobs)} jobs, {facts.newest_transfer} transfers")


if __name__ == "__main__":
    main()
