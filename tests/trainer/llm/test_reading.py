"""Rows out of files: what is in them, and what is said of those that hold something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motley.trainer.errors import DataError
from motley.trainer.llm.rows.files import data_files
from motley.trainer.llm.rows.records import Record, records

ROWS = [{"question": "Who?", "answer": "I — Ada."}, {"question": "Où?", "answer": "Ici."}]


def read(folder: Path, name: str, content: str | bytes) -> list[Record]:
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return list(records(data_files(name, folder, "train")))


def wrong(folder: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(DataError) as error:
        read(folder, name, content)
    return str(error.value)


def test_json_lines_with_their_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, "train.jsonl", "\ufeff" + json.dumps(ROWS[0]) + "\r\n\n" + json.dumps(ROWS[1]))
    assert [one.fields for one in found] == ROWS
    assert [one.where for one in found] == ["train.jsonl:1", "train.jsonl:3"]


def test_a_json_list(tmp_path: Path) -> None:
    found = read(tmp_path, "train.JSON", json.dumps(ROWS, indent=1))
    assert [one.fields for one in found] == ROWS
    assert found[1].where == "train.JSON, row 2"


def test_text_is_its_paragraphs(tmp_path: Path) -> None:
    found = read(tmp_path, "a.txt", "\n one\ntwo \r\n\r\n \n\nthree\n")
    assert [(one.fields["text"], one.where) for one in found] == [(" one\ntwo ", "a.txt:2"), ("three", "a.txt:7")]
    assert not any(one.whole for one in found)


def test_text_without_an_empty_line_is_one(tmp_path: Path) -> None:
    (one,) = read(tmp_path, "a.txt", "one\ntwo\n")
    assert one == Record({"text": "one\ntwo"}, "a.txt:1", whole=True)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl:2: is not JSON (Expecting value at character 6). One row a line"),
        ("a.jsonl", "[\n", "a.jsonl:1: begins a list. A file that is one JSON list ends in .json"),
        ("a.jsonl", '{"a": 1}\n\n[1]\n', "a.jsonl:3: is a list, not an object. A row is {"),
        ("a.jsonl", "17\n", "a.jsonl:1: is a number, not an object"),
        ("a.jsonl", "[" * 90_000, "a.jsonl:1: begins a list"),
        ("a.jsonl", '{"a":' * 90_000, "a.jsonl:1: is not JSON (nested too deeply)"),
        ("a.jsonl", '{"a": 1}\n{"a": "\xe9"}'.encode("latin-1"), "a.jsonl:2: byte 0xe9 is no UTF-8. Save the file as"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "a.jsonl:1: is UTF-16, not UTF-8. Save"),
        ("a.jsonl", " \n\n", "a.jsonl: is empty. Put rows into it, or name another file"),
        ("a.json", "", "a.json: is empty"),
        ("a.json", "[]", "a.json: is empty"),
        ("a.json", '{"a": 1}\n{"a": 2}', "a.json:2: is not JSON (Extra data). One object a line is a file that ends"),
        ("a.json", '[{"a": 1},\n{"a" 2}]', "a.json:2: is not JSON (Expecting ':' delimiter)"),
        (
            "a.json",
            '{"data": [], "n": 3}',
            "a.json: holds an object, not a list of rows; its data is one. Put the list",
        ),
        ("a.json", '"x"', "a.json: holds a text, not a list of rows. Put"),
        ("a.json", '[{"a": 1}, null]', "a.json, row 2: is null, not an object"),
        ("a.txt", "one\ntwo \xe9".encode("latin-1"), "a.txt:2: byte 0xe9 is no UTF-8"),
        ("a.txt", "\n \n", "a.txt: is empty"),
    ],
)
def test_a_file_that_holds_something_else_is_named_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    assert said in wrong(tmp_path, name, content)


def test_a_folder_gives_its_files_in_order(tmp_path: Path) -> None:
    for name, text in (("b.jsonl", '{"n": 2}'), ("a.jsonl", '{"n": 1}'), (".c.jsonl", "x"), ("README.md", "x")):
        (tmp_path / name).write_text(text)
    assert [path.name for path in data_files(str(tmp_path), None, "train")] == ["a.jsonl", "b.jsonl"]
    assert [path.name for path in data_files(".", tmp_path, "train")] == ["a.jsonl", "b.jsonl"]
    (tmp_path / "d.txt").write_text("x")
    with pytest.raises(DataError, match=r"has files of several kinds \(.jsonl, .txt\). Name one of its files"):
        data_files(".", tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trian.jsonl", r'\[task\] train = "trian.jsonl": there is no /.*. Did you mean train.jsonl\?'),
        ("x/y/none.txt", r"there is no /.*/x/y/none.txt. /.* has chat/, rows.csv, train.jsonl"),
        ("../train.jsonl", "leads out of /.*, the folder that .data. names. Put the file into that folder"),
        ("chat/../../train.jsonl", "leads out of"),
        ("rows.csv", "files of rows end in .jsonl, .json, .parquet or .txt, this one has .csv. Rename or convert it"),
        ("chat", "chat has no file that ends in .jsonl.*. /.*/chat is empty"),
        ("", "names no file"),
    ],
)
def test_a_path_that_leads_to_no_rows_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "train.jsonl").write_text("{}")
    (tmp_path / "rows.csv").write_text("a,b")
    (tmp_path / "chat").mkdir()
    with pytest.raises(DataError, match=said):
        data_files(name, tmp_path, "train")


def test_a_name_without_a_folder_that_it_is_in(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder is known that it is in. Name its folder: \[data\] push"):
        data_files("train.jsonl", None, "train")
    (tmp_path / "train.jsonl").write_text("{}")
    assert data_files(str(tmp_path / "train.jsonl"), None, "test") == [tmp_path / "train.jsonl"]


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.jsonl: can't be read \(No such file or directory\)"):
        list(records([tmp_path / "gone.jsonl"]))
