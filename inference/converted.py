"""GGUF files as folders of safetensors, made once and kept."""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def folder(gguf: Path, cache: Path, dtype: torch.dtype, sha256: str | None) -> Path:
    """The folder of safetensors with what `gguf` holds, in `dtype`; made if it is not there.

    `sha256` is that of the file, if it is known already.
    """
    digest = sha256 or _digest(gguf)
    target = cache / "converted" / f"{digest}-{str(dtype).removeprefix('torch.')}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent))
        try:
            _convert(gguf, temporary, dtype)
            # Renaming is atomic: nobody sees half a folder. Who comes second keeps the first's.
            if not target.exists():
                temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _convert(gguf: Path, target: Path, dtype: torch.dtype) -> None:
    options: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    AutoTokenizer.from_pretrained(gguf.parent, **options).save_pretrained(target)
    # Without `dequantize` transformers would refuse to save what it has read.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=dtype, quantization_config=GgufConfig(dequantize=True), **options
    )
    model.hf_quantizer = None
    model.save_pretrained(target)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
