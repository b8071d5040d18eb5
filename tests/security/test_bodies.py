"""Bodies that no client of good will sends: every number, text, shape and form of every route."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.security.conftest import Cast, Visitor, by_key, by_session
from tests.security.wires import exchange, request
from tests.system import System

CHAT = "/api/v1/chat/completions"
HELLO = {"model": "echo", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
# As they are written: most of them are no JSON that anybody's library would write.
FEW = ("NaN", "1e9", "9" * 4000)
NUMBERS = (*FEW, "Infinity", "-Infinity", "1e309", "-1e309", "-1e9", "1e-400", "-0", "0.1", "+1",
           "-" + "9" * 4000, "0." + "3" * 4000, str(2**63), str(2**64), str(-(2**63) - 1),
           "true", '"1"', "null", "[1]", "{}", "0x10", "1_000", "\u0663", "01")  # fmt: skip
# What a body must have beside, to be looked at as a whole.
MINIMAL: dict[str, dict[str, Any]] = {
    "chat/completions": HELLO,
    "completions": {"model": "echo", "prompt": "a", "max_tokens": 1},
    "embeddings": {"model": "all-minilm-l6-v2", "input": "a"},
    "audio/speech": {"model": "piper-joe", "input": "a"},
    "audio/transcriptions": {"model": "pocketsphinx", "file": "AAAA"},
    "generate/audio": {"model": "piper-joe", "text": "a"},
    "generate/image": {"model": "emoji-64", "prompt": "a"},
    "generate/video": {"model": "emoji-64-video", "prompt": "a"},
    "images/generations": {"model": "emoji-64", "prompt": "a"},
    "images/edits": {"model": "emoji-64", "prompt": "a"},
    "videos": {"model": "emoji-64-video", "prompt": "a"},
    "budgets": {"period": "day", "cap": 1},
}
OF_THE_SITE = ("budgets", "budgets/low_balance")


@pytest.fixture(scope="module")
def described(system: System) -> dict[str, Any]:
    answer: dict[str, Any] = requests.get(
        f"{system.base_url}/api/v1/openapi.json", timeout=30
    ).json()
    return answer


def bodies(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, schema) of every operation that takes JSON."""
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            if schema is not None:
                yield method.upper(), path, resolved(schema, described)


def resolved(schema: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    known = described["components"]["schemas"]
    for each in (schema, *schema.get("anyOf", ())):
        if "$ref" in each:
            found: dict[str, Any] = known[each["$ref"].rpartition("/")[2]]
            return found
    return schema


def written(method: str, path: str, visitor: Visitor, body: str) -> requests.Response:
    headers = {"Content-Type": "application/json"}
    return visitor.send(method, path, data=body.encode("utf-8", "surrogatepass"), headers=headers)


def refused_or_taken(response: requests.Response) -> bool:
    if response.status_code < 400:
        return True
    return response.status_code < 500 and bool(response.json()["error"]["message"])


def test_every_field_takes_every_number_or_says_no(
    system: System,
    cast: Cast,
    described: dict[str, Any],
    record_property: Callable[[str, object], None],
) -> None:
    count, mistakes = 0, []
    for method, path, schema in bodies(described):
        short = path.removeprefix("/api/v1/").replace("{deployment_id}", cast.things["deployment"])
        # Charlie has no money: what is in bounds is 402, and no model runs for it.
        visitor = (by_session if short in OF_THE_SITE else by_key)(system, cast.charlie)
        known = MINIMAL.get(short, {})
        for field, kind in schema.get("properties", {}).items():
            is_number = any(word in json.dumps(kind) for word in ("number", "integer"))
            for number in NUMBERS if is_number else FEW:
                rest = {name: value for name, value in known.items() if name != field}
                body = json.dumps(rest)[:-1] + f'{", " if rest else ""}"{field}": {number}}}'
                response = written(method, f"/api/v1/{short}", visitor, body)
                count += 1
                if not refused_or_taken(response):
                    mistakes.append((method, path, field, number[:30], response.status_code))
    assert not mistakes, "\n".join(map(str, mistakes))
    record_property("reached", f"{count} odd numbers in bodies, {len(mistakes)} x 5xx")


TEXTS = {
    "a NUL": r'"a\u0000"',
    "a raw NUL": '"a\x00"',
    "half a pair": r'"\ud800"',
    "a control character": '"\x01"',
    "another escape": r'"\x41"',
    "a line": '"a\nb"',
    "no end": '"a',
}


@pytest.mark.parametrize("what", TEXTS)
def test_texts_that_are_no_json_are_400(system: System, cast: Cast, what: str) -> None:
    for where in ('"model": %s', '"user": %s', '"metadata": {%s: "x"}', '"metadata": {"x": %s}'):
        body = "{" + where % TEXTS[what] + ', "messages": []}'
        response = written("POST", CHAT, by_key(system, cast.charlie), body)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json"), (
            where
        )


