"""The HTTP edge: one route table, one file per resource; decode, one fleet function, encode. No rules."""
