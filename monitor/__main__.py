"""`python -m monitor` is `postpost-monitor`."""

import sys

from monitor.cli import main

sys.exit(main())
