"""When the process began: imported before anything heavy, since the minutes of a training count from here."""

import time

STARTED = time.perf_counter()
