"""`python -m backend.cli` is `diffsegmenter`."""

from backend.cli import main

if __name__ == "__main__":
    main()
