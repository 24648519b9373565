"""From parts to the plain integers that the equations take."""

from simulator.hardware.device import Device
from simulator.hardware.equations import (
    ADDER_TREE,
    INPUT_STATIONARY,
    OUTPUT_STATIONARY,
    THROUGHPUT,
    WEIGHT_STATIONARY,
    MatrixModel,
)
from simulator.hardware.matrix import AdderTree, SystolicArray, Throughput

DATAFLOWS = {
    "weight_stationary": WEIGHT_STATIONARY,
    "output_stationary": OUTPUT_STATIONARY,
    "input_stationary": INPUT_STATIONARY,
}


def _grains(unit: SystolicArray | AdderTree) -> tuple[int, int, int, int]:
    """Return the kind, and the elements of one PE along rows, columns and time."""
    m, n, k = unit.pe.micro_tile
    if isinstance(unit, AdderTree):
        return ADDER_TREE, m, n, k
    kind = DATAFLOWS[unit.dataflow]
    match kind:
        case 0:
            return kind, k, n, m
        case 1:
            return kind, m, n, k
        case _:
            return kind, k, m, n


def matrix_model(device: Device, pair: str, group: int = 0) -> MatrixModel:
    """Return one core's matrix unit as the equations see it, multiplying `pair`.

    group: weights that share a scale along K. An element multiplies by it where K is its time.
    """
    unit, pad = device.unit_of(pair), device.scratchpad
    passes = unit.pe.passes(pair)
    accumulators = unit.accumulators
    entries = 0 if accumulators is None else accumulators.entries_per_column
    move_rows, buffers, overlap, occupied, rate = 1, 2, 1, 1, 1
    rows, columns = 128, 128
    match unit:
        case SystolicArray():
            kind, row_grain, column_grain, temporal = _grains(unit)
            rows, columns = unit.rows, unit.columns
            move_rows = unit.weight_load_rows_per_cycle
            buffers, overlap = unit.weight_buffers, int(unit.fold_overlap)
            occupied = int(unit.partial_fold_cost == "occupied")
        case AdderTree():
            kind, row_grain, column_grain, temporal = _grains(unit)
            rows, columns = unit.rows, unit.columns
        case Throughput():
            kind, row_grain, column_grain, temporal = THROUGHPUT, 1, 1, 1
            rate = int(unit.macs * unit.efficiency * 1_000_000)
    decodes = unit.pe.decodes_weights(pair)
    in_time = kind in (OUTPUT_STATIONARY, ADDER_TREE)
    scale_cycles = unit.pe.scale_passes(pair) if in_time and group else 0
    return MatrixModel(
        kind=kind,
        rows=rows * row_grain,
        columns=columns * column_grain,
        row_grain=row_grain,
        column_grain=column_grain,
        temporal=temporal,
        passes=passes,
        move_rows_per_cycle=move_rows,
        buffers=buffers,
        overlap=overlap,
        occupied=occupied,
        arrays=unit.arrays,
        latency=unit.pe.latency_cycles,
        accumulator_entries=entries,
        accumulator_ports=1 if accumulators is None else accumulators.ports,
        accumulator_bits=unit.pe.accumulator_bits,
        conversions_per_cycle=unit.conversions_per_cycle or 0,
        dequantised_per_cycle=(unit.dequantised_per_cycle or 0) if decodes else 0,
        activation_edge_bits=8 * unit.arrays * (unit.activation_edge_bytes or 0),
        weight_edge_bits=8 * unit.arrays * (unit.weight_edge_bytes or 0),
        read_bits_per_cycle=8 * pad.read_bytes_per_cycle,
        write_bits_per_cycle=8 * pad.write_bytes_per_cycle,
        macs_per_megacycle=rate,
        group=group if scale_cycles else 0,
        scale_cycles=scale_cycles,
    )
