"""What README.md says of the program is what the program says of itself."""

import re
from pathlib import Path

from modelpilot.management.commands.models import table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_table_of_models_is_the_catalogs() -> None:
    part = re.search(r"<!-- models: [^>]*-->\n(.*?)<!-- end of models -->", README, re.S)
    assert part is not None
    assert part[1].strip() == table(), "run `python manage.py models --table` into README.md"


def test_every_setting_is_explained() -> None:
    settings = (ROOT / "modelpilot" / "settings.py").read_text()
    names = set(re.findall(r"(?:env|env_int|env_list|rate|hour_costs)\(\"([A-Z_]+)\"", settings))
    internal = {"MODELPILOT_ROLE"}
    assert {name for name in names - internal if f"`{name}`" not in README} == set()
