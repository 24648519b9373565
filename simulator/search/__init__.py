"""The search for designs: spaces, objectives, strategies and the store of what was tried."""
