"""Datapaths computed bit for bit: scalar specifications, and kernels that equal them."""
