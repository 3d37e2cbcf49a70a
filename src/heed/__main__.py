"""`python -m heed` is `heed`."""

import sys

from heed.cli import main

sys.exit(main())
