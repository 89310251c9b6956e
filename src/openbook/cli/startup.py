"""When the process started. Imported before anything heavy, because the minutes of `train` count from here."""

import time

STARTED = time.perf_counter()
