"""`python -m segmenter photo.png cat dog --out overlay.png`."""

from segmenter.commands import main

if __name__ == "__main__":
    main()
