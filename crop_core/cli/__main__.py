"""`python -m crop_core.cli` is the crop-core command."""

import sys

from crop_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
