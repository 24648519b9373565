"""Does the kept list of mutations still apply to the code, and was each of them caught?"""

from pathlib import Path

import pytest
from mutations.run import HERE, ROOT, Mutation, caught_by, mutations, table

LIST = mutations()


@pytest.mark.parametrize("mutation", LIST, ids=lambda each: each.breaks)
def test_every_mutation_changes_one_place_of_the_code(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text(encoding="utf-8").count(mutation.before) == 1
    assert "\n" not in mutation.before
    assert mutation.after != mutation.before
    assert (ROOT / mutation.test).is_file()


def test_the_kept_result_is_of_this_list_and_says_that_all_were_caught() -> None:
    result = (HERE / "result.md").read_text(encoding="utf-8")
    assert f"{len(LIST)} of {len(LIST)} were caught" in result
    rows = [line.split(" | ") for line in result.splitlines() if line.startswith("| ")][1:]
    assert [(row[0][2:], row[1]) for row in rows] == [
        (Path(each.file).name, each.breaks) for each in LIST
    ]
    assert all("test_" in row[2] for row in rows)


def test_the_table_names_what_survived() -> None:
    rows = [(LIST[0], "tests/unit/test_a.py::test_b[x|y]"), (LIST[1], "")]
    lines = table(rows).splitlines()
    assert lines[2].startswith("1 of 2 were caught")
    assert lines[-2].endswith("| test_a.py::test_b |")
    assert lines[-1].endswith("| **nothing** |")


def test_a_change_is_undone_and_what_notices_it_is_returned(tmp_path: Path) -> None:
    (tmp_path / "code_of.py").write_text("ONE = 1\n")
    (tmp_path / "test_code.py").write_text(
        "from code_of import ONE\n\ndef test_one():\n    assert ONE == 1\n"
    )
    harmful = Mutation("code_of.py", "1", "2", "one", "test_code.py")
    harmless = Mutation("code_of.py", "1", "1.0", "its type", "test_code.py")
    assert caught_by(harmful, tmp_path) == "test_code.py::test_one"
    assert caught_by(harmless, tmp_path) == ""
    assert (tmp_path / "code_of.py").read_text() == "ONE = 1\n"


def test_tests_that_do_not_run_catch_nothing(tmp_path: Path) -> None:
    (tmp_path / "code_of.py").write_text("ONE = 1\n")
    broken = Mutation("code_of.py", "1", "2", "one", "test_absent.py")
    with pytest.raises(RuntimeError, match=r"code_of\.py: the tests did not run"):
        caught_by(broken, tmp_path)
