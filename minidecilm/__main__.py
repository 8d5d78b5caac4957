"""``python -m minidecilm`` is the command line."""

import sys

from minidecilm.cli import main

sys.exit(main())
