"""What IANUS' banks do not multiply, and a part of another kind: refused with which words?"""

import pytest

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.errors import InputError
from simulator.workload import decode_step

IANUS = load_device("ianus")


def test_weights_of_other_widths_are_refused() -> None:
    model = replace(load_model("gpt-2-medium"), {"layers": 1})
    step = decode_step(model, context=64, weights="int8-channel", activations="bf16", kv="bf16")
    with pytest.raises(InputError) as error:
        simulate(IANUS, step)
    assert str(error.value) == (
        "ianus: its memory multiplies weights of 16 bits without scales, got int8-channel"
    )


def test_a_part_that_is_not_aim_is_refused() -> None:
    with pytest.raises(InputError) as error:
        replace(IANUS, {"pim.part": "ianus_ai"})
    assert "unknown AiM part 'ianus_ai'; did you mean 'ianus_aim'?" in str(error.value)
