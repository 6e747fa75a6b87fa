"""Results: one schema, an atomic store, and where every figure comes from."""
