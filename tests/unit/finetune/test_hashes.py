from pathlib import Path

from medsweep.finetune.hashes import code_sha256, files_sha256, json_sha256


def test_code_sha256_is_that_of_the_files_now() -> None:
    assert code_sha256() == code_sha256()
    assert len(code_sha256()) == 64


def test_json_sha256_does_not_depend_on_the_order() -> None:
    assert json_sha256({"a": 1, "b": (2, 3)}) == json_sha256({"b": [2, 3], "a": 1})
    assert json_sha256({"a": 1}) != json_sha256({"a": 2})


def test_files_sha256(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("1")
    (tmp_path / "a").write_text("1")
    (tmp_path / "folder").mkdir()
    found = files_sha256(tmp_path)
    assert list(found) == ["a", "b"]
    assert (
        found["a"]
        == found["b"]
        == ("6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b")
    )
