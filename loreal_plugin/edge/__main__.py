"""`python -m loreal_plugin.edge PACKAGE PICTURES...`."""

import sys

from loreal_plugin.edge.command import main

sys.exit(main())
