"""Which files are meant by what people type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_pdr.data.locations import find_files, is_path, parts_of
from ssl_pdr.errors import DataError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text\na\n", encoding="utf-8")
    return folder


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def parts(folder: Path) -> dict[str, list[str]]:
    return {part: names(found) for part, found in parts_of(folder).items()}


def error(find: Callable[[], object]) -> str:
    with pytest.raises(DataError) as raised:
        find()
    assert "\n" not in str(raised.value)
    return str(raised.value)


PATHS = "a.csv a.CSV a.tsv.gz a.json a.jsonl.zst a.parquet a.parquet.gz a.txt ./data ../data / /data ~ ~/data data/ a/b/c *.csv a/**/b x[12].tsv part?"
NAMES = "pydocs-topics imdb owner/name owner/name:config owner/name:config:split owner/name-v1.1 a.xml a.py csv ''"


def test_paths_and_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [spec for spec in PATHS.split() if not is_path(spec)] == []
    assert [spec for spec in [*NAMES.split(), "", "a\0b", "a" * 5000] if is_path(spec)] == []
    make(tmp_path, "owner/name/a.csv", "a.py")
    monkeypatch.chdir(tmp_path)
    assert [spec for spec in NAMES.split() if is_path(spec)] == ["owner/name", "a.py"]


def test_a_file_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.csv", "x[1].tsv", "x1.tsv", "ä b\n.txt")
    for name in ("a.csv", "x[1].tsv", "ä b\n.txt"):
        assert find_files(str(tmp_path / name)) == [tmp_path / name]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_files("~/a.csv", "validation") == [tmp_path / "a.csv"]
    monkeypatch.chdir(tmp_path)
    assert find_files("a.csv") == [Path("a.csv")]


def test_globs_are_sorted_and_hold_what_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "b.csv", "a.csv", "c.tsv.gz", ".hidden.csv", "README.md", "in/d.csv", "in/deep/e.csv", ".git/f.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "in" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = {
        "*.csv": ["a.csv", "b.csv"],
        "*": ["a.csv", "b.csv", "c.tsv.gz"],
        "[ac].*": ["a.csv", "c.tsv.gz"],
        "?.csv": ["a.csv", "b.csv"],
        "**/*.csv": ["a.csv", "b.csv", "d.csv", "e.csv"],
        "in/**": ["d.csv", "e.csv"],
        ".git/*.csv": ["f.csv"],
    }
    for pattern, expected in found.items():
        assert names(find_files(str(tmp_path / pattern))) == expected
    monkeypatch.chdir(tmp_path)
    for pattern, expected in found.items():
        assert names(find_files(pattern, "test")) == expected


def test_a_folder_is_its_files(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a.jsonl.gz", "part-2.PARQUET", ".c.csv", "README.md", "in/d.csv")
    (tmp_path / "folder.csv").mkdir()
    assert parts(tmp_path) == {"train": ["a.jsonl.gz", "b.txt", "part-2.PARQUET"]}
    assert find_files(str(tmp_path)) == find_files(f"{tmp_path}/") == parts_of(tmp_path)["train"]
    message = error(lambda: find_files(str(tmp_path), "validation"))
    assert message == f"{tmp_path} has no validation part; it has train; name a file"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("train.tsv dev.tsv test.tsv", {"train": ["train.tsv"], "validation": ["dev.tsv"], "test": ["test.tsv"]}),
        (
            "train-00000-of-00002.parquet train-00001-of-00002.parquet validation-00000-of-00001.parquet README.md",
            {
                "train": ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
                "validation": ["validation-00000-of-00001.parquet"],
            },
        ),
        (
            "train.tsv dev_matched.tsv dev_mismatched.tsv test_matched.tsv test_mismatched.tsv README.txt",
            {"train": ["train.tsv"], "validation": ["dev_matched.tsv"], "test": ["test_matched.tsv"]},
        ),
        ("train.tsv dev_mismatched.tsv", {"train": ["train.tsv"], "validation": ["dev_mismatched.tsv"]}),
        (
            "train-v2.0.json dev-v2.0.json.gz notes.txt",
            {"train": ["train-v2.0.json"], "validation": ["dev-v2.0.json.gz"]},
        ),
        ("Train.csv VALID.csv", {"train": ["Train.csv"], "validation": ["VALID.csv"]}),
        (
            "train1.csv train_2.jsonl val.csv valid_2.csv",
            {"train": ["train1.csv", "train_2.jsonl"], "validation": ["val.csv"]},
        ),
        ("training.csv testing.csv", {"train": ["training.csv"], "test": ["testing.csv"]}),
        ("test.csv", {"test": ["test.csv"]}),
        (
            "trainers.csv devices.csv testimonials.csv values.csv",
            {"train": ["devices.csv", "testimonials.csv", "trainers.csv", "values.csv"]},
        ),
    ],
)
def test_parts_of_a_folder_by_how_names_begin(tmp_path: Path, files: str, expected: dict[str, list[str]]) -> None:
    make(tmp_path, *files.split())
    assert parts(tmp_path) == expected
    for part, found in expected.items():
        assert names(find_files(str(tmp_path), part)) == found


def test_what_is_not_there(tmp_path: Path) -> None:
    make(tmp_path, "data.csv", "other.csv", "in/a.csv", "a.xml", "odd/a\nb.csv")
    (tmp_path / "empty").mkdir()
    assert f"there is no file {tmp_path}/dat.csv; did you mean data.csv" in error(
        lambda: find_files(f"{tmp_path}/dat.csv")
    )
    for spec, expected in {
        "none/at/all.csv": "all.csv; check the path",
        "data.csv/a.csv": "data.csv: Not a directory; check the path",
        "zzz": "there is no file",
        "odd/ab.csv": "did you mean 'a\\nb.csv'?",
        "a\0b.csv": "there is no file",
        "n" * 5000: "there is no file",
        "*.tsv": "no file matches",
        "none/*.csv": "no file matches",
        "*.xml": "has the ending '.xml'; expected one of: .csv, .tsv, .json, .jsonl, .parquet, .txt",
        "a.xml": "has the ending '.xml'; expected one of: .csv",
        "**.csv/*[": "; check",
        "empty": "empty has no files that can be read; expected some of: .csv",
    }.items():
        assert expected in error(lambda spec=spec: find_files(f"{tmp_path}/{spec}"))  # type: ignore[misc]
    (tmp_path / "data.csv").rename(tmp_path / "in" / "data.csv")
    (tmp_path / "other.csv").unlink()
    assert f"to read the folders in it, give a glob such as {tmp_path}/**/*.csv" in error(
        lambda: find_files(str(tmp_path))
    )
    assert "begins with the home folder of somebody" in error(lambda: find_files("~nobody-of-this-name/a.csv"))
    assert "cannot look into" in error(lambda: parts_of(tmp_path / "a.xml"))


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "none.csv")
    make(tmp_path, "real.csv")
    (tmp_path / "good.csv").symlink_to(tmp_path / "real.csv")
    assert find_files(str(tmp_path / "good.csv")) == [tmp_path / "good.csv"]
    for name, reason in (("loop.csv", "symbolic links"), ("gone.csv", "No such file"), ("", "gone.csv")):
        message = error(lambda name=name: find_files(str(tmp_path / name)))  # type: ignore[misc]
        assert reason in message
        assert "check where it leads" in message


@pytest.mark.shared_data
def test_real_folders(shared_data: Path) -> None:
    assert parts(shared_data / "sst2") == {
        "train": ["train.tsv.gz"],
        "validation": ["dev.tsv"],
    }
    assert parts(shared_data / "mnli") == {"train": ["train_subset.tsv.gz"], "validation": ["dev_matched.tsv.gz"]}
    assert parts(shared_data / "hans") == {"train": ["eval.tsv.gz"]}
    assert len(find_files(str(shared_data / "blitzer" / "*_train.tsv.gz"))) == 3
