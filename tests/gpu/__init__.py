"""The GPU check: what only a GPU can show. `make gpu-check` runs it on the first visible GPU.

Without a GPU every size is tiny, so that each stage runs in the test suite as well.
"""
