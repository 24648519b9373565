"""Does the table of published claims say what was published, what ours is, and why they differ?"""

import csv
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from simulator.errors import InputError
from simulator.report.claims import COLUMNS, Claim, claims_text, read_claims, write_claims
from simulator.report.paper import COLUMN_IN, paper_figure

PUBLISHED = """claim,source,published,key,why
"decode, one layer (ms)",a paper,2.0,decode,"no fill, no drain"
prefill (ms),a paper,40,prefill,bound by MACs
prefill again (ms),another paper,50,prefill,its array is smaller
"""


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return a file of published numbers."""
    path = tmp_path / "published.csv"
    path.write_text(PUBLISHED)
    return path


def test_published_numbers_are_joined_with_ours_in_the_order_of_the_file(published: Path) -> None:
    claims = read_claims(published, {"prefill": 45.0, "decode": 1.5})
    assert [claim.claim for claim in claims] == [
        "decode, one layer (ms)", "prefill (ms)", "prefill again (ms)",
    ]  # fmt: skip
    assert [claim.ratio for claim in claims] == [0.75, 1.125, 0.9]
    assert claims[0] == Claim(
        "decode, one layer (ms)", "a paper", 2.0, 1.5, "no fill, no drain", "decode"
    )


def test_a_question_that_nobody_answered_has_no_ratio(published: Path, tmp_path: Path) -> None:
    published.write_text(PUBLISHED + "which is faster?,none,,question,nobody says\n")
    claims = read_claims(published, {"question": 2.5})
    assert (claims[0].published, claims[0].ratio) == (None, None)
    with write_claims(claims, tmp_path / "claims.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == [
            "which is faster?",
            "none",
            "",
            "2.5",
            "",
            "nobody says",
        ]
    assert claims_text("mine", claims).splitlines()[2].split() == [
        "1",
        "which",
        "is",
        "faster?",
        "2.5",
    ]


def test_a_row_without_a_key_stands_without_ours(published: Path, tmp_path: Path) -> None:
    published.write_text(PUBLISHED + "experts (ms),a paper,3,,not yet: needs experts\n")
    claims = read_claims(published, {"decode": 1.5})
    assert claims[1] == Claim("experts (ms)", "a paper", 3.0, None, "not yet: needs experts")
    assert claims[1].ratio is None
    with write_claims(claims, tmp_path / "claims.csv").open(newline="") as file:
        assert list(csv.reader(file))[2] == [
            "experts (ms)", "a paper", "3", "", "", "not yet: needs experts",
        ]  # fmt: skip
    assert claims_text("mine", claims).splitlines()[3].split() == ["2", "experts", "(ms)", "3"]


def test_claims_without_ours_are_left_out(published: Path) -> None:
    assert [claim.key for claim in read_claims(published, {"decode": 1.5})] == ["decode"]


def test_the_csv_holds_all_columns_and_ours_in_full(published: Path, tmp_path: Path) -> None:
    claims = read_claims(published, {"decode": 1 / 3})
    path = write_claims(claims, tmp_path / "new" / "claims.csv")
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    assert rows[1] == [
        "decode, one layer (ms)", "a paper", "2", repr(1 / 3), "0.1667", "no fill, no drain",
    ]  # fmt: skip


def test_the_text_numbers_claims_and_their_reasons(published: Path) -> None:
    text = claims_text("mine", read_claims(published, {"decode": 1.5}))
    assert text.splitlines() == [
        "mine",
        "     claim                   published  ours  ratio",
        "  1  decode, one layer (ms)          2   1.5  0.750",
        "why",
        "  1  no fill, no drain [a paper]",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claim,source\n", "{}: the columns must be claim, source, published, key, why"),
        ("", "{}: the columns must be claim, source, published, key, why"),
        (PUBLISHED + "a,b,fast,decode,d\n", "{}:5: could not convert string to float: 'fast'"),
        (PUBLISHED + "a,b\n", "{}:5: not enough values to unpack (expected 5, got 2)"),
        (PUBLISHED + "a,b,0,decode,d\n", "claim 'a': published must be > 0, got 0.0"),
        (PUBLISHED + "a,,1,decode,\n", "claim 'a': source is empty\nclaim 'a': why is empty"),
        (
            PUBLISHED + "a,none,1,decode,d\n",
            "claim 'a': source 'none' and an empty published go together",
        ),
        (
            PUBLISHED + "a,a paper,,decode,d\n",
            "claim 'a': source 'none' and an empty published go together",
        ),
        (PUBLISHED + "a,none,,,d\n", "claim 'a': neither published nor ours"),
        (
            PUBLISHED.replace(",decode,", ",decoder,"),
            "{}: no row asks for 'decode'; did you mean 'decoder'?",
        ),
    ],
)  # fmt: skip
def test_a_table_that_says_nothing_is_refused(published: Path, text: str, message: str) -> None:
    published.write_text(text)
    with pytest.raises(InputError) as error:
        read_claims(published, {"decode": 1.5})
    assert str(error.value) == message.format(published)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    with pytest.raises(InputError) as error:
        read_claims(path, {})
    assert str(error.value) == f"{path}: cannot be read: No such file or directory"


def _picture(figure: Figure) -> None:
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], label="line")
    axes.legend()


def test_a_paper_figure_is_one_column_wide_and_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        with paper_figure(tmp_path / folder, "picture", height_in=2.0) as figure:
            _picture(figure)
        assert figure.get_size_inches().tolist() == [COLUMN_IN, 2.0]
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["picture.pdf", "picture.png"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_paper_figure_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        paper_figure(tmp_path / "none", "picture") as figure,
    ):
        figure.set_figheight(1 / 0)
    assert not (tmp_path / "none").exists()
