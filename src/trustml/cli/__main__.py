"""``python -m trustml.cli``."""

from trustml.cli.main import main

if __name__ == "__main__":
    main()