BYTES = {
    "a bad byte": json.dumps(HELLO).encode().replace(b"hi", b"\xff"),
    "an overlong slash": json.dumps(HELLO).encode().replace(b"hi", b"\xc0\xaf"),
    "half a pair": json.dumps(HELLO).encode().replace(b"hi", b"\xed\xa0\x80"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(HELLO).encode(),
    "UTF-16": json.dumps(HELLO).encode("utf-16"),
    "UTF-7": json.dumps(HELLO).replace('"', "+ACI-").encode(),
    "two bodies": json.dumps(HELLO).encode() * 2,
    "more behind": json.dumps(HELLO).encode() + b"x",
    "nothing but blanks": b"   ",
    "a script": b"<script>alert(1)</script>",
    "gzip": b"\x1f\x8b\x08\x00",
}


@pytest.mark.parametrize("what", BYTES)
def test_bytes_that_are_no_json_are_400(system: System, cast: Cast, what: str) -> None:
    for path in (CHAT, "/v1/images/edits", "/api/v1/quote"):
        answer = exchange(system, request("POST", path, key=cast.charlie.key, body=BYTES[what]))
        assert answer.status == 400, what
        assert json.loads(answer.body)["error"]["code"] == "invalid_json"


def nested(levels: int, kind: str = "object") -> str:
    return (
        '{"a":' * levels + "1" + "}" * levels if kind == "object" else "[" * levels + "]" * levels
    )


FREE = {
    "tools": '"tools": [{"type": "function", "function": {"name": "f", "parameters": %s}}]',
    "a schema": '"response_format": {"type": "json_schema", '
    '"json_schema": {"name": "s", "schema": %s}}',
    "unknown": '"unknown": %s',
    "messages": '"messages": %s',
}


@pytest.mark.parametrize("levels", [90, 101, 253, 999, 1_100, 100_000])
@pytest.mark.parametrize("kind", ["object", "list"])
def test_what_is_nested_deeply(
    system: System,
    cast: Cast,
    levels: int,
    kind: str,
    record_property: Callable[[str, object], None],
) -> None:
    charlie = by_key(system, cast.charlie)
    plain = json.dumps(HELLO)[:-1]
    tried = [plain + ", " + where % nested(levels, kind) + "}" for where in FREE.values()]
    for body in [*tried, nested(levels, kind)]:
        for path in (CHAT, "/v1/images/edits", "/v1/audio/transcriptions"):
            response = written("POST", path, charlie, body)
            assert response.status_code in (400, 402, 404, 422), response.text
            if levels > 100:
                assert response.json()["error"]["code"] == "invalid_json"
    record_property("reached", "a body nested deeply: refused")


def test_a_million_values_are_refused_at_once(system: System, cast: Cast) -> None:
    """Each of them would be an error of its own, and 20 seconds of nobody else's requests."""
    plain = json.dumps(HELLO)[:-1]
    many = ",".join(["1"] * 1_000_000)
    named = ",".join(f'"k{number}":1' for number in range(100_000))
    for more in (f'"stop": [{many}]', f'"metadata": {{{named}}}', named):
        response = written("POST", CHAT, by_key(system, cast.charlie), f"{plain}, {more}}}")
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


def test_of_a_name_that_comes_twice_the_last_one_counts(system: System, cast: Cast) -> None:
    """For all of us: nobody checks the one and takes the other."""
    body = json.dumps(HELLO)[:-1] + ', "model": "no-such-model"}'
    response = written("POST", CHAT, by_key(system, cast.charlie), body)
    assert response.json()["error"]["code"] == "model_not_found"


TYPES = (
    None,
    "text/plain",
    "application/xml",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "a" * 3000,
    "multipart/form-data; boundary=\xff",
    "multipart/mixed; boundary=x",
    "application/json; charset=utf-7",
    "application/json; charset=bogus",
    "application/json\xff",
    "application/x-www-form-urlencoded; charset=bogus",
    "a" * 8000,
    "*/*",
    ";",
)


@pytest.mark.parametrize("kind", TYPES)
def test_a_wrong_content_type_breaks_nothing(system: System, cast: Cast, kind: str | None) -> None:
    headers = [] if kind is None else [b"Content-Type: " + kind.encode("latin-1")]
    body = json.dumps(HELLO).encode()
    for path in (CHAT, "/v1/images/edits", "/v1/audio/transcriptions", "/v1/videos"):
        answer = exchange(system, request("POST", path, *headers, key=cast.charlie.key, body=body))
        assert 400 <= answer.status < 500, path
        assert json.loads(answer.body)["error"]["message"]


def form(*parts: tuple[bytes, bytes]) -> bytes:
    lines = [b"--x\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + value + b"\r\n"
             for head, value in parts]  # fmt: skip
    return b"".join(lines) + b"--x--\r\n"


FORMS = {
    "many fields": form(*((b'name="f%d"' % number, b"1") for number in range(3000))),
    "many files": form(*((b'name="f%d"; filename="a"' % n, b"1") for n in range(300))),
    "a path for a name": form((b'name="image"; filename="../../../etc/passwd"', b"x")),
    "a NUL in a name": form((b'name="im\x00age"; filename="a\x00"', b"x")),
    "a NUL in a value": form((b'name="prompt"', b"a\x00b"), (b'name="model"', b"emoji-64")),
    "base64 that is none": form(
        (b'name="image"; filename="a"\r\nContent-Transfer-Encoding: base64', b"!")
    ),
    "a long head": form((b'name="image"; filename="%s"' % (b"a" * 200_000), b"x")),
    "another charset": form((b'name="prompt"\r\nContent-Type: text/plain; charset=bogus', b"\xff")),
    "a charset for all": form((b'name="_charset_"', b"bogus"), (b'name="prompt"', b"\xff")),
    "an odd name": form((b"name*=bogus''%ff", b"x")),
    "no name": form((b'name=""', b"x")),
    "no end": form((b'name="image"; filename="a"', b"x"))[:-8],
    "garbage": b"\x00" * 1000,
    "no parts": b"--x--\r\n",
    "the boundary alone": b"--x" * 10_000,
    "a file where text belongs": form((b'name="prompt"; filename="a"', b"\xff\xfe")),
}


@pytest.mark.parametrize("what", FORMS)
def test_an_odd_form_breaks_nothing(system: System, cast: Cast, what: str) -> None:
    kind = b"Content-Type: multipart/form-data; boundary=x"
    for path in ("/v1/images/edits", "/v1/audio/transcriptions", "/v1/videos"):
        answer = exchange(
            system, request("POST", path, kind, key=cast.charlie.key, body=FORMS[what])
        )
        assert 400 <= answer.status < 500, path
        assert json.loads(answer.body)["error"]["message"]
