"""Lowering, residency, tiling: from a workload graph to a plan for one device."""
