"""What reads bytes from strangers, run with bytes that a fuzzer makes up. `python -m fuzz [TARGET...] [--seconds N]`.

A target takes any bytes and must end: with what the part under test documents (its own error), or with nothing. Anything else
is a finding. The tests run the same targets for a moment (`tests/security/test_fuzz_targets.py`), atheris for as long as asked.
"""
