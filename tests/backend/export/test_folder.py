from pathlib import Path

import pytest

from backend.errors import SettingsError
from backend.export.folder import whole_folder

CONTENTS = frozenset({"labels", "data.yaml"})


def write(out: Path, text: str = "new", *, replaces: bool = False) -> None:
    with whole_folder(out, replaces=replaces, contents=CONTENTS) as folder:
        (folder / "data.yaml").write_text(text)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_folder_appears_whole_with_the_folders_above_it(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"

    with whole_folder(out, replaces=False, contents=CONTENTS) as folder:
        (folder / "data.yaml").write_text("new")
        assert not out.exists()

    assert files(tmp_path) == ["a", "a/b", "a/b/data.yaml"]
    # Others may read it, as any folder that is made here.
    (tmp_path / "plain").mkdir()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    write(tmp_path / "out")

    assert files(tmp_path) == ["out", "out/data.yaml"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_there_stays_when_the_writing_fails(
    tmp_path: Path, error: type[BaseException]
) -> None:
    write(tmp_path / "out", "old")

    def fail() -> None:
        with whole_folder(tmp_path / "out", replaces=True, contents=CONTENTS) as folder:
            (folder / "labels").mkdir()
            raise error

    with pytest.raises(error):
        fail()

    assert files(tmp_path) == ["out", "out/data.yaml"]
    assert (tmp_path / "out" / "data.yaml").read_text() == "old"


def test_a_folder_that_is_not_empty_is_replaced_only_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    write(out, "old")
    (out / "labels").mkdir()

    with pytest.raises(SettingsError, match=r"is not empty \(data.yaml, labels\)"):
        write(out)
    write(out, replaces=True)

    assert files(tmp_path) == ["out", "out/data.yaml"]
    assert (out / "data.yaml").read_text() == "new"


def test_what_no_export_wrote_is_never_removed(tmp_path: Path) -> None:
    out = tmp_path / "home"
    write(out, "old")
    (out / "thesis.tex").write_text("years")

    with pytest.raises(SettingsError, match=r"\(thesis.tex\), and --force would"):
        write(out, replaces=True)

    assert files(out) == ["data.yaml", "thesis.tex"]


def test_what_appears_while_it_is_written_is_never_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"

    with (
        pytest.raises(SettingsError, match="is not empty"),
        whole_folder(out, replaces=False, contents=CONTENTS),
    ):
        write(out, "somebody else's")

    assert (out / "data.yaml").read_text() == "somebody else's"


def test_files_links_and_disks_are_no_folders_to_replace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")

    for path in (tmp_path / "file", tmp_path / "link", Path("/")):
        with pytest.raises(SettingsError, match="is no folder that can be replaced"):
            write(path, replaces=True)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SettingsError, match="cannot be written: "):
        write(tmp_path / "file" / "out")
