import base64

import pytest

from medsweep.clock import MonotonicClock
from medsweep.errors import InputError
from medsweep.loadgen.address import basic_credentials, check_url, public_url, route_url
from medsweep.loadgen.client import LoadClient


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://x/v1", "http://x/v1/chat/completions"),
        ("http://x/v1/", "http://x/v1/chat/completions"),
        ("http://x", "http://x/chat/completions"),
        (
            "http://x/v1?api-version=2024-02-01",
            "http://x/v1/chat/completions?api-version=2024-02-01",
        ),
        ("http://x/v1/?a=b&c=%20d", "http://x/v1/chat/completions?a=b&c=%20d"),
        ("http://x?a=b", "http://x/chat/completions?a=b"),
        ("http://x/v1#top", "http://x/v1/chat/completions"),
        ("http://x/v1/chat/completions?a=b", "http://x/v1/chat/completions?a=b"),
        ("http://x/v1/completions", "http://x/v1/chat/completions"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
    ],
)
def test_a_query_stays_behind_the_route(base: str, url: str) -> None:
    check_url(base)
    assert route_url(base, "chat/completions") == url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("127.0.0.1:8000", "must begin with http:// or https://"),
        ("ftp://x/v1", "must begin with http:// or https://"),
        ("http://x:99999/v1", "from 1 to 65535"),
        ("http://x:65536/v1", "from 1 to 65535"),
        ("http://x:0/v1", "from 1 to 65535"),
        ("http://x:-1/v1", "from 1 to 65535"),
        ("http://x:80a/v1", "from 1 to 65535"),
        ("http://[::1/v1", "IPv6"),
        ("http://[::zz]:80/v1", "IPv6"),
        ("http://[1.2.3.4]:80/v1", "IPv6"),
        ("http://::1:8000/v1", "without brackets"),
        ("http://]x[/v1", "IPv6"),
        ("http:///v1", "no host"),
        ("http://:80/v1", "no host"),
        ("http://a,b/v1", "host that is not valid"),
        ("http://x/a b", "without spaces"),
        ("http://x/v1\n", "without spaces"),
        ("http://user:secret@x:99999/v1?api_key=secret", "from 1 to 65535"),
    ],
)
def test_an_address_that_cannot_be_sent_to_is_a_fault_of_one_line(url: str, fault: str) -> None:
    with pytest.raises(InputError) as refused:
        check_url(url)
    assert fault in str(refused.value)
    assert "secret" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "HTTP://x/v1",
        "http://x:65535/v1",
        "http://x:/v1",
        "https://a_b.c-d/v1",
        "http://[fe80::1%25e0]/",
    ],
)
def test_addresses_that_are_valid(url: str) -> None:
    check_url(url)


def test_credentials_are_sent_as_basic_and_not_printed(make_job) -> None:
    url = "http://us%40er:pass@x:80/v1?a=b&api-key=k&sig=s"
    assert basic_credentials(url) == f"Basic {base64.b64encode(b'us@er:pass').decode()}"
    assert basic_credentials("http://x/v1") is None
    assert public_url(url) == "http://x:80/v1?a=b&api-key=***&sig=***"
    for secret in (
        "http://u:s3/cret@x/v1",
        "u:s3cret@x/v1",
        "http://s3cret@x/v1",
        "http://u:s3?c@x/v1",
    ):
        assert "s3" not in public_url(secret)
        assert public_url(secret).endswith("x/v1")
    assert public_url("http://x/v1/@team?a=b") == "http://x/v1/@team?a=b"
    job = make_job(url)
    head = LoadClient(job, MonotonicClock()).message(job.prompts[0]).partition(b"\r\n\r\n")[0]
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/chat/completions?a=b&api-key=k&sig=s HTTP/1.1"
    assert "host: x:80" in lines
    assert f"authorization: {basic_credentials(url)}" in lines
    assert "pass" not in head.decode()
    with pytest.raises(InputError, match="not both"):
        make_job(url, api_key_env="KEY")
