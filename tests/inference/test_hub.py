"""Downloads by the real huggingface_hub, from a small hub on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "deep/model.safetensors": b"weights" * 1000,
    "deep/pytorch_model.bin": b"code",
    "modeling.py": b"code",
    "README.md": b"words",
    "whole.safetensors": b"all of it once more",
    "deep/model.fp16.safetensors": b"half",
}


class Hub(BaseHTTPRequestHandler):
    """One repository, `some/one`, as the hub serves it."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        resolve = f"/some/one/resolve/{COMMIT}/"
        if path == f"/api/models/some/one/revision/{COMMIT}":
            files = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
            self.answer(200, json.dumps({"id": "some/one", "sha": COMMIT, "siblings": files}))
        elif path.startswith(f"/api/models/some/one/tree/{COMMIT}"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": name}
                for name, data in FILES.items()
            ]
            self.answer(200, json.dumps(tree))
        elif path.startswith(resolve) and path.removeprefix(resolve) in FILES:
            self.answer(200, FILES[path.removeprefix(resolve)])
        else:
            self.answer(404, "{}")

    def answer(self, status: int, body: str | bytes) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(
    address: str, folder: Path, source: str, include: str = "[]"
) -> "subprocess.CompletedProcess[str]":
    """Run an echo whose card has `source` among its files, so that this is fetched."""
    (folder / "catalog.toml").write_text(
        '[hubbed]\nkind="text"\nengine="echo"\nname="x"\nlicence="x"\nmemory_mb=1\nprice="0"\n'
        f'context=99\nfiles.model.sources=["{source}"]\nfiles.model.include={include}\n'
    )
    # The library reads its environment when it is imported, hence another process.
    hub = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder)}
    environment = {**os.environ, **hub}
    return subprocess.run(
        [sys.executable, "-m", "inference", "hubbed", "hello", "--max-tokens", "1",
         "--catalog", str(folder / "catalog.toml"), "--data", str(folder)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_repository_is_downloaded_once_without_its_code(address: str, tmp_path: Path) -> None:
    source = f"hub:some/one@{COMMIT}"
    ran = run(address, tmp_path, source)
    assert ran.stdout == "hello \n", ran.stderr
    folder = tmp_path / "cache" / "hub" / f"some--one@{COMMIT}" / "all"
    assert files_in(folder) == {
        "config.json", "deep/model.safetensors", "deep/model.fp16.safetensors",
        "whole.safetensors",
    }  # fmt: skip
    # Nobody listens at this address; the files are here already.
    assert run("http://127.0.0.1:9", tmp_path, source).stdout == "hello \n"


@pytest.mark.parametrize(
    ("include", "files"),
    [
        ('["config.json", "*/*"]', {"deep/model.safetensors", "deep/model.fp16.safetensors"}),
        ('["config.json", "*/*.fp16.safetensors"]', {"deep/model.fp16.safetensors"}),
    ],
)
def test_a_card_says_which_files_it_wants(
    include: str, files: set[str], address: str, tmp_path: Path
) -> None:
    """A repository of a pipeline also has the same weights in one file, and in other numbers."""
    source = f"hub:some/one@{COMMIT}"
    ran = run(address, tmp_path, source, include)
    assert ran.stdout == "hello \n", ran.stderr
    (folder,) = (tmp_path / "cache" / "hub" / f"some--one@{COMMIT}").glob("all-????????")
    assert files_in(folder) == {"config.json", *files}
    assert run("http://127.0.0.1:9", tmp_path, source, include).stdout == "hello \n"


def test_a_wish_that_no_file_meets_is_told(address: str, tmp_path: Path) -> None:
    ran = run(address, tmp_path, f"hub:some/one@{COMMIT}", '["*.gguf"]')
    assert ran.returncode == 1
    assert "some/one has no such file" in ran.stderr


def test_one_file_is_downloaded_alone(address: str, tmp_path: Path) -> None:
    ran = run(address, tmp_path, f"hub:some/one@{COMMIT}/deep/model.safetensors")
    assert ran.stdout == "hello \n", ran.stderr
    names = {Path(name).name for name in files_in(tmp_path / "cache" / "hub")}
    assert names == {"model.safetensors", "deep--model.safetensors.lock"}


def test_what_the_hub_lacks_is_told(address: str, tmp_path: Path) -> None:
    ran = run(address, tmp_path, f"hub:some/one@{COMMIT}/gone.gguf")
    assert ran.returncode == 1
    assert "some/one has no such file" in ran.stderr
    ran = run(address, tmp_path, f"hub:some/other@{COMMIT}")
    assert "RepositoryNotFoundError" in ran.stderr
