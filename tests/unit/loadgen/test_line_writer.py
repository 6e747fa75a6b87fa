from __future__ import annotations

import dataclasses
import json
import os

import pytest

from made_rows import request_record
from medsweep.loadgen.line_writer import LineWriter
from medsweep.metrics.request_record import RequestRecord

RECORD = request_record(
    index=3,
    sent_s=1.0000001,
    first_text_s=1.5,
    end_s=2.0,
    chunk_gaps_s=(0.25, 0.1),
    chunk_tokens=(1, 1, 2),
    output_tokens=4,
    text="ä",
)


@pytest.mark.parametrize("question_id", ["q", "\ud83d"])
def test_a_record_comes_out_as_it_went_in(question_id: str) -> None:
    record = dataclasses.replace(RECORD, question_id=question_id)
    reader, writer = os.pipe()
    with open(reader, "rb") as lines:
        LineWriter(writer).put({"record": record})
        line = lines.readline()
    os.close(writer)
    # By its first bytes a record is told from other messages without being parsed.
    assert line.startswith(b'{"record"')
    assert RequestRecord.from_json(json.loads(line)["record"]) == record
