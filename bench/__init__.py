"""The numbers of docs/numbers.md, measured. `make bench`, or `python -m bench ROW...`."""
