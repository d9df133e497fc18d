"""What travels: request and response structs, CPS error codes, signatures. No I/O, and nothing else of ours is imported."""
