import pytest

from medsweep.cluster.ray_errors import LONGEST, root_cause

RAY_TRACE = """\
ray::Worker.run() (pid=71, ip=10.0.0.7)
  File "loop.py", line 86, in train
    raise StageError(
medsweep.errors.StageError: fine-tuning: the loss became nan at step 3 of 9
  lower finetune.learning_rate
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            RAY_TRACE,
            "medsweep.errors.StageError: fine-tuning: the loss became nan at step 3 of 9",
        ),
        ("ValueError: first\n\nRuntimeError: second\n", "RuntimeError: second"),
        ("The actor died unexpectedly.\nCheck the logs.", "The actor died unexpectedly."),
        ("EnvironmentFault: /out: cannot be written", "EnvironmentFault: /out: cannot be written"),
        ("something\nelse  \n\n", "else"),
        ("", "no message"),
        (" \n ", "no message"),
    ],
)
def test_the_telling_line(text: str, cause: str) -> None:
    assert root_cause(text) == cause


def test_a_long_line_is_cut() -> None:
    assert len(root_cause("Error " + "x" * 1000)) == LONGEST
