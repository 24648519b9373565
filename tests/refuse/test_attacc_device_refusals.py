"""What AttAcc's memories do not hold and what its policies cannot do is refused, and why."""

import pytest

from simulator import decode_step, largest_batch, load_device, load_model, replace, simulate
from simulator.errors import InfeasibleError, InputError
from simulator.mapping.capacity import MOST_REQUESTS
from simulator.mapping.policies import Policies
from simulator.workload import Model


def model() -> Model:
    return replace(load_model("gpt3-7b"), {"layers": 1})


def test_keys_and_values_that_do_not_fit_their_own_memory() -> None:
    device = replace(load_device("attacc"), {"pim.own.capacity": 10**9})
    step = decode_step(model(), context=2048, batch=64)
    with pytest.raises(InfeasibleError) as caught:
        simulate(device, step)
    error = caught.value
    assert (error.resource, error.demand, error.bound) == ("pim_memory_capacity", 2**31, 10**9)
    assert str(error) == (
        f"{step.name} does not fit in the AttAcc of attacc: KV cache 2.15 GB, 1.00 GB there"
    )


def test_not_one_request_fits() -> None:
    device = replace(load_device("attacc"), {"pim.own.capacity": 2**25 - 1})
    with pytest.raises(InfeasibleError, match=r"batch=1 .*KV cache 0\.03 GB, 0\.03 GB there"):
        largest_batch(device, model(), context=2048)
    assert largest_batch(replace(device, {"pim.own.capacity": 2**25}), model(), context=2048) == 1


def test_more_requests_fit_than_anyone_has() -> None:
    device = replace(load_device("attacc"), {"pim.own.capacity": 10**15, "memory.capacity": 10**15})
    with pytest.raises(InputError, match=f"{MOST_REQUESTS} requests fit in attacc, and more"):
        largest_batch(device, model(), context=1)


@pytest.mark.parametrize(
    ("device", "policies", "message"),
    [
        (
            "neupims",
            {"head_pipeline": "on"},
            "neupims: head_pipeline needs a memory of kind 'attacc' or 'groups', to which heads "
            "come one after the other",
        ),
        (
            "dgx_a100a",
            {"head_pipeline": "on"},
            "dgx_a100a: head_pipeline needs a memory of kind 'attacc' or 'groups', to which heads "
            "come one after the other",
        ),
        (
            "attacc",
            {"head_pipeline": "on", "sub_batch": "on"},
            "attacc: head_pipeline and sub_batch exclude each other",
        ),
        (
            "attacc",
            {"placement": "npu"},
            "attacc: placement 'npu' cannot attend to keys and values, which lie in a memory of "
            "their own",
        ),
        ("duplex", {"coprocess": "ffn"}, "duplex: coprocess 'ffn' needs a memory of kind 'attacc'"),
    ],
)
def test_policies_that_a_device_cannot_follow(
    device: str, policies: dict[str, str], message: str
) -> None:
    step = decode_step(model(), context=128, batch=2)
    with pytest.raises(InputError) as caught:
        simulate(load_device(device), step, policies=Policies(**policies))
    assert str(caught.value) == message


def test_stages_and_heads_in_parts() -> None:
    staged = replace(load_device("attacc"), {"staged": True})
    with pytest.raises(InputError, match="attacc: head_pipeline and stages exclude each other"):
        simulate(
            staged,
            decode_step(model(), context=128, batch=2),
            policies=Policies(head_pipeline="on"),
        )


def test_unknown_policies_are_all_named() -> None:
    with pytest.raises(InputError) as caught:
        Policies(head_pipeline="yes", coprocess="fnn")
    assert caught.value.problems == (
        "unknown head_pipeline 'yes'; known: off, on",
        "unknown coprocess 'fnn'; did you mean 'ffn'? known: ffn, off",
    )


def test_a_share_of_the_ffn_in_formats_without_units() -> None:
    step = decode_step(model(), context=128, batch=1, weights="int4-g128")
    with pytest.raises(InputError) as caught:
        simulate(load_device("attacc"), step, policies=Policies(coprocess="ffn"))
    assert str(caught.value) == (
        "attacc: its memory multiplies weights of 8 or 16 bits without scales, got int4-g128"
    )
