"""`python -m benchmarks.schemas`: JSON that must keep to a schema, at temperature 1.

Two hundred answers of the real SmolLM2 on each engine, forty to each of five schemas and eight at
once, each with a seed of its own. An answer counts that ended by itself ("stop") and validates.
"""

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import jsonschema

from inference import catalog, engines, weights
from inference.types import ChatRequest, Device, Engine

MODEL = "smollm2-135m"
ENGINES = ("text_llamacpp", "text_transformers")
AT_ONCE = 8
NAME = {"type": "string", "minLength": 1, "maxLength": 20}
SCHEMAS: dict[str, dict[str, Any]] = {
    "person": {
        "type": "object",
        "properties": {
            "name": NAME,
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "colour": {"enum": ["red", "green", "blue"]},
        },
        "required": ["name", "age", "colour"],
        "additionalProperties": False,
    },
    "basket": {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "items": {"$ref": "#/$defs/item"},
                "minItems": 1,
                "maxItems": 3,
            },
            "paid": {"type": "boolean"},
        },
        "required": ["items", "paid"],
        "additionalProperties": False,
        "$defs": {
            "item": {
                "type": "object",
                "properties": {"what": NAME, "pieces": {"type": "integer", "minimum": 1}},
                "required": ["what", "pieces"],
                "additionalProperties": False,
            }
        },
    },
    "shape": {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "kind": {"const": kind},
                    size: {"type": "integer", "minimum": 1, "maximum": 999},
                },
                "required": ["kind", size],
                "additionalProperties": False,
            }
            for kind, size in (("circle", "radius"), ("square", "side"))
        ]
    },
    "booking": {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2,4}$"},
            "note": {"type": ["string", "null"], "maxLength": 30},
        },
        "required": ["day", "code", "note"],
        "additionalProperties": False,
    },
    "tree": {
        "type": "object",
        "properties": {
            "name": NAME,
            "left": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "null"}]},
            "right": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "null"}]},
        },
        "required": ["name", "left", "right"],
        "additionalProperties": False,
        "$defs": {
            "leaf": {
                "type": "object",
                "properties": {"name": NAME, "deep": {"type": "boolean"}},
                "required": ["name", "deep"],
                "additionalProperties": False,
            }
        },
    },
}


def main() -> int:
    """0 if all answers keep to their schemas."""
    parser = argparse.ArgumentParser(description="Count answers that keep to their JSON schema.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--engine", choices=ENGINES, help="only this one")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where weights are kept")
    arguments = parser.parse_args()
    chosen = [arguments.engine] if arguments.engine else ENGINES
    return 1 if [name for name in chosen if not all_valid(name, arguments)] else 0


def all_valid(name: str, arguments: argparse.Namespace) -> bool:
    """Whether all answers of this engine are; prints the count, and what is wrong with others."""
    card = catalog.load([]).cards[MODEL].way(name, "cpu").model_copy(update={"slots": AT_ONCE})
    found = weights.fetch(card, arguments.data / "models", arguments.data / "cache", lambda _: None)
    # One thread: two of llama.cpp's wait for each other wherever something else runs.
    engine = engines.load(card, found, Device(threads=1))
    started = time.monotonic()
    try:
        wrong = mistakes(engine, arguments.count)
    finally:
        engine.close()
    seconds = time.monotonic() - started
    for mistake in wrong:
        sys.stdout.write(f"{mistake}\n")
    valid = arguments.count - len(wrong)
    sys.stdout.write(f"{name}: {valid} of {arguments.count} valid, {seconds:.0f} s\n")
    return not wrong


def mistakes(engine: Engine, count: int) -> list[str]:
    """What is wrong with those of `count` answers that don't keep to their schema."""
    asked = list(enumerate(islice(cycle(SCHEMAS), count)))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda one: mistake(engine, *one), asked))
    names = Counter(name for _, name in asked)
    assert sum(names.values()) == count
    return [each for each in found if each is not None]


def mistake(engine: Engine, seed: int, name: str) -> str | None:
    """What is wrong with one answer, if anything."""
    schema = SCHEMAS[name]
    request = ChatRequest(
        messages=[{"role": "user", "content": f"Invent a {name} as JSON."}],
        temperature=1.0,
        seed=seed,
        max_tokens=600,
        response_format={"type": "json_schema", "json_schema": {"name": name, "schema": schema}},
    )
    (choice,) = engine.generate(request, lambda event: None).data["choices"]
    where = f"{name}, seed {seed}"
    if choice["finish_reason"] != "stop":
        return f"{where}: ended with {choice['finish_reason']}: {choice['text']!r}"
    try:
        jsonschema.validate(json.loads(choice["text"]), schema)
    except (ValueError, jsonschema.ValidationError) as error:
        return f"{where}: {error}: {choice['text']!r}"
    return None


if __name__ == "__main__":
    sys.exit(main())
