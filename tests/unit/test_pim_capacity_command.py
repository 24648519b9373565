"""What does `nibblesim pim capacity` say, and what does it refuse?"""

import json

import pytest
from typer.testing import CliRunner

from simulator.cli import app

ATTACC = ("llama-3-8b", "--keys", "attacc_k", "--values", "attacc_v")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["pim", "capacity", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(("requests", "tokens"), [(1, 65_536), (16, 8_192)])
def test_all_rows_are_full(requests: int, tokens: int) -> None:
    """By hand: 8 Gi values of 16 bits, 2 x 32 layers x 8 heads x 128; one request leaves half.

    Its 8 heads lie on 8 of the 16 channels.
    """
    code, text = run(*ATTACC, "--requests", str(requests), "--json")
    assert code == 0
    record = json.loads(text)
    assert (record["tokens"], record["rows_per_bank"]) == (tokens, 16_384)
    channels = 8 if requests == 1 else 16
    values = channels * 64 * 16_384 * 1024 // 2
    assert record["tokens"] * requests * 2 * 32 * 8 * 128 == values


def test_rows_of_weights_leave_less() -> None:
    half = json.loads(run(*ATTACC, "--rows-taken", "8192", "--json")[1])
    assert half["tokens"] == 32_768
    assert run(*ATTACC, "--rows-taken", "16384")[1].startswith("1 x 0 tokens of llama-3-8b")


def test_text_is_a_sentence() -> None:
    code, text = run(*ATTACC)
    assert (code, text) == (
        0,
        "1 x 65,536 tokens of llama-3-8b in hbm3_banks, 16,384 rows of each bank\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*ATTACC, "--requests", "0"), "requests must be >= 1, got 0"),
        ((*ATTACC, "--rows-taken", "-1"), "rows_taken must be 0 to 16384, got -1"),
        ((*ATTACC, "--rows-taken", "16385"), "rows_taken must be 0 to 16384, got 16385"),
        (("llama-3", *ATTACC[1:]), "unknown model 'llama-3'; did you mean 'llama-3-8b'?"),
    ],
)
def test_wrong_input_is_refused(arguments: tuple[str, ...], message: str) -> None:
    code, text = run(*arguments)
    assert (code, message in text) == (2, True)
