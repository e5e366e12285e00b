"""``python -m flowbridge`` is ``flowbridge``."""

from flowbridge.cli.main import main

if __name__ == "__main__":
    main()
