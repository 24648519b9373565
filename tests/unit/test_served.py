"""What a byte takes by shape, compiled, against the profile that it stands for."""

import numpy as np

from simulator import load_device
from simulator.dram.channels import Access, Channels
from simulator.dram.profile import profile_of
from simulator.hardware.device import Device
from simulator.mapping.served import (
    MOST_ASKED,
    Memory,
    Served,
    ask,
    key_of,
    ps_per_byte,
    shape_of,
)


def _channels(device: Device) -> Channels:
    assert isinstance(device.memory, Channels)
    return device.memory


def _asked() -> np.ndarray:
    return np.zeros(MOST_ASKED + 2, dtype=np.int64)


def test_known_shapes_take_what_the_profile_says() -> None:
    channels = _channels(load_device("npu_hbm2"))
    profile = profile_of(channels).at_least(1.5)
    accesses = [Access(False, 1 << 20, 1, 1), Access(True, 4096, 64, 4)]
    expected = [profile.ps_per_byte(each) for each in accesses]
    # Not all of them at the least.
    assert len(set(expected)) == len(accesses)
    known = sorted(
        (key_of(*channels.shape(each)), profile.shapes.burst_ps(channels.shape(each)))
        for each in accesses
        if profile.shapes is not None
    )
    keys, burst_ps = (np.array(each) for each in zip(*known, strict=True))
    memory = Memory(channels.striped, 1.5, Served(keys, burst_ps, _asked()))
    assert [ps_per_byte(memory, *each) for each in accesses] == expected
    assert memory.served.asked[0] == 0


def test_an_unknown_shape_is_asked_for_once() -> None:
    channels = _channels(load_device("npu_hbm2"))
    nothing = Served(np.zeros(0, dtype=np.int64), np.zeros(0), _asked())
    memory = Memory(channels.striped, 1.5, nothing)
    access = Access(True, 4096, 64, 4)
    for _ in range(2):
        ps_per_byte(memory, *access)
    misses, count, key = nothing.asked[:3].tolist()
    assert (misses, count) == (2, 1)
    assert shape_of(key) == channels.shape(access)
    assert ps_per_byte(memory, False, 0, 1, 1) == 0.0


def test_more_shapes_than_there_is_room_for_are_asked_for_later() -> None:
    asked = _asked()
    for key in range(MOST_ASKED + 3):
        ask(asked, key)
    assert asked[:2].tolist() == [MOST_ASKED + 3, MOST_ASKED]
    assert asked[-1] == MOST_ASKED - 1
