"""What `helm test` runs: the model at http://HOST/v1 answers, or DIR or URL keeps results."""

import json
import os
import sys
import uuid
from urllib.request import ProxyHandler, Request, build_opener

import fsspec

from medsweep.cli.job import run_job
from medsweep.errors import EnvironmentFault


def call(url: str, **body: object) -> dict[str, list[dict[str, str]]]:
    """Call the API with the key of MEDSWEEP_API_KEY; return its answer."""
    data = json.dumps(body).encode() if body else None
    request = Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    request.add_header("Authorization", f"Bearer {os.environ['MEDSWEEP_API_KEY']}")
    return dict(json.load(build_opener(ProxyHandler({})).open(request, timeout=120)))


def main(place: str) -> int:
    """Ask the last model of the list, or write a file and delete it."""
    try:
        if place.startswith("http"):
            model = call(f"{place}/models")["data"][-1]["id"]
            call(f"{place}/completions", model=model, prompt="What is anaemia?", max_tokens=4)
        else:
            files, root = fsspec.core.url_to_fs(place)
            files.pipe_file(path := f"{root}/check-{uuid.uuid4().hex[:8]}", b"check")
            files.rm_file(path)
    except (OSError, LookupError) as error:
        raise EnvironmentFault(f"{place}: {error}") from None
    print(f"{place}: ok")
    return 0


if __name__ == "__main__":
    sys.exit(run_job(lambda: main(sys.argv[1])))
