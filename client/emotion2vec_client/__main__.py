"""``python -m emotion2vec_client`` is the command ``emotion2vec``."""

import sys

from emotion2vec_client.cli import main

sys.exit(main())
