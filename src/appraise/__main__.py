"""`python -m appraise` is `appraise`."""

from appraise.cli import main

if __name__ == "__main__":
    main()
