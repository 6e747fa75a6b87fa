"""`medsweep serve` with a real engine and adapters that a sweep made, which come and go."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import openai
import pytest

from support import Story, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BASE = "standin-distilgpt2"


def test_adapters_come_and_go_while_it_runs(
    story: Story, environment: dict[str, str], tmp_path: Path
) -> None:
    [made] = (story.runner.results / "adapters").iterdir()
    root = tmp_path / "root"
    shutil.copytree(made, root / "first")
    folder = json.loads((made / "adapter.json").read_text())["base"]
    arguments = (
        "--base",
        BASE,
        "--base-folder",
        folder,
        "--adapter-root",
        str(root),
        "--max-prompt-tokens",
        "60",
        "--max-loaded",
        "1",
    )
    with serving(*arguments, environment=environment) as (_, url):
        sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

        def ask(model: str, text: str = "What is gout?") -> str:
            messages = [{"role": "user", "content": text}]
            answer = sdk.chat.completions.create(
                model=model, messages=messages, max_tokens=24, temperature=0
            )
            return answer.choices[0].message.content

        assert [model.id for model in sdk.models.list()] == [BASE, "first"]
        first, base = ask("first"), ask(BASE)
        assert first != base
        with pytest.raises(openai.NotFoundError, match="unknown model 'second'"):
            ask("second")
        shutil.copytree(made, tmp_path / "copy")
        (tmp_path / "copy").rename(root / "second")
        assert ask("second") == first
        assert ask(BASE) == base
        with pytest.raises(openai.BadRequestError, match="tokens; it may have 60"):
            ask("first", "gout " * 100)
        (root / "first").rename(tmp_path / "gone")
        while "first" in [model.id for model in sdk.models.list()]:
            pass
        with pytest.raises(openai.NotFoundError):
            ask("first")
        assert ask("second") == first
