"""A job as the call that would make it again: curl, Python and JavaScript to copy."""

import json
import shlex
from typing import Any

from modelpilot.accounts.keys import PREFIX
from modelpilot.accounts.models import ApiKey
from modelpilot.dashboard.samples import API
from modelpilot.jobs.models import Job
from modelpilot.jobs.shown import abridged

# What the API does without being told.
USUAL: dict[str, Any] = {
    "n": 1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "speed": 1.0,
    "parallel_tool_calls": True,
}
# The request's names in the rows that the routes call otherwise.
NAMES = {
    "audio/speech": {"text": "input", "format": "response_format"},
    "images/generations": {"format": "output_format"},
    "images/edits": {"format": "output_format"},
    "videos": {"image": "input_reference"},
    "embeddings": {"inputs": "input"},
}
# What a route decides by itself.
UNSAID = {
    "generate/audio": {"format"},
    "generate/image": {"format", "n", "strength", "mask"},
    "audio/transcriptions": {"audio", "words"},
}
# The order in which people read a request; the database has none.
ORDER = (
    "messages", "prompt", "inputs", "text", "voice", "width", "height", "num_frames", "fps",
    "steps", "guidance", "strength", "n", "seed", "temperature", "top_p", "max_tokens",
)  # fmt: skip
LANGUAGES = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}
SIZED = ("images/generations", "images/edits", "videos")
SOUNDS = ("audio/speech",)
# What takes a recording as a file of a form.
FORMS = ("audio/transcriptions",)
RECORDING = "recording.wav"


def sample(job: Job, language: str, key: ApiKey | None) -> str:
    """How to ask for the same again, in one of LANGUAGES and with a part of the reader's key."""
    bearer = f"{PREFIX}…{key.last_four}" if key else f"{PREFIX}…"
    return WRITERS[language](f"{API}/{job.route}", body_of(job), bearer, job.route)


def said(job: Job) -> dict[str, Any]:
    """The request without what says nothing, and a few words in place of files."""
    return {
        name: value
        for name, value in sorted(abridged(job.request).items(), key=place)
        if value not in (None, [], {}, "") and USUAL.get(name, ...) != value
    }


def place(field: tuple[str, Any]) -> int:
    return ORDER.index(field[0]) if field[0] in ORDER else len(ORDER)


def body_of(job: Job) -> dict[str, Any]:
    """The body that the job's route takes."""
    names, unsaid = NAMES.get(job.route, {}), UNSAID.get(job.route, set())
    asked = {
        names.get(name, name): value for name, value in said(job).items() if name not in unsaid
    }
    if job.route == "completions" and asked.pop("logprobs", False):
        # A number there, and with a chat two fields.
        asked["logprobs"] = job.request.get("top_logprobs", 0)
        asked.pop("top_logprobs", None)
    if job.route in SIZED and {"width", "height"} <= asked.keys():
        asked["size"] = f"{asked.pop('width')}x{asked.pop('height')}"
    return {"model": job.model, **asked}


def curl(url: str, body: dict[str, Any], bearer: str, route: str) -> str:
    if route in FORMS:
        fields = [f"  -F {shlex.quote(f'{name}={value}')}" for name, value in body.items()]
        return " \\\n".join(
            [
                f"curl {url}",
                f'  -H "Authorization: Bearer {bearer}"',
                *fields,
                f"  -F file=@{RECORDING}",
            ]
        )
    lines = [
        f"curl {url}",
        f'  -H "Authorization: Bearer {bearer}"',
        '  -H "Content-Type: application/json"',
        f"  -d {shlex.quote(written(body))}",
    ]
    if route in SOUNDS:
        lines.append(f"  -o {filename(body)}")
    return " \\\n".join(lines)


def python(url: str, body: dict[str, Any], bearer: str, route: str) -> str:
    shown = (
        f'with open("{filename(body)}", "wb") as file:\n    file.write(answer.content)'
        if route in SOUNDS
        else "print(answer.json())"
    )
    sent = f"    json={indented(literal(body))},\n"
    if route in FORMS:
        sent = (
            f"    data={indented(literal(body))},\n"
            f'    files={{"file": open("{RECORDING}", "rb")}},\n'
        )
    return (
        "import requests\n\n"
        "answer = requests.post(\n"
        f'    "{url}",\n'
        f'    headers={{"Authorization": "Bearer {bearer}"}},\n'
        f"{sent}"
        ")\n"
        "answer.raise_for_status()\n"
        f"{shown}"
    )


def javascript(url: str, body: dict[str, Any], bearer: str, route: str) -> str:
    shown = "console.log(await answer.json());"
    if route in SOUNDS:
        shown = "const sound = await answer.blob();"
    if route in FORMS:
        fields = "".join(
            f"form.append({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in body.items()
        )
        return (
            'import { openAsBlob } from "node:fs";\n\n'
            "const form = new FormData();\n"
            f"{fields}"
            f'form.append("file", await openAsBlob("{RECORDING}"), "{RECORDING}");\n'
            f'const answer = await fetch("{url}", {{\n'
            '  method: "POST",\n'
            f'  headers: {{ Authorization: "Bearer {bearer}" }},\n'
            "  body: form,\n"
            "});\n"
            f"{REFUSED}"
            f"{shown}"
        )
    return (
        f'const answer = await fetch("{url}", {{\n'
        '  method: "POST",\n'
        "  headers: {\n"
        f'    Authorization: "Bearer {bearer}",\n'
        '    "Content-Type": "application/json",\n'
        "  },\n"
        f"  body: JSON.stringify({indented(written(body), 2)}),\n"
        "});\n"
        f"{REFUSED}"
        f"{shown}"
    )


REFUSED = "if (!answer.ok) throw new Error((await answer.json()).error.message);\n"


def filename(body: dict[str, Any]) -> str:
    return f"speech.{body.get('response_format', 'mp3')}"


def written(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False)


def indented(text: str, by: int = 4) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * by + line for line in rest)])


def literal(value: Any, depth: int = 0) -> str:
    """JSON's value as Python writes it, in lines as JSON's."""
    inner, outer = "    " * (depth + 1), "    " * depth
    if isinstance(value, dict) and value:
        lines = [f"{inner}{literal(k)}: {literal(v, depth + 1)}," for k, v in value.items()]
        return "\n".join(["{", *lines, f"{outer}}}"])
    if isinstance(value, list) and value:
        return "\n".join(["[", *(f"{inner}{literal(v, depth + 1)}," for v in value), f"{outer}]"])
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


WRITERS = {"curl": curl, "python": python, "javascript": javascript}
