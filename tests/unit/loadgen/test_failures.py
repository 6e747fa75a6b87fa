import errno
import os

import pytest

from medsweep.loadgen.failures import FailureTally, LoadAborted, RequestError, as_failure


def test_tally_waits_for_ten_and_names_the_kinds() -> None:
    tally = FailureTally(max_error_rate=0.5)
    for status in ["timeout", "timeout", "timeout", "connect", "connect", "connect", "connect"]:
        tally.count(status)
    for _ in range(2):
        tally.count("ok")
    with pytest.raises(LoadAborted, match="7 of 10 requests failed: connect 4, timeout 3"):
        tally.count("ok")


def test_tally_lets_the_limit_itself_pass() -> None:
    tally = FailureTally(max_error_rate=0.5)
    for status in ["ok", "timeout"] * 20:
        tally.count(status)
    with pytest.raises(LoadAborted):
        tally.count("timeout")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS])
def test_end_of_the_client_s_own_means_is_not_the_server_s(number: int) -> None:
    for connected in (True, False):
        failure = as_failure(OSError(number, os.strerror(number)), connected=connected)
        assert failure.kind == "client"
        assert os.strerror(number) in failure.words
    assert as_failure(OSError(errno.ECONNREFUSED, "refused"), connected=False).kind == "connect"


def test_words_are_short() -> None:
    assert len(RequestError("http_500", "x" * 10_000).words) == 120
