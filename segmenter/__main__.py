"""`python -m segmenter photo.png cat dog --out overlay.png`."""

from segmenter.cli import main

if __name__ == "__main__":
    main()
