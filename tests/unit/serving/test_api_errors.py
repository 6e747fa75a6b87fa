import pickle
import traceback

import pytest

from medsweep.errors import InputError, StageError, UnknownName
from medsweep.serving.api_errors import Refused, as_refused, without_text
from medsweep.serving.protocol import EngineDied

SECRET = "patient-7731-has-gout"


@pytest.mark.parametrize(
    ("error", "status", "outcome", "code"),
    [
        (Refused(431, "too_large", "no"), 431, "too_large", None),
        (UnknownName("model", "a", ["b"]), 404, "not_found", "model_not_found"),
        (InputError("the prompt is empty"), 400, "invalid", None),
        (StageError(SECRET), 500, "failed", None),
        (KeyError(SECRET), 500, "failed", None),
        (EngineDied("its process ended"), 503, "failed", "engine_died"),
    ],
)
def test_what_the_client_is_told(
    error: Exception, status: int, outcome: str, code: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    refused = as_refused(error)
    assert (refused.status, refused.outcome, refused.code) == (status, outcome, code)
    assert refused.body["error"]["message"]
    assert SECRET not in str(refused.body) + caplog.text
    assert ("generation failed" in caplog.text) == (status >= 500)


def test_it_travels_to_another_process() -> None:
    sent = Refused(429, "queue_full", "later", code="busy", headers={"retry-after": "2"})
    came = pickle.loads(pickle.dumps(sent))
    assert vars(came) == vars(sent)
    assert (str(came), came.body) == (str(sent), sent.body)


def test_nothing_of_a_prompt_comes_out_of_a_replica(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Refused) as out, without_text():
        raise RuntimeError(SECRET)
    assert SECRET not in "".join(traceback.format_exception(out.value)) + caplog.text
    with pytest.raises(GeneratorExit), without_text():
        raise GeneratorExit  # not an error: whoever asked has gone
