"""The soak: a real `opencph up` that many clients work with at once for minutes, and what must still be true of it at the end.

`python -m bench.soak` runs it (`make soak`); `tests/soak` runs it for some seconds. The clients are real: the vendor's SDK, stock
adb, OpenSSH's ssh. `actors` are what clients do, `record` what became of it, `watch` what the processes hold meanwhile,
`invariants` what must be true afterwards.
"""
