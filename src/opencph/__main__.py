"""`python -m opencph` is `opencph`."""

from opencph.cli import main

if __name__ == "__main__":
    main()
