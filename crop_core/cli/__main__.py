"""`python -m crop_core.cli` is the crop-core command."""

import sys

from crop_core.cli.main import main

sys.exit(main())
